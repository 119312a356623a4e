"""Hardware addresses (IEEE 802 MAC, 48 bits) as text."""

from __future__ import annotations

import re
from collections.abc import Callable

from linkspan.errors import InvalidRequest

_SPELLINGS = (
    re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII),
    re.compile(r"[0-9a-f]{2}(-[0-9a-f]{2}){5}", re.ASCII),
    re.compile(r"[0-9a-f]{4}(\.[0-9a-f]{4}){2}", re.ASCII),
)
_MULTICAST = 0x01
_LOCAL = 0x02


def random_mac(random_bytes: Callable[[int], bytes]) -> str:
    """A locally administered unicast address (IEEE 802 clause 8: second-lowest bit set, lowest clear).

    ``random_bytes(6)`` gives the randomness; 46 bits of it are used, so clashes on one link are not to be expected.
    """
    raw = random_bytes(6)
    first = (raw[0] & ~_MULTICAST | _LOCAL) & 0xFF
    return bytes((first, *raw[1:6])).hex(":")


def parse_mac(text: str) -> str:
    """The address as ``aa:bb:cc:dd:ee:ff``. Reads colons, dashes and Cisco's dots, as Docker does.

    InvalidRequest when it is malformed, zero or a group address (which no interface can have).
    """
    lowered = text.lower()
    if not any(spelling.fullmatch(lowered) for spelling in _SPELLINGS):
        raise InvalidRequest(f'MAC address "{text}" is malformed', remedy="write it as 02:42:ac:11:00:02")
    raw = bytes.fromhex(lowered.translate({ord(mark): None for mark in ":-."}))
    if raw[0] & _MULTICAST:
        raise InvalidRequest(
            f"MAC address {text} is a multicast address, which no interface can have",
            remedy="make the first byte even",
        )
    if not any(raw):
        raise InvalidRequest(f"MAC address {text} is all zero, which no interface can have")
    return raw.hex(":")
