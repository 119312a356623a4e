"""One sandbox as it asks: what it may know, the answers that were rendered for it, and its figures.

The fast path is one look-up: a query that is the same but for its id gets the same bytes. Rendered answers are
forgotten with every change of any name; making them anew costs less than knowing whom a change touches.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from typing import Final

from linkspan.dns import wire
from linkspan.dns.cache import Cache, Scope, asked, scope_of
from linkspan.dns.names import Client, Figures
from linkspan.dns.reply import Reply, cut, readdressed
from linkspan.dns.table import Directory, Service, address_of
from linkspan.dns.upstreams import OpenSocket
from linkspan.dns.wire import Answer, Malformed, Query

TTL: Final = 5
"""Seconds that clients may keep our answers. Containers come and go; Docker's 600 leave proxies with dead addresses."""
MOST_RENDERED: Final = 256 * 1024
"""Bytes of rendered answers of one sandbox; above them it starts anew. An ordinary answer takes some 250."""
OVERHEAD: Final = 50
"""Bytes that Python adds to a string of bytes and its place."""
LIMITS: Final = (0.0001, 0.001, 0.01, 0.1, 1.0)
"""Seconds: the upper bounds of all buckets but the last (``Figures.buckets``)."""


class Turns:
    """An answer with several records: each call begins with the next one."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        # Rendered anew, it begins anywhere: else every change of names would favour the first record.
        self.first = random.randrange(len(answer.records))

    def body(self) -> bytes:
        self.first += 1
        return self.answer.body(self.first)


class Asker:
    """Made by ``Resolver``; ``client`` and ``open_socket`` may change while it is being served."""

    def __init__(self, directory: Directory, cache: Cache, client: Client, open_socket: OpenSocket) -> None:
        self.directory = directory
        self.cache = cache
        self.client = client
        self.scope: Scope = scope_of(client)
        self.open_socket = open_socket
        self.waiting = 0
        """Queries whose answers other servers owe."""
        self.local = self.cached = self.forwarded = self.refused = self.failed = 0
        self.seconds = self.slowest = 0.0
        self.buckets = [0] * (len(LIMITS) + 1)
        self.generation = directory.generation
        self.forget()

    def forget(self) -> None:
        """Drops the rendered answers."""
        self.rendered: tuple[dict[bytes, bytes | Turns], dict[bytes, bytes | Turns]] = ({}, {})
        """Bodies by query, both without id: over UDP and over TCP."""
        self.rendered_bytes = 0

    def change(self, client: Client, open_socket: OpenSocket | None) -> None:
        """Another view for the same sandbox; a generation that never was makes its rendered answers old."""
        self.client, self.scope, self.generation = client, scope_of(client), -1
        self.open_socket = open_socket or self.open_socket

    def answer(self, data: bytes, over_tcp: bool = False) -> bytes | Query:
        """The answer to a query (nothing: it is none, stay silent); or the query, when other servers are to be asked.

        Never raises, whatever the bytes.
        """
        if self.generation != self.directory.generation:
            self.generation = self.directory.generation
            self.forget()
        body = self.rendered[over_tcp].get(data[2:])
        if body is not None:
            self.local += 1
            return data[:2] + (body if isinstance(body, bytes) else body.body())
        try:
            query = wire.parse_query(data)
        except Malformed as error:
            self.refused += 1
            return b"" if error.code is None else wire.refusal(data, error.code)
        limit = query.limit(over_tcp)
        answer = self.own(query, limit)
        if answer is not None:
            self.local += 1
            return data[:2] + self.remember(data, over_tcp, answer)
        if query.klass != wire.IN or query.type in (wire.AXFR, wire.IXFR):
            self.refused += 1
            return wire.failure(query, wire.REFUSED)
        if not self.client.forward:
            self.local += 1
            return wire.failure(query, wire.NXDOMAIN)
        if self.client.ndots and "." not in query.name and query.type in (wire.A, wire.AAAA):
            self.local += 1
            return wire.failure(query, wire.NOERROR)
        found = self.cache.get(self.scope, asked(query)) if query.plain else None
        if found is None:
            return query
        self.cached += 1
        return handed_on(query, found, limit)

    def own(self, query: Query, limit: int) -> Answer | None:
        """What our own names say; None: nothing."""
        if query.klass != wire.IN:
            return None
        directory, client, name = self.directory, self.client, query.name
        match query.type:
            case wire.A | wire.AAAA:
                addresses = directory.addresses(client, name, 4 if query.type == wire.A else 6)
                if addresses is not None:
                    return wire.render(query, limit, [wire.address_record(each, TTL) for each in addresses])
            case wire.PTR:
                address = address_of(name)
                holder = directory.reverse(client, address) if address else None
                target = wire.encode_name(holder) if holder else None
                if target is not None:
                    return wire.render(query, limit, [wire.record(wire.PTR, TTL, target)])
            case wire.SRV:
                services = directory.services(client, name)
                if services:
                    return rendered_services(query, limit, services)
            case wire.ANY:
                both = [directory.addresses(client, name, version) for version in (4, 6)]
                if both[0] is not None and both[1] is not None:
                    return wire.render(query, limit, [wire.address_record(each, TTL) for each in both[0] + both[1]])
        # Known, without such data: whoever is asked elsewhere would learn our names, and might invent an answer.
        return wire.render(query, limit) if directory.knows(client, name) else None

    def remember(self, data: bytes, over_tcp: bool, answer: Answer) -> bytes:
        """Keeps a rendered answer for whoever asks the same, and renders it for this one."""
        body: bytes | Turns
        body = Turns(answer) if len(answer.records) > 1 else answer.body()
        first = body if isinstance(body, bytes) else body.body()
        self.rendered_bytes += len(data) + len(first) + sum(len(each) + OVERHEAD for each in answer.records) + OVERHEAD
        if self.rendered_bytes > MOST_RENDERED:
            self.forget()
        else:
            self.rendered[over_tcp][data[2:]] = body
        return first

    def took(self, seconds: float) -> None:
        """Counts the latency of one answer."""
        self.seconds += seconds
        if seconds > self.slowest:
            self.slowest = seconds
        self.buckets[bisect_left(LIMITS, seconds)] += 1

    def figures(self) -> Figures:
        return Figures(
            id=self.client.id,
            name=self.client.name,
            queries=self.local + self.cached + self.forwarded + self.refused,
            local=self.local,
            cached=self.cached,
            forwarded=self.forwarded,
            refused=self.refused,
            failed=self.failed,
            seconds=self.seconds,
            slowest=self.slowest,
            buckets=tuple(self.buckets),
        )


def rendered_services(query: Query, limit: int, services: tuple[Service, ...]) -> Answer:
    """SRV records of one weight, and where their targets are."""
    records, additional = [], []
    for service in services:
        target = wire.encode_name(service.target)
        if target is not None:
            records.append(wire.service_record(0, 0, service.port, target, TTL))
            additional += [wire.address_record(each, TTL, target) for each in service.addresses]
    return wire.render(query, limit, records, additional)


def handed_on(query: Query, reply: Reply, limit: int) -> bytes:
    """Another server's answer for this asker. Raises nothing for what ``parse_reply`` took apart."""
    options = wire.options_record(query.dnssec, reply.code) if query.edns else b""
    return readdressed(cut(reply.data, limit - len(options)), query, options)
