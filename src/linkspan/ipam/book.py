"""Who holds which address: definitions reserve, sandboxes claim.

Three words, kept apart:

- a network *keeps* its network, broadcast (or anycast), gateway and auxiliary addresses: nobody gets them;
- a container's definition *reserves* its static address for as long as it exists, running or not: dynamic picks pass
  it over. Several definitions may name one address, as with Docker;
- a live endpoint's container *claims* an address: one holder at a time, whoever reserved it.

Dynamic picks are next-free after the last pick, wrapping round, so that an address that was just released is the
last to be given again (stale neighbour entries and connections die meanwhile). The cursor is part of what the engine
stores. Costs do not grow with the subnet or with how full it is: see ``linkspan.ipam.intervals``.

The book is memory only and belongs to the event loop's thread; at start the engine fills it from the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from linkspan.errors import Conflict, InvalidRequest, NotFound
from linkspan.ipam.intervals import Intervals
from linkspan.ipam.notation import Family, address_at, bounds, contains, family_of
from linkspan.ipam.pools import refuse_unusable
from linkspan.model.address import IPAddress, IPNetwork
from linkspan.model.network import AddressPool


class Usage(NamedTuple):
    """How full a subnet is, counted over the addresses that dynamic picks may give.

    ``capacity - in_use`` dynamic claims will succeed. ``in_use`` counts reserved addresses too.
    """

    subnet: IPNetwork
    capacity: int
    in_use: int


class _Ledger:
    """One subnet's page: which numbers are kept, reserved and held, and the union of the three."""

    def __init__(self, pool: AddressPool) -> None:
        subnet = pool.subnet
        network, broadcast = bounds(subnet)
        self.pool = pool
        self.family: Family = family_of(subnet)
        self.low, self.high = bounds(pool.ip_range or subnet)
        self.kept: dict[int, str] = {int(address): f"auxiliary address {n}" for n, address in pool.auxiliary.items()}
        if pool.gateway is not None:
            self.kept[int(pool.gateway)] = "gateway"
        self.holders: dict[int, str] = {}
        self.reservations: dict[int, dict[str, None]] = {}
        self.taken = Intervals()
        self.taken_in_range = 0
        self.cursor: int | None = None
        edges = (network, broadcast) if self.family == 4 else (network,)
        for number in {*self.kept, *edges}:
            self.take(number)
        self._never_given = self.taken_in_range
        self.capacity = self.high - self.low + 1 - self._never_given

    @property
    def in_use(self) -> int:
        """How many of the capacity are held or reserved."""
        return self.taken_in_range - self._never_given

    def take(self, number: int) -> None:
        """Puts a number out of reach of dynamic picks."""
        if number not in self.taken:
            self.taken.add(number)
            self.taken_in_range += self.low <= number <= self.high

    def give_back(self, number: int) -> None:
        """Undoes ``take``, unless somebody still holds or reserves the number."""
        if number not in self.holders and number not in self.reservations:
            self.taken.discard(number)
            self.taken_in_range -= self.low <= number <= self.high

    def next_free(self) -> int | None:
        """The first free number after the cursor, wrapping round at the end of the range."""
        start = self.low if self.cursor is None else max(self.cursor + 1, self.low)
        number = self.taken.next_absent(start)
        if number > self.high:
            number = self.taken.next_absent(self.low)
        return number if number <= self.high else None


