"""Connections of clients that never pause follow their port when it is published, moved and unpublished."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from linkspan.kernel.conntrack import Change, Conntrack
from linkspan.kernel.wire import conntrack as codec
from namespaces import Namespace

pytestmark = pytest.mark.kernel

UDP = socket.IPPROTO_UDP
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
HOST = {4: "192.0.2.1", 6: "2001:db8::1"}
SECOND = {4: "192.0.2.77", 6: "2001:db8::77"}
CLIENT = {4: "192.0.2.9", 6: "2001:db8::9"}
ANYWHERE = {4: "0.0.0.0", 6: "::"}
GATEWAY = {4: "10.9.0.1", 6: "fd00:9::1"}
OLD = {4: "10.9.0.2", 6: "fd00:9::2"}
NEW = {4: "10.9.0.3", 6: "fd00:9::3"}
WIDTH = {4: 24, 6: 64}

RULES = """table inet lab {
 map pub4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
 map pub6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
 chain pre { type nat hook prerouting priority dstnat; policy accept;
  fib daddr type local dnat ip to meta l4proto . th dport map @pub4
  fib daddr type local dnat ip6 to meta l4proto . th dport map @pub6
 }
 chain out { type nat hook output priority -100; policy accept; }
}"""


class Lab:
    """A client, the host, and one namespace that holds the addresses of both containers."""

    def __init__(self) -> None:
        self.host, self.client, self.box = Namespace(), Namespace(), Namespace()
        self.host.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        self._wire(self.client, "up0", CLIENT, (HOST, SECOND))
        self._wire(self.box, "box0", OLD, (GATEWAY,))
        for version in (4, 6):
            self.box.run("ip", "addr", "add", f"{NEW[version]}/{WIDTH[version]}", "dev", "eth0", *nodad(version))
            self.box.run("ip", f"-{version}", "route", "add", "default", "via", GATEWAY[version])
            self.client.run("ip", f"-{version}", "route", "add", "default", "via", HOST[version])
        for version in (4, 6):
            for far in (self.client, self.box):
                far.run("ping", "-n", "-c1", "-W5", HOST[version])  # links may take a second to come up
        self.host.run("nft", RULES)
        with self.host.entered():
            self.conntrack = Conntrack()

    def _wire(self, far: Namespace, name: str, inside: dict[int, str], own: tuple[dict[int, str], ...]) -> None:
        self.host.run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", far.path)
        for version in (4, 6):
            far.run("ip", "addr", "add", f"{inside[version]}/{WIDTH[version]}", "dev", "eth0", *nodad(version))
            for each in own:
                self.host.run("ip", "addr", "add", f"{each[version]}/{WIDTH[version]}", "dev", name, *nodad(version))
        for run, link in ((far.run, "eth0"), (self.host.run, name)):
            run("sysctl", "-qw", f"net.ipv6.conf.{link}.dad_transmits=0")
            run("ip", "link", "set", link, "up")

    def publish(self, version: int, port: int, target: str, target_port: int) -> None:
        change = f"add element inet lab pub{version} {{ udp . {port} : {target} . {target_port} }}"
        self.host.run("nft", change)

    def unpublish(self, version: int, port: int) -> None:
        self.host.run("nft", f"delete element inet lab pub{version} {{ udp . {port} }}")

    def close(self) -> None:
        self.conntrack.close()
        for namespace in (self.host, self.client, self.box):
            namespace.close()


def nodad(version: int) -> tuple[str, ...]:
    return ("nodad",) if version == 6 else ()


@pytest.fixture(scope="module")
def built() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.close()


@pytest.fixture
def lab(built: Lab) -> Lab:
    """The lab with nothing published and nothing tracked."""
    built.host.run("nft", "flush map inet lab pub4; flush map inet lab pub6")
    for version in (4, 6):
        for body in built.conntrack._tracking.dump(codec.dump(version=version, protocol=UDP)):
            flow = codec.decode(body)
            assert flow is not None
            built.conntrack._tracking.request(codec.delete(flow))
    return built


class Talker:
    """A client that never pauses: one socket, one peer, and who got what it sends."""

    def __init__(self, lab: Lab, version: int, address: str, port: int) -> None:
        self._peer = (address, port)
        with lab.client.entered():
            self._socket = socket.socket(FAMILY[version], socket.SOCK_DGRAM)
        self._socket.bind((CLIENT[version], 0))

    def reaches(self, ear: socket.socket) -> bool:
        """Whether one of a few datagrams arrives there."""
        for _ in range(3):
            self._socket.sendto(b"on and on", self._peer)
            time.sleep(0.02)
        try:
            while ear.recv(100, socket.MSG_DONTWAIT):
                return drained(ear)
        except BlockingIOError:
            pass
        return False

    def close(self) -> None:
        self._socket.close()


def drained(ear: socket.socket) -> bool:
    try:
        while ear.recv(100, socket.MSG_DONTWAIT):
            pass
    except BlockingIOError:
        pass
    return True


def ear_in(namespace: Namespace, version: int, address: str, port: int) -> socket.socket:
    with namespace.entered():
        ear = socket.socket(FAMILY[version], socket.SOCK_DGRAM)
    ear.bind((address, port))
    return ear


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("everywhere", [True, False], ids=["all addresses", "one address"])
def test_traffic_that_never_pauses_follows_its_port_when_it_is_published(
    lab: Lab, version: int, everywhere: bool
) -> None:
    """moby#8795 and moby#53384: the host's port differs from the container's."""
    with ear_in(lab.box, version, OLD[version], 53) as ear:
        talker = Talker(lab, version, HOST[version], 5300)
        assert not talker.reaches(ear)
        lab.publish(version, 5300, OLD[version], 53)
        assert not talker.reaches(ear), "the tracked connection goes on to the host"
        address = ip_address(ANYWHERE[version] if everywhere else HOST[version])
        target = ip_address(OLD[version])
        assert lab.conntrack.purge_published(UDP, address, 5300, target=target, target_port=53) == 1
        assert talker.reaches(ear)
        assert lab.conntrack.purge_published(UDP, address, 5300, target=target, target_port=53) == 0, "right by now"
        talker.close()


