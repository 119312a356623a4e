"""Choosing and reserving ports of the host for what containers publish.

Nothing here awaits: of two containers that publish one port at the same instant, the first call wins. The order at
the end of a sandbox: the keeper closes its sockets (``Keeper.release(ports.keys(sandbox_id))``), then ``release``.

Random ports are taken upwards from the last one given, as Docker does: a port that was just let go, to which old
clients may still talk, then comes up again as late as possible.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import TracebackType

from linkspan.engine.port_book import Entry, PortBook
from linkspan.errors import Conflict, KernelFailure
from linkspan.kernel.holders import Holder
from linkspan.kernel.reservation import HostSockets
from linkspan.model.address import IPAddress
from linkspan.model.port import MOST_HELD, Publication, Transport
from linkspan.model.publishing import Wish, reservation_key, spelled

Holders = Callable[[Transport, IPAddress, int], Sequence[Holder]]
"""Who has sockets that keep this port of this address from others: ``kernel.holders.holders``. OSError."""

InUse = Callable[[Transport, IPAddress, int, int], Collection[int]]
"""Which ports from the first to the last number are in use where it meets this address: ``kernel.holders.in_use``."""

Relayed = Callable[[Publication], bool]
"""Whether the keeper will carry what comes to the reserved sockets: they listen from the start."""


def nothing_relayed(publication: Publication) -> bool:
    """For callers without a keeper."""
    return False


class Reserved:
    """What one call reserved. The keeper duplicates the sockets; leaving the ``with`` block closes these."""

    def __init__(self, sockets: HostSockets) -> None:
        self._sockets = sockets
        self.publications: tuple[Publication, ...] = ()
        """In the order of the wishes; of each wish, one an address."""
        self.sockets: dict[str, tuple[int, ...]] = {}
        """By the keeper's key (``reservation_key``), in the order of the ports."""
        self.warnings: list[str] = []

    def close(self) -> None:
        """Closes these descriptors; the ports stay reserved as long as the keeper has its own."""
        for descriptors in self.sockets.values():
            self._sockets.close(descriptors)
        self.sockets = {}

    def __enter__(self) -> Reserved:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class _Holding:
    """What one sandbox has."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: list[Entry] = []
        self.held: dict[str, int] = {}
        """How many sockets the keeper has under which key."""


class _Taken(Exception):
    """A port that somebody else has: a sandbox of ours, or (without ``entry``) a program."""

    def __init__(self, publication: Publication, port: int, entry: Entry | None = None) -> None:
        super().__init__(port)
        self.publication = publication
        self.port = port
        self.entry = entry


class Ports:
    """Which ports of the host are ours. ``most_sockets`` bounds the descriptors that reservations may take in all."""

    def __init__(self, sockets: HostSockets, in_use: InUse, holders: Holders, *, most_sockets: int) -> None:
        self._sockets = sockets
        self._in_use = in_use
        self._holders = holders
        self._most_sockets = most_sockets
        self._book = PortBook()
        self._holdings: dict[str, _Holding] = {}
        self._sockets_held = 0
        self._last_random = 0

    def reserve(
        self, sandbox_id: str, name: str, wishes: Sequence[Wish], *, relayed: Relayed = nothing_relayed
    ) -> Reserved:
        """Chooses and reserves a host port for every wish, or nothing at all. ``name`` is the container's.

        Conflict when a port is taken, naming who has it; KernelFailure when the kernel refuses otherwise. What a
        sandbox has already it keeps.
        """
        holding = self._holdings.setdefault(sandbox_id, _Holding(name))
        before = len(holding.entries)
        reserved = Reserved(self._sockets)
        chosen: dict[int, tuple[Publication, ...]] = {}
        try:
            for index, wish in sorted(enumerate(wishes), key=_freedom):
                chosen[index] = self._fulfil(sandbox_id, wish, reserved, relayed)
            reserved.publications = tuple(item for index in range(len(wishes)) for item in chosen[index])
            reserved.warnings += [wish.warning for wish in wishes if wish.warning]
            reserved.warnings += self.absent(item.address for item in reserved.publications if item.host_port)
        except BaseException:
            self._strike(holding, before, list(reserved.sockets))
            reserved.close()
            if not holding.entries:
                del self._holdings[sandbox_id]
            raise
        holding.name = name
        return reserved

    def adopt(
        self,
        sandbox_id: str,
        name: str,
        publications: Sequence[Publication],
        held: Mapping[str, tuple[int, ...]],
        *,
        relayed: Relayed = nothing_relayed,
    ) -> Reserved:
        """Takes over what a live sandbox publishes, at the daemon's start; ``held`` is what the keeper has.

        Missing sockets are bound again: those are in the answer's ``sockets``. Nothing is refused: a port that cannot
        be had again goes on being translated, and a warning names who else has it.
        """
        holding = self._holdings.setdefault(sandbox_id, _Holding(name))
        reserved = Reserved(self._sockets)
        reserved.publications = tuple(publications)
        for publication in publications:
            self._enter(holding, Entry(sandbox_id=sandbox_id, publication=publication))
            key = reservation_key(sandbox_id, publication)
            if key in held:
                self._charge(holding, key, len(held[key]))
                continue
            if not self._gets_sockets(publication):
                continue
            try:
                reserved.sockets[key] = self._bind(publication, relayed)
            except _Taken as taken:
                reserved.warnings.append(f"{self._conflict(taken).what}, and container {name} publishes it")
            except KernelFailure as failure:
                reserved.warnings.append(str(failure))
            else:
                self._charge(holding, key, publication.count)
        return reserved

    def rename(self, sandbox_id: str, name: str) -> None:
        """The container has another name from now on."""
        if sandbox_id in self._holdings:
            self._holdings[sandbox_id].name = name

    def keys(self, sandbox_id: str) -> tuple[str, ...]:
        """Under which the keeper holds sockets for this sandbox."""
        return tuple(self._holdings[sandbox_id].held) if sandbox_id in self._holdings else ()

    def strays(self, held: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
        """Keys of the keeper that no sandbox stands for: left by a daemon that ended between two steps."""
        known = {key for holding in self._holdings.values() for key in holding.held}
        return tuple(key for key in held if key not in known)

    def release(self, sandbox_id: str) -> None:
        """Forgets all that a sandbox has; the keeper has closed its sockets before. Absence is success."""
        holding = self._holdings.pop(sandbox_id, None)
        if holding is not None:
            self._strike(holding, 0, list(holding.held))

    def _fulfil(self, sandbox_id: str, wish: Wish, reserved: Reserved, relayed: Relayed) -> tuple[Publication, ...]:
        if wish.fixed:
            try:
                return self._take(sandbox_id, wish.publications(wish.first), reserved, relayed)
            except _Taken as taken:
                raise self._conflict(taken) from None
        met: _Taken | None = None
        for port in range(wish.first, wish.last + 1) if wish.first else self._random():
            try:
                publications = self._take(sandbox_id, wish.publications(port), reserved, relayed)
            except _Taken as taken:
                met = met or taken
                continue
            if not wish.first:
                self._last_random = port
            return publications
        raise self._exhausted(wish, met)

    def _random(self) -> Iterator[int]:
        """All dynamic ports that the kernel may give away, from the one after the last given on."""
        ports = self._sockets.dynamic_ports()
        start = self._last_random + 1 if ports.first <= self._last_random < ports.last else ports.first
        for port in itertools.chain(range(start, ports.last + 1), range(ports.first, start)):
            if port not in ports.reserved:
                yield port

    def _take(
        self, sandbox_id: str, publications: tuple[Publication, ...], reserved: Reserved, relayed: Relayed
    ) -> tuple[Publication, ...]:
        """All addresses of one wish at one choice of host ports, or ``_Taken``."""
        bookable = [item for item in publications if item.host_port]
        for item in bookable:
            found = self._book.holder(item.protocol, item.address, item.host_port, item.host_ports[-1])
            if found is not None:
                raise _Taken(item, *found)
        bound: dict[str, tuple[int, ...]] = {}
        warnings: list[str] = []
        try:
            for item in bookable:
                if self._gets_sockets(item, sum(map(len, bound.values()))):
                    bound[reservation_key(sandbox_id, item)] = self._bind(item, relayed)
                    continue
                self._check_unused(item)
                if item.count <= MOST_HELD:
                    warnings.append(_unheld(item))
                if relayed(item):
                    warnings.append(unrelayed(item))
        except BaseException:
            for descriptors in bound.values():
                self._sockets.close(descriptors)
            raise
        holding = self._holdings[sandbox_id]
        reserved.sockets |= bound
        reserved.warnings += warnings
        for key, descriptors in bound.items():
            self._charge(holding, key, len(descriptors))
        for item in publications:
            self._enter(holding, Entry(sandbox_id=sandbox_id, publication=item))
        return publications

    def _gets_sockets(self, publication: Publication, more: int = 0) -> bool:
        wanted = self._sockets_held + more + publication.count
        return publication.host_port > 0 and publication.count <= MOST_HELD and wanted <= self._most_sockets

    def _bind(self, publication: Publication, relayed: Relayed) -> tuple[int, ...]:
        listening = publication.protocol == "tcp" and relayed(publication)
        descriptors: list[int] = []
        try:
            for port in publication.host_ports:
                descriptors.append(self._bind_port(publication, port, listening=listening))  # noqa: PERF401
        except BaseException:
            self._sockets.close(descriptors)
            raise
        return tuple(descriptors)

    def _bind_port(self, publication: Publication, port: int, *, listening: bool) -> int:
        try:
            return self._sockets.bind(publication.protocol, publication.address, port, listening=listening)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise _Taken(publication, port) from None
            raise _refused(publication, port, error) from error

    def _enter(self, holding: _Holding, entry: Entry) -> None:
        holding.entries.append(entry)
        self._book.add(entry)

    def _charge(self, holding: _Holding, key: str, count: int) -> None:
        holding.held[key] = count
        self._sockets_held += count

    def _strike(self, holding: _Holding, start: int, keys: Sequence[str]) -> None:
        """Takes the entries from ``start`` on and these keys away again."""
        for entry in holding.entries[start:]:
            self._book.remove(entry)
        del holding.entries[start:]
        for key in keys:
            self._sockets_held -= holding.held.pop(key)

    def absent(self, addresses: Iterable[IPAddress]) -> list[str]:
        """A warning for each address that the host does not have yet: its ports open when it comes (moby#39559)."""
        named = dict.fromkeys(address for address in addresses if not address.is_unspecified)
        return [
            f"the host does not have the address {address} now: ports published on it open when it comes"
            for address in named
            if not self._sockets.has_address(address)
        ]

    def _conflict(self, taken: _Taken) -> Conflict:
        publication = taken.publication
        where = spelled(publication.protocol, publication.address, taken.port)
        if taken.entry is not None:
            return Conflict(
                f"{where} is already published by container {self._holdings[taken.entry.sandbox_id].name}",
                whose=taken.entry.sandbox_id,
                remedy="choose another host port",
            )
        found = self._found_holders(publication, taken.port)
        if not found:
            return Conflict(
                f"{where} is in use by a program that cannot be seen from here", remedy="choose another host port"
            )
        if all(item.state == "time-wait" for item in found):
            return Conflict(f"{where} is in use by {found[0]}", remedy="wait a minute or choose another host port")
        programs = tuple(dict.fromkeys(str(item) for item in found if item.state != "time-wait"))
        more = f" and {len(programs) - 1} more" if len(programs) > 1 else ""
        it = "them" if more else "it"
        return Conflict(f"{where} is in use by {programs[0]}{more}", remedy=f"stop {it} or choose another host port")

    def _found_holders(self, publication: Publication, port: int) -> Sequence[Holder]:
        """Nobody where the kernel cannot tell: the port is taken all the same."""
        try:
            return self._holders(publication.protocol, publication.address, port)
        except OSError:
            return ()

    def _check_unused(self, publication: Publication) -> None:
        """``_Taken`` when a program has one of these ports now; later ones are not kept out.

        Few ports are bound and let go again, one by one: that takes 20 µs each, while a list of all sockets in use
        takes milliseconds as soon as there are thousands.
        """
        if publication.count <= MOST_HELD:
            for port in publication.host_ports:
                self._sockets.close([self._bind_port(publication, port, listening=False)])
            return
        first, last = publication.host_ports[0], publication.host_ports[-1]
        try:
            taken = self._in_use(publication.protocol, publication.address, first, last)
        except OSError as error:
            where = spelled(publication.protocol, publication.address, first, publication.count)
            raise KernelFailure(f"sockets in use cannot be listed for {where}: {error}") from error
        if taken:
            raise _Taken(publication, min(taken))

    def _exhausted(self, wish: Wish, met: _Taken | None) -> Conflict:
        where = " and ".join(str(address) for address in wish.addresses)
        if not wish.first:
            return Conflict(
                f"none of the host's dynamic ports is free on {where} for port {wish.port}/{wish.protocol}",
                remedy="name a host port, or widen net.ipv4.ip_local_port_range",
            )
        example = f" ({self._conflict(met).what})" if met else ""
        return Conflict(
            f"none of the ports {wish.first}-{wish.last}/{wish.protocol} is free on {where}{example}",
            remedy="choose a wider range or stop one of the holders",
        )


def _freedom(numbered: tuple[int, Wish]) -> tuple[int, int]:
    """Sorts: who has no choice goes first, who can take anything last, so that no free pick is in another's way."""
    index, wish = numbered
    if wish.fixed:
        return 0, index
    return (wish.last - wish.first + 1, index) if wish.first else (1 << 16, index)


def _refused(publication: Publication, port: int, error: OSError) -> KernelFailure:
    where = spelled(publication.protocol, publication.address, port)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return KernelFailure(
            f"{where} cannot be reserved: too many open files", remedy="raise the daemon's limit (LimitNOFILE)"
        )
    return KernelFailure(f"{where} cannot be reserved: {os.strerror(error.errno or 0)}")


def _unheld(publication: Publication) -> str:
    where = spelled(publication.protocol, publication.address, publication.host_port, publication.count)
    return (
        f"{where} published without being kept from programs of the host: as many ports are reserved as the daemon's "
        "limit of open files (LimitNOFILE) allows"
    )


def unrelayed(publication: Publication) -> str:
    """A warning for a range that is too wide for a relay."""
    where = spelled(publication.protocol, publication.address, publication.host_port, publication.count)
    return (
        f"{where} published without a relay, which needs a reserved socket for each port and takes at most {MOST_HELD} "
        "of one range: [::1] is not answered, nor IPv6 at all where the container has none"
    )
