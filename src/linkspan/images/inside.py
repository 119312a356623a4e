"""Paths inside a container's root, resolved by the kernel as if chrooted there (openat2(2), RESOLVE_IN_ROOT).

A container owns what lies in its root, so a plain ``root / path`` could lead anywhere on the host.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from linkspan.errors import InvalidRequest, RuntimeFailure
from linkspan.images.trees import copy_tree
from linkspan.openat2 import RESOLVE_IN_ROOT, openat2

_MOST_LINKS = 40
"""MAXSYMLINKS in linux/namei.h."""
_TEXT_LIMIT = 4 << 20
"""Bytes of a file that ``read_text`` reads: /etc/passwd, not a trap."""


class RootFs:
    """One root. ``path`` is where it is mounted on the host."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def open(self, path: str, flags: int) -> Iterator[int]:
        """A descriptor of ``path`` inside the root. OSError as of openat2(2)."""
        if "\0" in path:
            raise InvalidRequest("a path holds a zero byte")
        root = os.open(self.path, os.O_PATH | os.O_DIRECTORY)
        try:
            descriptor = openat2(root, path or "/", flags, RESOLVE_IN_ROOT)
        finally:
            os.close(root)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def read_text(self, path: str) -> str | None:
        """The content of a regular file, up to 4 MiB; None when there is none."""
        try:
            with self.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY) as descriptor:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    return None
                return os.read(descriptor, _TEXT_LIMIT).decode(errors="replace")
        except OSError:
            return None

    def ensure_folder(self, path: str) -> None:
        """Makes the folder and its parents where missing, root's and 0755. InvalidRequest when a file is in the way."""
        self._ensure(posixpath.normpath(f"/{path}"), 0)

    def _ensure(self, path: str, links: int) -> None:
        try:
            with self.open(path, os.O_PATH | os.O_DIRECTORY):
                return
        except NotADirectoryError:
            raise InvalidRequest(f"{path} in the container is no folder") from None
        except FileNotFoundError:
            pass
        except OSError as error:
            raise InvalidRequest(f"{path} in the container cannot be made a folder: {error.strerror}") from None
        parent, name = posixpath.split(path)
        self._ensure(parent, links)
        with self.open(parent, os.O_PATH | os.O_DIRECTORY) as folder:
            try:
                os.mkdir(name, 0o755, dir_fd=folder)
                return
            except FileExistsError:
                target = _link(name, folder)
        # A link to a folder that does not exist yet, as /var/run -> /run in a bare image.
        if links == _MOST_LINKS:
            raise InvalidRequest(f"{path} in the container is a loop of links")
        self._ensure(posixpath.normpath(posixpath.join(parent, target)), links + 1)

    def copy_up(self, source: str, target: Path) -> None:
        """Fills the empty host folder ``target`` with the folder ``source``, keeping owners, modes and times.

        Does nothing when ``target`` holds something or ``source`` is no folder. RuntimeFailure when cp fails.
        """
        if any(target.iterdir()):
            return
        try:
            with self.open(source, os.O_RDONLY | os.O_DIRECTORY) as folder:
                # cp enters through the descriptor: no name that the image chose is resolved again.
                copy_tree(f"/proc/self/fd/{folder}", target, descriptors=(folder,))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            reason = error.strerror or str(error)
            raise RuntimeFailure(f"the volume at {source} cannot be filled from the image: {reason}") from None


def _link(name: str, folder: int) -> str:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        raise InvalidRequest(f"{name} in the container is no folder") from None
