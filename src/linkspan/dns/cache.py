"""What other servers answered, kept for as long as they said (RFC 2308 for what does not exist).

Answers of servers that are asked out of a sandbox are kept for that sandbox alone: whoever rules its network could
answer in any server's name, and must not speak to others that way. Sandboxes whose servers are asked out of the
host's namespace share what those say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from linkspan.dns import wire
from linkspan.dns.names import Client, Server
from linkspan.dns.reply import Reply, aged
from linkspan.dns.wire import Query

MOST: Final = 4096
"""Answers kept in all: with ``LARGEST_KEPT`` 16 MiB at worst, some 1.5 MiB as answers are."""
MOST_OF_ONE: Final = 512
"""Answers kept for one sandbox, so that one that asks for random names leaves room for others."""
LARGEST_KEPT: Final = 4096
"""Bytes of an answer that is kept: the size that clients announce with EDNS at most."""
LONGEST: Final = 3600
"""Seconds that an answer is kept at most: a record that was wrong is gone within the hour."""
LONGEST_NEGATIVE: Final = 300
"""Seconds that a name is held not to exist. RFC 2308 allows hours; people who made one a moment ago wait for it."""
ASKED_BITS: Final = wire.RD | wire.CD | wire.AD
"""Bits of a query that change its answer: recursion, no checking (CD), and interest in AD (RFC 6840 section 5.7)."""


class Scope(msgspec.Struct, frozen=True):
    """Who may share answers: the same servers, and the same sandbox unless all are asked from the host."""

    client: str
    servers: tuple[Server, ...]


class Asked(msgspec.Struct, frozen=True):
    """What makes two queries the same."""

    question: bytes
    """As ``wire.folded`` makes it."""
    bits: int
    dnssec: bool


class Kept(msgspec.Struct, frozen=True):
    reply: Reply
    since: float
    until: float


def scope_of(client: Client) -> Scope:
    shared = all(server.from_host for server in client.servers)
    return Scope("" if shared else client.id, client.servers)


def asked(query: Query) -> Asked:
    return Asked(wire.folded(query.question), query.flags & ASKED_BITS, query.dnssec)


class Cache:
    """Bounded in all and for each scope; the oldest goes first. ``clock`` counts seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.scopes: dict[Scope, dict[Asked, Kept]] = {}
        self.count = 0

    def get(self, scope: Scope, question: Asked) -> Reply | None:
        """The answer with its times counted down, or None."""
        kept = self.scopes.get(scope, {}).get(question)
        if kept is None:
            return None
        now = self.clock()
        if now >= kept.until:
            self.drop(scope, question)
            return None
        return msgspec.structs.replace(kept.reply, data=aged(kept.reply, int(now - kept.since)))

    def put(self, scope: Scope, question: Asked, reply: Reply) -> None:
        """Keeps an answer, if it is one to be kept."""
        longest = LONGEST if reply.code == wire.NOERROR else LONGEST_NEGATIVE
        life = min(reply.life or 0, longest)
        if not life or len(reply.data) > LARGEST_KEPT:
            return
        self.drop(scope, question)
        present = self.scopes.setdefault(scope, {})
        if len(present) >= MOST_OF_ONE:
            self.drop(scope, next(iter(present)))
        elif self.count >= MOST:
            fullest = max(self.scopes, key=lambda each: len(self.scopes[each]))
            self.drop(fullest, next(iter(self.scopes[fullest])))
        now = self.clock()
        self.scopes.setdefault(scope, {})[question] = Kept(reply, now, now + life)
        self.count += 1

    def drop(self, scope: Scope, question: Asked) -> None:
        present = self.scopes.get(scope, {})
        if present.pop(question, None) is not None:
            self.count -= 1
            if not present:
                del self.scopes[scope]

    def forget(self, scope: Scope) -> None:
        """Drops all that a sandbox was told, when it goes or gets other servers."""
        self.count -= len(self.scopes.pop(scope, {}))
