"""What is not published for somebody stays closed to him: loopback ports, other ports, lists of who may come."""

from __future__ import annotations

import json

import pytest

from container_lab import Client
from daemons import Daemon, Launch
from linkspan.model.port import Transport
from network_lab import address4, address6, inside, inspected, sentence, sleeper
from port_lab import REFUSED, SILENCE
from port_scenes import HOST, LAN, LOOPBACK, Scene, bridge_calls, scene_of

pytestmark = pytest.mark.scenario

OTHER = {4: "198.51.100.77", 6: "2001:db8:51::77"}
"""More addresses of the neighbour."""
BOTH: tuple[Transport, ...] = ("tcp", "udp")
CLOSED = (SILENCE, REFUSED)


def ask_from(scene: Scene, source: str, address: str, port: int, protocol: Transport = "tcp") -> str:
    """The same as ``Scene.ask``, from one of the neighbour's addresses."""
    return scene.ask(scene.outside, address, port, protocol, source=source)


@pytest.fixture
def web(scene: Scene) -> Scene:
    return with_web(scene)


def with_web(scene: Scene) -> Scene:
    """A dual-stack network, and a neighbour with several addresses."""
    scene.daemon.linkspan("network", "create", "--ipv6", "web")
    scene.give(scene.outside, *OTHER.values())
    return scene


@pytest.mark.parametrize("calls", ["0", "1"], ids=["br_netfilter off", "br_netfilter on"])
def test_loopback_ports_and_containers_are_closed_to_a_neighbour_with_a_route(launch: Launch, calls: str) -> None:
    """moby#45610, moby#41872, CVE-2020-8558: 127.0.0.1 means this host, whatever routes the neighbour sets."""
    daemon = launch(prepare=bridge_calls(calls))
    with scene_of(daemon) as scene:
        web = with_web(scene)
        ports = [
            word
            for protocol in BOTH
            for port in ("127.0.0.1:8080:80", "[::1]:8080:80", "8081:81")
            for word in ("-p", f"{port}/{protocol}")
        ]
        sleeper(daemon, "front", "--network", "web", *ports)
        sleeper(daemon, "stranger")
        web.serve("front", 80, 81, 82, protocols=BOTH)
        web.outside.run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
        for place in ("127.0.0.0/8", "127.0.0.1"):
            web.outside.run("ip", "route", "del", "local", place, "table", "local")
        web.outside.run("ip", "route", "add", "127.0.0.1", "via", HOST[4], "src", LAN[4])
        for protocol in BOTH:
            check_closed(web, protocol)


def check_closed(web: Scene, protocol: Transport) -> None:
    """Loopback ports, unpublished ones and the container's own addresses."""
    lab = web.daemon
    for version, address_of in ((4, address4), (6, address6)):
        inner = address_of(lab, "front", "web")
        assert web.ask(None, LOOPBACK[version], 8080, protocol).endswith(" at 80")
        assert web.ask(web.outside, HOST[version], 8080, protocol) in CLOSED
        assert ask_from(web, LAN[version], HOST[version], 8081, protocol) == f"{LAN[version]} at 81"
        for port in (80, 81, 82, 8080):
            assert web.ask(web.outside, inner, port, protocol, patience=0.3) == SILENCE
        assert web.ask(web.outside, HOST[version], 82, protocol) in CLOSED
    assert web.ask(web.outside, "127.0.0.1", 8080, protocol) == SILENCE
    for who in ("stranger", "front"):
        assert web.ask(who, HOST[4], 8080, protocol) in CLOSED
        assert web.ask(who, "127.0.0.1", 8080, protocol) in CLOSED


