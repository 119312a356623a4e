"""Docker's filters: values of one key are alternatives, keys must all match."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from linkspan.errors import InvalidRequest

Filters = Mapping[str, Sequence[str]]

NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)")
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def check_keys(filters: Filters, known: Iterable[str]) -> None:
    """Refuses a key that nobody knows."""
    for key in filters:
        if key not in known:
            raise InvalidRequest(f"invalid filter '{key}'", remedy=f"use one of {', '.join(sorted(known))}")


def labels_match(labels: Mapping[str, str], wanted: Sequence[str]) -> bool:
    """Whether every ``key`` or ``key=value`` holds (labels are the one key that is and-ed, as in Docker)."""
    for text in wanted:
        key, equals, value = text.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def matches_labels(labels: Mapping[str, str], filters: Filters) -> bool:
    """The filters ``label`` and ``label!``."""
    if not labels_match(labels, filters.get("label", ())):
        return False
    return not any(labels_match(labels, (text,)) for text in filters.get("label!", ()))


def matches_text(values: Iterable[str], wanted: Sequence[str]) -> bool:
    """Whether any value holds any of the wanted texts: as a regular expression, else literally (Docker's rule)."""
    if not wanted:
        return True
    texts = list(values)
    for want in wanted:
        try:
            pattern = re.compile(want)
        except re.error:
            pattern = re.compile(re.escape(want))
        if any(pattern.search(text) for text in texts):
            return True
    return False


def boolean(filters: Filters, key: str) -> bool | None:
    """A filter that is true or false; None when it was not given."""
    values = filters.get(key, ())
    if not values:
        return None
    text = values[0].lower()
    if text in ("true", "1", "t"):
        return True
    if text in ("false", "0", "f"):
        return False
    raise InvalidRequest(f"invalid filter '{key}={values[0]}'", remedy="use true or false")


def moment(text: str, now: float) -> float:
    """A point in time: Unix seconds, an RFC 3339 date, or a duration before ``now`` such as ``10m`` or ``1h30m``."""
    if NUMBER.fullmatch(text):
        return float(text)
    if text and DURATION.sub("", text) == "":
        return now - sum(float(number) * UNITS[unit] for number, unit in DURATION.findall(text))
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise InvalidRequest(
            f"invalid time '{text}'", remedy="give Unix seconds, a date such as 2026-01-31T10:00:00Z, or 10m"
        ) from None


def until(filters: Filters, now: float) -> float | None:
    """The filter ``until`` of prune; None when it was not given."""
    values = filters.get("until", ())
    return moment(values[0], now) if values else None
