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
    value = at(document, *path)
    return value if isinstance(value, str) else ""


def number(document: Json, *path: str) -> int:
    value = at(document, *path)
    return int(value) if isinstance(value, (int, float)) else 0


def flag(document: Json, *path: str) -> bool:
    return at(document, *path) is True


def mapping(document: Json, *path: str) -> dict[str, Json]:
    value = at(document, *path)
    return value if isinstance(value, dict) else {}


def sequence(document: Json, *path: str) -> list[Json]:
    value = at(document, *path)
    return value if isinstance(value, list) else []


def texts(document: Json, *path: str) -> list[str]:
    return [item for item in sequence(document, *path) if isinstance(item, str)]


def text_mapping(document: Json, *path: str) -> dict[str, str]:
    return {key: value for key, value in mapping(document, *path).items() if isinstance(value, str)}
