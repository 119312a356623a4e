"""Who is kept from whom: internal networks, containers of one network that must not meet, foreign firewalls."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

import frames
from daemons import LINKSPAN, Daemon, Launch, eventually
from isolation_lab import (
    REFUSED,
    SILENCE,
    Room,
    answers,
    arriving,
    ask,
    bridge_netfilter,
    mac_of,
    reached,
    ready,
    said_by_doctor,
    serving,
)
from namespaces import Namespace
from network_lab import (
    HOST4,
    HOST6,
    OUTSIDE4,
    OUTSIDE6,
    Outside,
    address4,
    address6,
    inside,
    sleeper,
)

pytestmark = pytest.mark.scenario

PORT = 8123
BRIDGE = "com.docker.network.bridge"
FAMILIES = (4, 6)
HOST = {4: HOST4, 6: HOST6}
WORLD = {4: OUTSIDE4, 6: OUTSIDE6}
GATEWAY = {4: "10.73.0.1", 6: "fd73::1"}
SUBNETS = ("--subnet", "10.73.0.0/24", "--ipv6", "--subnet", "fd73::/64")
EXPERIMENTAL = 0x88B5
"""An EtherType for local experiments (IEEE 802)."""


@pytest.fixture
def outside(lab: Daemon) -> Iterator[Outside]:
    with Outside(lab) as world, serving(world.namespace, PORT):
        yield world


def place(daemon: Daemon, container: str, network: str) -> dict[int, str]:
    """The container's address in each family."""
    return {4: address4(daemon, container, network), 6: address6(daemon, container, network)}


def way_out(room: Namespace) -> None:
    """The default routes that an internal network does not give, by hand."""
    for version in FAMILIES:
        room.run("ip", f"-{version}", "route", "add", "default", "via", GATEWAY[version])


# --- internal networks ---------------------------------------------------------------------------------------------


def test_an_internal_network_reaches_siblings_and_the_host_by_its_gateway_alone(lab: Daemon, outside: Outside) -> None:
    lab.linkspan("network", "create", "--internal", *SUBNETS, "inner")
    lab.linkspan("network", "create", "--ipv6", "other")
    sleeper(lab, "eve", "--network", "inner")
    sleeper(lab, "fay", "--network", "inner")
    sleeper(lab, "gus", "--network", "other", "-p", "8080:80")
    fay, gus = place(lab, "fay", "inner"), place(lab, "gus", "other")
    with ExitStack() as stack:
        rooms = {name: stack.enter_context(Room(lab, name)) for name in ("eve", "fay", "gus")}
        for where in (rooms["fay"], rooms["gus"]):
            stack.enter_context(serving(where, 80))
        stack.enter_context(serving(lab.namespace, PORT))
        ready(rooms["eve"], *((fay[version], 80) for version in FAMILIES))
        ready(lab.namespace, *((fay[version], 80) for version in FAMILIES))
        way_out(rooms["eve"])
        own = {(GATEWAY[version], PORT) for version in FAMILIES}
        away = {(each[version], PORT) for each in (WORLD,) for version in FAMILIES}
        away |= {(gus[version], 80) for version in FAMILIES} | {(HOST[version], 8080) for version in FAMILIES}
        away |= {(GATEWAY[version], 8080) for version in FAMILIES}
        assert reached(rooms["eve"], *own, *away) == own
        inner = [(fay[version], 80) for version in FAMILIES]
        assert reached(rooms["gus"], *inner) == set()
        assert reached(outside.namespace, *inner) == set()


def test_nothing_is_published_from_an_internal_network_and_that_is_said(lab: Daemon, outside: Outside) -> None:
    lab.linkspan("network", "create", "--internal", *SUBNETS, "inner")
    words = ("run", "-d", "--name", "web", "--stop-signal", "KILL", "--network", "inner", "-p", "8080:80")
    done = lab.run(LINKSPAN, *words, "busybox", "sleep", "1000")
    assert "nothing is published while the container is on no other network than inner" in done.stderr
    with Room(lab, "web") as room, serving(room, 80):
        asked = [(HOST[version], 8080) for version in FAMILIES]
        assert set(answers(outside.namespace, *asked).values()) == {REFUSED}
        assert set(answers(lab.namespace, *asked, ("127.0.0.1", 8080)).values()) == {REFUSED}
    assert lab.linkspan("port", "web").strip() == ""


