"""Whatever happens to the host's side of our networks is repaired within a second, under load, and told once.

Pain 2: moby#12294 (networking fails after the firewall is restarted, still open), moby#48657, moby#15254, podman#3842,
podman#5431, netavark#230, netavark#723, netavark#1258, firewalld#863. Pain 26: moby#40217, moby#26492, systemd#28626,
systemd#21185 (other managers take our devices, addresses and settings).

What is promised under load. Requests between containers and look-ups of names never fail by a flush of the host's
firewall: nothing of theirs passes it. While our table is away the host does not translate. Its own end of a published
port is deaf then, so that clients send again and are not refused; but an answer that leaves under the container's own
address may meet a client that resets what it does not know (this one has a route through the host). So a request to a
published port may be lost when it falls into the hole, none before or after it may, and connections that are silent
meanwhile go on. While a link is away TCP sends again, so only datagrams may be lost in the hole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from container_lab import raw
from daemons import Daemon, eventually
from healing_town import PORT, Hole, Town, causes, drift, objects, running, town
from load_lab import Conversation
from network_lab import HOST4, HOST6, default_route, inside

pytestmark = pytest.mark.scenario


@pytest.fixture(scope="module")
def built(module_daemon: Daemon) -> Iterator[Town]:
    with town(module_daemon) as built:
        yield built


@pytest.fixture
def here(built: Town) -> Iterator[Town]:
    """The town, with no memory of earlier fights; whatever a test does, nobody else's things change."""
    raw(built.daemon, "POST", "/linkspan/repair")
    before = built.foreign()
    yield built
    assert built.foreign() == before
    assert drift(built.daemon) == []


Damage = tuple[str, dict[str, str]]
"""A shell line, and what is told of it: object -> state. Both with placeholders."""

FIREWALL: dict[str, Damage] = {
    "our table is deleted": ("nft delete table inet linkspan", {"table inet linkspan": "missing"}),
    "our rules are flushed": ("nft flush table inet linkspan", {"table inet linkspan": "different"}),
    "one rule is deleted": (
        "nft delete rule inet linkspan forward handle"
        " $(nft -a list chain inet linkspan forward | grep -o 'handle [0-9]*' | tail -1 | cut -d' ' -f2)",
        {"table inet linkspan": "different"},
    ),
    "a rule is added": (
        "nft insert rule inet linkspan forward counter accept",
        {"table inet linkspan": "different"},
    ),
}
LINKS: dict[str, Damage] = {
    "the bridge is deleted": ("ip link del BRIDGE", {"bridge BRIDGE": "missing"}),
    "a pair is deleted": ("ip link del VETH", {"veth VETH": "missing"}),
    "the bridge is set down": (
        "ip link set BRIDGE down",
        {"bridge BRIDGE": "different", "address ADDRESS6 on BRIDGE": "missing", "address LOCAL on BRIDGE": "missing"},
    ),
    "a pair is set down": ("ip link set VETH down", {"veth VETH": "different"}),
    "a pair is taken off the bridge": ("ip link set VETH nomaster", {"veth VETH": "different"}),
    "the addresses are flushed": (
        "ip addr del ADDRESS4 dev BRIDGE; ip addr del ADDRESS6 dev BRIDGE",
        {"address ADDRESS4 on BRIDGE": "missing", "address ADDRESS6 on BRIDGE": "missing"},
    ),
    "forwarding is switched off": (
        "sysctl -w net.ipv4.ip_forward=0",
        {"sysctl net/ipv4/ip_forward = 1": "different"},
    ),
    "IPv6 forwarding is switched off": (
        "sysctl -w net.ipv6.conf.all.forwarding=0",
        {"sysctl net/ipv6/conf/all/forwarding = 1": "different"},
    ),
}
HARMLESS: dict[str, Damage] = {
    "the bridge's MTU is changed": ("ip link set BRIDGE mtu 1400", {"bridge BRIDGE": "different"}),
    "a pair's MTU is changed": ("ip link set VETH mtu 1400", {"veth VETH": "different"}),
    "the bridge accepts router advertisements": (
        "sysctl -w net.ipv6.conf.BRIDGE.accept_ra=2",
        {"sysctl net/ipv6/conf/BRIDGE/accept_ra = 0": "different"},
    ),
    "loopback may be routed no more": (
        "sysctl -w net.ipv4.conf.BRIDGE.route_localnet=0",
        {"sysctl net/ipv4/conf/BRIDGE/route_localnet = 1": "different"},
    ),
    "an alias is taken away": ("ip link set VETH alias ''", {"veth VETH": "different"}),
}


