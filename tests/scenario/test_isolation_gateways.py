"""Containers on several networks: which one is the way out, and how neighbours learn where an address is now."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

import frames
from container_lab import Client
from daemons import Daemon, eventually
from engine_api import EngineApi, Refused
from isolation_lab import Ear, Room, ask, bridge_netfilter, greet, known_mac, mac_of, ready, serving
from namespaces import Namespace
from network_lab import (
    HOST4,
    HOST6,
    OUTSIDE4,
    OUTSIDE6,
    Outside,
    address4,
    address6,
    default_route,
    inside,
    sentence,
    settled_picture,
    sleeper,
)

pytestmark = pytest.mark.scenario

PORT = 8123
HOST = {4: HOST4, 6: HOST6}
WORLD = {4: OUTSIDE4, 6: OUTSIDE6}
FAMILIES = (4, 6)
COUNT, INTERVAL = "com.docker.network.advertise_addr_nmsgs", "com.docker.network.advertise_addr_ms"
NAMES = ("aa", "bb", "cc")


@pytest.fixture
def three(lab: Daemon) -> Daemon:
    """Networks of both families, called so that their order by name is that of their subnets."""
    for number, name in enumerate(NAMES, 1):
        pools = ("--subnet", f"10.76.{number}.0/24", "--ipv6", "--subnet", f"fd76:{number}::/64")
        lab.linkspan("network", "create", *pools, name)
    return lab


@pytest.fixture
def outside(lab: Daemon) -> Iterator[Outside]:
    with Outside(lab) as world, serving(world.namespace, PORT):
        yield world


def way_out(daemon: Daemon, container: str) -> str:
    """The network whose gateway is the container's default route in both families."""
    gateways = [default_route(daemon, container, version) for version in FAMILIES]
    assert all(gateways), gateways
    numbers = {gateways[0][0].split(".")[2], gateways[1][0].split(":")[1]}  # type: ignore[index]
    (number,) = numbers
    return NAMES[int(number) - 1]


# --- the default route ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations(NAMES)), ids="-".join)
def test_the_way_out_does_not_depend_on_the_order_of_joining(three: Daemon, order: tuple[str, ...]) -> None:
    """moby#20179, moby#21741, netavark#1146: pain 24, the gateway was whichever came last, or a random one."""
    sleeper(three, "box", *(word for name in order for word in ("--network", name)))
    assert way_out(three, "box") == "aa"
    sleeper(three, "late", "--network", order[0])
    for name in order[1:]:
        three.linkspan("network", "connect", name, "late")
    assert way_out(three, "late") == "aa"


def test_the_way_out_is_the_same_after_every_restart(three: Daemon) -> None:
    """moby#20179, netavark#1146: of the container and of the daemon, with and without priorities."""
    sleeper(three, "plain", *(word for name in NAMES for word in ("--network", name)))
    sleeper(three, "wished", "--network", "aa", "--network", "name=cc,gw-priority=1", "--network", "bb")
    for _ in range(2):
        three.linkspan("restart", "-t", "0", "plain", "wished")
        assert (way_out(three, "plain"), way_out(three, "wished")) == ("aa", "cc")
    three.restart()
    assert (way_out(three, "plain"), way_out(three, "wished")) == ("aa", "cc")
    three.linkspan("restart", "-t", "0", "plain", "wished")
    assert (way_out(three, "plain"), way_out(three, "wished")) == ("aa", "cc")


def test_the_highest_priority_wins_and_the_next_one_takes_over(three: Daemon, client: Client) -> None:
    """moby#21741: a chosen gateway, and what happens when its network goes."""
    sleeper(three, "box", "--network", "name=bb,gw-priority=5", "--network", "name=aa,gw-priority=-1")
    assert way_out(three, "box") == "bb"
    three.linkspan("network", "connect", "--gw-priority", "9", "cc", "box")
    assert way_out(three, "box") == "cc"
    client("network", "disconnect", "cc", "box")
    assert way_out(three, "box") == "bb"
    client("network", "disconnect", "bb", "box")
    assert way_out(three, "box") == "aa"
    client("network", "connect", "cc", "box")
    assert way_out(three, "box") == "cc", "0 is more than -1"


