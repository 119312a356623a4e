"""Spare namespaces: what is slow about a new one is done before anybody waits for it.

Two kinds: plain ones with their loopback up, and prepared ones, which hold besides the resolver's table and its two
sockets on 127.0.0.11. A namespace costs about 0.4 ms, its preparation 1 ms more.
"""

from __future__ import annotations

import os
from collections.abc import Collection

import msgspec

from linkspan.kernel import netns, tables
from linkspan.kernel.netlink import Netlink
from linkspan.kernel.nft import Nft
from linkspan.kernel.resolver import Sockets, open_inside
from linkspan.kernel.state import HOST, Table


class Spare(msgspec.Struct, frozen=True):
    """A namespace that nobody has pinned yet, held by what is open inside."""

    inside: Netlink
    table: Table | None = None
    """What is in place already; its ``namespace`` is empty."""
    sockets: Sockets | None = None

    def close(self) -> None:
        """Lets the namespace go."""
        self.inside.close()
        if self.sockets is not None:
            self.sockets.close()


class Spares:
    """The pool, and what came with spares that have been taken."""

    def __init__(self, namespaces: netns.Namespaces) -> None:
        self._namespaces = namespaces
        self._plain: list[Spare] = []
        self._prepared: list[Spare] = []
        self._table: Table | None = None
        self._port = 0
        self._wanted: Collection[Table] = ()
        self._brought: set[Table] = set()
        self._sockets: dict[str, Sockets] = {}
        """By namespace, until somebody asks for them."""

    def close(self) -> None:
        """Lets all of them go, and the sockets that nobody has asked for."""
        for spare in (*self._plain, *self._prepared):
            spare.close()
        self._plain.clear()
        self._prepared.clear()
        for namespace in list(self._sockets):
            self.forget(namespace)

    def prepare(self, table: Table, port: int) -> None:
        """From now on ``fill`` makes spares with this table and the resolver's sockets on this port as well."""
        self._table, self._port = placed(table, HOST), port
        for spare in self._prepared:
            spare.close()
        self._prepared.clear()

    def fill(self, count: int, most: int) -> int:
        """Makes spares until ``count`` of each kind wait, at most ``most``; returns how many were made. OSError."""
        made = 0
        while len(self._plain) < count and made < most:
            self._plain.append(Spare(netns.create()))
            made += 1
        while self._table is not None and len(self._prepared) < count and made < most:
            self._prepared.append(prepared(self._table, self._port))
            made += 1
        return made

    def begin(self, wanted: Collection[Table]) -> None:
        """Tells which tables the work that begins now makes in namespaces; what came before it counts no more."""
        self._wanted = wanted
        self._brought.clear()

    def pin(self, name: str) -> None:
        """Makes a namespace: from a spare one that has a table wanted there, from a plain one, or anew. OSError."""
        if self._table is not None and self._prepared and placed(self._table, name) in self._wanted:
            spare = self._prepared.pop()
        else:
            spare = self._plain.pop() if self._plain else Spare(netns.create())
        try:
            self._namespaces.keep(name, spare.inside)
        except OSError:
            spare.close()
            raise
        if spare.table is not None and spare.sockets is not None:
            self._brought.add(placed(spare.table, name))
            self._sockets[name] = spare.sockets

    def brought(self, table: Table | None) -> bool:
        """Whether a table came with a namespace since ``begin``."""
        return table in self._brought

    def open_resolver(self, namespace: str, port: int) -> tuple[int, int]:
        """The sockets that came with the namespace, or new ones (``LinuxKernel.open_resolver``)."""
        sockets = self._sockets.pop(namespace, None)
        if sockets is not None and sockets.port != port:
            sockets.close()
            sockets = None
        if sockets is None:
            with self._namespaces.opened(namespace) as descriptor:
                sockets = open_inside(descriptor, port)
        return sockets.detach()

    def forget(self, namespace: str) -> None:
        """Closes sockets that nobody has asked for: they would keep the namespace."""
        sockets = self._sockets.pop(namespace, None)
        if sockets is not None:
            sockets.close()


def prepared(table: Table, port: int) -> Spare:
    """A new namespace with a table and the resolver's sockets. OSError."""
    inside = netns.create()
    try:
        descriptor = inside.namespace()
        try:
            with netns.entered(descriptor):
                sockets = Sockets(port)
                nft = Nft()
        finally:
            os.close(descriptor)
        try:
            nft.run([tables.create_table(table)])
        except OSError:
            sockets.close()
            raise
        finally:
            nft.close()
    except OSError:
        inside.close()
        raise
    return Spare(inside, table, sockets)


def placed(table: Table, namespace: str) -> Table:
    """The same table elsewhere."""
    return msgspec.structs.replace(table, namespace=namespace)