@pytest.mark.parametrize("protocol", BOTH)
def test_a_listener_on_the_host_s_loopback_is_not_opened_by_publishing(web: Scene, protocol: Transport) -> None:
    """CVE-2020-8558: routing 127.0.0.0/8 to bridges must open it to nobody."""
    lab = web.daemon
    sleeper(lab, "front", "--network", "web", "-p", f"127.0.0.1:8080:80/{protocol}")
    web.serve(None, 9999, address="127.0.0.1", protocols=(protocol,))
    gateway = next(item["Gateway"] for item in inspected(lab, "web")["IPAM"]["Config"] if ":" not in item["Gateway"])
    inside(lab, "front", "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    inside(lab, "front", "ip", "route", "del", "local", "127.0.0.0/8", "table", "local")
    inside(lab, "front", "ip", "route", "del", "local", "127.0.0.1", "table", "local")
    inside(lab, "front", "ip", "route", "add", "127.0.0.1", "via", gateway, "src", address4(lab, "front", "web"))
    assert web.ask(None, "127.0.0.1", 9999, protocol).endswith(" at 9999")
    assert web.ask("front", "127.0.0.1", 9999, protocol) == SILENCE


@pytest.mark.parametrize("protocol", BOTH)
def test_only_listed_networks_come_to_a_port_with_a_list(web: Scene, client: Client, protocol: Transport) -> None:
    lab = web.daemon
    sources = f"{LAN[4]},{LAN[6]},10.0.0.0/8"
    label = f"linkspan.publish-from.80/{protocol}"
    words = ("--label", f"{label}={sources}") if client.is_docker else ("--publish-from", f"80/{protocol}={sources}")
    client.sleeper("front", "--network", "web", "-p", f"8080:80/{protocol}", "-p", f"8081:81/{protocol}", *words)
    sleeper(lab, "sibling", "--network", "web")
    sleeper(lab, "stranger")
    web.serve("front", 80, 81, protocols=(protocol,))
    for version, address_of in ((4, address4), (6, address6)):
        assert ask_from(web, LAN[version], HOST[version], 8080, protocol) == f"{LAN[version]} at 80"
        assert ask_from(web, OTHER[version], HOST[version], 8080, protocol) == SILENCE
        assert ask_from(web, OTHER[version], HOST[version], 8081, protocol) == f"{OTHER[version]} at 81"
        assert web.ask(None, HOST[version], 8080, protocol) == f"{HOST[version]} at 80"
        assert web.ask(None, LOOPBACK[version], 8080, protocol).endswith(" at 80")
        assert web.ask("sibling", HOST[version], 8080, protocol) == SILENCE
        inner = address_of(lab, "front", "web")
        assert web.ask("sibling", inner, 80, protocol) == f"{address_of(lab, 'sibling', 'web')} at 80"
    assert web.ask("stranger", HOST[4], 8080, protocol) == SILENCE
    lab.linkspan("restart", "front")
    assert ask_from(web, OTHER[4], HOST[4], 8080, protocol) == SILENCE
    assert ask_from(web, LAN[4], HOST[4], 8080, protocol) == f"{LAN[4]} at 80"


def test_a_list_of_one_family_closes_the_other(web: Scene) -> None:
    lab = web.daemon
    sleeper(lab, "front", "--network", "web", "-p", "8080:80", "--publish-from", "198.51.100.0/24")
    web.serve("front", 80)
    assert ask_from(web, OTHER[4], HOST[4], 8080) == f"{OTHER[4]} at 80"
    assert ask_from(web, LAN[6], HOST[6], 8080) == SILENCE
    assert web.ask(None, HOST[6], 8080) == f"{HOST[6]} at 80"


def test_a_container_may_be_on_the_list(web: Scene) -> None:
    lab = web.daemon
    sleeper(lab, "friend")
    sleeper(lab, "foe")
    friend = lab.address("friend")
    sleeper(lab, "front", "--network", "web", "-p", "8080:80", "--publish-from", friend)
    web.serve("front", 80)
    assert web.ask("friend", HOST[4], 8080) == f"{friend} at 80"
    assert web.ask("foe", HOST[4], 8080) == SILENCE
    assert web.ask(web.outside, HOST[4], 8080) == SILENCE


def test_a_relayed_port_and_a_range_have_lists_too(web: Scene) -> None:
    lab = web.daemon
    lab.linkspan("network", "create", "four")
    words = ("-p", "8080:80", "-p", "9000-9005:9000-9005", "--publish-from", f"{LAN[4]},{LAN[6]}")
    sleeper(lab, "front", "--network", "four", *words)
    web.serve("front", 80, 9003)
    for version in (4, 6):
        for port, inner in ((8080, 80), (9003, 9003)):
            assert ask_from(web, LAN[version], HOST[version], port).endswith(f" at {inner}")
            assert ask_from(web, OTHER[version], HOST[version], port) in CLOSED
        assert web.ask(None, LOOPBACK[version], 8080).endswith(" at 80")


def test_a_list_that_means_nothing_is_refused(client: Client, lab: Daemon) -> None:
    label = "linkspan.publish-from.81/tcp=10.0.0.0/8"
    said = sentence(client.refused("run", "-d", "-p", "8080:80", "--label", label, "busybox", "true", status=125))
    assert "81/tcp" in said
    assert "not published" in said
    assert json.loads(client("ps", "-a", "--format", "json") or "[]") == []
