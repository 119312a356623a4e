"""The files of a container that does not run, as it would see them: its root with its volumes and binds in it.

They are put together in a mount namespace of their own, which a descriptor holds: nobody else sees these mounts, and
a daemon that is killed meanwhile leaves none behind. What is opened below the held root crosses into the mounts,
whichever thread does it. Rejected: mounting in the daemon's own namespace (a killed daemon leaves the mounts), and
open_tree(2) with move_mount(2) into the detached tree (Linux 6.15).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from linkspan.errors import RuntimeFailure
from linkspan.openat2 import RESOLVE_IN_ROOT, openat2
from linkspan.runtime import mountspace
from linkspan.runtime.mounts import ResolvedMount


class Assembly:
    """``path`` is the root. A context manager; what it holds goes at its end.

    RuntimeFailure when the kernel refuses. Blocks for about a millisecond.
    """

    def __init__(self, root: str, mounts: Sequence[ResolvedMount]) -> None:
        self._root = root
        self._mounts = sorted((item for item in mounts if item.source), key=lambda item: item.mount.target.count("/"))
        self._descriptors: list[int] = []
        try:
            with ThreadPoolExecutor(1, "assembly") as thread:  # which ends: its namespace is not for others
                thread.submit(self._assemble).result()
        except OSError as error:
            self.close()
            raise RuntimeFailure(f"cannot put the container's mounts together: {error}") from error
        except RuntimeFailure:
            self.close()
            raise
        self.path = f"/proc/self/fd/{self._descriptors[0]}"

    def close(self) -> None:
        """Lets everything go; the kernel unmounts it with the namespace."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def __enter__(self) -> Assembly:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _assemble(self) -> None:
        mountspace.enter_private(self._root)
        root = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._descriptors.append(root)
        for item in self._mounts:
            _mount(root, item)
        self._descriptors.append(os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))


def _mount(root: int, item: ResolvedMount) -> None:
    _make_place(root, item)
    place = openat2(root, item.mount.target, os.O_PATH, RESOLVE_IN_ROOT)
    try:
        mountspace.bind(item.source, f"/proc/self/fd/{place}")
    finally:
        os.close(place)
    if item.mount.read_only:
        mounted = openat2(root, item.mount.target, os.O_PATH, RESOLVE_IN_ROOT)
        try:
            mountspace.make_read_only(f"/proc/self/fd/{mounted}")
        finally:
            os.close(mounted)


def _make_place(root: int, item: ResolvedMount) -> None:
    """Makes what is missing of the path to mount on, as the runtime would at the start."""
    folder, _, name = item.mount.target.rstrip("/").rpartition("/")
    parent = openat2(root, "/", os.O_PATH | os.O_DIRECTORY, RESOLVE_IN_ROOT)
    try:
        walked = ""
        for part in filter(None, folder.split("/")):
            walked += f"/{part}"
            _make(parent, part, is_folder=True)
            following = openat2(root, walked, os.O_PATH | os.O_DIRECTORY, RESOLVE_IN_ROOT)
            os.close(parent)
            parent = following
        _make(parent, name, is_folder=stat.S_ISDIR(os.stat(item.source).st_mode))
    finally:
        os.close(parent)


def _make(parent: int, name: str, *, is_folder: bool) -> None:
    try:
        if is_folder:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=parent))
    except FileExistsError:
        return
