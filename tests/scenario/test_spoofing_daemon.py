"""A container that lies, against a real daemon: what it forges is dropped, counted and told, unless somebody wants it.

Threads: moby#36355, CVE-2020-10749 and CVE-2020-13401 (router advertisements from a container).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import msgspec
import pytest

import frames
from daemons import Daemon, Launch, eventually
from isolation_lab import (
    Room,
    advertisement,
    arriving,
    ask,
    bridge_netfilter,
    findings,
    greet,
    known_mac,
    mac_of,
    ready,
    said_by_doctor,
    send,
    serving,
)
from namespaces import Namespace
from network_lab import address4, address6, default_route, endpoint, inside, sleeper

pytestmark = pytest.mark.scenario

PORT = 8123
GATEWAY4, GATEWAY6 = "10.74.0.1", "fd74::1"
STRANGER4, STRANGER6 = "10.74.0.77", "fd74::77"
OTHER_MAC = "02:42:ac:00:00:99"
SUBNETS = ("--subnet", "10.74.0.0/24", "--ipv6", "--subnet", "fd74::/64")
SWITCH = "linkspan.anti_spoofing"


class Host(msgspec.Struct):
    """A container's place as it is known to others."""

    room: Namespace
    mac: str
    ipv4: str
    ipv6: str
    local: str


class Town(msgspec.Struct):
    """``mallory``, who attacks, ``victim``, and the gateway's MAC."""

    daemon: Daemon
    mallory: Host
    victim: Host
    gateway: str


def host(daemon: Daemon, container: str, room: Namespace) -> Host:
    shown = room.run("ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link").stdout.split()
    local = next(word.partition("/")[0] for word in shown if word.startswith("fe80:"))
    return Host(room, mac_of(room), address4(daemon, container, "net"), address6(daemon, container, "net"), local)


def town(daemon: Daemon, stack: ExitStack, *, network: tuple[str, ...] = (), wish: str = "") -> Town:
    """The network ``net`` and two containers; ``wish`` is about mallory's endpoint."""
    daemon.linkspan("network", "create", *SUBNETS, *network, "net")
    sleeper(daemon, "mallory", "--network", f"name=net{wish}")
    sleeper(daemon, "victim", "--network", "net")
    rooms = {name: stack.enter_context(Room(daemon, name)) for name in ("mallory", "victim")}
    hosts = {name: host(daemon, name, room) for name, room in rooms.items()}
    for room in rooms.values():
        for gateway in (GATEWAY4, GATEWAY6):
            greet(room, gateway)
    with serving(rooms["victim"], PORT):
        ready(rooms["mallory"], (hosts["victim"].ipv4, PORT), (hosts["victim"].ipv6, PORT))
    return Town(daemon, hosts["mallory"], hosts["victim"], known_mac(rooms["victim"], GATEWAY4))


@pytest.fixture
def guarded(lab: Daemon) -> Iterator[Town]:
    with ExitStack() as stack:
        yield town(lab, stack)


def forged(scene: Town) -> dict[str, tuple[str, bytes]]:
    """By what it is: how the doctor calls it, and the frame."""
    liar, victim = scene.mallory, scene.victim

    def packet(kind: int, payload: bytes, to: str = victim.mac) -> bytes:
        return frames.ethernet(liar.mac, to, kind, payload)

    def discovery(kind: int, body: bytes, source: str) -> bytes:
        return packet(frames.IPV6, frames.icmp6(source, "ff02::1", kind, body), frames.ALL_NODES_MAC)

    mine = frames.option(frames.TARGET_OPTION, liar.mac)
    override = 0x20000000
    return {
        "a made-up MAC": (
            "a forged MAC address",
            frames.ethernet(OTHER_MAC, victim.mac, frames.IPV4, frames.udp4(liar.ipv4, victim.ipv4, (5, 5))),
        ),
        "the gateway's MAC": (
            "a forged MAC address",
            frames.ethernet(scene.gateway, victim.mac, frames.IPV4, frames.udp4(GATEWAY4, victim.ipv4, (5, 5))),
        ),
        "a made-up IPv4 address": (
            "a forged IPv4 address",
            packet(frames.IPV4, frames.udp4(STRANGER4, victim.ipv4, (5, 5))),
        ),
        "the gateway's IPv4 address": (
            "a forged IPv4 address",
            packet(frames.IPV4, frames.udp4(GATEWAY4, victim.ipv4, (5, 5))),
        ),
        "a made-up IPv6 address": (
            "a forged IPv6 address",
            packet(frames.IPV6, frames.udp6(STRANGER6, victim.ipv6, (5, 5))),
        ),
        "ARP: I am the gateway": (
            "forged ARP",
            packet(frames.ARP, frames.arp(liar.mac, GATEWAY4, victim.ipv4, operation=2)),
        ),
        "ARP to all: I am the gateway": (
            "forged ARP",
            packet(frames.ARP, frames.arp(liar.mac, GATEWAY4, GATEWAY4), frames.BROADCAST),
        ),
        "an advertisement: I am the gateway": (
            "forged neighbour discovery",
            discovery(frames.ADVERTISEMENT, frames.neighbour(GATEWAY6, mine, flags=override), liar.ipv6),
        ),
        "a router advertisement": (
            "a router's message",
            discovery(frames.ROUTER_ADVERTISEMENT, bytes((64, 0, 7, 8)) + bytes(8), liar.local),
        ),
        "a redirect": ("a router's message", discovery(frames.REDIRECT, bytes(36), liar.local)),
        "an answer of a DHCP server": (
            "a DHCP server's answer",
            packet(frames.IPV4, frames.udp4(liar.ipv4, "255.255.255.255", (67, 68)), frames.BROADCAST),
        ),
        "an answer of a DHCPv6 server": (
            "a DHCP server's answer",
            packet(frames.IPV6, frames.udp6(liar.local, victim.local, (547, 546))),
        ),
        "a spanning tree": ("neither IP nor ARP", packet(0x88B5, frames.DATA)),
    }