def test_published_ports_and_the_way_out_follow_the_gateway(three: Daemon, outside: Outside) -> None:
    sleeper(three, "box", "--network", "aa", "-p", "8080:80")
    with Room(three, "box") as room, serving(room, 80):
        for change in (
            ("connect", "--gw-priority", "3", "cc"),
            ("disconnect", "aa"),
            ("connect", "--gw-priority", "7", "bb"),
            ("disconnect", "bb"),
        ):
            three.linkspan("network", *change, "box")
            for version in FAMILIES:
                ready(outside.namespace, (HOST[version], 8080))
                assert ask(outside.namespace, HOST[version], 8080) == f"{WORLD[version]} at 80", change
                assert ask(room, WORLD[version], PORT) == f"{HOST[version]} at {PORT}", change


def test_a_fixed_source_is_that_of_the_network_which_is_the_way_out(three: Daemon, outside: Outside) -> None:
    """What the neighbour sees tells which way the packets really took."""
    three.namespace.run("ip", "addr", "add", "198.51.100.9/32", "dev", "up0")
    option = "com.docker.network.host_ipv4=198.51.100.9"
    three.linkspan("network", "create", "--subnet", "10.76.9.0/24", "--opt", option, "fixed")
    sleeper(three, "box", "--network", "aa")
    with Room(three, "box") as room:
        ready(room, (OUTSIDE4, PORT))
        assert ask(room, OUTSIDE4, PORT) == f"{HOST4} at {PORT}"
        three.linkspan("network", "connect", "--gw-priority", "1", "fixed", "box")
        assert ask(room, OUTSIDE4, PORT) == f"198.51.100.9 at {PORT}"
        assert ask(room, OUTSIDE6, PORT) == f"{HOST6} at {PORT}", "IPv6 has its own way out"
        three.linkspan("network", "disconnect", "fixed", "box")
        assert ask(room, OUTSIDE4, PORT) == f"{HOST4} at {PORT}"


@pytest.mark.parametrize("value", ["high", "1.5", "99999999999999999999"])
def test_a_bad_priority_is_refused_and_changes_nothing(three: Daemon, value: str) -> None:
    sleeper(three, "box", "--network", "aa")
    before = settled_picture(three)
    assert value in three.refused("network", "connect", "--gw-priority", value, "bb", "box")
    assert value in three.refused("create", "--network", f"name=bb,gw-priority={value}", "busybox", "true")
    if value.isdigit():
        body = {"Container": "box", "EndpointConfig": {"GwPriority": int(value)}}
        with pytest.raises(Refused) as refusal:
            EngineApi(three.socket)("POST", "/networks/bb/connect", body)
        assert refusal.value.status == 400
        assert "GwPriority" in str(refusal.value)
    assert settled_picture(three) == before


# --- announcements -------------------------------------------------------------------------------------------------


def announced(ear: Ear, address: str, seconds: float) -> list[float]:
    """When an address was announced: gratuitous ARP (RFC 5227) or an unsolicited advertisement (RFC 4861)."""
    found = []
    wanted = ip_address(address).packed
    for moment, frame in ear.heard(seconds):
        kind = int.from_bytes(frame[12:14], "big")
        arp = kind == frames.ARP and frame[28:32] == wanted and frame[38:42] == wanted
        advertised = kind == frames.IPV6 and frame[20] == frames.ICMPV6 and frame[54] == frames.ADVERTISEMENT
        if arp or (advertised and frame[62:78] == wanted and frame[38:54] == ip_address("ff02::1").packed):
            found.append(moment)
    return found


