"""The two sockets of a resolver inside a sandbox, on 127.0.0.11."""

from __future__ import annotations

import errno
import os
import socket

from linkspan.kernel import netns

ADDRESS = "127.0.0.11"
BACKLOG = 64


class Sockets:
    """A bound UDP socket and a listening TCP socket on one port. They keep their namespace alive."""

    def __init__(self, port: int) -> None:
        """In the calling thread's namespace, whose loopback is up. OSError (EADDRINUSE: somebody has the port)."""
        self.port = port
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            # Connections of an earlier resolver linger for a minute (TIME_WAIT) and would keep the port.
            self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            for each in (self._udp, self._tcp):
                each.bind((ADDRESS, port))
            self._tcp.listen(BACKLOG)  # at once, or a program of the container could reuse the address too
        except OSError:
            self.close()
            raise

    def detach(self) -> tuple[int, int]:
        """The descriptors, UDP and TCP, which are the caller's from now on."""
        return self._udp.detach(), self._tcp.detach()

    def close(self) -> None:
        """Closes both."""
        self._udp.close()
        self._tcp.close()


def open_inside(namespace: int, port: int) -> Sockets:
    """Sockets in another namespace. OSError (EADDRINUSE: a program of the container has the port)."""
    with netns.entered(namespace):
        try:
            return Sockets(port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise OSError(errno.EADDRINUSE, f"{os.strerror(errno.EADDRINUSE)}: {ADDRESS} port {port}") from error
            raise