def damage(here: Town, line: str) -> Hole:
    """Does it, and tells since when it is done."""
    hole = Hole(here.daemon)
    here.host.run("sh", "-ec", line)
    return hole


def told(wanted: dict[str, str], hole: Hole) -> None:
    """One event for each object, within a second."""
    found = objects(hole.repaired(events=len(wanted)))
    shortened = {name.partition(" with peer")[0]: state for name, state in found.items()}
    assert shortened == wanted


@pytest.mark.parametrize("name", FIREWALL)
def test_a_firewall_changed_by_hand_comes_back_and_only_requests_to_ports_can_notice(here: Town, name: str) -> None:
    line, expected = FIREWALL[name]
    inner, outer = here.inner(), here.outer()
    with running([*inner, *outer]), Conversation(here.outside.namespace.path, HOST4, PORT) as talk:
        line, wanted = here.filled(line), {here.filled(name): state for name, state in expected.items()}
        hole = damage(here, line)
        told(wanted, hole)
        assert all(cause.startswith("nft (pid ") for cause in causes(hole.events()))
        for load in (*inner, *outer):
            load.goes_on()
        assert talk.goes_on()
    assert [load.failures for load in inner] == [[], [], []]
    assert [load.outside(hole.began, hole.ended) for load in outer] == [[]] * 5


@pytest.mark.parametrize("name", LINKS)
def test_a_link_or_setting_comes_back_and_connections_go_on(here: Town, name: str) -> None:
    line, expected = LINKS[name]
    before = here.everybody()
    inner, outer = here.inner(), here.outer()
    with running([*inner, *outer]), Conversation(here.outside.namespace.path, HOST4, PORT) as talk:
        line, wanted = here.filled(line), {here.filled(name): state for name, state in expected.items()}
        hole = damage(here, line)
        told(wanted, hole)
        for load in (*inner, *outer):
            load.goes_on()
        assert talk.goes_on()
    assert [load.failures for load in (*inner, *outer[:-1])] == [[]] * 7
    assert outer[-1].outside(hole.began, hole.ended) == []
    eventually(lambda: here.everybody() == before, "the containers see what they saw")
    if "link del BRIDGE" in LINKS[name][0]:
        here.restore_theirs()


@pytest.mark.parametrize("name", HARMLESS)
def test_a_change_that_stops_nothing_is_led_back_and_nobody_notices(here: Town, name: str) -> None:
    line, expected = HARMLESS[name]
    loads = [*here.inner(), *here.outer()]
    with running(loads):
        line, wanted = here.filled(line), {here.filled(name): state for name, state in expected.items()}
        hole = damage(here, line)
        told(wanted, hole)
        for load in loads:
            load.goes_on()
    assert [load.failures for load in loads] == [[]] * 8


def test_a_flush_of_the_whole_firewall_is_repaired_and_told_for_each_table_with_its_cause(here: Town) -> None:
    inner, outer = here.inner(), here.outer()
    with running([*inner, *outer]), Conversation(here.outside.namespace.path, HOST4, PORT) as talk:
        hole = damage(here, "exec nft flush ruleset")
        found = hole.repaired(events=2)
        for load in (*inner, *outer):
            load.goes_on()
        assert talk.goes_on()
    assert objects(found) == {"table inet linkspan": "missing", "table bridge linkspan": "missing"}
    (cause,) = causes(found)
    assert cause.startswith("nft (pid ")
    assert [load.failures for load in inner] == [[], [], []]
    assert [load.outside(hole.began, hole.ended) for load in outer] == [[]] * 5
    assert here.host.run("nft", "list", "table", "inet", "theirs", check=False).returncode == 1, "theirs is not ours"
    here.restore_theirs()


def test_an_element_that_is_deleted_or_added_by_hand_is_one_event(here: Town) -> None:
    loads = here.inner()
    with running(loads):
        hole = damage(here, f"nft delete element inet linkspan anyport4 '{{ tcp . {PORT} }}'")
        (event,) = hole.repaired()
        attributes = event["Actor"]["Attributes"]
        assert (attributes["state"], attributes["cause"].startswith("nft (pid ")) == ("missing", True)
        assert str(PORT) in attributes["object"]
        hole = damage(here, "nft add element inet linkspan bridges '{ theirs0 }'")
        (event,) = hole.repaired()
        attributes = event["Actor"]["Attributes"]
        assert (attributes["state"], "theirs0" in attributes["object"]) == ("unwanted", True)
    assert [load.failures for load in loads] == [[], [], []]


