"""``--platform``: this host's own, or a refusal."""

from __future__ import annotations

import os

import msgspec

from linkspan.errors import InvalidRequest, NotSupported

_NAMES = {
    "x86_64": frozenset({"amd64", "x86_64", "x86-64"}),
    "aarch64": frozenset({"arm64", "aarch64"}),
}


def check_platform(text: str) -> None:
    """``linux/amd64``, ``amd64``, ``linux`` or their JSON form (API 1.46+). NotSupported for another host's."""
    if not text:
        return
    if text.startswith("{"):
        text = _from_json(text)
    parts = [part for part in text.lower().split("/") if part != "linux"]
    machine = os.uname().machine
    if parts and parts[0] not in _NAMES.get(machine, frozenset({machine})):
        raise NotSupported(f"platform {text!r} is not supported: this host is linux/{machine}")


def _from_json(text: str) -> str:
    try:
        platform = msgspec.json.decode(text, type=dict[str, object])
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"invalid platform {text!r}: {error}") from error
    return "/".join(str(platform[name]) for name in ("os", "architecture") if platform.get(name))
