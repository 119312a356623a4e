"""Signals by the names that people use."""

from __future__ import annotations

import signal

from linkspan.errors import InvalidRequest

SIGKILL = int(signal.SIGKILL)


def signal_number(text: str) -> int:
    """``SIGTERM``, ``TERM`` or ``15``. InvalidRequest for anything else."""
    name = text.upper().removeprefix("SIG")
    if name.isdigit() and 0 < int(name) <= signal.SIGRTMAX:
        return int(name)
    if name.startswith("RTMIN+") and name[6:].isdigit():
        return int(signal.SIGRTMIN) + int(name[6:])
    try:
        return int(signal.Signals[f"SIG{name}"])
    except KeyError:
        raise InvalidRequest(f"invalid signal: {text}", remedy="give a name such as SIGTERM, or a number") from None