@pytest.fixture
def street(lab: Daemon) -> Iterator[tuple[Daemon, Namespace]]:
    """A network of both families with a sibling that listens."""
    lab.linkspan("network", "create", "--subnet", "10.77.0.0/24", "--ipv6", "--subnet", "fd77::/64", "street")
    sleeper(lab, "ear", "--network", "street")
    with Room(lab, "ear") as room:
        for gateway in ("10.77.0.1", "fd77::1"):
            greet(room, gateway)
        yield lab, room


def test_new_addresses_are_announced_three_times_a_second_apart(street: tuple[Daemon, Namespace]) -> None:
    daemon, room = street
    for address in ("10.77.0.50", "fd77::50"):
        with Ear(room) as ear:
            sleeper(daemon, "box", "--network", "street", "--ip", "10.77.0.50", "--ip6", "fd77::50")
            times = announced(ear, address, 3.2)
        assert len(times) == 3, address
        assert all(0.7 < later - earlier < 1.6 for earlier, later in itertools.pairwise(times)), times
        daemon.linkspan("rm", "-f", "box")


@pytest.mark.parametrize(
    ("options", "count", "most"),
    [((f"{COUNT}=2", f"{INTERVAL}=200"), 2, 0.6), ((f"{COUNT}=1",), 1, 0.0), ((f"{COUNT}=0",), 0, 0.0)],
    ids=["two", "one", "none"],
)
def test_how_often_and_how_fast_is_the_networks_choice_or_the_endpoints(
    street: tuple[Daemon, Namespace], options: tuple[str, ...], count: int, most: float
) -> None:
    daemon, room = street
    with Ear(room) as ear:
        wish = "".join(f",driver-opt={option}" for option in options)
        sleeper(daemon, "box", "--network", f"name=street,ip=10.77.0.50{wish}")
        times = announced(ear, "10.77.0.50", 2.4)
    assert len(times) == count
    assert not times or times[-1] - times[0] <= most
    words = [word for option in options for word in ("--opt", option)]
    daemon.linkspan("network", "create", "--subnet", "10.78.0.0/24", *words, "other")
    sleeper(daemon, "listener", "--network", "other")
    with Room(daemon, "listener") as there:
        greet(there, "10.78.0.1")
        with Ear(there) as ear:
            daemon.linkspan("network", "connect", "--ip", "10.78.0.50", "other", "box")
            assert len(announced(ear, "10.78.0.50", 2.4)) == count


def follows(room: Namespace, address: str, mac: str) -> bool:
    return known_mac(room, address) == mac


def test_an_address_that_moves_to_another_container_is_learned_at_once(street: tuple[Daemon, Namespace]) -> None:
    """A sibling with the old one in its neighbour table talks to the new one without waiting for that to age."""
    daemon, room = street
    wish = ("--network", "street", "--ip", "10.77.0.50", "--ip6", "fd77::50")
    sleeper(daemon, "old", *wish)
    with Room(daemon, "old") as old:
        for address in ("10.77.0.50", "fd77::50"):
            greet(room, address)
            assert known_mac(room, address) == mac_of(old)
    daemon.linkspan("rm", "-f", "old")
    sleeper(daemon, "new", *wish)
    with Room(daemon, "new") as new, serving(new, PORT):
        for address in ("10.77.0.50", "fd77::50"):
            learned = functools.partial(follows, room, address, mac_of(new))
            eventually(learned, f"{address} is learned", seconds=3)
            assert ask(room, address, PORT).endswith(f"at {PORT}")


def test_the_host_learns_a_moved_address_at_once_too(street: tuple[Daemon, Namespace]) -> None:
    """So published ports and the host's own clients go on (stale ARP after a container was replaced)."""
    daemon, _ = street
    wish = ("--network", "street", "--ip", "10.77.0.50", "--ip6", "fd77::50")
    for name in ("old", "new"):
        sleeper(daemon, name, *wish)
        with Room(daemon, name) as box, serving(box, PORT):
            ready(daemon.namespace, ("10.77.0.50", PORT), ("fd77::50", PORT))
            assert known_mac(daemon.namespace, "10.77.0.50") == mac_of(box)
        daemon.linkspan("rm", "-f", name)


