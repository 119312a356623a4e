"""Low descriptors kept free for C libraries that wait with select(2).

libnftables does, and glibc ends the whole process when such a descriptor is FD_SETSIZE or more. A daemon with some
hundred containers and published ports has that many open; a context that is made then must still get a low one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator

FD_SETSIZE = 1024
"""select(2)"""

_SPARES = 8
"""More than contexts are made at a time; all are let go for each, so that another thread cannot take the last one."""

_held: list[int] = []
_guard = threading.Lock()


@contextlib.contextmanager
def low_descriptor() -> Iterator[None]:
    """For the time in which one descriptor is opened: that will be a low one. OSError (EMFILE) where none is left."""
    with _guard:
        while _held:
            os.close(_held.pop())
        try:
            _check()
            yield
        finally:
            _hold()


def returned() -> None:
    """To be called when a low descriptor was closed, to keep it for the next one."""
    with _guard:
        _hold()


def _check() -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.close(descriptor)
    if descriptor >= FD_SETSIZE:
        raise OSError(errno.EMFILE, f"all {FD_SETSIZE} low descriptors are in use, and libnftables needs one")


def _hold() -> None:
    while len(_held) < _SPARES:
        try:
            descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # the limit of open files: others need them more
        if descriptor >= FD_SETSIZE:
            os.close(descriptor)
            return
        _held.append(descriptor)
