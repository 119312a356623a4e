"""``network connect`` and ``disconnect``, on running and on stopped containers, and where the default route goes."""

from __future__ import annotations

import json

import pytest

from container_lab import Client
from daemons import Daemon
from engine_api import EngineApi, Refused
from network_lab import (
    Json,
    address4,
    address6,
    addresses_in,
    default_route,
    endpoint,
    idle,
    inside,
    links,
    picture,
    pings,
    sentence,
    settled_picture,
    sleeper,
)

pytestmark = pytest.mark.scenario


@pytest.fixture
def pair(lab: Daemon) -> Daemon:
    """Two networks with known subnets of both families."""
    for name, number in (("one", 51), ("two", 52)):
        subnets = ("--subnet", f"10.{number}.0.0/24", "--ipv6", "--subnet", f"fd{number}::/64")
        lab.linkspan("network", "create", *subnets, name)
    return lab


def interfaces(daemon: Daemon, container: str) -> dict[str, Json]:
    """Interfaces inside by name, without the loopback."""
    found = json.loads(inside(daemon, container, "ip", "-j", "-d", "link"))
    return {item["ifname"]: item for item in found if item["ifname"] != "lo"}


def addresses_of(daemon: Daemon, container: str, interface: str) -> set[str]:
    return addresses_in(inside(daemon, container, "ip", "-j", "addr", "show", "dev", interface))


def hosts(daemon: Daemon, container: str) -> str:
    return daemon.linkspan("exec", container, "cat", "/etc/hosts")


def test_a_running_container_is_connected_with_all_that_can_be_asked_for(pair: Daemon) -> None:
    sleeper(pair, "box", "--network", "one")
    sleeper(pair, "peer", "--network", "two")
    before = links(pair.namespace).keys()
    pair.linkspan(
        *("network", "connect", "--ip", "10.52.0.77", "--ip6", "fd52::77", "--alias", "web", "--alias", "db"),
        *("--mac-address", "02:42:ac:00:00:77", "--driver-opt", "org.example.speed=9", "two", "box"),
    )
    inner = interfaces(pair, "box")
    assert inner.keys() == {"eth0", "eth1"}
    assert inner["eth1"]["address"] == "02:42:ac:00:00:77"
    assert inner["eth1"]["operstate"] == "UP"
    assert addresses_of(pair, "box", "eth1") == {"10.52.0.77/24", "fd52::77/64"}

    place = endpoint(pair, "box", "two")
    (fresh,) = links(pair.namespace).keys() - before
    assert links(pair.namespace)[fresh]["master"] == f"br-{place['NetworkID'][:12]}"
    assert place["IPAMConfig"] == {"IPv4Address": "10.52.0.77", "IPv6Address": "fd52::77"}
    assert (place["IPAddress"], place["IPPrefixLen"], place["Gateway"]) == ("10.52.0.77", 24, "10.52.0.1")
    assert (place["GlobalIPv6Address"], place["IPv6Gateway"]) == ("fd52::77", "fd52::1")
    assert place["MacAddress"] == "02:42:ac:00:00:77"
    assert place["DriverOpts"] == {"org.example.speed": "9"}
    assert {"web", "db"} <= set(place["Aliases"])
    assert {"box", "web", "db"} <= set(place["DNSNames"])
    assert "10.52.0.77" in hosts(pair, "box")
    assert "fd52::77" in hosts(pair, "box")
    members: Json = EngineApi(pair.socket)("GET", "/networks/two")["Containers"]
    assert {item["Name"] for item in members.values()} == {"box", "peer"}
    assert pings(pair, "peer", "10.52.0.77")
    assert pings(pair, "peer", "fd52::77"), "usable at once"


