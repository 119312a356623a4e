"""Values below /proc/sys/net. The files show the namespace of the thread that opens them."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

ROOT = Path("/proc/sys")

SIZE = 4096
"""Bytes read at most: a page, which no value of ours fills. Reading by hand takes a third of the time."""
_PATH = re.compile(r"net(/[A-Za-z0-9_.:@-]+)+")


def read(path: str) -> str | None:
    """The value with single blanks, or None when this kernel or interface has no such file. ValueError, OSError."""
    try:
        descriptor = os.open(located(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return " ".join(os.read(descriptor, SIZE).decode().split())
    finally:
        os.close(descriptor)


def write(path: str, value: str) -> None:
    """Writes the value unless it is there already. FileNotFoundError, OSError, ValueError (not a path of ours)."""
    if read(path) != " ".join(value.split()):
        located(path).write_text(value)


@lru_cache(4096)
def located(path: str) -> Path:
    """The file. ValueError for paths that leave /proc/sys/net."""
    if not _PATH.fullmatch(path) or any(part in (".", "..") for part in path.split("/")):
        raise ValueError(f"{path!r} is no path below /proc/sys/net")
    return ROOT / path
