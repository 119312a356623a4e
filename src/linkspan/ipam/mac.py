"""Hardware addresses (IEEE 802 MAC, 48 bits) for endpoints that name none."""

from __future__ import annotations

from collections.abc import Callable

_MULTICAST = 0x01
_LOCAL = 0x02


def random_mac(random_bytes: Callable[[int], bytes]) -> str:
    """A locally administered unicast address (IEEE 802 clause 8: second-lowest bit set, lowest clear).

    ``random_bytes(6)`` gives the randomness; 46 bits of it are used, so clashes on one link are not to be expected.
    """
    raw = random_bytes(6)
    first = (raw[0] & ~_MULTICAST | _LOCAL) & 0xFF
    return bytes((first, *raw[1:6])).hex(":")
