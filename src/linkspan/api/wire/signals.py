"""Signals by name or number, as ``docker kill`` and ``--stop-signal`` take them."""

from __future__ import annotations

import signal

from linkspan.errors import InvalidRequest


def checked(text: str) -> str:
    """``text`` if it names a signal of this kernel (``TERM``, ``SIGTERM``, ``15``, ``SIGRTMIN+3``), as it came.

    InvalidRequest otherwise (signal(7)).
    """
    if text.isascii() and text.isdigit():
        if 1 <= int(text) <= 64:
            return text
        raise InvalidRequest(f"invalid signal: {text}")
    name = text.upper().removeprefix("SIG")
    base, sign, offset = name.partition("+" if "+" in name else "-")
    if f"SIG{base}" not in signal.Signals.__members__:
        raise InvalidRequest(f"invalid signal: {text}")
    if sign:
        span = signal.SIGRTMAX - signal.SIGRTMIN
        if base not in ("RTMIN", "RTMAX") or not offset.isdigit() or int(offset) > span:
            raise InvalidRequest(f"invalid signal: {text}")
        if (base == "RTMIN") != (sign == "+"):
            raise InvalidRequest(f"invalid signal: {text}")
    return text