def test_announcements_do_not_cross_where_containers_are_kept_apart(lab: Daemon) -> None:
    bridge_netfilter(lab, 1)
    icc = "com.docker.network.bridge.enable_icc=false"
    lab.linkspan("network", "create", "--subnet", "10.79.0.0/24", "--opt", icc, "apart")
    sleeper(lab, "ear", "--network", "apart")
    with Room(lab, "ear") as room, Ear(room) as ear:
        sleeper(lab, "box", "--network", "apart", "--ip", "10.79.0.50")
        assert announced(ear, "10.79.0.50", 2.4) == []


# --- addresses of both families ------------------------------------------------------------------------------------


def test_a_network_of_ipv6_alone_gives_all_that_ipv4_would(lab: Daemon, outside: Outside) -> None:
    """Pain 23, moby#25407, moby#13481: names, ports, the way out and siblings without any IPv4."""
    lab.linkspan("network", "create", "--ipv4=false", "--ipv6", "six")
    sleeper(lab, "web", "--network", "six", "-p", "8080:80")
    sleeper(lab, "peer", "--network", "six")
    with Room(lab, "web") as web, Room(lab, "peer") as peer, serving(web, 80):
        assert inside(lab, "web", "ip", "-4", "-o", "addr", "show", "dev", "eth0") == ""
        own = address6(lab, "web", "six")
        ready(peer, (own, 80))
        ready(outside.namespace, (HOST6, 8080))
        assert ask(outside.namespace, HOST6, 8080) == f"{OUTSIDE6} at 80"
        assert ask(web, OUTSIDE6, PORT) == f"{HOST6} at {PORT}"
        assert ask(peer, HOST6, 8080).endswith(" at 80")
        assert own in lab.linkspan("exec", "peer", "nslookup", "-type=aaaa", "web")


def test_an_automatic_ula_works_without_a_word_about_subnets(lab: Daemon, outside: Outside) -> None:
    """Pain 23, moby#21951: --ipv6 alone is enough for both families to work side by side."""
    lab.linkspan("network", "create", "--ipv6", "dual")
    sleeper(lab, "web", "--network", "dual", "-p", "8080:80")
    assert ip_address(address6(lab, "web", "dual")).is_private
    with Room(lab, "web") as web, serving(web, 80):
        for version in FAMILIES:
            ready(outside.namespace, (HOST[version], 8080))
            assert ask(outside.namespace, HOST[version], 8080) == f"{WORLD[version]} at 80"
            assert ask(web, WORLD[version], PORT) == f"{HOST[version]} at {PORT}"


@pytest.mark.newer_docker
def test_the_holder_of_an_address_is_named_when_it_is_asked_for_twice(lab: Daemon, client: Client) -> None:
    """Pain 36, hiero#1395, moby#10749, moby#31389: "Address already in use" said neither what nor by whom."""
    lab.linkspan("network", "create", "--subnet", "10.77.0.0/24", "--ipv6", "--subnet", "fd77::/64", "street")
    sleeper(lab, "first", "--network", "street", "--ip", "10.77.0.50", "--ip6", "fd77::50")
    before = settled_picture(lab)
    for wish, address in ((("--ip", "10.77.0.50"), "10.77.0.50"), (("--ip6", "fd77::50"), "fd77::50")):
        words = ("run", "--rm", "--network", "street", *wish, "busybox", "true")
        lines = client.refused(*words, status=125).splitlines()
        said = sentence("\n".join(line for line in lines if not line.startswith("WARNING: ")))
        assert address in said
        assert "first" in said
    assert address4(lab, "first", "street") == "10.77.0.50"
    after = settled_picture(lab)
    assert {key: after[key] for key in ("links", "ruleset", "networks", "containers")} == {
        key: before[key] for key in ("links", "ruleset", "networks", "containers")
    }