def test_a_running_container_is_disconnected_at_once(pair: Daemon, client: Client) -> None:
    sleeper(pair, "box", "--network", "one")
    client("network", "connect", "--ip", "10.52.0.77", "--alias", "web", "two", "box")
    assert interfaces(pair, "box").keys() == {"eth0", "eth1"}
    before = links(pair.namespace).keys()

    client("network", "disconnect", "one", "box")
    assert interfaces(pair, "box").keys() == {"eth1"}
    assert len(before - links(pair.namespace).keys()) == 1, "the host's end is gone too"
    found: Json = pair.inspect("box")
    assert found["NetworkSettings"]["Networks"].keys() == {"two"}
    assert "10.51." not in hosts(pair, "box")
    assert "10.52.0.77" in hosts(pair, "box")
    client("network", "rm", "one")

    client("network", "disconnect", "two", "box")
    assert interfaces(pair, "box") == {}
    assert EngineApi(pair.socket)("GET", "/networks/two")["Containers"] == {}
    assert default_route(pair, "box") is None


def test_interfaces_take_the_first_free_name(pair: Daemon) -> None:
    sleeper(pair, "box", "--network", "one")
    pair.linkspan("network", "connect", "two", "box")
    pair.linkspan("network", "disconnect", "one", "box")
    pair.linkspan("network", "connect", "one", "box")
    assert "10.51." in str(addresses_of(pair, "box", "eth0"))
    assert "10.52." in str(addresses_of(pair, "box", "eth1"))


@pytest.mark.parametrize("life", ["created", "stopped"])
def test_a_container_that_does_not_run_is_connected_for_its_next_start(pair: Daemon, client: Client, life: str) -> None:
    if life == "created":
        idle(pair, "box", "--network", "one")
    else:
        sleeper(pair, "box", "--network", "one")
        pair.linkspan("stop", "box")
    client("network", "connect", "--ip", "10.52.0.9", "--ip6", "fd52::9", "--alias", "web", "two", "box")
    place = endpoint(pair, "box", "two")
    assert place["IPAMConfig"] == {"IPv4Address": "10.52.0.9", "IPv6Address": "fd52::9"}
    assert "web" in place["Aliases"]
    assert (place["IPAddress"], place["EndpointID"]) == ("", "")
    assert EngineApi(pair.socket)("GET", "/networks/two")["Containers"] == {}

    pair.linkspan("start", "box")
    assert addresses_of(pair, "box", "eth1") == {"10.52.0.9/24", "fd52::9/64"}
    assert address4(pair, "box", "one").startswith("10.51.")

    pair.linkspan("stop", "box")
    client("network", "disconnect", "one", "box")
    pair.linkspan("start", "box")
    assert addresses_of(pair, "box", "eth0") == {"10.52.0.9/24", "fd52::9/64"}
    assert interfaces(pair, "box").keys() == {"eth0"}


def test_what_was_connected_stays_connected_over_stop_and_start(pair: Daemon) -> None:
    sleeper(pair, "box", "--network", "one", "--mac-address", "02:42:00:00:00:51")
    pair.linkspan("network", "connect", "--ip", "10.52.0.9", "--mac-address", "02:42:00:00:00:52", "two", "box")
    for verb in (("stop", "box"), ("start", "box"), ("restart", "-t", "0", "box")):
        pair.linkspan(*verb)
    inner = interfaces(pair, "box")
    assert [inner[name]["address"] for name in ("eth0", "eth1")] == ["02:42:00:00:00:51", "02:42:00:00:00:52"]
    assert address4(pair, "box", "two") == "10.52.0.9"


@pytest.mark.newer_docker
def test_a_container_can_begin_on_several_networks(pair: Daemon, client: Client) -> None:
    client(
        *("run", "-d", "--name", "box", "--stop-signal", "KILL", "--network", "name=one,ip=10.51.0.5,alias=web"),
        *("--network", "name=two,ip6=fd52::5,mac-address=02:42:00:00:00:52,gw-priority=1", "busybox", "sleep", "1000"),
    )
    assert address4(pair, "box", "one") == "10.51.0.5"
    assert address6(pair, "box", "two") == "fd52::5"
    assert endpoint(pair, "box", "two")["MacAddress"] == "02:42:00:00:00:52"
    assert endpoint(pair, "box", "two")["GwPriority"] == 1
    assert default_route(pair, "box") == ("10.52.0.1", "eth1")


# --- the default route ---------------------------------------------------------------------------------------------


