"""Signals by the names that people use."""

from __future__ import annotations

import re
import signal

from linkspan.errors import InvalidRequest

SIGKILL = int(signal.SIGKILL)
FIRST, LAST = int(signal.SIGRTMIN), int(signal.SIGRTMAX)
"""The real-time signals, signal(7)."""
_REAL_TIME = re.compile(r"RT(MIN\+|MAX-)(\d+)", re.ASCII)


def signal_number(text: str) -> int:
    """``SIGTERM``, ``TERM``, ``RTMIN+3`` or ``15``. InvalidRequest for anything else."""
    name = text.upper().removeprefix("SIG")
    number = 0
    if name.isascii() and name.isdigit():
        number = int(name)
    elif found := _REAL_TIME.fullmatch(name):
        number = FIRST + int(found[2]) if found[1] == "MIN+" else LAST - int(found[2])
        number = number if FIRST <= number <= LAST else 0
    elif f"SIG{name}" in signal.Signals.__members__:
        number = int(signal.Signals[f"SIG{name}"])
    if not 0 < number <= LAST:
        raise InvalidRequest(f"invalid signal: {text}", remedy="give a name such as SIGTERM, or a number")
    return number
