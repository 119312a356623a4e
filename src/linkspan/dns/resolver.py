"""The resolver: one a keeper, for all sandboxes.

What can be answered at once is (``Asker.answer``, without a wait); for the rest other servers are asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from linkspan.dns import wire
from linkspan.dns.asker import Asker, handed_on
from linkspan.dns.cache import Cache, asked
from linkspan.dns.names import Client, Figures
from linkspan.dns.reply import parse_reply
from linkspan.dns.table import Directory
from linkspan.dns.upstreams import NoAnswer, OpenSocket, Overloaded, Upstreams
from linkspan.dns.wire import Malformed, Query

MOST_WAITING: Final = 100
"""Queries of one sandbox that other servers owe an answer: a tenth of ``MOST_IN_FLIGHT``, so that no one takes all."""


class Resolver:
    """Names of one machine's sandboxes. Belongs to one event loop.

    Names change through ``directory`` (``put_zone``, ``drop_zone``, ``put_host``, ``drop_host``), at once and for all.
    """

    def __init__(self, directory: Directory, clock: Callable[[], float] = time.monotonic) -> None:
        self.directory = directory
        self.cache = Cache(clock)
        self.upstreams = Upstreams()
        self.askers: dict[str, Asker] = {}

    def put_client(self, client: Client, open_socket: OpenSocket | None = None) -> Asker:
        """Makes what a sandbox sees exactly this; its figures go on.

        ``open_socket`` opens the sockets to its servers: needed once, then kept until another is given. Raises
        ``KeyError`` when a client is new and comes without.
        """
        asker = self.askers.get(client.id)
        if asker is None:
            if open_socket is None:
                raise KeyError(client.id)
            asker = self.askers[client.id] = Asker(self.directory, self.cache, client, open_socket)
            return asker
        before = asker.scope
        asker.change(client, open_socket)
        if before != asker.scope and before.client:
            self.cache.forget(before)
        return asker

    async def drop_client(self, client_id: str) -> None:
        """Forgets a sandbox; returns when the sockets that were opened in it are closed. Absence is success."""
        asker = self.askers.pop(client_id, None)
        if asker is not None:
            if asker.scope.client:
                self.cache.forget(asker.scope)
            await self.upstreams.drop(client_id)

    def figures(self) -> tuple[Figures, ...]:
        """Of all sandboxes that are known."""
        return tuple(asker.figures() for asker in self.askers.values())

    def local_answer(self, client_id: str, data: bytes, over_tcp: bool = False) -> bytes | None:
        """What can be said at once (nothing: stay silent); None: ``answer`` would ask other servers.

        Raises ``KeyError`` for an unknown client.
        """
        answer = self.askers[client_id].answer(data, over_tcp)
        return None if isinstance(answer, Query) else answer

    async def answer(self, client_id: str, data: bytes, over_tcp: bool = False) -> bytes:
        """The answer, wherever it comes from. Raises ``KeyError`` for an unknown client."""
        asker = self.askers[client_id]
        answer = asker.answer(data, over_tcp)
        return await self.forward(asker, answer, data, over_tcp) if isinstance(answer, Query) else answer

    async def forward(self, asker: Asker, query: Query, data: bytes, over_tcp: bool) -> bytes:
        """Other servers' answer, or SERVFAIL; REFUSED at once when too many queries wait."""
        if asker.waiting >= MOST_WAITING:
            asker.refused += 1
            return wire.failure(query, wire.REFUSED)
        asker.waiting += 1
        scope = asker.scope
        try:
            found = await self.upstreams.ask(scope, asker.open_socket, query, data, over_tcp)
        except Overloaded:
            asker.refused += 1
            return wire.failure(query, wire.REFUSED)
        except NoAnswer:
            asker.forwarded += 1
            asker.failed += 1
            return wire.failure(query, wire.SERVFAIL)
        finally:
            asker.waiting -= 1
        asker.forwarded += 1
        limit = query.limit(over_tcp)
        if len(found) == wire.HEADER.size:
            return wire.failure(query, found[3] & wire.CODE)
        try:
            reply = parse_reply(found)
        except Malformed:
            asker.failed += 1
            return wire.failure(query, wire.SERVFAIL)
        if reply is None or not query.plain:
            return verbatim(query, found, limit)
        if self.askers.get(asker.client.id) is asker and scope == asker.scope:
            self.cache.put(scope, asked(query), reply)
        return handed_on(query, reply, limit)


def verbatim(query: Query, found: bytes, limit: int) -> bytes:
    """A message that we do not take apart; one that is too large for the client becomes a request to use TCP."""
    if len(found) <= limit:
        return query.id.to_bytes(2) + found[2:]
    truncated = bytearray(wire.failure(query, found[3] & wire.CODE))
    truncated[2] |= wire.TC >> 8
    return bytes(truncated)
