"""What holds for published ports whatever is asked, in whatever order."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle as Pool
from hypothesis.stateful import RuleBasedStateMachine, consumes, invariant, multiple, rule

from fake_host_ports import FakeHost, meets
from linkspan.engine.port_book import Entry, PortBook
from linkspan.engine.ports import Ports
from linkspan.errors import Conflict, InvalidRequest, KernelFailure
from linkspan.kernel.reservation import DynamicPorts
from linkspan.model.address import IPAddress
from linkspan.model.container import ContainerSpec, PortBinding
from linkspan.model.image import ImageConfig
from linkspan.model.network import BridgeOptions
from linkspan.model.port import Publication, Transport
from linkspan.model.publishing import Wish, wishes

NAT = BridgeOptions(bridge_name="br-test")
HOST_ADDRESSES = ("0.0.0.0", "127.0.0.1", "192.0.2.1", "::", "::1")
FIRST, LAST = 8000, 8015
"""Few ports, so that they meet often."""

addresses = st.sampled_from(HOST_ADDRESSES)
transports: st.SearchStrategy[Transport] = st.sampled_from(("tcp", "udp"))
numbers = st.integers(FIRST, LAST)


@st.composite
def bindings(draw: st.DrawFn) -> PortBinding:
    low, high = sorted((draw(numbers), draw(numbers)))
    host_port = draw(st.sampled_from(("", "0", str(low), str(low), f"{low}-{high}")))
    return PortBinding(
        port=draw(st.integers(80, 90)),
        protocol=draw(transports),
        host_ip=draw(st.sampled_from(("", "", *HOST_ADDRESSES))),
        host_port=host_port,
    )


@st.composite
def runs(draw: st.DrawFn) -> list[PortBinding]:
    """A range as clients expand it, shuffled, mixed with single ones."""
    start, shift, count = draw(st.integers(80, 90)), draw(st.integers(0, 3)), draw(st.integers(1, 8))
    host_ip, protocol = draw(st.sampled_from(("", "127.0.0.1"))), draw(transports)
    expanded = [
        PortBinding(port=port, protocol=protocol, host_ip=host_ip, host_port=str(FIRST + shift + port - start))
        for port in range(start, start + count)
    ]
    return draw(st.permutations([*expanded, *draw(st.lists(bindings(), max_size=3))]))


def read(asked: Iterable[PortBinding], sources: dict[str, tuple[str, ...]]) -> tuple[Wish, ...]:
    networks = {key: tuple(map(ip_network, texts)) for key, texts in sources.items()}
    spec = ContainerSpec(image="busybox", port_bindings=tuple(asked), publish_sources=networks)
    return wishes(spec, ImageConfig(), NAT)


Single = tuple[Transport, str, str, int]


def expected(asked: Iterable[PortBinding]) -> set[Single]:
    """Every binding on its own: protocol, address, host port as asked, container port."""
    found: set[Single] = set()
    for item in asked:
        assert item.protocol != "sctp"
        host_port = "" if item.host_port == "0" else item.host_port
        low, _, high = host_port.partition("-")
        for address in [item.host_ip] if item.host_ip else ["0.0.0.0", "::"]:
            found.add((item.protocol, address, low if low == high else host_port, item.port))
    return found


def meaning(found: Iterable[Wish]) -> set[Single]:
    """Every port of every wish on its own."""
    single: set[Single] = set()
    for wish in found:
        for address in wish.addresses:
            for index in range(wish.count):
                if wish.fixed:
                    host_port = str(wish.first + index)
                else:
                    host_port = f"{wish.first}-{wish.last}" if wish.first else ""
                single.add((wish.protocol, str(address), host_port, wish.port + index))
    return single


def without_covered(found: set[Single]) -> set[Single]:
    """Without what a wildcard of the family publishes anyway."""
    return {
        item
        for item in found
        if item[1] in ("0.0.0.0", "::")
        or (item[0], "::" if ":" in item[1] else "0.0.0.0", item[2], item[3]) not in found
    }


@given(runs())
def test_wishes_mean_what_the_single_bindings_mean(asked: list[PortBinding]) -> None:
    try:
        found = read(asked, {})
    except InvalidRequest:
        places = [item for item in expected(asked) if item[2] and "-" not in item[2]]
        assert any(
            one != other and meets(_bound(one), _bound(other)) and one[3] != other[3]
            for one in places
            for other in places
        )
        return
    assert meaning(found) == without_covered(expected(asked))
    assert sum(wish.count * len(wish.addresses) for wish in found) == len(meaning(found))


def _bound(item: Single) -> tuple[Transport, IPAddress, int]:
    return item[0], ip_address(item[1]), int(item[2])


@given(runs(), st.sets(st.integers(80, 97), max_size=3))
def test_sources_reach_exactly_their_ports(asked: list[PortBinding], ports: set[int]) -> None:
    published = {f"{item.port}/{item.protocol}" for item in asked}
    sources = {f"{port}/tcp": ("192.0.2.0/24",) for port in ports if f"{port}/tcp" in published}
    try:
        found = read(asked, sources)
    except InvalidRequest:
        return
    for wish in found:
        limited = {f"{wish.port + index}/{wish.protocol}" in sources for index in range(wish.count)}
        assert limited == {wish.limited}


@given(st.permutations([PortBinding(port=port, host_port=str(port + 7920)) for port in range(80, 96)]))
def test_a_range_is_one_wish_in_whatever_order_it_comes(asked: list[PortBinding]) -> None:
    (wish,) = read(asked, {})
    assert (wish.port, wish.first, wish.count) == (80, 8000, 16)


@st.composite
def publications(draw: st.DrawFn) -> Publication:
    first = draw(numbers)
    return Publication(
        protocol=draw(transports),
        address=ip_address(draw(addresses)),
        host_port=first,
        port=80,
        count=draw(st.integers(1, LAST - first + 1)),
    )


def overlapping(one: Publication, other: Publication) -> set[int]:
    """Host ports on which the two would meet."""
    if not meets((one.protocol, one.address, 1), (other.protocol, other.address, 1)):
        return set()
    return set(one.host_ports) & set(other.host_ports)


@given(st.lists(publications(), max_size=12), publications(), st.data())
def test_the_book_finds_the_lowest_port_that_somebody_has(
    entered: list[Publication], asked: Publication, data: st.DataObject
) -> None:
    book = PortBook()
    entries = [Entry(sandbox_id=str(index), publication=item) for index, item in enumerate(entered)]
    for entry in entries:
        book.add(entry)
    gone = data.draw(st.sets(st.sampled_from(entries))) if entries else set()
    for entry in gone:
        book.remove(entry)
    taken = set().union(*(overlapping(asked, item.publication) for item in entries if item not in gone))
    found = book.holder(asked.protocol, asked.address, asked.host_port, asked.host_ports[-1])
    assert (found[0] if found else None) == min(taken, default=None)


@st.composite
def any_wish(draw: st.DrawFn) -> Wish:
    low, high = sorted((draw(numbers), draw(numbers)))
    kind = draw(st.sampled_from(("fixed", "range", "random", "run", "routed")))
    first, last = {"fixed": (low, low), "random": (0, 0), "routed": (0, 0)}.get(kind, (low, high))
    return Wish(
        protocol=draw(transports),
        addresses=tuple(
            ip_address(item) for item in draw(st.sampled_from((("0.0.0.0", "::"), ("127.0.0.1",), ("::1",))))
        ),
        port=80,
        count=high - low + 1 if kind == "run" else 1,
        first=first,
        last=last,
        routed=kind == "routed",
    )


class Publishing(RuleBasedStateMachine):
    """Sandboxes that publish, end and outlive the daemon, and programs of the host, on a host with few ports."""

    live = Pool("live")

    def __init__(self) -> None:
        super().__init__()
        self.host = FakeHost(dynamic=DynamicPorts(first=FIRST, last=LAST, reserved=frozenset({FIRST + 3})), most=60)
        self.ports = self.new_ports()
        self.published: dict[str, tuple[Publication, ...]] = {}
        self.count = 0

    def new_ports(self) -> Ports:
        return Ports(self.host, self.host.in_use, self.host.holders, most_sockets=50)

    @rule(target=live, asked=st.lists(any_wish(), min_size=1, max_size=4))
    def publish(self, asked: list[Wish]) -> object:
        self.count += 1
        sandbox = f"s{self.count}"
        before = dict(self.host.open)
        try:
            reserved = self.ports.reserve(sandbox, sandbox, asked)
        except (Conflict, KernelFailure):
            assert self.host.open == before
            assert self.ports.keys(sandbox) == ()
            return multiple()
        with reserved:
            self.host.keep(reserved.sockets)
        self.published[sandbox] = reserved.publications
        flat = iter(reserved.publications)
        for wish in asked:
            of_wish = [next(flat) for _ in wish.addresses]
            assert len({item.host_port for item in of_wish}) == 1
            assert tuple(item.address for item in of_wish) == wish.addresses
        return sandbox

    @rule(sandbox=consumes(live))
    def unpublish(self, sandbox: str) -> None:
        self.host.let_go(self.ports.keys(sandbox))
        self.ports.release(sandbox)
        del self.published[sandbox]

    @rule(protocol=transports, address=addresses, port=numbers)
    def program_starts(self, protocol: Transport, address: str, port: int) -> None:
        if not self.host.in_use(protocol, ip_address(address), port, port):
            self.host.program("nginx", protocol, address, port)

    @rule()
    def programs_end(self) -> None:
        self.host.programs.clear()

    @rule(lost=st.booleans())
    def daemon_restarts(self, lost: bool) -> None:
        """With ``lost``, the keeper ended too."""
        if lost:
            self.host.let_go(list(self.host.kept))
        self.ports = self.new_ports()
        for sandbox, its in self.published.items():
            with self.ports.adopt(sandbox, sandbox, its, self.host.kept) as adopted:
                self.host.keep(adopted.sockets)
        assert self.ports.strays(self.host.kept) == ()

    @invariant()
    def no_two_publications_overlap(self) -> None:
        every = [item for its in self.published.values() for item in its if item.host_port]
        for index, one in enumerate(every):
            for other in every[index + 1 :]:
                assert not overlapping(one, other)

    @invariant()
    def only_the_keeper_has_sockets_and_only_for_the_living(self) -> None:
        held = {descriptor for its in self.host.kept.values() for descriptor in its}
        assert held == set(self.host.open)
        known = {key for sandbox in self.published for key in self.ports.keys(sandbox)}
        assert known == set(self.host.kept)


TestPublishing = Publishing.TestCase