def test_the_default_route_follows_the_networks_name_and_moves_when_it_goes(pair: Daemon) -> None:
    sleeper(pair, "box", "--network", "two")
    assert default_route(pair, "box") == ("10.52.0.1", "eth0")
    pair.linkspan("network", "connect", "one", "box")
    assert default_route(pair, "box") == ("10.51.0.1", "eth1"), "of equal ones the first by name"
    assert default_route(pair, "box", 6) == ("fd51::1", "eth1")
    pair.linkspan("network", "disconnect", "one", "box")
    assert default_route(pair, "box") == ("10.52.0.1", "eth0")
    assert default_route(pair, "box", 6) == ("fd52::1", "eth0")
    pair.linkspan("network", "disconnect", "two", "box")
    assert default_route(pair, "box") is None
    assert default_route(pair, "box", 6) is None
    pair.linkspan("network", "connect", "two", "box")
    assert default_route(pair, "box") == ("10.52.0.1", "eth0")


@pytest.mark.newer_docker
def test_the_highest_gateway_priority_wins(pair: Daemon, client: Client) -> None:
    sleeper(pair, "box", "--network", "one")
    client("network", "connect", "--gw-priority", "5", "two", "box")
    assert default_route(pair, "box") == ("10.52.0.1", "eth1")
    assert default_route(pair, "box", 6) == ("fd52::1", "eth1")
    client("network", "disconnect", "two", "box")
    assert default_route(pair, "box") == ("10.51.0.1", "eth0")
    client("network", "connect", "--gw-priority", "-5", "two", "box")
    assert default_route(pair, "box") == ("10.51.0.1", "eth0")
    pair.linkspan("restart", "-t", "0", "box")
    assert default_route(pair, "box") == ("10.51.0.1", "eth0")


def test_an_internal_network_offers_no_default_route(pair: Daemon) -> None:
    pair.linkspan("network", "create", "--internal", "--subnet", "10.50.0.0/24", "aaa")
    sleeper(pair, "box", "--network", "aaa")
    assert default_route(pair, "box") is None
    pair.linkspan("network", "connect", "two", "box")
    assert default_route(pair, "box") == ("10.52.0.1", "eth1")


