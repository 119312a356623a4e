"""Texts from the command line: numbers, sizes, durations, times, addresses, CSV. ValueError says what is wrong."""

from __future__ import annotations

import time
from _socket import AF_INET, AF_INET6, inet_pton

TRUE = ("1", "t", "T", "true", "TRUE", "True")
FALSE = ("0", "f", "F", "false", "FALSE", "False")

_BINARY = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_MOST_DIGITS = 19
"""Of a number of 64 bits."""
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def boolean(value: str) -> bool:
    """As Go's strconv.ParseBool."""
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    raise ValueError(f'parsing "{value}": invalid syntax, use true or false')


def integer(value: str) -> int:
    """Decimal digits with a sign or none, in 64 bits as other clients read it back."""
    sign = value[:1] in ("-", "+")
    digits = value[1:] if sign else value
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f'parsing "{value}": invalid syntax')
    if len(digits.lstrip("0")) > _MOST_DIGITS or not -(1 << 63) <= int(value) < 1 << 63:
        raise ValueError(f'parsing "{value}": value out of range')
    return int(value)


def size(value: str) -> int:
    """Bytes from ``512m``, ``1.5g``, ``64KiB`` or a plain number: powers of 1024, as for ``docker run --memory``.

    ``-1`` (no limit, for swap) is let through.
    """
    if value == "-1":
        return -1
    lower = value.strip().lower()
    digits = lower.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = lower[len(digits) :].strip()
    if unit not in ("b", "ib"):
        unit = unit.removesuffix("b").removesuffix("i")
    if unit not in _BINARY or not digits or not _decimal(digits):
        raise ValueError(f"invalid size: '{value}'")
    return int(float(digits) * _BINARY[unit])


def _decimal(value: str) -> bool:
    whole, _, fraction = value.partition(".")
    return (whole + fraction).isascii() and (whole + fraction).isdigit()


def billionths(value: str) -> int:
    """CPUs as billionths, exactly: ``1.5`` is 1500000000."""
    whole, _, fraction = value.partition(".")
    if not _decimal(value):
        raise ValueError(f"failed to parse {value} as a rational number")
    if len(fraction.rstrip("0")) > 9:
        raise ValueError("value is too precise")
    return int(whole or "0") * 10**9 + int(fraction[:9].ljust(9, "0"))


def duration(value: str) -> float:
    """Seconds from Go's notation: ``1h30m``, ``250ms``, ``10s``; a bare ``0``."""
    rest = value.removeprefix("-").removeprefix("+")
    if rest == "0":
        return 0.0
    total = 0.0
    if not rest:
        raise ValueError(f'invalid duration "{value}"')
    while rest:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(digits) :]
        unit = rest[: len(rest) - len(rest.lstrip("nuµmsh"))]
        while unit and unit not in _SECONDS:
            unit = unit[:-1]
        if not unit or not _decimal(digits):
            raise ValueError(f'invalid duration "{value}": write it as 1h30m, 10s or 250ms')
        total += float(digits) * _SECONDS[unit]
        rest = rest[len(unit) :]
    return -total if value.startswith("-") else total


def timestamp(value: str, now: float) -> str:
    """Unix time as the API takes it, from a Unix time, an RFC 3339 time, a date, or a duration before ``now``."""
    whole, _, fraction = value.partition(".")
    if whole.removeprefix("-").isdigit() and (not fraction or fraction.isdigit()):
        return value
    try:
        return f"{now - duration(value):.9f}"
    except ValueError:
        pass
    return f"{moment(value):.9f}"


def moment(value: str) -> float:
    """Unix time from RFC 3339 (local time when no zone is given; the time of day may be cut short)."""
    text, zone = value, ""
    if value.endswith(("Z", "z")):
        text, zone = value[:-1], "+00:00"
    elif len(value) > 16 and value[-6] in "+-" and value[-3] == ":":
        text, zone = value[:-6], value[-6:]
    text, _, fraction = text.partition(".")
    for layout in ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H", "%Y-%m-%d"):
        try:
            fields = time.strptime(text, layout)
        except ValueError:
            continue
        return _seconds(fields, zone) + (float("0." + fraction) if fraction.isdigit() else 0.0)
    raise ValueError(f'"{value}" is no time: write 2006-01-02T15:04:05Z, a Unix time or a duration such as 10m')


def _seconds(fields: time.struct_time, zone: str) -> float:
    if not zone:
        return time.mktime(fields)
    # days from the civil calendar (H. Hinnant's algorithm), since calendar.timegm would import datetime
    year, month = fields.tm_year - (fields.tm_mon <= 2), fields.tm_mon
    era_day = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + fields.tm_mday - 1
    days = year * 365 + year // 4 - year // 100 + year // 400 + era_day - 719468
    offset = (int(zone[1:3]) * 60 + int(zone[4:6])) * 60
    clock = fields.tm_hour * 3600 + fields.tm_min * 60 + fields.tm_sec
    return days * 86400 + clock - (offset if zone[0] == "+" else -offset)


def is_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address."""
    for family in (AF_INET, AF_INET6):
        try:
            inet_pton(family, text.partition("%")[0])
        except (OSError, ValueError):
            continue
        return True
    return False


def csv_fields(text: str) -> list[str]:
    """Fields of one CSV record (RFC 4180): a field in quotes may hold commas."""
    fields: list[str] = []
    position = 0
    while True:
        if text.startswith('"', position):
            end = text.find('"', position + 1)
            while end >= 0 and text.startswith('"', end + 1):
                end = text.find('"', end + 2)
            if end < 0 or text[end + 1 : end + 2] not in ("", ","):
                raise ValueError(f"bad quotes in {text}")
            fields.append(text[position + 1 : end].replace('""', '"'))
            position = end + 1
        else:
            end = text.find(",", position)
            end = len(text) if end < 0 else end
            fields.append(text[position:end])
            position = end
        if position >= len(text):
            return fields
        position += 1