def test_a_container_that_starts_in_the_very_moment_of_a_flush_starts(here: Town) -> None:
    """Regression test for what moby#12294 makes of ``docker run``: no chain by that name."""
    api = here.daemon
    for number in range(6):
        hole = damage(here, "nft flush ruleset" if number % 2 else "nft delete table inet linkspan")
        api.linkspan("run", "-d", "--name", f"new{number}", "--network", "web", "-p", "80", "busybox", "sleep", "100")
        hole.wait()
        raw(here.daemon, "POST", "/linkspan/repair")
    api.linkspan("rm", "-f", *(f"new{number}" for number in range(6)))
    here.restore_theirs()


def test_published_ports_and_names_work_after_everything_was_taken_away_at_once(here: Town) -> None:
    line = "nft flush ruleset; ip link del BRIDGE; sysctl -w net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0"
    before = here.everybody()
    hole = damage(here, here.filled(line))
    found = hole.repaired(events=5)
    assert set(objects(found)) == {
        "table inet linkspan",
        "table bridge linkspan",
        here.filled("bridge BRIDGE"),
        "sysctl net/ipv4/ip_forward = 1",
        "sysctl net/ipv6/conf/all/forwarding = 1",
    }
    assert here.everybody() == before
    with running([*here.inner(), *here.outer()]):
        pass
    here.restore_theirs()
    assert here.outside.pings(HOST6)


def test_a_container_on_two_networks_gets_both_pairs_back_with_its_default_route_and_names(here: Town) -> None:
    """Every pair of the host at once: moby#40217 (a manager of interfaces takes what it does not know)."""
    daemon = here.daemon
    daemon.linkspan("network", "create", "--subnet", "10.45.0.0/24", "second")
    daemon.linkspan("network", "connect", "--gw-priority", "5", "second", "three")
    before = whole(here, "three"), here.everybody()
    assert default_route(daemon, "three") == ("10.45.0.1", "eth1")
    inner, outer = here.inner(), here.outer()
    with running([*inner, *outer[:2]]):
        listed = json.loads(here.host.run("ip", "-j", "link", "show", "type", "veth").stdout)
        pairs = [each["ifname"] for each in listed if each["ifname"].startswith("veth")]
        assert len(pairs) == 4
        hole = damage(here, "; ".join(f"ip link del {name}" for name in pairs))
        assert set(objects(hole.repaired(events=4)).values()) == {"missing"}
        for load in (*inner, *outer[:2]):
            load.goes_on()
    assert [load.outside(hole.began, hole.ended) for load in inner[:2]] == [[], []], "without a link none can ask"
    assert [load.failures for load in (inner[2], *outer[:2])] == [[]] * 3
    assert (whole(here, "three"), here.everybody()) == before
    assert default_route(daemon, "three") == ("10.45.0.1", "eth1")
    found = daemon.linkspan("exec", "three", "nslookup", "one")
    assert here.one in found
    daemon.linkspan("network", "disconnect", "second", "three")
    daemon.linkspan("network", "rm", "second")


def whole(here: Town, container: str) -> list[tuple[str, str, int, list[str]]]:
    """All interfaces of a container: name, MAC, MTU, addresses."""
    shown = json.loads(inside(here.daemon, container, "ip", "-j", "addr"))
    return sorted(
        (each["ifname"], each["address"], each["mtu"], sorted(item["local"] for item in each["addr_info"]))
        for each in shown
    )


def test_a_foreign_program_that_reloads_its_own_table_makes_no_work_and_no_event(here: Town) -> None:
    """moby#48657, firewalld#863: a reload of others' rules is none of our business, and costs our users nothing."""
    loads = [*here.inner(), *here.outer()]
    with running(loads):
        hole = Hole(here.daemon)
        for _ in range(30):
            here.host.run("nft", "add table inet reloaded; delete table inet reloaded; add table inet reloaded")
        here.host.run("nft", "delete", "table", "inet", "reloaded")
        here.host.run("ip", "link", "add", "theirs1", "type", "bridge")
        here.host.run("ip", "addr", "add", "198.18.0.1/24", "dev", "theirs1")
        here.host.run("ip", "link", "del", "theirs1")
        for load in loads:
            load.goes_on()
    assert hole.events() == []
    assert [load.failures for load in loads] == [[]] * 8
