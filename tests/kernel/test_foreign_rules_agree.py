"""What we say that a foreign ruleset does to a packet is what the kernel does, on random rulesets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from linkspan.kernel import foreign
from linkspan.kernel.nft import Nft, NftError
from linkspan.kernel.passage import Packet, stops
from namespaces import Namespace

pytestmark = pytest.mark.kernel

CLIENT, SERVER, PORT = "10.1.0.2", "10.2.0.2", 53
PACKET = Packet(
    hook="forward",
    version=4,
    incoming="in0",
    outgoing="out0",
    protocol="udp",
    port=PORT,
    source=ip_address(CLIENT),
    destination=ip_address(SERVER),
)
CONDITIONS = (
    *('iifname "in0"', 'iifname "in*"', 'iifname != "in0"', 'iifname { "other", "in*" }', "iifname @near"),
    *('oifname "out0"', 'oifname "in0"', 'oifname != "far*"', "oifname @near", 'iif "in0"', 'oif != "in0"'),
    *("udp dport 53", "tcp dport 53", "udp dport { 50-60, 99 }", "udp dport != 53", "th dport 53", "udp dport 54-99"),
    *(
        "ip saddr 10.1.0.0/24",
        "ip daddr 10.2.0.2",
        "ip daddr != 10.2.0.0/24",
        "ip saddr { 10.9.0.1, 10.1.0.1-10.1.0.9 }",
    ),
    *("ip6 saddr ::1", "meta nfproto ipv4", "meta nfproto ipv6", "meta protocol ip", "ip protocol udp"),
    *("ct state new", "ct state established,related", "ct state != new", "ct state { invalid, new }"),
    *("meta l4proto udp", "meta l4proto { tcp, icmp }", "ct status dnat", "fib daddr type local", "counter"),
)
MAPS = (
    'iifname vmap {{ "in0" : {one}, "zz" : {two} }}',
    "ct state vmap {{ new : {one}, established : {two} }}",
    "udp dport vmap {{ 54 : {one}, 53 : {two} }}",
    "meta l4proto vmap {{ tcp : {one}, udp : {two} }}",
    'iifname . oifname vmap {{ "other" . "out0" : {one} }}',
)
ENDS = ("accept", "drop", "return", "continue")
BELOW = {"base": ("a", "b", "c"), "early": ("a", "b", "c"), "a": ("b", "c"), "b": ("c",), "c": ()}
"""Which chains a chain may jump to: never in a circle."""


@st.composite
def rules(draw: st.DrawFn, chain: str) -> str:
    conditions = draw(st.lists(st.sampled_from(CONDITIONS), max_size=3))
    ways = [f"{verb} {name}" for name in BELOW[chain] for verb in ("jump", "goto")]
    if draw(st.integers(0, 3)) == 0:
        verdicts = st.sampled_from([*ENDS, *ways])
        ending = draw(st.sampled_from(MAPS)).format(one=draw(verdicts), two=draw(verdicts))
    else:
        ending = draw(st.sampled_from(["accept", "drop", "reject", "return", "", *ways]))
    return " ".join((*conditions, ending)) or "counter"


@st.composite
def tables(draw: st.DrawFn) -> str:
    """A table with two base chains and three others."""
    chains = []
    for name in reversed(BELOW):
        lines = draw(st.lists(rules(name), max_size=5))
        if name in ("base", "early"):
            priority = 0 if name == "base" else -5
            policy = draw(st.sampled_from(["accept", "drop"]))
            lines.insert(0, f"type filter hook forward priority {priority}; policy {policy};")
        chains.append(f"chain {name} {{\n" + "\n".join(lines) + "\n}")
    near = 'set near { type ifname; elements = { "in0", "other" }\n}'
    return "table inet mine {\n" + "\n".join((near, *chains)) + "\n}"


class Road:
    """A client and a server with this thread's namespace as the router between."""

    def __init__(self, here: Namespace) -> None:
        self.client, self.server = Namespace(), Namespace()
        for far, name, net in ((self.client, "in0", "10.1.0"), (self.server, "out0", "10.2.0")):
            here.run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", far.path)
            here.run("ip", "addr", "add", f"{net}.1/24", "dev", name)
            here.run("ip", "link", "set", name, "up")
            far.run("ip", "addr", "add", f"{net}.2/24", "dev", "eth0")
            far.run("ip", "link", "set", "eth0", "up")
            far.run("ip", "route", "add", "default", "via", f"{net}.1")
        here.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.client.run("ping", "-n", "-c1", "-W5", SERVER)
        self.nft = Nft()
        with self.server.entered():
            self._ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._ear.bind((SERVER, PORT))
        self._ear.settimeout(0.02)

    def passes(self) -> bool:
        """Whether the first datagram of a new connection arrives."""
        with self.client.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"new", (SERVER, PORT))
        try:
            return self._ear.recv(10) == b"new"
        except TimeoutError:
            return False

    def close(self) -> None:
        self._ear.close()
        self.nft.close()
        self.client.close()
        self.server.close()


@pytest.fixture(scope="module")
def road() -> Iterator[Road]:
    with Namespace() as here, here.entered():
        built = Road(here)
        yield built
        built.close()


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(table=tables())
def test_a_packet_ends_where_we_say_and_nowhere_else(road: Road, table: str) -> None:
    try:
        road.nft.run(["flush ruleset", table])
    except NftError as error:
        assume("conflicting" not in str(error))  # such as tcp and udp in one rule
        raise
    stopped = stops(foreign.read(road.nft), PACKET)
    assert road.passes() == (not stopped), stopped
