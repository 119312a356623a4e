"""Low descriptors kept free for C libraries that wait with select(2).

libnftables does, and glibc ends the whole process when such a descriptor is FD_SETSIZE or more. A daemon with some
hundred containers and published ports has that many open; a context that is made then must still get a low one. So
what a daemon has for each container and port is moved up (``moved_up``), some low descriptors are held in reserve, and
a context whose socket another thread's file kept from a low number is made once more.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

FD_SETSIZE = 1024
"""select(2)"""

_SPARES = 16
"""More than contexts are made at a time, and some for other threads that are faster."""
_NETFILTER = 12
"""NETLINK_NETFILTER in linux/netlink.h."""

_held: list[int] = []
_guard = threading.Lock()


def moved_up(descriptor: int) -> int:
    """The same file under a high number; the low one is closed. Itself where the limit of open files allows none."""
    try:
        moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FD_SETSIZE)
    except OSError:
        return descriptor
    os.close(descriptor)
    return moved


def with_low_descriptor(make: Callable[[], T], discard: Callable[[T], None]) -> T:
    """What ``make`` makes, whose netlink socket for nftables has a low number. OSError (EMFILE) where none is left."""
    with _guard:
        try:
            for _ in range(2 * _SPARES):
                lowest = _lowest()
                if lowest < FD_SETSIZE:
                    made = make()
                    if _is_netfilter(lowest):
                        return made
                    discard(made)
                elif _held:
                    os.close(_held.pop())
                else:
                    break
            raise OSError(errno.EMFILE, f"all {FD_SETSIZE} low descriptors are in use, and libnftables needs one")
        finally:
            _hold()


def returned() -> None:
    """To be called when a low descriptor was closed, to keep it for the next one."""
    with _guard:
        _hold()


def _lowest() -> int:
    """The number that the next file gets."""
    descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.close(descriptor)
    return descriptor


def _is_netfilter(descriptor: int) -> bool:
    """Whether it is the socket that was meant to get this number, and not another thread's file."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as found:
            return (found.family, found.proto) == (socket.AF_NETLINK, _NETFILTER)
    except OSError:
        return False


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
