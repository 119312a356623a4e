"""From bytes to structs, as leniently as Docker: unknown members are skipped, and null means absent."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from linkspan.errors import InvalidRequest

T = TypeVar("T")

Json = dict[str, object]
"""An object of a reply."""

_NULL_MEANS: dict[str, object] = {"EndpointsConfig": {}, "ExposedPorts": {}, "PortBindings": [], "Volumes": {}}
"""Members that map names to settings, where ``{"web": null}`` still says "web", and what that null stands for."""


def decode(body: bytes, kind: type[T]) -> T:
    """``body`` as ``kind``; empty means ``{}``. InvalidRequest says where the body is wrong."""
    try:
        raw = msgspec.json.decode(body) if body.strip() else {}
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the request body is not valid JSON: {error}") from error
    except RecursionError:
        raise InvalidRequest("the request body is nested too deeply") from None
    return convert(raw, kind)


def convert(raw: object, kind: type[T]) -> T:
    """Decoded JSON as ``kind``. InvalidRequest says which member is wrong."""
    try:
        return msgspec.convert(_without_nulls(raw), kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"invalid request body: {_readable(str(error))}") from error


def _readable(text: str) -> str:
    """msgspec's ``Expected `int`, got `str` - at `$.HostConfig.Memory``` without its backquotes."""
    return text.replace("`", "").replace("$.", "")


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {
            key: _named(item, _NULL_MEANS[key]) if key in _NULL_MEANS else _without_nulls(item)
            for key, item in value.items()
            if item is not None
        }
    if isinstance(value, list):
        return [_without_nulls(item) for item in value if item is not None]
    return value


def _named(value: object, null: object) -> object:
    if not isinstance(value, dict):
        return value
    return {key: null if item is None else _without_nulls(item) for key, item in value.items()}
