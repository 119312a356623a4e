"""Dockerfile instructions that set an image's defaults, for ``import --change`` (dockerfile reference).

Only those that need no build: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import msgspec

from linkspan.errors import InvalidRequest
from linkspan.model.image import ImageConfig

_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?")


def apply_changes(config: ImageConfig, changes: Sequence[str]) -> ImageConfig:
    """The configuration after these instructions, in order. InvalidRequest names the bad one."""
    for change in changes:
        instruction, _, rest = change.strip().partition(" ")
        rest = rest.strip()
        if not rest and instruction.upper() not in ("CMD", "ENTRYPOINT"):
            raise InvalidRequest(f"the change {change!r} has no value")
        config = _apply(config, instruction.upper(), rest, change)
    return config


def _apply(config: ImageConfig, instruction: str, rest: str, change: str) -> ImageConfig:
    replace = msgspec.structs.replace
    match instruction:
        case "CMD":
            return replace(config, command=_command(rest, change))
        case "ENTRYPOINT":
            return replace(config, entrypoint=_command(rest, change))
        case "ENV":
            return replace(config, env=_merge(config.env, _pairs(rest, change)))
        case "LABEL":
            return replace(config, labels={**config.labels, **dict(_pairs(rest, change))})
        case "EXPOSE":
            ports = [port for word in rest.split() for port in _ports(word, change)]
            return replace(config, exposed_ports=tuple(dict.fromkeys((*config.exposed_ports, *ports))))
        case "VOLUME":
            paths = _json_list(rest, change) if rest.startswith("[") else tuple(_words(rest, change))
            return replace(config, volumes=tuple(dict.fromkeys((*config.volumes, *paths))))
        case "WORKDIR":
            path = rest if rest.startswith("/") else f"{config.working_dir or '/'}".rstrip("/") + "/" + rest
            return replace(config, working_dir=path)
        case "USER":
            return replace(config, user=rest)
        case "STOPSIGNAL":
            return replace(config, stop_signal=rest)
    raise InvalidRequest(
        f"{instruction.lower() or change!r} is not a valid change command",
        remedy="use CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR",
    )


def _command(rest: str, change: str) -> tuple[str, ...]:
    """The JSON form as it is, the shell form through ``/bin/sh -c``."""
    if rest.startswith("["):
        return _json_list(rest, change)
    return ("/bin/sh", "-c", rest) if rest else ()


def _json_list(rest: str, change: str) -> tuple[str, ...]:
    try:
        return msgspec.json.decode(rest, type=tuple[str, ...])
    except msgspec.DecodeError:
        raise InvalidRequest(f"the change {change!r} holds no JSON list of strings") from None


def _words(rest: str, change: str) -> list[str]:
    try:
        return shlex.split(rest)
    except ValueError as error:
        raise InvalidRequest(f"the change {change!r} cannot be read: {error}") from None


def _pairs(rest: str, change: str) -> list[tuple[str, str]]:
    """``key=value key2="a b"``, or the old form ``key the whole rest``."""
    first, _, value = rest.partition(" ")
    if "=" not in first:
        return [(first, value.strip())]
    pairs = [word.partition("=") for word in _words(rest, change)]
    if any(not key or not equals for key, equals, _ in pairs):
        raise InvalidRequest(f"the change {change!r} needs KEY=VALUE pairs")
    return [(key, value) for key, _, value in pairs]


def _merge(env: Sequence[str], pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    merged = dict(item.partition("=")[::2] for item in env)
    merged.update(pairs)
    return tuple(f"{key}={value}" for key, value in merged.items())


def _ports(word: str, change: str) -> list[str]:
    match = _PORT.fullmatch(word)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if match is None or not 0 < first <= last <= 65535:
        raise InvalidRequest(f"the change {change!r} names no port")
    return [f"{port}/{match[3] or 'tcp'}" for port in range(first, last + 1)]
