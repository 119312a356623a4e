"""TCP relays: listens on held sockets, dials the container, and copies both ways.

Half-close passes through (a client may end its request by closing its side), and who reads slowly slows the other
side down: a side is read only while its peer takes what it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import struct
from collections.abc import Callable

from linkspan.keeper.allowance import Allowance

BACKLOG = 1024
MOST_CONNECTIONS = 1024
"""Of one relay. More wait in the backlog."""
ACCEPTS = 16
"""Connections accepted in one go, so that queries for names come in between."""
DESCRIPTORS = 2
"""Of each connection: one to the client and one to the container."""
CHUNK = 1 << 16
"""Bytes read at once; twice as much waits at most on either side."""
DIAL_SECONDS = 10.0
PAUSE = 0.1
"""Seconds without accepting after the process or the machine ran out of descriptors or memory."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: close(2) resets the connection, so that the client sees a failure and not an empty reply."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = logging.getLogger(__name__)


class TcpRelay:
    """Carries the connections of one listening socket to one address. The socket stays the caller's to close.

    ``admitted`` judges a client's address. OSError when the socket cannot listen.
    """

    def __init__(
        self,
        listener: socket.socket,
        target: tuple[str, int],
        admitted: Callable[[str], bool],
        allowance: Allowance,
    ) -> None:
        self._allowance = allowance
        self._listener = listener
        self._target = target
        self._admitted = admitted
        self._loop = asyncio.get_running_loop()
        self._connections: set[asyncio.Task[None]] = set()
        self._rest: asyncio.TimerHandle | None = None
        self._closed = False
        listener.setblocking(False)
        # Inherited by connections: what they leave in TIME_WAIT must not keep the next reservation out for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.listen(BACKLOG)
        self._listen()

    def close(self) -> None:
        """Accepts no more and resets all connections. The socket goes on listening.

        shutdown(2) would end that, but a port that the kernel chose would be free for others then.
        """
        self._closed = True
        self._loop.remove_reader(self._listener.fileno())
        if self._rest is not None:
            self._rest.cancel()
        for task in self._connections:
            task.cancel()

    def _listen(self) -> None:
        self._rest = None
        if not self._closed and len(self._connections) < MOST_CONNECTIONS:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTS):
            if not self._allowance.take(DESCRIPTORS):
                self._pause()
                return
            try:
                client, peer = self._listener.accept()
            except OSError as error:
                self._allowance.give_back(DESCRIPTORS)
                if error.errno in _EXHAUSTED:
                    self._pause()
                return
            if not self._admitted(peer[0]):
                _reset(client)
                self._allowance.give_back(DESCRIPTORS)
                continue
            task = self._loop.create_task(self._carry(client))
            self._connections.add(task)
            task.add_done_callback(self._ended)
            if len(self._connections) >= MOST_CONNECTIONS:
                self._loop.remove_reader(self._listener.fileno())
                return

    def _pause(self) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._rest = self._loop.call_later(PAUSE, self._listen)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._allowance.give_back(DESCRIPTORS)
        self._connections.discard(task)
        if self._rest is None and len(self._connections) == MOST_CONNECTIONS - 1:
            self._listen()
        if not task.cancelled() and (error := task.exception()):
            log.error("a relayed connection to %s port %d broke", *self._target, exc_info=error)

    async def _carry(self, client: socket.socket) -> None:
        """One connection from its start to its end."""
        with contextlib.ExitStack() as broken:
            broken.callback(_reset, client)
            try:
                async with asyncio.timeout(DIAL_SECONDS):
                    far_reader, far = await asyncio.open_connection(*self._target, limit=CHUNK)
                broken.callback(_break, far)
                near_reader, near = await asyncio.open_connection(sock=client, limit=CHUNK)
                broken.pop_all()
                broken.callback(_break, near)
                broken.callback(_break, far)
                await asyncio.gather(_copy(near_reader, far), _copy(far_reader, near))
                for writer in (near, far):
                    writer.close()
                    await writer.wait_closed()
            except (OSError, TimeoutError):
                return
            broken.pop_all()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction, until its end, which is passed on. OSError."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def _break(writer: asyncio.StreamWriter) -> None:
    """Resets a side at once; one that was closed already stays as it is."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


def _reset(connection: socket.socket) -> None:
    """Closes a connection that nobody reads yet, with a reset."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()
