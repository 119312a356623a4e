"""A netlink socket that listens: datagrams of multicast groups, for the event loop to read."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable

from linkspan.kernel.netlink import SOL_NETLINK

NETLINK_ADD_MEMBERSHIP = 1
SO_RCVBUFFORCE = 33
"""socket(7), asm-generic/socket.h; Python's socket module does not have it."""
BUFFER = 1 << 23
"""Bytes of the receive buffer: attaching a container makes about 7 kB of events."""
DATAGRAM = 1 << 16


class Overrun(Exception):
    """The kernel dropped events, since the buffer was full: what was told is not all."""


class Listener:
    """Listens in the namespace of the thread that makes it. OSError when the kernel has no such group."""

    def __init__(self, protocol: int, groups: Iterable[int]) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        try:
            with contextlib.suppress(OSError):  # needs CAP_NET_ADMIN; without it the buffer is the usual one
                self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            self._socket.bind((0, 0))
            for group in groups:
                self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        """Stops listening."""
        self._socket.close()

    def fileno(self) -> int:
        """For the event loop."""
        return self._socket.fileno()

    def read(self) -> bytes | None:
        """The next datagram, None when there is none now. Overrun, OSError."""
        try:
            return self._socket.recv(DATAGRAM)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise Overrun from error
            raise
