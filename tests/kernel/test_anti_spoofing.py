"""Real frames of a container that lies, and of one that does not, against the guarded ports of a real bridge."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import msgspec
import pytest

import frames
from frames import ALL_NODES_MAC, BROADCAST, ethernet, neighbour, option
from linkspan.kernel import drops, netns, sysctls
from linkspan.kernel.diff import diff
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.state import Facts, State, state_of
from linkspan.model.endpoint import Endpoint, EndpointOptions
from linkspan.model.network import Network
from linkspan.plan import bridge, host, sandbox, spoofing
from linux_objects import GROUP, INSTANCE
from plan_cases import container_sandbox, endpoint, network

pytestmark = pytest.mark.kernel

WEB_MAC, DB_MAC, OTHER_MAC = "02:42:ac:00:00:02", "02:42:ac:00:00:03", "02:42:ac:00:00:99"
WEB, DB, GATEWAY, STRANGER = "10.9.0.2", "10.9.0.3", "10.9.0.1", "10.9.0.77"
WEB6, DB6, GATEWAY6 = "fd00:9::2", "fd00:9::3", "fd00:9::1"
WEB_LOCAL, DB_LOCAL = str(bridge.link_local(WEB_MAC)), str(bridge.link_local(DB_MAC))
BRIDGE_LOCAL = str(bridge.link_local(bridge.stable_mac("a" * 64)))
OVERRIDE = 0x20000000
FACTS = Facts(instance=INSTANCE, group=GROUP)

PATIENCE = 2.0


class Lab:
    """A dual network with two containers: web, who attacks, and db, who listens."""

    def __init__(self, kernel: LinuxKernel, on: Network, options: EndpointOptions) -> None:
        self.kernel = kernel
        self.network = on
        self.web = container(on, "w", WEB_MAC, WEB, WEB6, options)
        self.db = container(on, "d", DB_MAC, DB, DB6, EndpointOptions())
        self.state = self.want()
        kernel.apply(diff(self.state, {}))

    def want(self) -> State:
        objects = [*host.base(FACTS, ipv6=True), *bridge.network(self.network, FACTS)]
        for each in (self.web, self.db):
            box = msgspec.structs.replace(container_sandbox(), id=each.sandbox_id)
            objects += sandbox.sandbox(box, [(self.network, each)])
            objects += bridge.endpoint(self.network, each, sandbox.namespace_of(box), FACTS)
        return state_of(objects)

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        with self.kernel.namespaces.opened(name * 12) as descriptor, netns.entered(descriptor):
            yield

    def arrives(self, frame: bytes) -> bool:
        """Whether what web sends reaches db. An honest frame behind it tells when it would have."""
        with self.inside("d"):
            ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        with self.inside("w"):
            mouth = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        marker = ethernet(WEB_MAC, DB_MAC, frames.IPV4, frames.udp4(WEB, DB, (9, 9), os.urandom(24)))
        with ear, mouth:
            ear.bind(("eth0", 3))
            ear.settimeout(PATIENCE)
            mouth.bind(("eth0", 0))
            mouth.send(frame)
            mouth.send(marker)
            heard = []
            while (last := ear.recv(2048)) != marker:
                heard.append(last)
        return frame in heard

    def send(self, name: str, frame: bytes) -> None:
        """From one of the containers. The bridge has dealt with it on return."""
        with self.inside(name), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as mouth:
            mouth.bind(("eth0", 0))
            mouth.send(frame)
        time.sleep(0.02)

    def refused(self) -> dict[str, int]:
        return self.kernel.drops().get(self.web.host_interface, {})


def container(on: Network, letter: str, mac: str, ipv4: str, ipv6: str, options: EndpointOptions) -> Endpoint:
    return msgspec.structs.replace(
        endpoint(on, digit=letter),
        sandbox_id=letter * 64,
        mac=mac,
        ipv4=IPv4Address(ipv4),
        ipv6=IPv6Address(ipv6),
        options=options,
    )


def made(kernel: LinuxKernel, *, on_network: bool = True, on_endpoint: bool | None = None) -> Lab:
    net = network("lab", "10.9.0.0/24", "fd00:9::/64")
    assert net.bridge is not None
    net = msgspec.structs.replace(net, bridge=msgspec.structs.replace(net.bridge, anti_spoofing=on_network))
    return Lab(kernel, net, EndpointOptions(anti_spoofing=on_endpoint))


@pytest.fixture(params=[0, 1], ids=["without br_netfilter", "with br_netfilter"])
def lab(linux: LinuxKernel, request: pytest.FixtureRequest) -> Lab:
    bridge_netfilter(request.param)
    return made(linux)


def bridge_netfilter(value: int) -> None:
    for path in ("net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"):
        if sysctls.read(path) is None:
            pytest.skip("this kernel has no br_netfilter")
        sysctls.write(path, str(value))


def from_web(kind: int, payload: bytes, to: str = DB_MAC) -> bytes:
    return ethernet(WEB_MAC, to, kind, payload)


def discovery(kind: int, body: bytes, *, source: str = WEB6, to: str = "ff02::1") -> bytes:
    return from_web(frames.IPV6, frames.icmp6(source, to, kind, body), ALL_NODES_MAC)


FORGED = {
    "a foreign MAC": ("mac", ethernet(OTHER_MAC, DB_MAC, frames.IPV4, frames.udp4(WEB, DB, (5, 5)))),
    "the sibling's MAC": ("mac", ethernet(DB_MAC, BROADCAST, frames.IPV4, frames.udp4(DB, DB, (5, 5)))),
    "a foreign IPv4 source": ("ipv4", from_web(frames.IPV4, frames.udp4(STRANGER, DB, (5, 5)))),
    "the gateway's IPv4 source": ("ipv4", from_web(frames.IPV4, frames.udp4(GATEWAY, DB, (5, 5)))),
    "no IPv4 source": ("ipv4", from_web(frames.IPV4, frames.udp4("0.0.0.0", DB, (5, 5)))),
    "a foreign IPv6 source": ("ipv6", from_web(frames.IPV6, frames.udp6("fd00:9::77", DB6, (5, 5)))),
    "the sibling's link-local source": ("ipv6", from_web(frames.IPV6, frames.udp6(DB_LOCAL, DB6, (5, 5)))),
    "no IPv6 source": ("ipv6", from_web(frames.IPV6, frames.udp6("::", DB6, (5, 5)))),
    "a gratuitous ARP for the gateway": ("arp", from_web(frames.ARP, frames.arp(WEB_MAC, GATEWAY, GATEWAY), BROADCAST)),
    "a gratuitous ARP for the sibling": ("arp", from_web(frames.ARP, frames.arp(WEB_MAC, DB, DB), BROADCAST)),
    "an ARP reply for the gateway": ("arp", from_web(frames.ARP, frames.arp(WEB_MAC, GATEWAY, DB, operation=2))),
    "an ARP reply with a foreign MAC": ("arp", from_web(frames.ARP, frames.arp(OTHER_MAC, WEB, DB, operation=2))),
    "an ARP reply from nowhere": ("arp", from_web(frames.ARP, frames.arp(WEB_MAC, "0.0.0.0", DB, operation=2))),
    "an advertisement of the gateway": (
        "neighbour",
        discovery(frames.ADVERTISEMENT, neighbour(GATEWAY6, option(2, WEB_MAC), flags=OVERRIDE)),
    ),
    "an advertisement of the gateway's link-local address": (
        "neighbour",
        discovery(frames.ADVERTISEMENT, neighbour(BRIDGE_LOCAL, option(2, WEB_MAC), flags=OVERRIDE), source=WEB_LOCAL),
    ),
    "an advertisement of the sibling": (
        "neighbour",
        discovery(frames.ADVERTISEMENT, neighbour(DB6, option(2, WEB_MAC), flags=OVERRIDE)),
    ),
    "an advertisement with the sibling's source": (
        "ipv6",
        discovery(frames.ADVERTISEMENT, neighbour(DB6, option(2, WEB_MAC)), source=DB6),
    ),
    "an advertisement with a foreign MAC": (
        "neighbour",
        discovery(frames.ADVERTISEMENT, neighbour(WEB6, option(2, OTHER_MAC), flags=OVERRIDE)),
    ),
    "an advertisement with a second MAC": (
        "neighbour",
        discovery(frames.ADVERTISEMENT, neighbour(WEB6, option(2, WEB_MAC), option(2, OTHER_MAC))),
    ),
    "an advertisement behind an extension header": (
        "neighbour",
        from_web(
            frames.IPV6,
            frames.hidden_icmp6(WEB6, "ff02::1", frames.ADVERTISEMENT, neighbour(DB6, option(2, WEB_MAC))),
            ALL_NODES_MAC,
        ),
    ),
    "a solicitation that lies about its MAC": (
        "neighbour",
        discovery(frames.SOLICITATION, neighbour(DB6, option(1, OTHER_MAC))),
    ),
    "a solicitation from the sibling": (
        "ipv6",
        discovery(frames.SOLICITATION, neighbour(GATEWAY6, option(1, WEB_MAC)), source=DB6),
    ),
    "a duplicate detection of the sibling's address": (
        "neighbour",
        discovery(frames.SOLICITATION, neighbour(DB6), source="::"),
    ),
    "a duplicate detection with a MAC": (
        "neighbour",
        discovery(frames.SOLICITATION, neighbour(WEB6, option(1, OTHER_MAC)), source="::"),
    ),
    "a router solicitation that lies about its MAC": (
        "neighbour",
        discovery(frames.ROUTER_SOLICITATION, bytes(4) + option(1, OTHER_MAC)),
    ),
    "a router advertisement": ("router", discovery(frames.ROUTER_ADVERTISEMENT, bytes(12), source=WEB_LOCAL)),
    "a router advertisement behind an extension header": (
        "router",
        from_web(
            frames.IPV6,
            frames.hidden_icmp6(WEB_LOCAL, "ff02::1", frames.ROUTER_ADVERTISEMENT, bytes(12)),
            ALL_NODES_MAC,
        ),
    ),
    "a redirect": ("router", discovery(frames.REDIRECT, bytes(36), source=WEB_LOCAL)),
    "a DHCP offer": ("dhcp", from_web(frames.IPV4, frames.udp4(WEB, "255.255.255.255", (67, 68)), BROADCAST)),
    "a DHCP offer from another port": ("dhcp", from_web(frames.IPV4, frames.udp4(WEB, DB, (6767, 68)))),
    "a DHCPv6 answer": ("dhcp", from_web(frames.IPV6, frames.udp6(WEB_LOCAL, DB_LOCAL, (547, 546)))),
    "a DHCPv6 answer from another port": ("dhcp", from_web(frames.IPV6, frames.udp6(WEB6, DB6, (5470, 546)))),
    "RARP": ("ethertype", from_web(frames.RARP, bytes(28), BROADCAST)),
    "LLDP to everybody": ("ethertype", from_web(frames.LLDP, bytes(40), BROADCAST)),
    "a spanning tree": ("ethertype", from_web(38, b"\x42\x42\x03" + bytes(35), "01:80:c2:00:00:00")),
    "a VLAN tag": ("ethertype", frames.tagged(from_web(frames.IPV4, frames.udp4(WEB, DB, (5, 5))), 7)),
    "a VLAN tag on IPv6": ("ethertype", frames.tagged(from_web(frames.IPV6, frames.udp6(WEB6, DB6, (5, 5))), 7)),
    "a VLAN tag on ARP": ("ethertype", frames.tagged(from_web(frames.ARP, frames.arp(WEB_MAC, WEB, DB)), 7)),
}
"""By what it is: why it is refused, and the frame."""

HONEST = {
    "UDP over IPv4": from_web(frames.IPV4, frames.udp4(WEB, DB, (5, 5))),
    "UDP over IPv6": from_web(frames.IPV6, frames.udp6(WEB6, DB6, (5, 5))),
    "UDP from the link-local address": from_web(frames.IPV6, frames.udp6(WEB_LOCAL, DB_LOCAL, (5, 5))),
    "IPv4 multicast": from_web(frames.IPV4, frames.udp4(WEB, "224.0.0.251", (5353, 5353)), "01:00:5e:00:00:fb"),
    "IPv6 multicast": from_web(frames.IPV6, frames.udp6(WEB_LOCAL, "ff02::1", (5353, 5353)), ALL_NODES_MAC),
    "a broadcast": from_web(frames.IPV4, frames.udp4(WEB, "10.9.0.255", (137, 137)), BROADCAST),
    "an ARP request": from_web(frames.ARP, frames.arp(WEB_MAC, WEB, DB), BROADCAST),
    "an ARP reply": from_web(frames.ARP, frames.arp(WEB_MAC, WEB, DB, operation=2)),
    "a gratuitous ARP for itself": from_web(frames.ARP, frames.arp(WEB_MAC, WEB, WEB), BROADCAST),
    "an ARP probe": from_web(frames.ARP, frames.arp(WEB_MAC, "0.0.0.0", "10.9.0.50"), BROADCAST),
    "a solicitation": discovery(frames.SOLICITATION, neighbour(DB6, option(1, WEB_MAC))),
    "a solicitation without an option": discovery(frames.SOLICITATION, neighbour(DB6)),
    "an advertisement": discovery(frames.ADVERTISEMENT, neighbour(WEB6, option(2, WEB_MAC), flags=OVERRIDE)),
    "an advertisement without an option": discovery(frames.ADVERTISEMENT, neighbour(WEB_LOCAL), source=WEB_LOCAL),
    "duplicate detection": discovery(frames.SOLICITATION, neighbour(WEB6), source="::"),
    "duplicate detection with a nonce": discovery(
        frames.SOLICITATION, neighbour(WEB6, bytes((14, 1)) + bytes(6)), source="::"
    ),
    "a router solicitation": discovery(frames.ROUTER_SOLICITATION, bytes(4) + option(1, WEB_MAC), source=WEB_LOCAL),
    "a router solicitation without a source": discovery(frames.ROUTER_SOLICITATION, bytes(4), source="::"),
    "a DHCP client": from_web(frames.IPV4, frames.udp4("0.0.0.0", "255.255.255.255", (68, 67)), BROADCAST),
    "a DHCPv6 client": from_web(frames.IPV6, frames.udp6(WEB_LOCAL, "ff02::1", (546, 547)), ALL_NODES_MAC),
    "a listener report": from_web(
        frames.IPV6, frames.icmp6("::", "ff02::1", frames.LISTENER_REPORT, bytes(4)), ALL_NODES_MAC
    ),
}


def test_a_forged_frame_arrives_nowhere_and_is_counted(lab: Lab) -> None:
    expected: dict[str, int] = {}
    for what, (reason, frame) in FORGED.items():
        assert not lab.arrives(frame), what
        expected[reason] = expected.get(reason, 0) + 1
        assert lab.refused() == expected, what
    assert set(expected) == set(spoofing.REASONS) == set(drops.REASONS)


def test_honest_frames_arrive_and_are_not_counted(lab: Lab) -> None:
    for what, frame in HONEST.items():
        assert lab.arrives(frame), what
    assert lab.refused() == {}


def test_honest_programs_notice_nothing(lab: Lab) -> None:
    for version, address in ((socket.AF_INET, DB), (socket.AF_INET6, DB6)):
        with lab.inside("d"):
            server = socket.create_server((address, 7000), family=version)
        with lab.inside("w"):
            client = socket.create_connection((address, 7000), timeout=PATIENCE)
        with server, client:
            client.sendall(b"hello")
            taken, _ = server.accept()
            with taken:
                assert taken.recv(5) == b"hello"
        fragmented = b"x" * 4000
        with lab.inside("d"):
            ear = socket.socket(version, socket.SOCK_DGRAM)
        with lab.inside("w"):
            mouth = socket.socket(version, socket.SOCK_DGRAM)
        with ear, mouth:
            ear.settimeout(PATIENCE)
            ear.bind((address, 7001))
            mouth.sendto(fragmented, (address, 7001))
            assert ear.recv(5000) == fragmented
    assert lab.kernel.drops() == {}


@pytest.mark.parametrize(("on_network", "on_endpoint"), [(False, None), (True, False)])
def test_with_the_switch_off_everything_passes(linux: LinuxKernel, on_network: bool, on_endpoint: bool | None) -> None:
    bridge_netfilter(0)
    lab = made(linux, on_network=on_network, on_endpoint=on_endpoint)
    # The bridge itself keeps what another port owns or what is meant for the bridge.
    own = ("the sibling's MAC", "a spanning tree", "a VLAN tag", "a VLAN tag on IPv6", "a VLAN tag on ARP")
    for what, (_, frame) in FORGED.items():
        if what not in own:
            assert lab.arrives(frame), what
    assert lab.kernel.drops() == {}


def test_an_endpoint_may_be_guarded_on_an_unguarded_network(linux: LinuxKernel) -> None:
    lab = made(linux, on_network=False, on_endpoint=True)
    assert not lab.arrives(FORGED["a foreign IPv4 source"][1])
    assert lab.refused() == {"ipv4": 1}


def test_the_sibling_keeps_the_gateway_that_it_knows(lab: Lab) -> None:
    """The attack itself, not its frames: the victim's neighbour tables after it."""
    with lab.inside("d"):
        for version, address in ((socket.AF_INET, GATEWAY), (socket.AF_INET6, GATEWAY6)):
            with socket.socket(version, socket.SOCK_DGRAM) as out:
                out.sendto(b"x", (address, 9))
    time.sleep(0.1)
    for _, frame in FORGED.values():
        lab.arrives(frame)
    with lab.inside("d"):
        words = ["ip", "neigh", "show", "dev", "eth0"]
        known = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert bridge.stable_mac("a" * 64) in known
    assert OTHER_MAC not in known
    assert f"{GATEWAY} lladdr {WEB_MAC}" not in known
    assert f"{GATEWAY6} lladdr {WEB_MAC}" not in known


