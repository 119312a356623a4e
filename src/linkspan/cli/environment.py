"""Environment variables and labels: from files, then from flags, which win because they come later."""

from __future__ import annotations

import os

from linkspan.cli.documents import Json
from linkspan.cli.failure import Failure


def environment(files: list[str], texts: list[str]) -> list[str]:
    """Variables of files, then of flags. A bare name takes our own value; without one, a flag unsets it."""
    found = []
    for path in files:
        for line in read_lines(path):
            line = line.lstrip()
            name, equals, value = line.partition("=")
            if not line or line.startswith("#"):
                continue
            if not name or any(letter.isspace() for letter in name):
                raise ValueError(f"poorly formatted environment in {path}: variable '{name}' contains whitespaces")
            if equals:
                found.append(f"{name}={value}")
            elif name in os.environ:
                found.append(f"{name}={os.environ[name]}")
    for text in texts:
        name, equals, _ = text.partition("=")
        if not name:
            raise ValueError(f"invalid environment variable: {text}")
        found.append(f"{name}={os.environ[name]}" if not equals and name in os.environ else text)
    return found


def labels(files: list[str], texts: list[str]) -> dict[str, Json]:
    """Labels of files, then of flags."""
    found: dict[str, Json] = {}
    lines = [line.strip() for path in files for line in read_lines(path)]
    for text in [*(line for line in lines if line and not line.startswith("#")), *texts]:
        key, _, value = text.partition("=")
        if not key:
            raise ValueError(f"invalid label '{text}': empty name")
        found[key] = value
    return found


def read_lines(path: str) -> list[str]:
    """Lines of a text file. Raises Failure with the exit status of a bad flag."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read().splitlines()
    except (OSError, UnicodeDecodeError) as reason:
        said = reason.strerror if isinstance(reason, OSError) else "not UTF-8 text"
        raise Failure(f"linkspan: open {path}: {said}", 125) from reason