@pytest.mark.parametrize("version", [4, 6])
def test_traffic_that_never_pauses_leaves_a_container_whose_port_is_gone(lab: Lab, version: int) -> None:
    with ear_in(lab.box, version, OLD[version], 53) as old, ear_in(lab.box, version, NEW[version], 53) as new:
        talker = Talker(lab, version, HOST[version], 5300)
        lab.publish(version, 5300, OLD[version], 53)
        assert talker.reaches(old)
        lab.unpublish(version, 5300)
        lab.publish(version, 5300, NEW[version], 53)
        assert talker.reaches(old), "the tracked connection goes on to the old container"
        address, target = ip_address(ANYWHERE[version]), ip_address(OLD[version])
        assert lab.conntrack.purge_target(UDP, address, 5300, target=target, target_port=53) == 1
        assert talker.reaches(new)
        assert not talker.reaches(old)
        assert lab.conntrack.purge_target(UDP, address, 5300, target=target, target_port=53) == 0
        talker.close()


@pytest.mark.parametrize("version", [4, 6])
def test_what_merely_passes_through_the_host_keeps_its_connection(lab: Lab, version: int) -> None:
    """A container that asks a name server outside, while port 53 is published on all addresses."""
    with ear_in(lab.box, version, NEW[version], 53) as ear:
        through = Talker(lab, version, NEW[version], 53)
        assert through.reaches(ear)
        address, target = ip_address(ANYWHERE[version]), ip_address(OLD[version])
        assert lab.conntrack.purge_published(UDP, address, 53, target=target, target_port=53) == 0
        through.close()


def test_another_address_of_the_host_is_another_publication(lab: Lab) -> None:
    """moby#46276: two containers with one port on two addresses."""
    with ear_in(lab.host, 4, SECOND[4], 5300) as ear:
        neighbour = Talker(lab, 4, SECOND[4], 5300)
        assert neighbour.reaches(ear)
        address, target = ip_address(HOST[4]), ip_address(OLD[4])
        assert lab.conntrack.purge_published(UDP, address, 5300, target=target, target_port=53) == 0
        neighbour.close()


