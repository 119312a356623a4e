"""Hardware addresses (IEEE 802 MAC, 48 bits) as people write them."""

from __future__ import annotations

import re

from linkspan.errors import InvalidRequest

_SPELLINGS = (
    re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII),
    re.compile(r"[0-9a-f]{2}(-[0-9a-f]{2}){5}", re.ASCII),
    re.compile(r"[0-9a-f]{4}(\.[0-9a-f]{4}){2}", re.ASCII),
)
_MULTICAST = 0x01


def parse_mac(text: str) -> str:
    """The address as ``aa:bb:cc:dd:ee:ff``. Reads colons, dashes and Cisco's dots, as Docker does.

    InvalidRequest when it is malformed, zero or a group address (which no interface can have).
    """
    lowered = text.lower()
    if not any(spelling.fullmatch(lowered) for spelling in _SPELLINGS):
        raise InvalidRequest(f"invalid MAC address: {text}", remedy="write it as 02:42:ac:11:00:02")
    raw = bytes.fromhex(lowered.translate({ord(mark): None for mark in ":-."}))
    if raw[0] & _MULTICAST or not any(raw):
        raise InvalidRequest(f"invalid MAC address: {text} is not the address of one interface")
    return raw.hex(":")