def test_an_internal_network_becomes_published_when_its_container_gets_another_one(
    lab: Daemon, outside: Outside
) -> None:
    lab.linkspan("network", "create", "--internal", *SUBNETS, "inner")
    lab.linkspan("network", "create", "--ipv6", "outer")
    sleeper(lab, "web", "--network", "inner", "-p", "8080:80")
    lab.linkspan("network", "connect", "outer", "web")
    with Room(lab, "web") as room, serving(room, 80):
        ready(outside.namespace, *((HOST[version], 8080) for version in FAMILIES))
        assert reached(room, *((WORLD[version], PORT) for version in FAMILIES)) == {
            (WORLD[version], PORT) for version in FAMILIES
        }
        lab.linkspan("network", "disconnect", "outer", "web")
        for version in FAMILIES:
            assert ask(outside.namespace, HOST[version], 8080) in (SILENCE, REFUSED)


def test_an_internal_network_does_not_reach_what_the_keeper_relays_either(lab: Daemon) -> None:
    """IPv6 to a container without it ends at a listener on the host."""
    lab.linkspan("network", "create", "--internal", *SUBNETS, "inner")
    lab.linkspan("network", "create", "plain")
    sleeper(lab, "eve", "--network", "inner")
    sleeper(lab, "gus", "--network", "plain", "-p", "8080:80", "-p", "9000-9002:9000-9002")
    with Room(lab, "eve") as eve, Room(lab, "gus") as gus, serving(gus, 80, 9001), serving(lab.namespace, PORT):
        ready(lab.namespace, ("::1", 8080), ("::1", 9001), (GATEWAY[6], 8080))
        asked = [(GATEWAY[6], port) for port in (PORT, 8080, 9001)]
        assert reached(eve, *asked) == {(GATEWAY[6], PORT)}


def test_names_are_not_forwarded_from_an_internal_network(lab: Daemon, outside: Outside) -> None:
    lab.linkspan("network", "create", "--internal", *SUBNETS, "inner")
    lab.linkspan("network", "create", "outer")
    with outside.namespace.entered():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with lab.namespace.entered():
        nearby = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, nearby:
        server.bind((OUTSIDE4, 53))
        nearby.bind((HOST4, 53))
        for ear in (server, nearby):
            ear.settimeout(1)
        servers = ("--dns", HOST4, "--dns", OUTSIDE4)
        sleeper(lab, "peer", "--network", "inner")
        sleeper(lab, "eve", "--network", "inner", *servers)
        sleeper(lab, "gus", "--network", "outer", "--dns", OUTSIDE4)
        assert address4(lab, "peer", "inner") in lab.linkspan("exec", "eve", "nslookup", "peer")
        done = lab.run(LINKSPAN, "exec", "eve", "timeout", "3", "nslookup", "example.org.")
        assert "NXDOMAIN" in done.stdout + done.stderr
        for ear in (server, nearby):
            with pytest.raises(TimeoutError):
                ear.recv(600)
        lab.run(LINKSPAN, "exec", "gus", "timeout", "1", "nslookup", "example.org.")
        assert b"\x07example\x03org\x00" in server.recv(600), "elsewhere they are"


# --- containers of one network that must not meet ------------------------------------------------------------------


@pytest.fixture(params=[0, 1], ids=["without br_netfilter", "with br_netfilter"])
def apart(request: pytest.FixtureRequest, launch: Launch) -> Iterator[Daemon]:
    """A host with a neighbour, and a network with ICC off: ``ann`` publishes 80 at 8080, ``ben`` does not."""
    daemon = launch(prepare=lambda each: bridge_netfilter(each, request.param))
    daemon.linkspan("network", "create", *SUBNETS, "--opt", f"{BRIDGE}.enable_icc=false", "apart")
    sleeper(daemon, "ann", "--network", "apart", "-p", "8080:80")
    sleeper(daemon, "ben", "--network", "apart")
    with Outside(daemon) as world, serving(world.namespace, PORT):
        yield daemon


def test_icc_off_leaves_published_ports_and_the_way_out(apart: Daemon) -> None:
    ann = place(apart, "ann", "apart")
    with Room(apart, "ann") as room, Room(apart, "ben") as ben, serving(room, 80, 81):
        ready(apart.namespace, *((ann[version], 80) for version in FAMILIES))
        for version in FAMILIES:
            ready(ben, (HOST[version], 8080), (GATEWAY[version], 8080), (WORLD[version], PORT))
            assert ask(ben, WORLD[version], PORT) == f"{HOST[version]} at {PORT}"
            assert ask(room, HOST[version], 8080) == f"{GATEWAY[version]} at 80", "itself too"
        assert reached(ben, *((ann[version], port) for version in FAMILIES for port in (80, 81))) == set()


