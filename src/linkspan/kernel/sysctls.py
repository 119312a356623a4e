"""Values below /proc/sys/net. The files show the namespace of the thread that opens them."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

ROOT = Path("/proc/sys")

_PATH = re.compile(r"net(/[A-Za-z0-9_.:@-]+)+")


def read(path: str) -> str | None:
    """The value with single blanks, or None when this kernel or interface has no such file. ValueError, OSError."""
    with contextlib.suppress(FileNotFoundError):
        return " ".join(located(path).read_text().split())
    return None


def write(path: str, value: str) -> None:
    """Writes the value unless it is there already. FileNotFoundError, OSError, ValueError (not a path of ours)."""
    if read(path) != " ".join(value.split()):
        located(path).write_text(value)


def located(path: str) -> Path:
    """The file. ValueError for paths that leave /proc/sys/net."""
    if not _PATH.fullmatch(path) or any(part in (".", "..") for part in path.split("/")):
        raise ValueError(f"{path!r} is no path below /proc/sys/net")
    return ROOT / path
