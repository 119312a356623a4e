"""One end of the connection between daemon and keeper: whole messages with descriptors, never blocking.

A message is a header (length of the body and number of descriptors, 32 bits each, network order), then the body.
Descriptors travel as SCM_RIGHTS (unix(7)) with the bytes of their message, at most ``TOGETHER`` with one send, so a
message with more goes out in several; they arrive in order, and no later than the message's last byte.
"""

from __future__ import annotations

import array
import asyncio
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence

_HEADER = struct.Struct("!II")

TOGETHER = 250
"""Descriptors in one send; the kernel takes 253 (SCM_MAX_FD in net/scm.h)."""
MOST_DESCRIPTORS = 1 << 20
LARGEST = 1 << 28
"""Bytes of a body. Both ends are root's programs: this guards against a stream that went astray."""
RECEIVE = 1 << 16
READS = 16
"""Reads in one go, so that a flood of messages delays nobody's query for long."""

log = logging.getLogger(__name__)

Arrived = Callable[[bytes, list[int]], None]
"""Gets a body and its descriptors, which it owns from then on."""


class Channel:
    """Owns a connected stream socket. ``arrived`` gets messages; ``lost`` is called once when the other end is gone.

    Both may be changed.
    """

    def __init__(self, connection: socket.socket, arrived: Arrived, lost: Callable[[], None]) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.arrived = arrived
        self.lost = lost
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._descriptors: deque[int] = deque()
        self._waiting: deque[_Piece] = deque()
        self._open = True
        self.cut_off = False
        """Whether the limit of open files is why the channel closed."""
        self._loop.add_reader(self.socket.fileno(), self._read)

    @property
    def open(self) -> bool:
        """Whether messages can go out."""
        return self._open

    def close(self) -> None:
        """Closes the socket and the descriptors of messages that are on their way; ``lost`` is not called."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self.socket.fileno())
        self._loop.remove_writer(self.socket.fileno())
        self.socket.close()
        for piece in self._waiting:
            piece.close()
        self._waiting.clear()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    def send(self, body: bytes, descriptors: Sequence[int] = ()) -> None:
        """Sends a message, now or as soon as the other end reads. The descriptors stay the caller's.

        A body with more descriptors than its bytes can carry is filled up with blanks, which JSON skips.
        On a closed channel nothing happens: who cares has heard ``lost``.
        """
        if not self._open:
            return
        body += bytes(max(len(descriptors) // TOGETHER - len(body), 0)).replace(b"\0", b" ")
        data = _HEADER.pack(len(body), len(descriptors)) + body
        pieces = [
            _Piece(data[place : place + 1], descriptors[place * TOGETHER : (place + 1) * TOGETHER])
            for place in range(len(descriptors) // TOGETHER)
        ]
        pieces.append(_Piece(data[len(pieces) :], descriptors[len(pieces) * TOGETHER :]))
        idle = not self._waiting
        self._waiting.extend(pieces)
        if idle:
            self._write()
        for piece in pieces:
            if piece.data:
                piece.own()

    def _write(self) -> None:
        while self._waiting:
            piece = self._waiting[0]
            try:
                piece.send(self.socket)
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self.socket.fileno(), self._write)
                return
            except OSError:
                self._fail()
                return
            if not piece.data:
                self._waiting.popleft()
        self._loop.remove_writer(self.socket.fileno())

    def _read(self) -> None:
        for _ in range(READS):
            if not self._open:
                return
            try:
                data, descriptors, whole = _receive(self.socket)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._fail()
                return
            self._descriptors.extend(descriptors)
            if not whole:
                self.cut_off = True
                log.error("more descriptors arrive than this process may have open (RLIMIT_NOFILE)")
            if not data or not whole:
                self._fail()
                return
            self._received += data
            self._deliver()

    def _deliver(self) -> None:
        while self._open and len(self._received) >= _HEADER.size:
            length, count = _HEADER.unpack_from(self._received)
            if length > LARGEST or count > MOST_DESCRIPTORS:
                self._fail()
                return
            end = _HEADER.size + length
            if len(self._received) < end:
                return
            if len(self._descriptors) < count:
                self._fail()
                return
            body = bytes(self._received[_HEADER.size : end])
            del self._received[:end]
            self.arrived(body, [self._descriptors.popleft() for _ in range(count)])

    def _fail(self) -> None:
        if self._open:
            self.close()
            self._loop.call_soon(lambda: self.lost())


class _Piece:
    """Bytes that wait for being sent, and the descriptors that go with the first of them."""

    def __init__(self, data: bytes, descriptors: Sequence[int]) -> None:
        self.data = memoryview(data)
        self._descriptors = list(descriptors)
        self._owned = False

    def send(self, connection: socket.socket) -> None:
        """Sends what the socket takes; ``data`` is what is left. OSError."""
        rights = array.array("i", self._descriptors)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
        sent = connection.sendmsg([self.data], ancillary, socket.MSG_NOSIGNAL)
        self.data = self.data[sent:]
        self.close()

    def own(self) -> None:
        """The caller may close its own from now on."""
        if not self._owned:
            self._descriptors = [os.dup(descriptor) for descriptor in self._descriptors]
            self._owned = True

    def close(self) -> None:
        """Lets go of descriptors that went out, or never will."""
        if self._owned:
            for descriptor in self._descriptors:
                os.close(descriptor)
        self._descriptors = []


def _receive(connection: socket.socket) -> tuple[bytes, list[int], bool]:
    """Bytes, descriptors, and whether all descriptors came (the limit of open files cuts them off). OSError."""
    found = array.array("i")
    room = socket.CMSG_SPACE(TOGETHER * found.itemsize)
    data, ancillary, flags, _ = connection.recvmsg(RECEIVE, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(payload[: len(payload) - len(payload) % found.itemsize])
    return data, list(found), not flags & socket.MSG_CTRUNC