def test_icc_off_holds_against_routes_and_neighbours_that_a_container_writes_itself(apart: Daemon) -> None:
    """moby#41886, nomad#10568 (CVE-2021-32575): a container that knows its sibling's MAC, or asks the router."""
    ann = place(apart, "ann", "apart")
    targets = [(ann[version], 80) for version in FAMILIES]
    with Room(apart, "ann") as room, Room(apart, "ben") as ben, serving(room, 80):
        ready(apart.namespace, *targets)
        for version in FAMILIES:
            words = ("ip", f"-{version}", "neigh", "replace", ann[version], "lladdr", mac_of(room), "dev", "eth0")
            ben.run(*words)
        assert reached(ben, *targets) == set()
        for version in FAMILIES:
            ben.run("ip", f"-{version}", "route", "add", ann[version], "via", GATEWAY[version])
        assert reached(ben, *targets) == set()


def between(one: tuple[str, dict[int, str]], other: tuple[str, dict[int, str]]) -> dict[str, bytes]:
    """Frames of all kinds from one container to the other, none of them with a lie."""
    (mac, own), (to, its) = one, other
    solicitation = frames.neighbour(its[6], frames.option(frames.SOURCE_OPTION, mac))
    asked = frames.icmp6(own[6], "ff02::1", frames.SOLICITATION, solicitation)
    return {
        "IPv4": frames.ethernet(mac, to, frames.IPV4, frames.udp4(own[4], its[4], (5, 5))),
        "IPv6": frames.ethernet(mac, to, frames.IPV6, frames.udp6(own[6], its[6], (5, 5))),
        "IPv4 to all": frames.ethernet(mac, frames.BROADCAST, frames.IPV4, frames.udp4(own[4], its[4], (5, 5))),
        "multicast": frames.ethernet(
            mac, "01:00:5e:00:00:fb", frames.IPV4, frames.udp4(own[4], "224.0.0.251", (5353, 5353))
        ),
        "an ARP request": frames.ethernet(mac, frames.BROADCAST, frames.ARP, frames.arp(mac, own[4], its[4])),
        "an ARP reply": frames.ethernet(mac, to, frames.ARP, frames.arp(mac, own[4], its[4], operation=2)),
        "a solicitation": frames.ethernet(mac, frames.ALL_NODES_MAC, frames.IPV6, asked),
        "another protocol": frames.ethernet(mac, to, EXPERIMENTAL, frames.DATA),
        "another protocol to all": frames.ethernet(mac, frames.BROADCAST, EXPERIMENTAL, frames.DATA),
        "a tagged packet": frames.tagged(frames.ethernet(mac, to, frames.IPV4, frames.udp4(own[4], its[4], (5, 5))), 7),
    }


def test_icc_off_keeps_raw_frames_apart_too(apart: Daemon) -> None:
    """moby#41886, nomad#10568: with the guard against forged addresses on and off."""
    for name in ("cat", "dan"):
        sleeper(apart, name, "--network", "name=apart,driver-opt=linkspan.anti_spoofing=false")
    for one, other in (("ann", "ben"), ("cat", "dan"), ("cat", "ann")):
        with Room(apart, one) as sender, Room(apart, other) as receiver:
            for room in (sender, receiver):
                for version in FAMILIES:
                    room.run("ping", "-n", "-c1", "-W2", GATEWAY[version])
            pair = [(mac_of(room), place(apart, name, "apart")) for room, name in ((sender, one), (receiver, other))]
            assert arriving(sender, receiver, between(pair[0], pair[1])) == set(), (one, other)


@pytest.mark.parametrize("change", [(0, 1), (1, 0)], ids=["on", "off"])
def test_icc_off_holds_when_br_netfilter_is_switched_by_hand(launch: Launch, change: tuple[int, int]) -> None:
    """It comes with other programs, at any time; where the firewall keeps containers apart it is switched on again."""
    before, after = change
    daemon = launch(prepare=lambda each: bridge_netfilter(each, before))
    daemon.linkspan("network", "create", *SUBNETS, "--opt", f"{BRIDGE}.enable_icc=false", "apart")
    sleeper(daemon, "ann", "--network", "apart", "-p", "8080:80")
    sleeper(daemon, "ben", "--network", "apart")
    names = [f"net.bridge.bridge-nf-call-{name}" for name in ("iptables", "ip6tables")]
    with Room(daemon, "ann") as ann, Room(daemon, "ben") as ben, serving(ann, 80):
        own = place(daemon, "ann", "apart")
        ready(daemon.namespace, *((own[version], 80) for version in FAMILIES))
        bridge_netfilter(daemon, after)
        eventually(lambda: daemon.namespace.run("sysctl", "-n", *names).stdout.split() == ["1", "1"], "it is on")
        assert reached(ben, *((own[version], 80) for version in FAMILIES)) == set()
        sent = between((mac_of(ben), place(daemon, "ben", "apart")), (mac_of(ann), own))
        assert arriving(ben, ann, sent) == set()
        for room in (ben, ann):
            ready(room, *((GATEWAY[version], 8080) for version in FAMILIES))
        assert daemon.linkspan("drift").startswith("No drift")
        assert said_by_doctor(daemon, "frames between containers of one network pass the host's IPv4 and IPv6")