def test_each_port_of_a_range_belongs_to_its_own_target_port(lab: Lab) -> None:
    talkers = [Talker(lab, 4, HOST[4], port) for port in (6000, 6001, 6002, 6003)]
    for port in (6000, 6001, 6003):
        lab.publish(4, port, OLD[4], port - 5900)
    with ear_in(lab.box, 4, OLD[4], 100) as ear:
        for talker in talkers:
            talker.reaches(ear)
    lab.publish(4, 6002, OLD[4], 102)
    address, target = ip_address(ANYWHERE[4]), ip_address(OLD[4])
    purge = lab.conntrack.purge_published
    assert purge(UDP, address, 6000, 2, target=target, target_port=100) == 0, "both go where they should"
    assert purge(UDP, address, 6000, 3, target=target, target_port=100) == 1, "6002 was the host's"
    assert lab.conntrack.purge_target(UDP, address, 6000, 4, target=target, target_port=100) == 3
    for talker in talkers:
        talker.close()


def test_several_changes_are_purged_together(lab: Lab) -> None:
    talkers = [Talker(lab, 4, HOST[4], 6000), Talker(lab, 4, SECOND[4], 6001), Talker(lab, 6, HOST[6], 6002)]
    with ear_in(lab.box, 4, OLD[4], 100) as ear:
        for talker in talkers:
            talker.reaches(ear)
    assert (
        lab.conntrack.purge(
            [
                Change(protocol=UDP, address=ip_address(HOST[4]), first=6000, target=ip_address(OLD[4]), target_port=1),
                Change(protocol=UDP, address=ip_address(ANYWHERE[4]), first=6001, target=ip_address(OLD[4])),
                Change(protocol=UDP, address=ip_address(ANYWHERE[6]), first=6002, target=ip_address(OLD[6])),
                Change(protocol=UDP, address=ip_address(HOST[4]), first=6001, target=ip_address(OLD[4])),
            ]
        )
        == 3
    )
    assert lab.conntrack.purge([]) == 0
    for talker in talkers:
        talker.close()


def test_loopback_addresses_are_the_hosts_own(lab: Lab) -> None:
    with ear_in(lab.host, 4, "127.0.0.5", 5300) as ear, lab.host.entered():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.sendto(b"hello", ("127.0.0.5", 5300))
        assert ear.recv(10) == b"hello"
        client.close()
    address, target = ip_address(ANYWHERE[4]), ip_address(OLD[4])
    assert lab.conntrack.purge_published(UDP, address, 5300, target=target, target_port=53) == 1


def test_a_port_that_a_socket_of_ours_answers_loses_only_what_was_translated(lab: Lab) -> None:
    with ear_in(lab.box, 6, OLD[6], 53) as old, ear_in(lab.host, 6, HOST[6], 5300) as own:
        stale = Talker(lab, 6, HOST[6], 5300)
        lab.publish(6, 5300, OLD[6], 53)
        assert stale.reaches(old)
        lab.unpublish(6, 5300)
        fresh = Talker(lab, 6, HOST[6], 5300)
        assert fresh.reaches(own)
        assert lab.conntrack.purge_published(UDP, ip_address("::"), 5300) == 1
        assert stale.reaches(own)
        fresh.close()
        stale.close()


def test_the_kernel_answers_with_the_connections_of_the_port_alone(lab: Lab) -> None:
    with lab.host.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for port in range(7000, 7500):
            client.sendto(b"", ("127.0.0.1", port))
    tracking = lab.conntrack._tracking
    assert len(tracking.dump(codec.dump(version=4, protocol=UDP))) >= 500
    assert len(tracking.dump(codec.dump(version=4, protocol=UDP, port=7001))) == 1
    assert tracking.dump(codec.dump(version=4, protocol=socket.IPPROTO_TCP, port=7001)) == []
