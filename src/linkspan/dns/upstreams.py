"""Asking other servers: one after another, within a time that the client still waits for.

Each query leaves from a new socket, hence from a port that nobody can guess, under a random id; only a message from
the asked server, with that id and that question, is an answer. Equal questions that are under way become one.
A truncated answer is handed on: the client comes again over TCP, and then the server is asked over TCP.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from linkspan.dns import reply, wire
from linkspan.dns.cache import Asked, Scope, asked
from linkspan.dns.names import Server
from linkspan.dns.wire import HEADER, Query

OpenSocket = Callable[[Server, socket.SocketKind], socket.socket]
"""Opens an unconnected socket of the server's family, in the namespace that queries to it leave from.

Raises ``OSError``. The socket is closed here."""

MOST_SERVERS: Final = 3
"""Servers that are asked: as many as resolv.conf(5) has (MAXNS), and as Docker asks."""
PATIENCE: Final = 4.0
"""Seconds for all servers together: glibc's clients wait 5 for us (RES_TIMEOUT in resolv.conf(5))."""
MOST_IN_FLIGHT: Final = 1024
"""Queries under way in all: each holds a descriptor. Docker has the same bound."""
MOST_STRANGERS: Final = 16
"""Messages to one query's socket that are no answer to it; a server that sends more is left."""
FAILED_SERVER: Final = (wire.SERVFAIL, wire.REFUSED)
"""Codes that say more about the server than about the name: the next one is asked."""


class NoAnswer(Exception):
    """Raised when no server answered, or all failed. The client hears SERVFAIL."""


class Overloaded(Exception):
    """Raised at once when too many queries are under way. The client hears REFUSED."""


class Flight(msgspec.Struct, frozen=True):
    """What makes two queries under way one: besides the question, the way and the size of its answer."""

    scope: Scope
    question: Asked
    edns: bool
    size: int
    over_tcp: bool


class Upstreams:
    """All queries that are under way."""

    def __init__(self, identity: Callable[[], int] = lambda: int.from_bytes(os.urandom(2))) -> None:
        self.identity = identity
        self.flights: dict[Flight, asyncio.Task[bytes]] = {}
        self.alone: dict[asyncio.Task[bytes], Scope] = {}
        """Queries that only their asker means, with their scopes."""

    async def ask(self, scope: Scope, open_socket: OpenSocket, query: Query, data: bytes, over_tcp: bool) -> bytes:
        """A server's message to ``query``, which was sent as ``data``. Raises ``NoAnswer`` and ``Overloaded``."""
        flight = Flight(scope, asked(query), query.edns, query.size, over_tcp)
        task = self.flights.get(flight) if query.plain else None
        if task is None:
            if len(self.flights) + len(self.alone) >= MOST_IN_FLIGHT:
                raise Overloaded
            message = forwarded(query, data, self.identity())
            task = asyncio.create_task(ask_in_turn(scope.servers[:MOST_SERVERS], open_socket, query, message, over_tcp))
            if query.plain:
                self.flights[flight] = task
                task.add_done_callback(lambda _: self.flights.pop(flight, None))
            else:
                self.alone[task] = scope
                task.add_done_callback(lambda done: self.alone.pop(done, None))
            # Whoever waited may be gone; an outcome that nobody fetches is no bug.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    async def drop(self, client_id: str) -> None:
        """Ends what is under way for this client alone; returns when its sockets are closed."""
        tasks = [task for flight, task in self.flights.items() if flight.scope.client == client_id]
        tasks += [task for task, scope in self.alone.items() if scope.client == client_id]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def forwarded(query: Query, data: bytes, identity: int) -> bytes:
    """The query for a server: what only concerns the client and us (a cookie) stays here; all else is as it came."""
    if not query.plain:
        return identity.to_bytes(2) + data[2:]
    options = wire.options_record(query.dnssec, size=query.size) if query.edns else b""
    flags = query.flags & (wire.RD | wire.CD | wire.AD)
    return HEADER.pack(identity, flags, 1, 0, 0, query.edns) + query.question + options


async def ask_in_turn(
    servers: Sequence[Server], open_socket: OpenSocket, query: Query, message: bytes, over_tcp: bool
) -> bytes:
    """Asks until one answers. Those that are left share the time that is left; a single one is asked twice."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    if len(servers) == 1 and not over_tcp:
        servers = (*servers, *servers)
    for number, server in enumerate(servers):
        seconds = (deadline - loop.time()) / (len(servers) - number)
        try:
            async with asyncio.timeout(seconds):
                data = await exchange(server, open_socket, query, message, over_tcp)
        except (OSError, TimeoutError):
            continue
        if data[3] & wire.CODE not in FAILED_SERVER:
            return data
    raise NoAnswer


async def exchange(server: Server, open_socket: OpenSocket, query: Query, message: bytes, over_tcp: bool) -> bytes:
    """One server's answer. Raises ``OSError`` when it cannot be reached; waits without end."""
    identity = int.from_bytes(message[:2])
    kind = socket.SOCK_STREAM if over_tcp else socket.SOCK_DGRAM
    with open_socket(server, kind) as connection:
        connection.setblocking(False)
        if over_tcp:
            return await exchange_stream(connection, server, query, identity, message)
        # Connected: the kernel drops what comes from elsewhere, and tells when nobody listens there.
        connection.connect((server.address, server.port))
        return await exchange_datagrams(connection, query, identity, message)


async def exchange_datagrams(connection: socket.socket, query: Query, identity: int, message: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    connection.send(message)
    # Bounded: what is there already is received without a pause, and a flood of it would stop everything else.
    for _ in range(MOST_STRANGERS):
        data = await loop.sock_recv(connection, wire.LARGEST)
        if reply.answers(query, identity, data):
            return data
    raise ConnectionError("too many messages that answer nothing")


async def exchange_stream(
    connection: socket.socket, server: Server, query: Query, identity: int, message: bytes
) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, (server.address, server.port))
    await loop.sock_sendall(connection, len(message).to_bytes(2) + message)
    length = int.from_bytes(await receive_exactly(connection, 2))
    data = await receive_exactly(connection, length)
    if not reply.answers(query, identity, data):
        raise ConnectionError(f"{server.address} answered something else over TCP")
    return data


async def receive_exactly(connection: socket.socket, count: int) -> bytes:
    """Raises ``ConnectionError`` when the other end closed before."""
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < count:
        more = await loop.sock_recv(connection, count - len(data))
        if not more:
            raise ConnectionError("closed within a message")
        data += more
    return data
