"""Filters of ``images`` and ``image prune``, in Docker's words (pure). Unknown ones are refused."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from linkspan.errors import InvalidRequest
from linkspan.model.image import Image

Filters = Mapping[str, Sequence[str]]
_LIST_KEYS = ("before", "dangling", "label", "reference", "since", "until")
_PRUNE_KEYS = ("dangling", "label", "label!", "until")
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def listed(images: Sequence[Image], filters: Filters, find: Callable[[str], Image], now: float) -> tuple[Image, ...]:
    """The images that match, newest first. ``find`` resolves a reference; ``now`` is in Unix seconds."""
    _check(filters, _LIST_KEYS)
    chosen = [image for image in images if _labelled(image, filters.get("label", ()))]
    if (dangling := flag(filters, "dangling")) is not None:
        chosen = [image for image in chosen if is_dangling(image) == dangling]
    if patterns := filters.get("reference"):
        chosen = [image for image in chosen if any(_matches(image, pattern) for pattern in patterns)]
    for reference in filters.get("before", ()):
        chosen = [image for image in chosen if image.created < find(reference).created]
    for reference in filters.get("since", ()):
        chosen = [image for image in chosen if image.created > find(reference).created]
    for text in filters.get("until", ()):
        chosen = [image for image in chosen if image.created < moment(text, now)]
    return tuple(sorted(chosen, key=lambda image: image.created, reverse=True))


def prunable(images: Sequence[Image], filters: Filters, now: float) -> tuple[Image, ...]:
    """What ``prune`` may take, unless a container uses it: dangling images, or all with ``dangling=false``."""
    _check(filters, _PRUNE_KEYS)
    everything = flag(filters, "dangling") is False
    limits = [moment(text, now) for text in filters.get("until", ())]
    return tuple(
        image
        for image in images
        if (everything or is_dangling(image))
        and _labelled(image, filters.get("label", ()))
        and not any(_labelled(image, (label,)) for label in filters.get("label!", ()))
        and all(image.created < limit for limit in limits)
    )


def is_dangling(image: Image) -> bool:
    """Whether no tag names the image."""
    return not image.tags


def flag(filters: Filters, key: str) -> bool | None:
    """A boolean filter in Go's spellings; None when it is absent."""
    values = filters.get(key, ())
    if not values:
        return None
    if any(value not in _TRUE + _FALSE for value in values):
        raise InvalidRequest(f"invalid filter '{key}={values[0]}'")
    return any(value in _TRUE for value in values)


def moment(text: str, now: float) -> float:
    """Unix seconds of a Unix time, an RFC 3339 time or an age such as ``24h`` or ``1h30m``."""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return float(text)
    if re.fullmatch(r"([0-9]+(\.[0-9]+)?[smhd])+", text):
        parts = re.findall(r"([0-9.]+)([smhd])", text)
        return now - sum(float(number) * _UNITS[unit] for number, unit in parts)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"{text!r} is neither a time nor an age") from None
    return parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp()


def _check(filters: Filters, known: Sequence[str]) -> None:
    for key in filters:
        if key not in known:
            raise InvalidRequest(f"invalid filter '{key}'", remedy=f"use one of {', '.join(known)}")


def _labelled(image: Image, wanted: Sequence[str]) -> bool:
    """All labels must be there, as with Docker."""
    for text in wanted:
        key, equals, value = text.partition("=")
        if key not in image.config.labels or (equals and image.config.labels[key] != value):
            return False
    return True


def _matches(image: Image, pattern: str) -> bool:
    """Docker's pattern is a repository, or repository and tag; ``*`` stops at a slash."""
    for name in (*image.tags, *image.digests):
        repository = name.partition("@")[0] if "@" in name else name.rpartition(":")[0]
        for candidate in (name, repository):
            if candidate.count("/") == pattern.count("/") and fnmatch.fnmatchcase(candidate, pattern):
                return True
    return False