def test_no_frame_makes_the_bridge_look_for_the_sibling_elsewhere(lab: Lab) -> None:
    reserved = [f"01:80:c2:00:00:{last:02x}" for last in range(16)]
    thefts = [ethernet(DB_MAC, to, frames.LLDP, bytes(40)) for to in reserved]
    for theft in (*thefts, FORGED["the sibling's MAC"][1]):
        lab.send("d", ethernet(DB_MAC, WEB_MAC, frames.IPV4, frames.udp4(DB, WEB, (9, 9))))
        assert place_of(DB_MAC) == lab.db.host_interface
        lab.send("w", theft)
        assert place_of(DB_MAC) == lab.db.host_interface, theft.hex()


def place_of(mac: str) -> str:
    """The port at which the bridge looks for a MAC."""
    listed = subprocess.run(["bridge", "fdb", "show"], check=True, capture_output=True, text=True).stdout
    return next(line.split()[2] for line in listed.splitlines() if line.startswith(mac) and "permanent" not in line)


def test_what_packets_counted_is_no_drift(lab: Lab) -> None:
    lab.arrives(FORGED["a foreign MAC"][1])
    live = lab.kernel.read(["w" * 12, "d" * 12])
    assert {key: item for key, item in live.items() if key[0] in ("table", "element")} == {
        key: item for key, item in lab.state.items() if key[0] in ("table", "element")
    }


def test_the_guard_goes_with_its_endpoint(lab: Lab) -> None:
    gone = state_of(bridge.endpoint(lab.network, lab.web, "w" * 12, FACTS))
    lab.kernel.apply(diff({}, gone))
    left = lab.kernel.read([])
    assert not [key for key in left if lab.web.host_interface in key]


def test_without_the_table_there_are_no_counts(tmp_path: Path, linux: LinuxKernel) -> None:
    assert linux.drops() == {}
