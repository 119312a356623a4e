"""Waiting for file descriptors on the event loop: pipes, terminals, sockets and pidfds alike.

asyncio's transports know no SEQPACKET sockets and, under uvloop, no terminals; these few lines work under both.
"""

from __future__ import annotations

import asyncio
import errno
import os

CHUNK = 32768
"""Bytes read at once."""


async def readable(descriptor: int) -> None:
    """Returns when a read would not block. For a pidfd: when the process has ended."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


class Stream:
    """Owns one descriptor. One task may read and one may write at a time; anybody may close."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._reading: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None
        os.set_blocking(descriptor, False)

    @property
    def descriptor(self) -> int:
        """Its number; -1 once closed."""
        return self._descriptor

    async def read(self) -> bytes:
        """The next bytes or packet; empty at the end, when closed, and when a terminal hung up."""
        while self._descriptor >= 0:
            try:
                return os.read(self._descriptor, CHUNK)
            except BlockingIOError:
                await self._readable()
            except OSError as error:
                if error.errno in (errno.EIO, errno.ECONNRESET):
                    return b""
                raise
        return b""

    async def write(self, data: bytes, piece: int = CHUNK) -> None:
        """Writes all of it, at most ``piece`` bytes at once. BrokenPipeError when nobody can read it any more."""
        view = memoryview(data)
        while view:
            if self._descriptor < 0:
                raise BrokenPipeError(errno.EPIPE, "closed")
            try:
                view = view[os.write(self._descriptor, view[:piece]) :]
            except BlockingIOError:
                await self._writable()
            except OSError as error:
                if error.errno == errno.EIO:
                    raise BrokenPipeError(errno.EPIPE, "the terminal is gone") from error
                raise

    def close(self) -> None:
        """Closes the descriptor; whoever waits for it comes back."""
        if self._descriptor < 0:
            return
        loop = asyncio.get_running_loop()
        if self._reading is not None:
            loop.remove_reader(self._descriptor)
            _settle(self._reading)
        if self._writing is not None:
            loop.remove_writer(self._descriptor)
            _settle(self._writing)
        os.close(self._descriptor)
        self._descriptor = -1

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        self._reading = loop.create_future()
        loop.add_reader(self._descriptor, _settle, self._reading)
        try:
            await self._reading
        finally:
            self._reading = None
            if self._descriptor >= 0:
                loop.remove_reader(self._descriptor)

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        self._writing = loop.create_future()
        loop.add_writer(self._descriptor, _settle, self._writing)
        try:
            await self._writing
        finally:
            self._writing = None
            if self._descriptor >= 0:
                loop.remove_writer(self._descriptor)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
