"""A container's file system held by a descriptor: every path is resolved inside it, by the kernel.

``openat2`` with ``RESOLVE_IN_ROOT`` (openat2(2)) treats the held directory as ``/`` for absolute paths, ``..``
and symbolic links, also while somebody inside the container renames and relinks; magic links such as
``/proc/self/root`` are refused. Checking a path first and opening it later was CVE-2018-15664; entering the
container with chroot and loading its libraries was CVE-2019-14271.

The root may be ``/proc/PID/root`` of a running container, so that its volumes and binds count, or the merged
directory of a stopped one.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from linkspan.errors import Conflict, Forbidden, InvalidRequest, LinkspanError, NotFound, RuntimeFailure
from linkspan.openat2 import RESOLVE_IN_ROOT, openat2

LINKS_FOLLOWED = 40
"""As many as the kernel follows before ELOOP (path_resolution(7))."""


class Root:
    """A held root directory. ``container`` is the name that errors mention. A context manager.

    Raises NotFound when the directory is gone, RuntimeFailure when it cannot be opened.
    """

    def __init__(self, directory: str | os.PathLike[str], container: str) -> None:
        self.container = container
        self.descriptor = -1
        with self.refusals("/"):
            self.descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Lets the directory go. Harmless when repeated."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Root:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def open(self, path: str, flags: int = os.O_PATH | os.O_NOFOLLOW, *, resolve: int = 0) -> int:
        """Opens a path of the container; ``..`` and links cannot lead out. Raises OSError."""
        return openat2(self.descriptor, path, flags, RESOLVE_IN_ROOT | resolve)

    def open_directory(self, path: str) -> int:
        """Opens a directory, following links, as ``O_PATH``. Raises OSError (ENOTDIR when it is none)."""
        return self.open(path, os.O_PATH | os.O_DIRECTORY)

    def canonical(self, path: str) -> str:
        """``path`` with every link followed, as an absolute path of the container; a missing end is kept as it is.

        Raises InvalidRequest on a circle of links.
        """
        rest = [part for part in path.split("/") if part not in ("", ".")]
        done: list[str] = []
        followed = 0
        while rest:
            part = rest.pop(0)
            if part == "..":
                done = done[:-1]
                continue
            target = self.link_text("/".join((*done, part)))
            if target is None:
                done.append(part)
                continue
            followed += 1
            if followed > LINKS_FOLLOWED:
                raise InvalidRequest(f"{path!r} in container {self.container} goes through too many symbolic links")
            if target.startswith("/"):
                done = []
            rest = [*(piece for piece in target.split("/") if piece not in ("", ".")), *rest]
        return "/" + "/".join(done)

    def link_text(self, path: str) -> str | None:
        """What a symbolic link says; None when the path is no link, or missing."""
        try:
            descriptor = self.open(path)
        except OSError:
            return None
        try:
            if not stat.S_ISLNK(os.fstat(descriptor).st_mode):
                return None
            return os.readlink("", dir_fd=descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def refusals(self, path: str) -> Iterator[None]:
        """Turns an OSError about ``path`` into the error that a client gets."""
        try:
            yield
        except OSError as error:
            raise self.refusal(error, path) from error

    def refusal(self, error: OSError, path: str) -> LinkspanError:
        """The error class that fits an ``errno``."""
        reason = os.strerror(error.errno or 0).lower()
        where = f"{path!r} in container {self.container}"
        match error.errno:
            case errno.ENOENT:
                return NotFound(f"Could not find the file {path} in container {self.container}")
            case errno.EROFS | errno.EPERM | errno.EACCES:
                return Forbidden(f"cannot write {where}: {reason}")
            case errno.EBUSY | errno.ETXTBSY | errno.ENOTEMPTY:
                return Conflict(f"cannot replace {where}: {reason}")
            case errno.ENOTDIR | errno.EISDIR | errno.ELOOP | errno.ENAMETOOLONG | errno.EXDEV | errno.EEXIST:
                return InvalidRequest(f"cannot use {where}: {reason}")
            case _:
                return RuntimeFailure(f"cannot copy {where}: {reason}")


def normal(path: str) -> tuple[str, bool]:
    """An absolute, lexically clean path, and whether it was written as a directory (``x/`` or ``x/.``).

    Raises InvalidRequest on a NUL byte.
    """
    if "\0" in path:
        raise InvalidRequest(f"the path {path!r} holds a NUL byte")
    clean = posixpath.normpath("/" + path.lstrip("/"))
    return clean, clean == "/" or path.endswith(("/", "/."))