class Book:
    """All networks' ledgers. ``name_of`` turns a holder's id into the name used in refusals."""

    def __init__(self, name_of: Callable[[str], str]) -> None:
        self._name_of = name_of
        self._ledgers: dict[str, dict[Family, _Ledger]] = {}
        self._names: dict[str, str] = {}
        self._reserved_by: dict[tuple[str, str], list[tuple[Family, int]]] = {}

    def add_network(self, network_id: str, pools: Iterable[AddressPool], *, name: str = "") -> None:
        """Opens a network's pages; at most one pool a family. ``name`` is used in refusals (else the id)."""
        self._ledgers[network_id] = {family_of(pool.subnet): _Ledger(pool) for pool in pools}
        self._names[network_id] = name or network_id

    def remove_network(self, network_id: str) -> None:
        """Forgets a network with all its claims, reservations and cursors. An unknown one is no error."""
        self._ledgers.pop(network_id, None)
        self._names.pop(network_id, None)
        for key in [key for key in self._reserved_by if key[0] == network_id]:
            del self._reserved_by[key]

    def reserve(self, network_id: str, address: IPAddress, definition_id: str) -> tuple[str, ...]:
        """A container's definition names a static address. Returns the earlier definitions that name it too.

        InvalidRequest when no container of that network can have it; NotFound for an unknown network. Who *holds*
        the address now does not matter here (``holder`` tells).
        """
        ledger = self._static_ledger(network_id, address)
        number = int(address)
        definitions = ledger.reservations.setdefault(number, {})
        others = tuple(each for each in definitions if each != definition_id)
        if definition_id not in definitions:
            definitions[definition_id] = None
            self._reserved_by.setdefault((network_id, definition_id), []).append((ledger.family, number))
            ledger.take(number)
        return others

    def unreserve(self, definition_id: str, network_id: str) -> None:
        """Drops what a definition reserved on a network. Nothing reserved is no error."""
        for family, number in self._reserved_by.pop((network_id, definition_id), ()):
            ledger = self._ledgers[network_id][family]
            definitions = ledger.reservations[number]
            del definitions[definition_id]
            if not definitions:
                del ledger.reservations[number]
                ledger.give_back(number)

    def claim(self, network_id: str, family: Family, holder: str, wanted: IPAddress | None = None) -> IPAddress:
        """Gives ``holder`` an address: ``wanted``, or the next free one. Claiming twice the same is once.

        InvalidRequest: ``wanted`` cannot be had on that network, or the network has no such family.
        Conflict: somebody else holds it (named), or every dynamic address is taken.
        """
        if wanted is not None:
            return self._claim_static(network_id, family, holder, wanted)
        ledger = self._ledger(network_id, family)
        number = ledger.next_free()
        if number is None:
            raise self._exhausted(network_id, ledger)
        ledger.cursor = number
        ledger.holders[number] = holder
        ledger.take(number)
        return address_at(family, number)

    def release(self, network_id: str, address: IPAddress, holder: str) -> None:
        """``holder`` gives an address back. What it does not hold stays as it is: absent is success."""
        ledger = self._ledgers.get(network_id, {}).get(family_of(address))
        number = int(address)
        if ledger is not None and ledger.holders.get(number) == holder:
            del ledger.holders[number]
            ledger.give_back(number)

    def holder(self, network_id: str, address: IPAddress) -> str | None:
        """The id of who holds an address now."""
        ledger = self._ledgers.get(network_id, {}).get(family_of(address))
        return None if ledger is None else ledger.holders.get(int(address))

    def usage(self, network_id: str) -> tuple[Usage, ...]:
        """One entry a subnet, IPv4 first. NotFound for an unknown network."""
        return tuple(
            Usage(ledger.pool.subnet, ledger.capacity, ledger.in_use)
            for _, ledger in sorted(self._pages(network_id).items())
        )

    def cursor(self, network_id: str, subnet: IPNetwork) -> IPAddress | None:
        """The last address that a dynamic pick gave; None before the first."""
        ledger = self._ledger(network_id, family_of(subnet))
        return None if ledger.cursor is None else address_at(ledger.family, ledger.cursor)

    def restore_cursor(self, network_id: str, subnet: IPNetwork, last: IPAddress | None) -> None:
        """Picks go on after ``last``, or from the start for None (which undoes the picks of a dry run).

        Ignored when ``last`` or ``subnet`` is not of this network any more.
        """
        ledger = self._ledgers.get(network_id, {}).get(family_of(subnet))
        if ledger is None or ledger.pool.subnet != subnet:
            return
        if last is None:
            ledger.cursor = None
        elif contains(subnet, last):
            ledger.cursor = int(last)

    def _claim_static(self, network_id: str, family: Family, holder: str, wanted: IPAddress) -> IPAddress:
        if wanted.version != family:
            raise InvalidRequest(f"address {wanted} is not an IPv{family} address")
        ledger = self._static_ledger(network_id, wanted)
        number = int(wanted)
        present = ledger.holders.get(number)
        if present is not None and present != holder:
            raise Conflict(
                f"address {wanted} on network {self._names[network_id]} is held by container {self._name_of(present)}",
                whose=present,
                remedy="stop that container or choose another address",
            )
        ledger.holders[number] = holder
        ledger.take(number)
        return wanted

    def _static_ledger(self, network_id: str, address: IPAddress) -> _Ledger:
        """The ledger on which a container can have that address; else the refusal."""
        ledger = self._ledger(network_id, family_of(address))
        refuse_unusable(address, "address", ledger.pool.subnet)
        use = ledger.kept.get(int(address))
        if use is not None:
            raise InvalidRequest(
                f"address {address} is the {use} of network {self._names[network_id]}", remedy="take another"
            )
        return ledger

    def _exhausted(self, network_id: str, ledger: _Ledger) -> Conflict:
        pool = ledger.pool
        where = f"IP range {pool.ip_range} of subnet {pool.subnet}" if pool.ip_range else f"subnet {pool.subnet}"
        return Conflict(
            f"network {self._names[network_id]} has no free IPv{ledger.family} address: all {ledger.capacity} "
            f"of {where} are held or reserved",
            whose=network_id,
            remedy="remove containers, or make a network with a larger subnet",
        )

    def _pages(self, network_id: str) -> dict[Family, _Ledger]:
        pages = self._ledgers.get(network_id)
        if pages is None:
            raise NotFound(f"no such network: {network_id}")
        return pages

    def _ledger(self, network_id: str, family: Family) -> _Ledger:
        ledger = self._pages(network_id).get(family)
        if ledger is None:
            raise InvalidRequest(f"network {self._names[network_id]} has no IPv{family} subnet")
        return ledger
