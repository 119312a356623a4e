"""Reading JSON documents without trusting their shape: a missing or odd field reads as empty."""

from __future__ import annotations

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
"""What a JSON text decodes to."""


def at(document: Json, *path: str) -> Json:
    """The value below the named fields, None where there is none."""
    for name in path:
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document


def text(document: Json, *path: str) -> str:
    """Empty when it is no text."""
    value = at(document, *path)
    return value if isinstance(value, str) else ""


def number(document: Json, *path: str) -> int:
    """A whole number, a fraction cut off; 0 when it is no number."""
    value = at(document, *path)
    return int(value) if isinstance(value, (int, float)) else 0


def flag(document: Json, *path: str) -> bool:
    """False for all but ``true``."""
    return at(document, *path) is True


def mapping(document: Json, *path: str) -> dict[str, Json]:
    """An object; empty when it is none."""
    value = at(document, *path)
    return value if isinstance(value, dict) else {}


def sequence(document: Json, *path: str) -> list[Json]:
    """An array; empty when it is none."""
    value = at(document, *path)
    return value if isinstance(value, list) else []


def texts(document: Json, *path: str) -> list[str]:
    """The texts in an array; the rest is left out."""
    return [item for item in sequence(document, *path) if isinstance(item, str)]


def text_mapping(document: Json, *path: str) -> dict[str, str]:
    """The fields of an object that hold texts."""
    return {key: value for key, value in mapping(document, *path).items() if isinstance(value, str)}