def test_each_family_takes_the_route_that_it_can_have(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--subnet", "10.51.0.0/24", "four")
    lab.linkspan("network", "create", "--ipv4=false", "--ipv6", "--subnet", "fd52::/64", "six")
    sleeper(lab, "box", "--network", "four")
    lab.linkspan("network", "connect", "six", "box")
    assert default_route(lab, "box") == ("10.51.0.1", "eth0")
    assert default_route(lab, "box", 6) == ("fd52::1", "eth1")


# --- refusals ------------------------------------------------------------------------------------------------------


def test_what_cannot_be_connected_is_refused_and_nothing_changes(pair: Daemon) -> None:
    sleeper(pair, "box", "--network", "one")
    sleeper(pair, "guest", "--network", "container:box")
    sleeper(pair, "alone", "--network", "none")
    sleeper(pair, "hosted", "--network", "host")
    before = {name: pair.inspect(name) for name in ("box", "guest", "alone", "hosted")}
    inner = interfaces(pair, "box")
    for words, status, said in (
        (("one", "box"), 403, "container box is already connected to network one"),
        (("missing", "box"), 404, "network missing not found"),
        (("two", "missing"), 404, "No such container: missing"),
        (("host", "box"), 403, "host network"),
        (("none", "box"), 403, "private (none) mode"),
        (("two", "alone"), 403, "private (none) mode"),
        (("two", "guest"), 403, "connect box instead"),
        (("two", "hosted"), 403, "host network"),
    ):
        refused = sentence(pair.refused("network", "connect", *words, status=1))
        assert said in refused
        with pytest.raises(Refused) as refusal:
            EngineApi(pair.socket)("POST", f"/networks/{words[0]}/connect", {"Container": words[1]})
        assert refusal.value.status == status, words
    for words, status, said in (
        (("two", "box"), 403, "container box is not connected to network two"),
        (("missing", "box"), 404, "network missing not found"),
        (("one", "missing"), 404, "No such container: missing"),
        (("host", "hosted"), 403, "host network"),
    ):
        assert said in sentence(pair.refused("network", "disconnect", *words, status=1))
        with pytest.raises(Refused) as refusal:
            EngineApi(pair.socket)("POST", f"/networks/{words[0]}/disconnect", {"Container": words[1]})
        assert refusal.value.status == status, words
    assert {name: pair.inspect(name) for name in before} == before
    assert interfaces(pair, "box") == inner


BAD_WISHES = [
    ("--ip", "10.51.0.9", 400, "address 10.51.0.9 does not lie in subnet 10.52.0.0/24"),
    ("--ip", "10.52.0.0", 400, "network address"),
    ("--ip", "10.52.0.255", 400, "broadcast address"),
    ("--ip", "10.52.0.1", 400, "gateway"),
    ("--ip", "10.52.0.400", 400, "10.52.0.400"),
    ("--ip", "fd52::9", 400, "fd52::9"),
    ("--ip6", "fd51::9", 400, "address fd51::9 does not lie in subnet fd52::/64"),
    ("--ip6", "fd52::", 400, "anycast"),
    ("--ip6", "10.52.0.9", 400, "10.52.0.9"),
    ("--mac-address", "02:42", 400, "02:42"),
    ("--mac-address", "01:00:5e:00:00:01", 400, "01:00:5e:00:00:01"),
    ("--mac-address", "00:00:00:00:00:00", 400, "00:00:00:00:00:00"),
    ("--alias", "not valid", 400, "not valid"),
    ("--link", "peer:db", 404, "No such container: peer"),
    ("--link-local-ip", "10.52.0.9", 400, "10.52.0.9 is no link-local address"),
    ("--link-local-ip", "fe80::9%eth0", 400, "fe80::9%eth0 names an interface"),
    ("--driver-opt", "com.docker.network.endpoint.sysctl=x", 400, "com.docker.network.endpoint.sysctls?"),
    ("--driver-opt", "linkspan.speed=9", 400, "linkspan.speed"),
    ("--driver-opt", "com.docker.network.endpoint.ifname=a/b", 400, '"a/b"'),
    ("--driver-opt", "com.docker.network.endpoint.sysctls=kernel.x=1", 400, '"kernel.x=1"'),
    ("--driver-opt", "linkspan.endpoint.host_ifname=lo", 400, '"lo"'),
    ("--driver-opt", "linkspan.anti_spoofing=maybe", 400, '"maybe"'),
]


def wish(option: str, value: str) -> Json:
    """The API's words for an option of ``network connect``."""
    key, _, setting = value.partition("=")
    return {
        "--ip": {"IPAMConfig": {"IPv4Address": value}},
        "--ip6": {"IPAMConfig": {"IPv6Address": value}},
        "--mac-address": {"MacAddress": value},
        "--alias": {"Aliases": [value]},
        "--link": {"Links": [value]},
        "--link-local-ip": {"IPAMConfig": {"LinkLocalIPs": [value]}},
        "--driver-opt": {"DriverOpts": {key: setting}},
    }[option]


@pytest.mark.parametrize("life", ["running", "stopped"])
def test_a_bad_wish_for_an_endpoint_is_refused_and_nothing_changes(pair: Daemon, life: str) -> None:
    sleeper(pair, "box", "--network", "one")
    if life == "stopped":
        pair.linkspan("stop", "box")
    before = settled_picture(pair)
    for option, value, status, said in BAD_WISHES:
        assert said in sentence(pair.refused("network", "connect", option, value, "two", "box", status=1))
        body = {"Container": "box", "EndpointConfig": wish(option, value)}
        with pytest.raises(Refused) as refusal:
            EngineApi(pair.socket)("POST", "/networks/two/connect", body)
        assert refusal.value.status == status, (option, value)
        assert picture(pair) == before, (option, value)


def test_the_default_bridge_gives_no_chosen_addresses_and_no_aliases(pair: Daemon) -> None:
    sleeper(pair, "box", "--network", "one")
    for options, said in (
        (("--ip", "172.17.0.9"), "user specified IP address is supported on user defined networks only"),
        (("--alias", "web"), "network-scoped alias is supported only for containers in user defined networks"),
    ):
        assert said in sentence(pair.refused("network", "connect", *options, "bridge", "box", status=1))
    pair.linkspan("network", "connect", "bridge", "box")
    assert address4(pair, "box", "bridge").startswith("172.17.0.")
