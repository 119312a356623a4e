"""Pools and the book against models that are too simple to be wrong."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from linkspan.errors import Conflict, LinkspanError
from linkspan.ipam.book import Book
from linkspan.ipam.intervals import Intervals
from linkspan.ipam.pools import resolve
from linkspan.ipam.subnets import free_subnet
from linkspan.model.address import IPAddress
from linkspan.model.network import AddressPool, NetworkRequest, PoolRequest

SUBNET = IPv4Network("10.0.0.0/28")
FIRST = int(SUBNET.network_address)
KEPT = {FIRST, FIRST + 1, FIRST + 4, FIRST + 15}
"""Network, gateway, one auxiliary and the broadcast address."""
RANGES = st.sampled_from([None, IPv4Network("10.0.0.0/29"), IPv4Network("10.0.0.8/30"), IPv4Network("10.0.0.14/31")])
HOLDERS = st.sampled_from(["a", "b", "c"])
HOSTS = st.integers(0, 15)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=120))
def test_intervals_are_a_set(changes: list[tuple[bool, int]]) -> None:
    intervals, model = Intervals(), set[int]()
    for put, number in changes:
        if put:
            intervals.add(number)
            model.add(number)
        else:
            intervals.discard(number)
            model.discard(number)
        assert [each for each in range(42) if each in intervals] == sorted(model)
        for start in range(42):
            assert intervals.next_absent(start) == next(each for each in range(start, 50) if each not in model)
    assert len(intervals) == sum(each - 1 not in model for each in model)


class BookMachine(RuleBasedStateMachine):
    """The book against two plain dictionaries and a linear search."""

    def __init__(self) -> None:
        super().__init__()
        self.book: Book | None = None
        self.holders: dict[int, str] = {}
        self.reserved: dict[int, set[str]] = {}
        self.cursor: int | None = None
        self.range: range = range(0)

    @precondition(lambda self: self.book is None)
    @rule(ip_range=RANGES)
    def make(self, ip_range: IPv4Network | None) -> None:
        pool = AddressPool(
            subnet=SUBNET,
            ip_range=ip_range,
            gateway=ip_address(FIRST + 1),
            auxiliary={"router": ip_address(FIRST + 4)},
        )
        self.book = Book(str)
        self.book.add_network("n", [pool])
        low = int((ip_range or SUBNET).network_address)
        self.range = range(low, low + (ip_range or SUBNET).num_addresses)

    def free(self) -> set[int]:
        return {n for n in self.range if n not in KEPT and n not in self.holders and not self.reserved.get(n)}

    def expected(self) -> int | None:
        numbers = list(self.range)
        if self.cursor is not None and self.cursor in self.range:
            at = numbers.index(self.cursor) + 1
            numbers = numbers[at:] + numbers[:at]
        return next((number for number in numbers if number in self.free()), None)

    @precondition(lambda self: self.book is not None)
    @rule(holder=HOLDERS)
    def claim_any(self, holder: str) -> None:
        assert self.book is not None
        expected = self.expected()
        if expected is None:
            with pytest.raises(Conflict):
                self.book.claim("n", 4, holder)
            return
        given_address = int(self.book.claim("n", 4, holder))
        assert given_address == expected
        self.holders[given_address] = holder
        self.cursor = given_address

    @precondition(lambda self: self.book is not None)
    @rule(holder=HOLDERS, host=HOSTS)
    def claim_this(self, holder: str, host: int) -> None:
        assert self.book is not None
        number = FIRST + host
        if number in KEPT or self.holders.get(number, holder) != holder:
            with pytest.raises(LinkspanError):
                self.book.claim("n", 4, holder, ip_address(number))
            return
        self.book.claim("n", 4, holder, ip_address(number))
        self.holders[number] = holder

    @precondition(lambda self: self.book is not None)
    @rule(holder=HOLDERS, host=HOSTS)
    def release(self, holder: str, host: int) -> None:
        assert self.book is not None
        self.book.release("n", ip_address(FIRST + host), holder)
        if self.holders.get(FIRST + host) == holder:
            del self.holders[FIRST + host]

    @precondition(lambda self: bool(self.holders))
    @rule()
    def release_and_claim_again(self) -> None:
        """An address that was just released comes back only when it is the only free one."""
        assert self.book is not None
        number = max(self.holders)
        holder = self.holders.pop(number)
        self.book.release("n", ip_address(number), holder)
        others = self.free() - {number}
        if self.cursor == number and others:
            again = int(self.book.claim("n", 4, holder))
            assert again != number
            self.holders[again] = holder
            self.cursor = again

    @precondition(lambda self: self.book is not None)
    @rule(definition=HOLDERS, host=HOSTS)
    def reserve(self, definition: str, host: int) -> None:
        assert self.book is not None
        number = FIRST + host
        if number in KEPT:
            with pytest.raises(LinkspanError):
                self.book.reserve("n", ip_address(number), definition)
            return
        others = self.book.reserve("n", ip_address(number), definition)
        assert set(others) == self.reserved.get(number, set()) - {definition}
        self.reserved.setdefault(number, set()).add(definition)

    @precondition(lambda self: self.book is not None)
    @rule(definition=HOLDERS)
    def unreserve(self, definition: str) -> None:
        assert self.book is not None
        self.book.unreserve(definition, "n")
        for definitions in self.reserved.values():
            definitions.discard(definition)

    @invariant()
    def the_book_agrees(self) -> None:
        if self.book is None:
            return
        for host in range(16):
            assert self.book.holder("n", ip_address(FIRST + host)) == self.holders.get(FIRST + host)
        usage = self.book.usage("n")[0]
        assert usage.capacity == len(set(self.range) - KEPT)
        assert usage.capacity - usage.in_use == len(self.free())


TestBook = BookMachine.TestCase
TestBook.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


@given(
    st.integers(20, 26),
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(16, 32)), max_size=12),
)
def test_a_free_subnet_is_the_lowest_that_overlaps_nothing(prefix: int, blocks: list[tuple[int, int, int]]) -> None:
    base = IPv4Network("10.0.0.0/18")
    taken = [IPv4Network(f"10.0.{third}.{fourth}/{length}", strict=False) for third, fourth, length in blocks]

    found = free_subnet(base, prefix, taken)

    candidates = base.subnets(new_prefix=prefix)
    assert found == next((each for each in candidates if not any(each.overlaps(block) for block in taken)), None)


@given(st.lists(st.sampled_from(["", "0.0.0.0/24", "0.0.0.0/20", "10.7.0.0/24", "10.7.0.0/25", "10.9.1.0/24"])))
@settings(deadline=None)
def test_networks_never_overlap_and_always_have_a_gateway(subnets: list[str]) -> None:
    made: list[AddressPool] = []
    for number, subnet in enumerate(subnets):
        request = NetworkRequest(name=f"net{number}", pools=(PoolRequest(subnet=subnet),), enable_ipv6=True)
        try:
            pools = resolve(
                request,
                default_pools=((ip_network("10.7.0.0/20"), 24), (ip_network("10.8.0.0/16"), 18)),
                in_use=[(pool.subnet, "other") for pool in made],
                on_link=[(ip_network("10.7.1.0/24"), "dev eth0")],
                nameservers=[ip_address("10.7.2.53")],
                instance="00000000",
            )
        except LinkspanError:
            continue
        made += pools
        for pool in pools:
            assert pool.gateway is not None
            assert pool.gateway in pool.subnet
            assert pool.gateway != pool.subnet.network_address
            if not subnet or subnet.startswith("0"):
                assert not pool.subnet.overlaps(ip_network("10.7.1.0/24"))
                assert ip_address("10.7.2.53") not in pool.subnet
    for family in (4, 6):
        blocks = [pool.subnet for pool in made if pool.subnet.version == family]
        assert all(not one.overlaps(other) for one in blocks for other in blocks if one is not other)


@given(st.text(max_size=24))
def test_any_text_is_a_pool_or_a_refusal(text: str) -> None:
    for pool in (
        PoolRequest(subnet=text),
        PoolRequest(subnet="10.0.0.0/24", gateway=text),
        PoolRequest(subnet="10.0.0.0/24", ip_range=text),
        PoolRequest(subnet="10.0.0.0/24", auxiliary={"a": text}),
    ):
        gateways: list[IPAddress | None] = []
        try:
            request = NetworkRequest(name="x", pools=(pool,), enable_ipv6=True)
            made = resolve(request, default_pools=(), in_use=(), on_link=(), nameservers=(), instance="0")
            gateways = [each.gateway for each in made]
        except LinkspanError:
            continue
        assert None not in gateways
