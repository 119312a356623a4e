"""Sizes with units: ``64m``, ``1.5g``."""

from __future__ import annotations

import re

from linkspan.errors import InvalidRequest

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)i?b?", re.IGNORECASE)
_TOO_LARGE = 2**63
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def size(text: str, what: str) -> int:
    """Bytes; units are powers of 1024 (go-units, ``RAMInBytes``). InvalidRequest names ``what``."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidRequest(f"invalid {what}: {text!r} is not a size")
    found = float(match[1]) * 1024 ** _POWER[match[2].lower()]
    if found >= _TOO_LARGE:
        raise InvalidRequest(f"invalid {what}: {text[:32]!r} is larger than any size")
    return int(found)
