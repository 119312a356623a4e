"""The gateway modes of bridge networks through a real daemon: which ports a neighbour with a route finds open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from container_lab import Client
from daemons import Daemon
from isolation_lab import REFUSED, SILENCE, Room, answers, ask, reached, ready, serving
from namespaces import Namespace
from network_lab import (
    HOST4,
    HOST6,
    OUTSIDE4,
    OUTSIDE6,
    UPLINK,
    Outside,
    address4,
    address6,
    addresses,
    default_route,
    sentence,
    settled_picture,
    sleeper,
)

pytestmark = pytest.mark.scenario

PORT = 8123
HOST = {4: HOST4, 6: HOST6}
WORLD = {4: OUTSIDE4, 6: OUTSIDE6}
FAMILIES = (4, 6)
SUBNETS = ("--subnet", "10.71.0.0/24", "--ipv6", "--subnet", "fd71::/64")
GATEWAY = {4: "10.71.0.1", 6: "fd71::1"}
BRIDGE = "com.docker.network.bridge"
SECOND = {4: "198.51.100.9", 6: "2001:db8:51::9"}


@pytest.fixture
def outside(lab: Daemon) -> Iterator[Outside]:
    """A neighbour that serves on one port, and knows the way to all that is behind the host."""
    with Outside(lab) as world, serving(world.namespace, PORT):
        yield world


def modes(*both: str) -> tuple[str, ...]:
    """Options for the gateway modes of IPv4 and IPv6."""
    return ("--opt", f"{BRIDGE}.gateway_mode_ipv4={both[0]}", "--opt", f"{BRIDGE}.gateway_mode_ipv6={both[-1]}")


class Web:
    """A container ``web`` that publishes 80 at 8080 and listens on 81 too, and its addresses."""

    def __init__(self, daemon: Daemon, room: Namespace) -> None:
        self.room = room
        self.own = {4: address4(daemon, "web", "net"), 6: address6(daemon, "web", "net")}

    def seen(self, where: Outside | Namespace, version: int) -> tuple[str, str, str]:
        """What is said at the host's published port, at the container's published port and at its other port."""
        asked = ((HOST[version], 8080), (self.own[version], 80), (self.own[version], 81))
        found = answers(where.namespace if isinstance(where, Outside) else where, *asked)
        return found[asked[0]], found[asked[1]], found[asked[2]]


@contextmanager
def web(lab: Daemon, *options: str, run: tuple[str, ...] = ("-p", "8080:80")) -> Iterator[Web]:
    """The container on a network ``net`` with these options."""
    lab.linkspan("network", "create", *SUBNETS, *options, "net")
    sleeper(lab, "web", "--network", "net", *run)
    with Room(lab, "web") as room, serving(room, 80, 81):
        made = Web(lab, room)
        if "--internal" not in options:
            ready(lab.namespace, *((made.own[version], 80) for version in FAMILIES))
        yield made


@contextmanager
def stranger(lab: Daemon) -> Iterator[tuple[Namespace, dict[int, str]]]:
    """A container on another network, and its addresses."""
    lab.linkspan("network", "create", "--ipv6", "other")
    sleeper(lab, "stranger", "--network", "other")
    with Room(lab, "stranger") as room:
        yield room, {4: address4(lab, "stranger", "other"), 6: address6(lab, "stranger", "other")}


OPEN = {
    "nat": ("{} at 80", SILENCE, SILENCE),
    "nat-unprotected": ("{} at 80", "{} at 80", "{} at 81"),
    "routed": (REFUSED, "{} at 80", SILENCE),
}
"""By mode: what who asks hears at the host's published port, at the container's one, at its unpublished one."""


def heard(mode: str, asker: str) -> tuple[str, ...]:
    return tuple(each.format(asker) for each in OPEN[mode])


@pytest.mark.parametrize("pair", [("nat", "nat"), ("nat-unprotected",) * 2, ("routed",) * 2], ids=lambda pair: pair[0])
def test_each_gateway_mode_opens_what_it_promises_to_a_neighbour_with_a_route(
    lab: Daemon, outside: Outside, pair: tuple[str, str]
) -> None:
    with web(lab, *modes(*pair)) as made:
        for version, mode in zip(FAMILIES, pair, strict=True):
            assert made.seen(outside, version) == heard(mode, WORLD[version]), (version, mode)
            leaving = made.own[version] if mode == "routed" else HOST[version]
            assert ask(made.room, WORLD[version], PORT) == f"{leaving} at {PORT}"
            assert outside.pings(made.own[version]) is (mode != "nat")


@pytest.mark.parametrize("pair", [("nat", "routed"), ("routed", "nat"), ("nat-unprotected", "nat")])
def test_each_family_may_have_a_gateway_mode_of_its_own(lab: Daemon, outside: Outside, pair: tuple[str, str]) -> None:
    with web(lab, *modes(*pair)) as made:
        for version, mode in zip(FAMILIES, pair, strict=True):
            assert made.seen(outside, version) == heard(mode, WORLD[version]), (version, mode)


def test_only_what_is_published_of_a_routed_network_is_open_to_other_networks(lab: Daemon, outside: Outside) -> None:
    with web(lab, *modes("routed")) as made, stranger(lab) as (room, own):
        for version in FAMILIES:
            assert made.seen(room, version)[1:] == (f"{own[version]} at 80", SILENCE)


def test_unprotected_means_open_to_outside_and_not_to_other_networks(lab: Daemon, outside: Outside) -> None:
    with web(lab, *modes("nat-unprotected")) as made, stranger(lab) as (room, own):
        for version in FAMILIES:
            assert made.seen(room, version) == (f"{own[version]} at 80", SILENCE, SILENCE)


def test_a_routed_network_holds_no_port_of_the_host(lab: Daemon, outside: Outside) -> None:
    with web(lab, *modes("routed")), serving(lab.namespace, 8080):
        assert ask(outside.namespace, HOST4, 8080) == f"{OUTSIDE4} at 8080"
        assert ask(outside.namespace, HOST6, 8080) == f"{OUTSIDE6} at 8080"


# --- isolated ------------------------------------------------------------------------------------------------------


def test_an_isolated_network_has_no_address_of_the_host_and_no_way_out(lab: Daemon, outside: Outside) -> None:
    options = ("--opt", f"{BRIDGE}.name=iso0", "--internal", *modes("isolated"))
    with web(lab, *options, run=()) as made:
        assert addresses(lab.namespace, "iso0") == set()
        assert lab.namespace.run("ip", "-o", "addr", "show", "dev", "iso0").stdout == "", "not even a link-local one"
        sleeper(lab, "sibling", "--network", "net")
        with Room(lab, "sibling") as sibling, serving(lab.namespace, PORT):
            ready(sibling, *((made.own[version], 80) for version in FAMILIES))
            for version in FAMILIES:
                assert default_route(lab, "sibling", version) is None
                sibling.run("ip", f"-{version}", "route", "add", "default", "via", GATEWAY[version])
            away = [(each[version], PORT) for each in (GATEWAY, HOST, WORLD) for version in FAMILIES]
            assert reached(sibling, *away) == set()
        inner = [(made.own[version], 80) for version in FAMILIES]
        assert reached(lab.namespace, *inner) == set()
        assert reached(outside.namespace, *inner) == set()


def test_isolation_may_be_of_one_family_alone(lab: Daemon) -> None:
    options = ("--opt", f"{BRIDGE}.name=iso0", "--internal", "--opt", f"{BRIDGE}.gateway_mode_ipv6=isolated")
    with web(lab, *options, run=()) as made:
        assert addresses(lab.namespace, "iso0") == {"10.71.0.1/24"}
        ready(lab.namespace, (made.own[4], 80))
        assert ask(lab.namespace, made.own[6], 80) == SILENCE


@pytest.mark.parametrize("version", FAMILIES)
def test_isolated_without_internal_is_refused_and_leaves_nothing(lab: Daemon, client: Client, version: int) -> None:
    before = settled_picture(lab)
    option = f"{BRIDGE}.gateway_mode_ipv{version}"
    said = sentence(client.refused("network", "create", "--ipv6", "--opt", f"{option}=isolated", "net"))
    assert said == f"option {option}=isolated is for internal networks; say --internal, or choose another mode"
    assert settled_picture(lab) == before


# --- how packets leave ---------------------------------------------------------------------------------------------


def test_without_masquerade_containers_are_seen_under_their_own_addresses(lab: Daemon, outside: Outside) -> None:
    with web(lab, "--opt", f"{BRIDGE}.enable_ip_masquerade=false") as made:
        for version in FAMILIES:
            assert ask(made.room, WORLD[version], PORT) == f"{made.own[version]} at {PORT}"
            assert made.seen(outside, version) == (f"{WORLD[version]} at 80", SILENCE, SILENCE)


def test_containers_leave_under_the_address_that_was_fixed_for_their_network(lab: Daemon, outside: Outside) -> None:
    lab.namespace.run("ip", "addr", "add", f"{SECOND[4]}/32", "dev", UPLINK)
    # deprecated: else the host itself prefers the newer address
    lab.namespace.run("ip", "addr", "add", f"{SECOND[6]}/128", "dev", UPLINK, "preferred_lft", "0", "nodad")
    fixed = (f"com.docker.network.host_ipv4={SECOND[4]}", f"com.docker.network.host_ipv6={SECOND[6]}")
    with web(lab, *(word for option in fixed for word in ("--opt", option))) as made, stranger(lab) as (room, _):
        for version in FAMILIES:
            assert ask(made.room, WORLD[version], PORT) == f"{SECOND[version]} at {PORT}"
            assert ask(room, WORLD[version], PORT) == f"{HOST[version]} at {PORT}", "no other network does"
            assert ask(outside.namespace, SECOND[version], 8080) == f"{WORLD[version]} at 80"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("host_ipv4", "fd00::1", "fd00::1 is not an IPv4 address"),
        ("host_ipv6", "198.51.100.9", "198.51.100.9 is not an IPv6 address"),
        ("host_ipv4", "127.0.0.1", "nothing can leave under 127.0.0.1"),
        ("host_ipv4", "nine", '"nine" is not an IP address'),
        ("bridge.gateway_mode_ipv6", "rooted", '"rooted" is no gateway mode'),
        ("bridge.enable_ip_masquerade", "sometimes", '"sometimes" is neither true nor false'),
        ("bridge.trusted_host_interfaces", "up0:a/b", '"a/b" has characters that are not allowed'),
    ],
)
def test_bad_values_are_refused_in_one_sentence_and_leave_nothing(
    lab: Daemon, option: str, value: str, said: str
) -> None:
    before = settled_picture(lab)
    words = ("network", "create", "--ipv6", "--opt", f"com.docker.network.{option}={value}", "net")
    refused = sentence(lab.refused(*words, status=1))
    assert said in refused
    assert f"com.docker.network.{option}" in refused
    assert settled_picture(lab) == before


# --- whom the host trusts ------------------------------------------------------------------------------------------


def test_a_trusted_interface_leads_to_published_ports_at_the_containers_addresses(
    lab: Daemon, outside: Outside
) -> None:
    with web(lab, "--opt", f"{BRIDGE}.trusted_host_interfaces=none0:{UPLINK}") as made, stranger(lab) as (room, own):
        for version in FAMILIES:
            whole = f"{WORLD[version]} at 80"
            assert made.seen(outside, version) == (whole, whole, SILENCE)
            assert made.seen(room, version) == (f"{own[version]} at 80", SILENCE, SILENCE)
            assert not outside.pings(made.own[version])


def test_trust_in_an_interface_is_no_trust_in_another(lab: Daemon, outside: Outside) -> None:
    with web(lab, "--opt", f"{BRIDGE}.trusted_host_interfaces=none0") as made:
        for version in FAMILIES:
            assert made.seen(outside, version) == (f"{WORLD[version]} at 80", SILENCE, SILENCE)


def test_ports_go_to_the_address_that_the_network_binds_to(lab: Daemon, outside: Outside) -> None:
    lab.namespace.run("ip", "addr", "add", f"{SECOND[4]}/32", "dev", UPLINK)
    with web(lab, "--opt", f"{BRIDGE}.host_binding_ipv4={SECOND[4]}"):
        assert ask(outside.namespace, SECOND[4], 8080) == f"{OUTSIDE4} at 80"
        assert ask(outside.namespace, HOST4, 8080) == REFUSED
        assert ask(outside.namespace, HOST6, 8080) == REFUSED
    assert lab.linkspan("port", "web").split() == ["80/tcp", "->", f"{SECOND[4]}:8080"]
