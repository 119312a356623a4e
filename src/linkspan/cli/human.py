"""Sizes, ages and times as Docker writes them."""

from __future__ import annotations

import time

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def decimal_size(size: float, digits: int = 4) -> str:
    """``12.3MB``: powers of 1000, for images and disk space, with ``digits`` that count."""
    return _scaled(size, 1000, _DECIMAL, digits)


def binary_size(size: float) -> str:
    """``11.7MiB``: powers of 1024, for memory."""
    return _scaled(size, 1024, _BINARY, 4)


def _scaled(size: float, base: int, units: tuple[str, ...], digits: int) -> str:
    unit = 0
    while abs(size) >= base and unit < len(units) - 1:
        size /= base
        unit += 1
    return f"{size:.{digits}g}{units[unit]}"


def age(seconds: float) -> str:
    """``5 minutes``, ``About an hour``, ``2 weeks``: how Docker rounds a duration."""
    whole = int(seconds)
    hours = int(seconds / 3600 + 0.5)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    if whole < 120:
        return "About a minute"
    if whole < 3600:
        return f"{whole // 60} minutes"
    for count, name, below in ((hours, "hours", 48), (hours // 24, "days", 336), (hours // 168, "weeks", 1440)):
        if hours == 1:
            return "About an hour"
        if hours < below:
            return f"{count} {name}"
    return f"{hours // 720} months" if hours < 17520 else f"{hours // 8760} years"


def local_time(seconds: float) -> str:
    """``2026-11-23 18:27:14 +0000 UTC``: a Unix time as Go's time.String prints it."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds))


def stamp(seconds: int, nanoseconds: int) -> str:
    """RFC 3339 in local time with nine decimals, as ``docker events`` prints it."""
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    shown = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{nanoseconds:09d}{shown}"


def spaced(moment: str) -> str:
    """An API time (RFC 3339) as Go's time.String prints it: ``2026-11-23 18:27:14.5 +0000 UTC``."""
    if not moment:
        return ""
    day, _, clock = moment.partition("T")
    if clock.endswith("Z"):
        return f"{day} {clock[:-1]} +0000 UTC"
    zone = clock[-6:].replace(":", "")
    return f"{day} {clock[:-6]} {zone} {zone}"
