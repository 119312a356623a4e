"""Hijacked connections: raw bytes after the HTTP part, and Docker's frames for output without a terminal.

A frame is one byte of stream (1 stdout, 2 stderr), three zero bytes, the length as a big-endian 32-bit number and
the payload (moby, ``api/types/container`` "Stream format").
"""

from __future__ import annotations

import asyncio
import fcntl
import select
import struct
import sys
import termios
from collections import deque
from typing import Literal

HIGH_WATER = 256 * 1024
"""Bytes of input that wait for the process before the client is slowed down."""

_CHECK_SECONDS = 1.0
_TAKEN_SECONDS = 0.05
_PAUSE_SECONDS = 0.001
"""Not less: uvloop rounds to milliseconds, and writes only after the callbacks at hand have run."""

_header = struct.Struct(">BxxxL").pack


def frame(stream: int, data: bytes) -> bytes:
    """One frame of Docker's multiplexed stream."""
    return _header(stream, len(data)) + data


class Outlet:
    """The writing half of a transport, with waiting while the client is slow."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._writable = asyncio.Event()
        self._writable.set()
        self.lost = False

    def pause(self) -> None:
        self._writable.clear()

    def resume(self) -> None:
        self._writable.set()

    def lose(self) -> None:
        """The connection is gone: whoever waits is woken, and every later write fails."""
        self.lost = True
        self._writable.set()

    async def send(self, data: bytes) -> None:
        """Returns when the buffer has room again. ConnectionResetError when the client is gone."""
        if not self.lost:
            self._transport.write(data)
            await self._writable.wait()
        if self.lost:
            raise ConnectionResetError("the client has gone")

    async def taken(self) -> None:
        """Returns when the client has read everything so far, or after ``_TAKEN_SECONDS``.

        docker-py reads a reply's head through a buffer and loses what arrives together with it, so the first output
        must come after the head was read. On unix sockets SIOCOUTQ counts what the peer has not read (unix(7)).
        """
        descriptor = self._transport.get_extra_info("socket").fileno()
        for _ in range(round(_TAKEN_SECONDS / _PAUSE_SECONDS)):
            await asyncio.sleep(_PAUSE_SECONDS)
            if self.lost or not (self._transport.get_write_buffer_size() or _unread(descriptor)):
                return


class HijackedChannel:
    """``linkspan.engine.face.Channel`` on a transport.

    Bytes and the client's half-close are queued from the first moment, since clients send both before the process
    exists. A half-closed socket is not read any more, so its full close is found by asking poll(2) for POLLHUP.
    """

    def __init__(self, transport: asyncio.Transport, outlet: Outlet, *, multiplexed: bool) -> None:
        self._transport = transport
        self._outlet = outlet
        self._multiplexed = multiplexed
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._ended = asyncio.Event()
        self._arrived = asyncio.Event()

    def feed(self, data: bytes) -> None:
        """Bytes from the client."""
        if not data:
            return
        self._chunks.append(data)
        self._waiting += len(data)
        self._arrived.set()
        if self._waiting > HIGH_WATER:
            self._transport.pause_reading()

    def feed_end(self) -> None:
        """The client has closed its half, or is gone."""
        self._ended.set()
        self._arrived.set()

    async def read(self) -> bytes:
        while not self._chunks:
            if self._ended.is_set():
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        data = self._chunks.popleft()
        was_high = self._waiting > HIGH_WATER
        self._waiting -= len(data)
        if was_high and self._waiting <= HIGH_WATER and not self._ended.is_set():
            self._transport.resume_reading()
        return data

    async def write(self, stream: Literal[1, 2], data: bytes) -> None:
        await self._outlet.send(frame(stream, data) if self._multiplexed else data)

    async def gone(self) -> None:
        """Returns once the whole connection is closed and everything that the client sent was read."""
        await self._ended.wait()
        if self._outlet.lost:
            return
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), 0)
        while self._chunks or not (self._outlet.lost or poll.poll(0)):  # noqa: ASYNC110 - asyncio knows no POLLHUP
            await asyncio.sleep(_CHECK_SECONDS)


def _unread(descriptor: int) -> int:
    """Bytes that the other end of a unix socket has not read; SIOCOUTQ has TIOCOUTQ's number (asm/sockios.h)."""
    count = bytearray(4)
    fcntl.ioctl(descriptor, termios.TIOCOUTQ, count)
    return int.from_bytes(count, sys.byteorder)
