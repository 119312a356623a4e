"""Serving one sandbox on its two sockets.

Nobody waits for anybody: datagrams are drained a few at a time, each TCP connection is a task with its own time-outs,
and what other servers are asked for is a task of its own. One bad TCP client that stalled all has been the fate of
others (CVE-2024-8418, CVE-2026-35406).
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Coroutine
from time import perf_counter
from typing import Final

from linkspan.dns import wire
from linkspan.dns.asker import Asker
from linkspan.dns.resolver import Resolver
from linkspan.dns.stream import Conversation
from linkspan.dns.wire import Query

DRAIN: Final = 64
"""Datagrams answered in one go, to save wake-ups."""
DRAIN_SECONDS: Final = 0.0005
"""... and no longer than this, whatever the answers cost: other sandboxes wait meanwhile."""
ACCEPTED: Final = 16
"""Connections accepted in one go."""
MOST_CONNECTIONS: Final = 32
"""TCP connections of one sandbox. One more closes the one that has been idle for longest (RFC 7766 section 6.1)."""
BACKLOG: Final = 64
"""Connections that wait to be accepted."""
ACCEPT_PAUSE: Final = 1.0
"""Seconds without accepting when there are no descriptors left: the socket stays readable, and would be for ever."""
RECEIVE_BUFFER: Final = 1024 * 1024
"""Bytes of datagrams that wait for us; the kernel doubles them (socket(7)) and counts 768 for a small one.

That is room for 2,700 queries, where the ordinary 208 KiB take 277: a burst, or a moment without a processor.

A query that is lost costs its client 5 seconds (RES_TIMEOUT in resolv.conf(5)).
"""
SO_RCVBUFFORCE: Final = 33
"""asm-generic/socket.h: as SO_RCVBUF, above net.core.rmem_max; needs CAP_NET_ADMIN (socket(7))."""


class Serving:
    """Two sockets of one sandbox that are being answered; they belong to this object."""

    def __init__(self, resolver: Resolver, asker: Asker, udp: socket.socket, tcp: socket.socket) -> None:
        self.resolver = resolver
        self.asker = asker
        self.udp = udp
        self.tcp = tcp
        self.loop = asyncio.get_running_loop()
        self.tasks: set[asyncio.Task[None]] = set()
        self.conversations: dict[Conversation, None] = {}
        """In the order of their last message, the idlest first."""

    def start(self) -> None:
        """Raises ``OSError`` when the TCP socket cannot listen."""
        self.udp.setblocking(False)
        self.tcp.setblocking(False)
        try:
            self.udp.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:
            self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self.tcp.listen(BACKLOG)
        self.loop.add_reader(self.udp, self.drain)
        self.listen()

    def listen(self) -> None:
        if self.tcp.fileno() >= 0:
            self.loop.add_reader(self.tcp, self.accept)

    async def close(self) -> None:
        """Returns when both sockets and all connections are closed. Once is enough, more does no harm."""
        for listening in (self.udp, self.tcp):
            if listening.fileno() >= 0:
                self.loop.remove_reader(listening)
                listening.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def drain(self) -> None:
        receive, asker = self.udp.recvfrom, self.asker
        began = perf_counter()
        latest = began + DRAIN_SECONDS
        for _ in range(DRAIN):
            try:
                data, sender = receive(wire.OUR_SIZE)
            except OSError:
                # Nothing more; or the kernel reports of an earlier answer that its asker is gone.
                return
            answer = asker.answer(data)
            if isinstance(answer, Query):
                self.spawn(self.forward(answer, data, sender))
            elif answer:
                self.send(answer, sender)
                ended = perf_counter()
                asker.took(ended - began)
                if ended > latest:
                    return
                began = ended

    async def forward(self, query: Query, data: bytes, sender: tuple[str, int]) -> None:
        began = perf_counter()
        answer = await self.resolver.forward(self.asker, query, data, False)
        self.send(answer, sender)
        self.asker.took(perf_counter() - began)

    def send(self, answer: bytes, sender: tuple[str, int]) -> None:
        try:
            self.udp.sendto(answer, sender)
        except OSError:
            # A full buffer or an asker that is gone: a datagram may be lost, the asker repeats.
            return

    def accept(self) -> None:
        for _ in range(ACCEPTED):
            try:
                connection, _ = self.tcp.accept()
            except OSError as error:
                # Nothing more; or the client went before it was accepted.
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self.loop.remove_reader(self.tcp)
                    self.loop.call_later(ACCEPT_PAUSE, self.listen)
                return
            connection.setblocking(False)
            conversation = Conversation(self.resolver, self.asker, connection, self.heard)
            self.conversations[conversation] = None
            conversation.task = self.spawn(self.converse(conversation))
            conversation.task.add_done_callback(conversation.ended)
            if len(self.conversations) > MOST_CONNECTIONS:
                idlest = next(iter(self.conversations))
                del self.conversations[idlest]
                idlest.close()

    async def converse(self, conversation: Conversation) -> None:
        try:
            await conversation.run()
        finally:
            self.conversations.pop(conversation, None)

    def heard(self, conversation: Conversation) -> None:
        """A connection is not idle."""
        if conversation in self.conversations:
            del self.conversations[conversation]
            self.conversations[conversation] = None

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


async def serve(resolver: Resolver, client_id: str, udp: socket.socket, tcp: socket.socket) -> Serving:
    """Answers a client of the resolver on two bound sockets, TCP not yet listening. They are closed by ``close``.

    Raises ``KeyError`` when the resolver does not know the client, ``OSError`` when the socket cannot listen.
    """
    serving = Serving(resolver, resolver.askers[client_id], udp, tcp)
    serving.start()
    return serving
