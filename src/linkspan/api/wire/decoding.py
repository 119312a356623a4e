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


_HOLDERS = (dict, list)


def decode(body: bytes, kind: type[T]) -> T:
    """``body`` as ``kind``; empty means ``{}``. InvalidRequest says where the body is wrong."""
    try:
        raw = msgspec.json.decode(body) if body.strip() else {}
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the request body is not valid JSON: {error}") from error
    except RecursionError:
        raise InvalidRequest("the request body is nested too deeply") from None
    return _converted(_without_nulls(raw) if b"null" in body else raw, kind)


def convert(raw: object, kind: type[T]) -> T:
    """Decoded JSON as ``kind``. InvalidRequest says which member is wrong."""
    return _converted(_without_nulls(raw), kind)


def _converted(raw: object, kind: type[T]) -> T:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"invalid request body: {_readable(str(error))}") from error


def _readable(text: str) -> str:
    """msgspec's ``Expected `int`, got `str` - at `$.HostConfig.Memory``` without its backquotes."""
    return text.replace("`", "").replace("$.", "")


def _without_nulls(value: object) -> object:
    """Leaves are not looked into one by one: ten thousand published ports have forty thousand of them."""
    if isinstance(value, dict):
        return {
            key: _named(item, _NULL_MEANS[key])
            if key in _NULL_MEANS
            else _without_nulls(item)
            if isinstance(item, _HOLDERS)
            else item
            for key, item in value.items()
            if item is not None
        }
    if isinstance(value, list):
        return [_without_nulls(item) if isinstance(item, _HOLDERS) else item for item in value if item is not None]
    return value


def _named(value: object, null: object) -> object:
    if not isinstance(value, dict):
        return value
    return {
        key: null if item is None else _without_nulls(item) if isinstance(item, _HOLDERS) else item
        for key, item in value.items()
    }
