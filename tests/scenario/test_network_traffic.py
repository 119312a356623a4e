"""Who reaches whom on bridge networks: siblings, the host, the world outside, other networks. In both families."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from daemons import Daemon, eventually
from network_lab import (
    HOST4,
    HOST6,
    OUTSIDE4,
    OUTSIDE6,
    UPLINK,
    Listener,
    Outside,
    address4,
    address6,
    answering,
    datagram_arrives,
    default_route,
    endpoint,
    fetches,
    inside,
    pings,
    sandbox_of,
    sleeper,
)

pytestmark = pytest.mark.scenario

PORT = 8123


@pytest.fixture
def outside(lab: Daemon) -> Iterator[Outside]:
    with Outside(lab) as world:
        yield world


@pytest.fixture
def town(lab: Daemon, outside: Outside) -> Daemon:
    """Two networks of both families: ``ann`` and ``ben`` on one, ``cat`` on the other."""
    for name in ("one", "two"):
        lab.linkspan("network", "create", "--ipv6", name)
    sleeper(lab, "ann", "--network", "one")
    sleeper(lab, "ben", "--network", "one")
    sleeper(lab, "cat", "--network", "two")
    return lab


def gateways(daemon: Daemon, container: str, network: str) -> tuple[str, str]:
    place = endpoint(daemon, container, network)
    return place["Gateway"], place["IPv6Gateway"]


def test_containers_of_one_network_reach_each_other(town: Daemon) -> None:
    for address in (address4(town, "ben", "one"), address6(town, "ben", "one")):
        assert pings(town, "ann", address)


def test_a_container_serves_its_siblings_under_its_own_address(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--ipv6", "one")
    serve = "mkdir /w && echo hello >/w/index.html && exec httpd -f -p 8123 -h /w"
    lab.linkspan("run", "-d", "--name", "web", "--network", "one", "busybox", "sh", "-c", serve)
    sleeper(lab, "ann", "--network", "one")
    for address in (address4(lab, "web", "one"), address6(lab, "web", "one")):
        eventually(lambda where=address: fetches(lab, "ann", where, PORT) == "hello", "a sibling reaches it")
        host = f"[{address}]" if ":" in address else address
        assert lab.run("curl", "-sg", "--max-time", "2", f"http://{host}:{PORT}/").stdout == "hello\n", "from the host"


def test_the_host_reaches_containers_and_they_reach_it(town: Daemon) -> None:
    for address in (address4(town, "ann", "one"), address6(town, "ann", "one")):
        assert town.namespace.run("ping", "-n", "-c1", "-W1", address, check=False).returncode == 0
    for gateway in gateways(town, "ann", "one"):
        assert pings(town, "ann", gateway)
        with Listener(town.namespace, gateway, PORT):
            assert fetches(town, "ann", gateway, PORT) in (address4(town, "ann", "one"), address6(town, "ann", "one"))
    for address in (HOST4, HOST6):
        assert pings(town, "ann", address)


@pytest.mark.parametrize(("world", "host"), [(OUTSIDE4, HOST4), (OUTSIDE6, HOST6)], ids=["IPv4", "IPv6"])
def test_the_world_outside_sees_the_host_and_not_the_container(
    town: Daemon, outside: Outside, world: str, host: str
) -> None:
    assert pings(town, "ann", world)
    with Listener(outside.namespace, world, PORT):
        assert fetches(town, "ann", world, PORT) == host
        assert fetches(town, "cat", world, PORT) == host


def test_the_default_bridge_reaches_the_world_too(lab: Daemon, outside: Outside) -> None:
    sleeper(lab, "ann")
    with Listener(outside.namespace, OUTSIDE4, PORT):
        assert fetches(lab, "ann", OUTSIDE4, PORT) == HOST4


def test_nobody_outside_gets_straight_to_a_container(town: Daemon, outside: Outside) -> None:
    assert outside.answering(HOST4, HOST6) == {HOST4, HOST6}
    inner = (address4(town, "ann", "one"), address6(town, "ann", "one"), *gateways(town, "ann", "one"))
    assert outside.answering(*inner, HOST4) == {HOST4}
    assert pings(town, "ann", OUTSIDE4), "answers come back all the same"


def test_without_masquerade_addresses_are_shown_and_still_nobody_gets_in(lab: Daemon, outside: Outside) -> None:
    option = "com.docker.network.bridge.enable_ip_masquerade=false"
    lab.linkspan("network", "create", "--ipv6", "--opt", option, "routed")
    sleeper(lab, "ann", "--network", "routed")
    for world, own in ((OUTSIDE4, address4(lab, "ann", "routed")), (OUTSIDE6, address6(lab, "ann", "routed"))):
        with Listener(outside.namespace, world, PORT):
            assert fetches(lab, "ann", world, PORT) == own
    assert outside.answering(address4(lab, "ann", "routed"), address6(lab, "ann", "routed")) == set()


def test_bridge_networks_are_isolated_from_each_other(town: Daemon) -> None:
    serve = "echo hello >/tmp/index.html && exec httpd -f -p 8123 -h /tmp"
    town.linkspan("run", "-d", "--name", "web", "--network", "two", "busybox", "sh", "-c", serve)
    for address in (address4(town, "web", "two"), address6(town, "web", "two")):
        eventually(lambda where=address: fetches(town, "cat", where, PORT) == "hello", "a sibling reaches it")
        assert fetches(town, "ann", address, PORT) == ""
    there = (address4(town, "web", "two"), address6(town, "web", "two"))
    here = (address4(town, "ann", "one"), address6(town, "ann", "one"))
    assert answering(town, "cat", *there, *here) == set(there)
    assert answering(town, "ann", *there, *here) == set(here)


def test_the_default_bridge_is_isolated_from_other_networks(town: Daemon) -> None:
    sleeper(town, "dan")
    assert not pings(town, "dan", address4(town, "ann", "one"))
    assert not pings(town, "ann", address4(town, "dan", "bridge"))


def test_a_container_on_two_networks_reaches_both_and_joins_nobody(town: Daemon) -> None:
    town.linkspan("network", "connect", "two", "ben")
    assert pings(town, "ben", address4(town, "ann", "one"))
    assert pings(town, "ben", address4(town, "cat", "two"))
    assert pings(town, "ben", address6(town, "cat", "two"))
    assert answering(town, "ann", address4(town, "cat", "two"), address4(town, "ben", "two")) == set()


def test_an_internal_network_reaches_nothing_outside(town: Daemon) -> None:
    town.linkspan("network", "create", "--internal", "--ipv6", "inner")
    sleeper(town, "eve", "--network", "inner")
    sleeper(town, "fay", "--network", "inner")
    for address in (address4(town, "fay", "inner"), address6(town, "fay", "inner")):
        assert pings(town, "eve", address)
        assert town.namespace.run("ping", "-n", "-c1", "-W1", address, check=False).returncode == 0
    assert default_route(town, "eve") is None
    assert default_route(town, "eve", 6) is None
    others = (OUTSIDE4, OUTSIDE6, address4(town, "ann", "one"), address6(town, "ann", "one"))
    assert answering(town, "eve", *others) == set()

    gateway4 = town.linkspan("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "inner").strip()
    gateway6 = town.linkspan("network", "inspect", "-f", "{{(index .IPAM.Config 1).Gateway}}", "inner").strip()
    inside(town, "eve", "ip", "route", "add", "default", "via", gateway4)
    inside(town, "eve", "ip", "-6", "route", "add", "default", "via", gateway6)
    assert default_route(town, "eve") == (gateway4, "eth0")
    assert answering(town, "eve", gateway4, *others) == {gateway4}, "not even by a route of one's own"
    assert not pings(town, "ann", address4(town, "eve", "inner"))


def test_nobody_outside_gets_into_an_internal_network(lab: Daemon, outside: Outside) -> None:
    lab.linkspan("network", "create", "--internal", "--ipv6", "inner")
    sleeper(lab, "eve", "--network", "inner")
    assert outside.answering(address4(lab, "eve", "inner"), address6(lab, "eve", "inner")) == set()


def test_icc_off_keeps_siblings_apart_and_lets_them_out(lab: Daemon, outside: Outside) -> None:
    lab.linkspan("network", "create", "--ipv6", "--opt", "com.docker.network.bridge.enable_icc=false", "apart")
    for name in ("ann", "ben"):
        sleeper(lab, name, "--network", "apart")
    for address in (address4(lab, "ben", "apart"), address6(lab, "ben", "apart")):
        assert lab.namespace.run("ping", "-n", "-c1", "-W1", address, check=False).returncode == 0
    ways = gateways(lab, "ann", "apart")
    siblings = (address4(lab, "ben", "apart"), address6(lab, "ben", "apart"))
    assert answering(lab, "ann", *ways, *siblings) == set(ways)
    gateway = gateways(lab, "ann", "apart")[0]
    for one, other in (("ann", "ben"), ("ben", "ann")):
        inside(lab, one, "ip", "route", "add", f"{address4(lab, other, 'apart')}/32", "via", gateway)
    assert not pings(lab, "ann", address4(lab, "ben", "apart")), "nor by way of the gateway"
    for world, host in ((OUTSIDE4, HOST4), (OUTSIDE6, HOST6)):
        with Listener(outside.namespace, world, PORT):
            assert fetches(lab, "ann", world, PORT) == host


def test_nobody_but_the_host_reaches_its_loopback(town: Daemon, outside: Outside) -> None:
    place = endpoint(town, "ann", "one")
    gateway, own = place["Gateway"], place["IPAddress"]
    bridge = f"br-{place['NetworkID'][:12]}"
    with Listener(town.namespace, "127.0.0.1", PORT), Listener(town.namespace, gateway, PORT + 1):
        assert fetches(town, "ann", gateway, PORT + 1) == own
        assert fetches(town, "ann", gateway, PORT) == ""

    # somebody wants loopback addresses routed, as published ports on 127.0.0.1 need it
    for link in (bridge, UPLINK):
        town.namespace.run("sysctl", "-w", f"net.ipv4.conf.{link}.route_localnet=1")
    container = sandbox_of(town, "ann")
    assert datagram_arrives(container, town.namespace, gateway, PORT)
    for prefix in ("127.0.0.0/8", "127.0.0.1"):
        inside(town, "ann", "ip", "route", "del", "local", prefix, "dev", "lo", "table", "local")
        outside.namespace.run("ip", "route", "del", "local", prefix, "dev", "lo", "table", "local")
    inside(town, "ann", "ip", "route", "add", "127.0.0.1", "via", gateway, "src", own)
    outside.namespace.run("ip", "route", "add", "127.0.0.1", "via", HOST4, "src", OUTSIDE4)
    assert datagram_arrives(outside.namespace.path, town.namespace, HOST4, PORT)
    assert not datagram_arrives(container, town.namespace, "127.0.0.1", PORT)
    assert not datagram_arrives(outside.namespace.path, town.namespace, "127.0.0.1", PORT)