def test_what_a_container_forges_is_dropped_and_the_doctor_counts_it(guarded: Town) -> None:
    """moby#36355, pain 28: on by default, on a network that nobody said a word about."""
    lies = forged(guarded)
    sent = {what: frame for what, (_, frame) in lies.items()}
    assert arriving(guarded.mallory.room, guarded.victim.room, sent) == set()
    for reason in {reason for reason, _ in lies.values()}:
        count = sum(reason == each for each, _ in lies.values())
        assert said_by_doctor(guarded.daemon, "mallory", f"{count}", reason), (reason, findings(guarded.daemon))
    assert not said_by_doctor(guarded.daemon, "victim", "forged")


@pytest.mark.parametrize("value", [0, 1], ids=["without br_netfilter", "with br_netfilter"])
def test_the_guard_does_not_depend_on_br_netfilter(launch: Launch, value: int) -> None:
    daemon = launch(prepare=lambda each: bridge_netfilter(each, value))
    with ExitStack() as stack:
        scene = town(daemon, stack)
        sent = {what: frame for what, (_, frame) in forged(scene).items()}
        assert arriving(scene.mallory.room, scene.victim.room, sent) == set()


def test_nobody_but_the_gateway_becomes_the_gateway(guarded: Town) -> None:
    """The attack itself: what the victim believes afterwards, and where its packets go."""
    room, liar = guarded.victim.room, guarded.mallory
    lies = [frame for _, frame in forged(guarded).values()] * 3
    send(liar.room, *lies, advertisement(liar.ipv6, GATEWAY6, liar.mac))
    for gateway in (GATEWAY4, GATEWAY6):
        greet(room, gateway)
        assert known_mac(room, gateway) == guarded.gateway
    assert liar.mac not in {known_mac(guarded.daemon.namespace, guarded.victim.ipv4), guarded.gateway}


def test_a_router_advertisement_of_a_container_gives_nobody_a_route(guarded: Town) -> None:
    """CVE-2020-10749, CVE-2020-13401: neither siblings nor the host take a route or an address from it."""
    liar, daemon = guarded.mallory, guarded.daemon
    prefix = bytes((3, 4, 64, 0xC0)) + b"\0\0\x0f\xff" * 2 + bytes(4) + bytes.fromhex("20010db80bad") + bytes(10)
    body = bytes((64, 0, 7, 8)) + bytes(8) + frames.option(1, liar.mac) + prefix
    packet = frames.icmp6(liar.local, "ff02::1", frames.ROUTER_ADVERTISEMENT, body)
    before = default_route(daemon, "victim", 6)
    send(liar.room, *[frames.ethernet(liar.mac, frames.ALL_NODES_MAC, frames.IPV6, packet)] * 3)
    assert default_route(daemon, "victim", 6) == before == (GATEWAY6, "eth0")
    assert "2001:db8:bad" not in inside(daemon, "victim", "ip", "-6", "addr")
    assert "2001:db8:bad" not in daemon.namespace.run("ip", "-6", "addr").stdout
    assert "proto ra" not in daemon.namespace.run("ip", "-6", "route").stdout


def test_even_with_the_guard_off_no_router_advertisement_is_believed(lab: Daemon) -> None:
    """CVE-2020-13401: the second line of defence is ``accept_ra`` in containers and on the bridge."""
    with ExitStack() as stack:
        scene = town(lab, stack, network=("--opt", f"{SWITCH}=false"))
        liar = scene.mallory
        body = bytes((64, 0, 7, 8)) + bytes(8) + frames.option(1, liar.mac)
        packet = frames.icmp6(liar.local, "ff02::1", frames.ROUTER_ADVERTISEMENT, body)
        frame = frames.ethernet(liar.mac, frames.ALL_NODES_MAC, frames.IPV6, packet)
        assert arriving(liar.room, scene.victim.room, {"it": frame}) == {"it"}
        assert default_route(lab, "victim", 6) == (GATEWAY6, "eth0")
        assert "proto ra" not in lab.namespace.run("ip", "-6", "route").stdout