def test_with_icc_on_all_honest_frames_arrive(lab: Daemon) -> None:
    """The counter-proof: the frames of the test before are such as pass where they may."""
    lab.linkspan("network", "create", *SUBNETS, "--opt", "linkspan.anti_spoofing=false", "open")
    for name in ("ann", "ben"):
        sleeper(lab, name, "--network", "open")
    with Room(lab, "ann") as ann, Room(lab, "ben") as ben:
        ann.run("ping", "-n", "-c1", "-W2", address4(lab, "ben", "open"))
        sent = between((mac_of(ann), place(lab, "ann", "open")), (mac_of(ben), place(lab, "ben", "open")))
        del sent["a tagged packet"]  # the kernel hands it on without the tag in its bytes
        assert arriving(ann, ben, sent) == set(sent)


# --- networks from each other --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 1], ids=["without br_netfilter", "with br_netfilter"])
def test_two_networks_meet_nowhere_and_both_reach_the_world(launch: Launch, value: int) -> None:
    daemon = launch(prepare=lambda each: bridge_netfilter(each, value))
    with Outside(daemon) as outside, ExitStack() as stack:
        stack.enter_context(serving(outside.namespace, PORT))
        rooms, own = {}, {}
        for name in ("one", "two"):
            daemon.linkspan("network", "create", "--ipv6", name)
            sleeper(daemon, f"in-{name}", "--network", name)
            rooms[name] = stack.enter_context(Room(daemon, f"in-{name}"))
            stack.enter_context(serving(rooms[name], 80))
            own[name] = place(daemon, f"in-{name}", name)
        for here, there in (("one", "two"), ("two", "one")):
            ready(daemon.namespace, *((own[here][version], 80) for version in FAMILIES))
            ready(rooms[here], *((WORLD[version], PORT) for version in FAMILIES))
            assert reached(rooms[here], *((own[there][version], 80) for version in FAMILIES)) == set()


# --- other people's firewalls and bridges --------------------------------------------------------------------------


def foreign_ruleset(namespace: Namespace) -> list[object]:
    """All tables but ours, without counts."""
    listed = json.loads(namespace.run("nft", "-j", "-s", "list", "ruleset").stdout)["nftables"]
    found = [next(iter(item.items())) for item in listed]
    return [
        (kind, value)
        for kind, value in found
        if kind != "metainfo" and value.get("table", value["name"] if kind == "table" else "") != "linkspan"
    ]


FOREIGN = """
table ip filter {
  chain INPUT { type filter hook input priority filter; policy accept; }
  chain FORWARD { type filter hook forward priority filter; policy accept; ip saddr 203.0.113.66 counter drop; }
}
table inet libvirt {
  chain after { type nat hook postrouting priority srcnat; policy accept; ip saddr 192.168.122.0/24 masquerade; }
}
"""


@pytest.fixture
def virtual(lab: Daemon, outside: Outside) -> Iterator[Namespace]:
    """A foreign bridge on the host, as libvirt makes them, and a machine on it."""
    run = lab.namespace.run
    run("ip", "link", "add", "virbr0", "type", "bridge")
    with Namespace() as machine:
        run("ip", "link", "add", "vnet0", "type", "veth", "peer", "name", "eth0", "netns", machine.path)
        run("ip", "link", "set", "vnet0", "master", "virbr0", "up")
        run("ip", "link", "set", "virbr0", "up")
        run("ip", "addr", "add", "192.168.122.1/24", "dev", "virbr0")
        machine.run("ip", "link", "set", "eth0", "up")
        machine.run("ip", "addr", "add", "192.168.122.2/24", "dev", "eth0")
        machine.run("ip", "route", "add", "default", "via", "192.168.122.1")
        lab.namespace.run("sysctl", "-w", "net.ipv4.ip_forward=1")
        yield machine
        run("ip", "link", "del", "vnet0")
        run("ip", "link", "del", "virbr0")
        run("nft", "delete", "table", "inet", "libvirt", check=False)
        run("nft", "delete", "table", "ip", "filter", check=False)


