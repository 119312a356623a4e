"""Times as Docker writes them: RFC 3339 with nanoseconds, and spans in words."""

from __future__ import annotations

import time

NEVER = "0001-01-01T00:00:00Z"
"""Go's zero time, which Docker clients read as "never"."""


def rfc3339(seconds: float) -> str:
    """Unix seconds as ``2024-05-06T07:08:09.123456Z``; 0 is ``NEVER``."""
    return rfc3339_nanoseconds(round(seconds * 1_000_000) * 1_000) if seconds else NEVER


def rfc3339_nanoseconds(nanoseconds: int) -> str:
    """Unix nanoseconds as Go's ``RFC3339Nano``: trailing zeros are left out."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    digits = f".{fraction:09d}".rstrip("0").rstrip(".")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + digits + "Z"


def log_stamp(nanoseconds: int) -> bytes:
    """The prefix of ``logs --timestamps``: always nine digits, so that columns line up."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:09d}Z ".encode()


def span(seconds: float) -> str:
    """``About a minute``, ``3 weeks``: go-units' ``HumanDuration``, which ``docker ps`` shows."""
    whole = int(seconds)
    minutes, hours = whole // 60, int(seconds / 3600 + 0.5)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    if hours < 24 * 14:
        return f"{hours // 24} days"
    if hours < 24 * 60:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{whole // 86400 // 365} years"