@pytest.mark.parametrize(
    ("network", "wish"),
    [(("--opt", f"{SWITCH}=false"), ""), ((), f",driver-opt={SWITCH}=false")],
    ids=["of the network", "of the endpoint"],
)
def test_the_guard_is_switched_off(lab: Daemon, network: tuple[str, ...], wish: str) -> None:
    with ExitStack() as stack:
        scene = town(lab, stack, network=network, wish=wish)
        sent = {what: frame for what, (_, frame) in forged(scene).items()}
        del sent["the gateway's MAC"]  # it is the bridge's own: such frames are dropped by any bridge
        del sent["a redirect"]  # it answers nothing: under br_netfilter it is of no known connection, and goes
        assert arriving(scene.mallory.room, scene.victim.room, sent) == set(sent)
        assert not said_by_doctor(lab, "mallory", "forged")


def test_an_endpoint_may_be_guarded_on_a_network_that_is_not(lab: Daemon) -> None:
    with ExitStack() as stack:
        scene = town(lab, stack, network=("--opt", f"{SWITCH}=false"), wish=f",driver-opt={SWITCH}=true")
        sent = {what: frame for what, (_, frame) in forged(scene).items()}
        assert arriving(scene.mallory.room, scene.victim.room, sent) == set()
        assert said_by_doctor(lab, "mallory", "forged ARP")


def test_with_the_guard_off_an_address_may_move_as_vrrp_moves_it(lab: Daemon) -> None:
    """What keepalived does: two routers share an address; who takes it over says so, and clients follow at once."""
    shared = "10.74.0.200"
    lab.linkspan("network", "create", *SUBNETS, "net")
    for name in ("first", "second"):
        sleeper(lab, name, "--network", f"name=net,driver-opt={SWITCH}=false")
    sleeper(lab, "client", "--network", "net")
    with ExitStack() as stack:
        first, second, client = (stack.enter_context(Room(lab, name)) for name in ("first", "second", "client"))
        for room in (first, second):
            stack.enter_context(serving(room, PORT))
        first.run("ip", "addr", "add", f"{shared}/32", "dev", "eth0")
        ready(client, (shared, PORT))
        assert known_mac(client, shared) == mac_of(first)
        first.run("ip", "addr", "del", f"{shared}/32", "dev", "eth0")
        second.run("ip", "addr", "add", f"{shared}/32", "dev", "eth0")
        news = frames.arp(mac_of(second), shared, shared)
        send(second, frames.ethernet(mac_of(second), frames.BROADCAST, frames.ARP, news))
        eventually(lambda: known_mac(client, shared) == mac_of(second), "the client follows", seconds=2)
        assert ask(client, shared, PORT).endswith(f"at {PORT}")


def test_with_the_guard_on_a_container_cannot_take_an_address_over(guarded: Town) -> None:
    """The same move by somebody who has no right to the address; the remedy is in the doctor's words."""
    liar, victim = guarded.mallory, guarded.victim
    sleeper(guarded.daemon, "client", "--network", "net")
    with Room(guarded.daemon, "client") as client, serving(victim.room, PORT):
        ready(client, (victim.ipv4, PORT), (victim.ipv6, PORT))
        liar.room.run("ip", "addr", "add", f"{victim.ipv4}/32", "dev", "eth0")
        news = frames.arp(liar.mac, victim.ipv4, victim.ipv4)
        send(liar.room, frames.ethernet(liar.mac, frames.BROADCAST, frames.ARP, news))
        send(liar.room, advertisement(liar.ipv6, victim.ipv6, liar.mac))
        assert known_mac(client, victim.ipv4) == known_mac(client, victim.ipv6) == victim.mac
    told = [item for item in findings(guarded.daemon) if "mallory" in item["Text"] and "forged ARP" in item["Text"]]
    assert told
    assert SWITCH in told[0]["Remedy"]


def connects(daemon: Daemon) -> None:
    daemon.linkspan("network", "disconnect", "net", "mallory")
    daemon.linkspan("network", "connect", "net", "mallory")


def restarts(daemon: Daemon) -> None:
    daemon.linkspan("restart", "-t", "0", "mallory")


def revives(daemon: Daemon) -> None:
    daemon.restart()


@pytest.mark.parametrize("change", [connects, restarts, revives], ids=lambda change: change.__name__)
def test_the_guard_is_there_after_every_kind_of_return(lab: Daemon, change: Callable[[Daemon], None]) -> None:
    with ExitStack() as stack:
        scene = town(lab, stack)
        change(lab)
        liar = stack.enter_context(Room(lab, "mallory"))
        scene.mallory = host(lab, "mallory", liar)
        ready_again(scene)
        sent = {what: frame for what, (_, frame) in forged(scene).items()}
        assert arriving(liar, scene.victim.room, sent) == set()
        assert endpoint(lab, "mallory", "net")["MacAddress"] == scene.mallory.mac


def ready_again(scene: Town) -> None:
    with serving(scene.victim.room, PORT):
        ready(scene.mallory.room, (scene.victim.ipv4, PORT), (scene.victim.ipv6, PORT))