def test_policies_rules_and_bridges_of_others_stay_as_they_are(
    lab: Daemon, outside: Outside, virtual: Namespace
) -> None:
    """moby#39439: Docker sets the policy of FORWARD to drop, and virtual machines lose their network."""
    lab.run("nft", "-f", "-", stdin=FOREIGN)
    before = foreign_ruleset(lab.namespace)
    assert before
    ready(virtual, (OUTSIDE4, PORT))
    lab.linkspan("network", "create", *SUBNETS, "one")
    lab.linkspan("network", "create", "--internal", "--ipv6", "two")
    lab.linkspan("network", "create", "--opt", f"{BRIDGE}.enable_icc=false", "three")
    sleeper(lab, "web", "--network", "one", "-p", "8080:80")
    assert foreign_ruleset(lab.namespace) == before
    assert ask(virtual, OUTSIDE4, PORT) == f"{HOST4} at {PORT}"
    with Room(lab, "web") as room, serving(room, 80), serving(virtual, 80):
        ready(virtual, (HOST4, 8080))
        ready(lab.namespace, ("192.168.122.2", 80), (address4(lab, "web", "one"), 80))
        assert reached(virtual, (address4(lab, "web", "one"), 80)) == set()
        outside.namespace.run("ip", "route", "replace", "192.168.122.0/24", "via", HOST4)
        assert ask(outside.namespace, "192.168.122.2", 80) == f"{OUTSIDE4} at 80", "forwarding is theirs as before"
    lab.linkspan("rm", "-f", "web")
    lab.linkspan("network", "rm", "one", "two", "three")
    assert foreign_ruleset(lab.namespace) == before
    assert ask(virtual, OUTSIDE4, PORT) == f"{HOST4} at {PORT}"


def test_a_foreign_policy_that_drops_stays_and_is_named(lab: Daemon, outside: Outside) -> None:
    """moby#39439 the other way round: who wants FORWARD to drop keeps that, and is told what it costs."""
    lab.namespace.run("nft", "add", "table", "ip", "filter")
    chain = "{ type filter hook forward priority filter; policy drop; }"
    lab.namespace.run("nft", "add", "chain", "ip", "filter", "FORWARD", chain)
    try:
        before = foreign_ruleset(lab.namespace)
        lab.linkspan("network", "create", *SUBNETS, "one")
        sleeper(lab, "web", "--network", "one")
        assert foreign_ruleset(lab.namespace) == before
        with Room(lab, "web") as room:
            ready(room, (OUTSIDE6, PORT))
            assert ask(room, OUTSIDE4, PORT) != f"{HOST4} at {PORT}"
        told = lab.run(LINKSPAN, "doctor").stdout
        assert "table ip filter, chain FORWARD" in told
        assert "policy drop" in told
    finally:
        lab.namespace.run("nft", "delete", "table", "ip", "filter")


def test_forwarding_that_was_on_stays_on_when_the_last_network_goes(lab: Daemon) -> None:
    lab.namespace.run("sysctl", "-w", "net.ipv4.ip_forward=1")
    lab.linkspan("network", "create", "one")
    lab.linkspan("network", "rm", "one")
    assert lab.namespace.run("sysctl", "-n", "net.ipv4.ip_forward").stdout.strip() == "1"


def test_a_container_on_two_networks_is_no_bridge_between_them(lab: Daemon) -> None:
    for name in ("one", "two"):
        lab.linkspan("network", "create", "--ipv6", name)
        sleeper(lab, f"in-{name}", "--network", name)
    sleeper(lab, "both", "--network", "one")
    lab.linkspan("network", "connect", "two", "both")
    for setting in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
        assert inside(lab, "both", "sysctl", "-n", setting).strip() == "0"
    target = place(lab, "in-two", "two")
    with Room(lab, "in-one") as room, Room(lab, "in-two") as other, serving(other, 80):
        eventually(lambda: reached(lab.namespace, (target[4], 80)), "it serves")
        for version in FAMILIES:
            room.run("ip", f"-{version}", "route", "add", target[version], "via", place(lab, "both", "one")[version])
        assert reached(room, *((target[version], 80) for version in FAMILIES)) == set()
