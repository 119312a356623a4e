"""One TCP connection of a client (RFC 7766): several queries, answered as their answers come."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from time import perf_counter
from typing import Final

from linkspan.dns.asker import Asker
from linkspan.dns.resolver import Resolver
from linkspan.dns.wire import Query

IDLE: Final = 10.0
"""Seconds between two messages; RFC 7766 section 6.2.3 advises the order of seconds."""
READ: Final = 4.0
"""Seconds for a message once it has begun. Its two ends are in one kernel."""
WRITE: Final = 4.0
"""Seconds until the client has taken an answer."""
MOST_PIPELINED: Final = 16
"""Queries of one connection that other servers owe; reading goes on when one is answered."""
CHUNK: Final = 8192
"""Bytes read in one go; a connection holds this and one message at most."""


class Conversation:
    """Ends, and closes its socket, when the client closes, falls silent, or does not take its answers."""

    def __init__(
        self,
        resolver: Resolver,
        asker: Asker,
        connection: socket.socket,
        heard: Callable[[Conversation], None],
    ) -> None:
        self.resolver = resolver
        self.asker = asker
        self.connection = connection
        self.heard = heard
        self.loop = asyncio.get_running_loop()
        self.buffer = bytearray()
        self.writing = asyncio.Lock()
        self.pipelined = asyncio.Semaphore(MOST_PIPELINED)
        self.pending: set[asyncio.Task[None]] = set()
        self.task: asyncio.Task[None] | None = None

    def close(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def ended(self, _task: asyncio.Task[None]) -> None:
        """For the task's end: one that is cancelled before its first step runs no code of its own."""
        self.connection.close()

    async def run(self) -> None:
        try:
            while data := await self.message():
                self.heard(self)
                await self.handle(data)
                # What is there already is read and answered without a pause: others have their turn here.
                await asyncio.sleep(0)
            await asyncio.gather(*self.pending)
        except (OSError, TimeoutError):
            return
        finally:
            for task in self.pending:
                task.cancel()
            await asyncio.gather(*self.pending, return_exceptions=True)

    async def message(self) -> bytes:
        """The next message; nothing at the end, or when the client announces an empty one."""
        if not self.buffer and not await self.read_more(IDLE):
            return b""
        began = self.loop.time()
        while len(self.buffer) < 2 or len(self.buffer) < 2 + int.from_bytes(self.buffer[:2]):
            if not await self.read_more(began + READ - self.loop.time()):
                return b""
        end = 2 + int.from_bytes(self.buffer[:2])
        data = bytes(self.buffer[2:end])
        del self.buffer[:end]
        return data

    async def read_more(self, seconds: float) -> bool:
        """Raises ``TimeoutError``; False at the end."""
        async with asyncio.timeout(seconds):
            more = await self.loop.sock_recv(self.connection, CHUNK)
        self.buffer += more
        return bool(more)

    async def handle(self, data: bytes) -> None:
        began = perf_counter()
        answer = self.asker.answer(data, over_tcp=True)
        if isinstance(answer, Query):
            await self.pipelined.acquire()
            task = self.loop.create_task(self.forward(answer, data, began))
            self.pending.add(task)
            task.add_done_callback(self.pending.discard)
        elif answer:
            await self.send(answer, began)

    async def forward(self, query: Query, data: bytes, began: float) -> None:
        try:
            await self.send(await self.resolver.forward(self.asker, query, data, True), began)
        except (OSError, TimeoutError):
            self.close()
        finally:
            self.pipelined.release()

    async def send(self, answer: bytes, began: float) -> None:
        """Raises ``TimeoutError`` and ``OSError``; both end the connection."""
        async with self.writing, asyncio.timeout(WRITE):
            await self.loop.sock_sendall(self.connection, len(answer).to_bytes(2) + answer)
        self.asker.took(perf_counter() - began)
