"""What a container changed: its own layer compared with the image's, in Docker's three kinds."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from linkspan.images.storage import ADDED, DELETED, MODIFIED, Change

_MOUNT_POINTS = frozenset(
    {
        "/.dockerenv",
        "/dev",
        "/dev/console",
        "/dev/mqueue",
        "/dev/pts",
        "/dev/shm",
        "/etc/hostname",
        "/etc/hosts",
        "/etc/mtab",
        "/etc/resolv.conf",
        "/proc",
        "/run/.containerenv",
        "/sys",
    }
)
"""Made by the runtime to mount something there, not by the container; Docker hides them in a layer of their own."""


def overlay_changes(upper: Path, layers: Sequence[Path]) -> tuple[Change, ...]:
    """Changes in an overlay's upper folder over ``layers``, topmost first (kernel: filesystems/overlayfs.rst)."""
    changes: list[Change] = []
    for path, status in _walk(upper):
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            changes.append((DELETED, path))
        elif _present(layers, path):
            changes.append((MODIFIED, path))
        elif path not in _MOUNT_POINTS:
            changes.append((ADDED, path))
    return _without_mount_points(changes)


def copy_changes(root: Path, tree: Path) -> tuple[Change, ...]:
    """Changes of a whole copy against the tree that it was copied from."""
    before = dict(_walk(tree))
    changes: list[Change] = []
    for path, status in _walk(root):
        old = before.pop(path, None)
        if old is None:
            if path not in _MOUNT_POINTS:
                changes.append((ADDED, path))
        elif _differs(old, status):
            changes.append((MODIFIED, path))
    changes += [(DELETED, path) for path in before if os.path.dirname(path) not in before]
    return _without_mount_points(changes)


def _walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Absolute paths as the container sees them; the root itself is left out."""
    pending = [("", str(folder))]
    while pending:
        prefix, current = pending.pop()
        with os.scandir(current) as entries:
            for entry in entries:
                path = f"{prefix}/{entry.name}"
                yield path, entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    pending.append((path, entry.path))


def _present(layers: Sequence[Path], path: str) -> bool:
    """Whether the image shows something at ``path``."""
    for layer in layers:
        answer = _look(layer, path)
        if answer is not None:
            return answer
    return False


def _look(layer: Path, path: str) -> bool | None:
    """True: this layer has it. False: it hides what lies below. None: ask the next layer."""
    opaque = False
    current = str(layer)
    parts = path[1:].split("/")
    for number, part in enumerate(parts):
        current = f"{current}/{part}"
        try:
            status = os.lstat(current)
        except FileNotFoundError:
            return False if opaque else None
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            return False
        if number == len(parts) - 1:
            return True
        if not stat.S_ISDIR(status.st_mode):
            return False
        opaque = opaque or _opaque(current)
    return None


def _opaque(folder: str) -> bool:
    try:
        return os.getxattr(folder, "trusted.overlay.opaque", follow_symlinks=False) == b"y"
    except OSError:
        return False


def _differs(old: os.stat_result, new: os.stat_result) -> bool:
    """Folders count as changed for their attributes or for a change among their names (their own mtime)."""
    if (old.st_mode, old.st_uid, old.st_gid, old.st_rdev) != (new.st_mode, new.st_uid, new.st_gid, new.st_rdev):
        return True
    return old.st_mtime_ns != new.st_mtime_ns or (not stat.S_ISDIR(new.st_mode) and old.st_size != new.st_size)


def _without_mount_points(changes: Sequence[Change]) -> tuple[Change, ...]:
    """Drops folders that count as modified only because a mount point was made in them; sorts by path."""
    parents = {os.path.dirname(path) for path in _MOUNT_POINTS} | _MOUNT_POINTS
    return tuple(
        (kind, path)
        for kind, path in sorted(changes, key=lambda change: change[1])
        if kind != MODIFIED or path not in parents or any(other.startswith(f"{path}/") for _, other in changes)
    )
