"""``linkspan exposure`` lists what a neighbour's scan finds: TCP and UDP, v4 and v6, whatever the networks are like."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from container_lab import Client
from daemons import Daemon, Launch
from network_lab import Json, endpoint, inspected, sleeper
from port_lab import REFUSED, SILENCE
from port_scenes import HOST, LAN, Door, Echoes, Scene, bridge_calls, open_doors, scene_of

pytestmark = pytest.mark.scenario

OTHER = {4: "198.51.100.77", 6: "2001:db8:51::77"}
"""More addresses of the neighbour."""
SECOND = {4: "198.51.100.50", 6: "2001:db8:51::50"}
"""More addresses of the host."""
INSIDE = (*range(78, 90), *range(9000, 9005))
"""The ports that every container serves."""
BRIDGE = "com.docker.network.bridge"
NETWORKS = {
    "web": ("--ipv6",),
    "four": (),
    "six": ("--ipv4=false", "--ipv6"),
    "inner": ("--internal", "--ipv6"),
    "quiet": ("--ipv6", "-o", f"{BRIDGE}.enable_icc=false"),
    "routed": ("--ipv6", "-o", f"{BRIDGE}.gateway_mode_ipv4=routed", "-o", f"{BRIDGE}.gateway_mode_ipv6=routed"),
    "bare": ("--ipv6", "-o", f"{BRIDGE}.gateway_mode_ipv4=nat-unprotected"),
    "trusting": ("--ipv6", "-o", f"{BRIDGE}.trusted_host_interfaces=up0"),
    "plainroute": ("--ipv6", "-o", f"{BRIDGE}.enable_ip_masquerade=false"),
}
PORTS = {
    "web": (
        *("8080:80", "127.0.0.1:8081:81", "[::1]:8081:81", f"{HOST[4]}:8082:82", f"[{SECOND[6]}]:8082:82"),
        *("8083:83", "8084:84/udp", "8085:85/udp", "9000-9003:9000-9003", "9010-9012:86-88", "192.0.2.200:8086:89"),
    ),
    "four": ("8180:80", "8181:81", "8182:82/udp", "9100-9102:79-81/udp", "[::1]:8183:83"),
    "six": ("8280:80", "8281:81/udp"),
    "inner": ("8380:80", "8381:81/udp"),
    "quiet": ("8480:80", "8481:81/udp"),
    "routed": ("80", "8581:81/udp", "82", "127.0.0.1::83"),
    "bare": ("8680:80", "8681:81", "127.0.0.1:8682:82"),
    "trusting": ("8780:80", "127.0.0.1:8781:81", "8782:82"),
    "plainroute": ("8880:80", "8881:81/udp"),
    "bridge": ("8980:80", "8981:81/udp"),
}
SOURCES = {
    "web": (f"83={LAN[4]},{LAN[6]}", "85/udp=203.0.113.0/24", f"9001={OTHER[4]}/32"),
    "four": (f"81={LAN[4]},{LAN[6]}",),
    "routed": (f"82={LAN[4]}/32,{LAN[6]}/128",),
    "bare": ("81=203.0.113.0/24",),
    "trusting": (f"82={OTHER[4]},{OTHER[6]}",),
}
NUMBERS = sorted(
    {*INSIDE, *(int(n) for each in PORTS.values() for text in each for n in re.findall(r"\b[89]\d{3}\b", text))}
)


class Town:
    """A container on each kind of network, all serving the same ports."""

    def __init__(self, scene: Scene, stack: ExitStack) -> None:
        self.scene = scene
        lab = scene.daemon
        scene.give(None, *SECOND.values())
        scene.give(scene.outside, *OTHER.values())
        for name, options in NETWORKS.items():
            lab.linkspan("network", "create", *options, name)
        for name, ports in PORTS.items():
            words = [word for port in ports for word in ("-p", port)]
            words += [word for each in SOURCES.get(name, ()) for word in ("--publish-from", each)]
            sleeper(lab, f"c-{name}", "--network", name, *words)
            stack.callback(Echoes(scene, f"c-{name}", INSIDE).close)
        places: list[Json] = [endpoint(lab, f"c-{name}", name) for name in PORTS]
        self.own = [place[key] for place in places for key in ("IPAddress", "GlobalIPv6Address") if place[key]]
        self.gateways = [
            item["Gateway"] for name in ("web", "four", "bridge") for item in inspected(lab, name)["IPAM"]["Config"]
        ]
        for address in self.own:
            scene.meet(None, address)

    def scanned(self, source: Mapping[int, str]) -> set[Door]:
        """What the neighbour finds from these addresses of its own."""
        addresses = (*HOST.values(), *SECOND.values(), *self.own, *self.gateways)
        doors = [(protocol, address, port) for protocol in ("tcp", "udp") for address in addresses for port in NUMBERS]
        return open_doors(self.scene.outside, source, doors)  # type: ignore[arg-type]

    def listed(self) -> list[dict[str, str]]:
        """What ``linkspan exposure`` prints."""
        return [json.loads(line) for line in self.scene.daemon.linkspan("exposure", "--format", "json").splitlines()]


def told(rows: Iterable[Mapping[str, str]], source: Mapping[int, str]) -> set[Door]:
    """The doors that the rows open to a neighbour with this address."""
    found: set[Door] = set()
    for row in rows:
        address, _, ports = row["Address"].rpartition(":")
        address = address.strip("[]")
        version = 6 if ":" in address else 4
        if not may_come(row["Who"], source[version]) or "does not have the address yet" in row["Notes"]:
            continue
        first, _, last = ports.partition("-")
        wide = {"0.0.0.0": (HOST[4], SECOND[4]), "::": (HOST[6], SECOND[6])}
        served = INSIDE if row["Way"] in ("routed", "unprotected") else NUMBERS
        numbers = [port for port in served if int(first) <= port <= int(last or first)]
        found |= {(row["Protocol"], place, port) for place in wide.get(address, (address,)) for port in numbers}  # type: ignore[misc]
    return found


def may_come(who: str, source: str) -> bool:
    """Whether somebody who comes in by up0 from this address is meant."""
    if who in ("everybody", "this host"):
        return who == "everybody"
    for each in who.split(", "):
        network, _, interface = each.rpartition("interface ") if "interface " in each else (each, "", "")
        network = network.removesuffix(" by ")
        if interface not in ("", "up0"):
            continue
        if not network or ipaddress.ip_address(source) in ipaddress.ip_network(network):
            return True
    return False


@pytest.mark.parametrize("calls", ["off", "on", "on later"])
def test_the_neighbour_s_scan_finds_what_is_listed_and_nothing_else(launch: Launch, calls: str) -> None:
    """moby#22054, moby#45610, moby#41872, CVE-2020-8558: nothing is open that is not told, br_netfilter on and off."""
    daemon = launch(prepare=bridge_calls("1" if calls == "on" else "0"))
    with scene_of(daemon) as scene, ExitStack() as stack:
        town = Town(scene, stack)
        if calls == "on later":
            bridge_calls("1")(daemon)
        rows = town.listed()
        for source in (LAN, OTHER):
            found, expected = town.scanned(source), told(rows, source)
            assert found - expected == set()
            assert expected - found == set()
        assert ("tcp", HOST[4], 8080) in found
        assert ("tcp", HOST[4], 8083) not in found
        own = endpoint(daemon, "c-web", "web")["IPAddress"]
        assert not {door for door in found if door[1] in (own, *town.gateways)}
        assert {row["Way"] for row in rows} == {"nat", "relay", "routed", "unprotected"}
        assert all("does not have" in row["Notes"] or not row["Notes"] for row in rows), rows
        value = scene.run("cat", "/proc/sys/net/bridge/bridge-nf-call-iptables").strip()
        assert value == ("0" if calls == "off" else "1")


def test_the_list_of_one_container_is_its_part_of_the_whole(lab: Daemon) -> None:
    sleeper(lab, "one", "-p", "8080:80")
    sleeper(lab, "two", "-p", "8081:80")
    whole = lab.linkspan("exposure", "--format", "json").splitlines()
    parts = [lab.linkspan("exposure", name, "--format", "json").splitlines() for name in ("one", "two")]
    assert parts[0] + parts[1] == whole
    lab.linkspan("stop", "one")
    assert lab.linkspan("exposure", "--format", "json").splitlines() == parts[1]


UFW = """
iptables -N ufw-before-input; iptables -N ufw-user-input; iptables -N ufw-before-forward
iptables -P INPUT DROP; iptables -A INPUT -j ufw-before-input
iptables -A ufw-before-input -i lo -j ACCEPT
iptables -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A ufw-before-input -p icmp -j ACCEPT
iptables -A ufw-before-input -j ufw-user-input
iptables -A ufw-user-input -p tcp --dport 8080 -j DROP
iptables -A ufw-user-input -p tcp --dport 22 -j ACCEPT
iptables -P FORWARD {policy}; iptables -A FORWARD -j ufw-before-forward
iptables -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
"""
CLEAN = "iptables -P INPUT ACCEPT; iptables -P FORWARD ACCEPT; iptables -F; iptables -X"
MINE = """
add table inet mine
add chain inet mine forward { type filter hook forward priority 0; policy drop; }
add rule inet mine forward ct state established,related accept
"""


@pytest.fixture
def firewalled(scene: Scene) -> Iterator[Scene]:
    """A host on which tests put firewalls; they go in the end."""
    sleeper(scene.daemon, "front", "-p", "8080:80", "-p", "127.0.0.1:8081:81", "-p", "8082:82")
    scene.serve("front", 80, 82)
    yield scene
    scene.run("sh", "-c", CLEAN)
    scene.daemon.namespace.run("nft", "delete", "table", "inet", "mine", check=False)


def notes(scene: Scene) -> dict[str, str]:
    """By address and port: what the list says besides."""
    text = scene.daemon.linkspan("exposure", "--format", "json")
    return {row["Address"]: row["Notes"] for row in map(json.loads, text.splitlines())}


def test_a_firewall_that_means_to_close_a_port_is_contradicted(firewalled: Scene) -> None:
    """moby#22054, moby#4737: ufw denies 8080 and the port is open all the same, which nobody should learn late."""
    assert set(notes(firewalled).values()) == {""}
    firewalled.run("sh", "-ec", UFW.format(policy="ACCEPT"))
    found = notes(firewalled)
    assert found["0.0.0.0:8080"].startswith("ufw refuses tcp port 8080 to the host itself")
    assert "so it is open" in found["0.0.0.0:8080"]
    assert found["127.0.0.1:8081"] == ""
    assert firewalled.ask(firewalled.outside, HOST[4], 8080) == f"{LAN[4]} at 80"


def test_a_firewall_that_closes_a_published_port_is_named(firewalled: Scene) -> None:
    firewalled.run("sh", "-ec", UFW.format(policy="DROP"))
    found = notes(firewalled)
    for place in ("0.0.0.0:8080", "0.0.0.0:8082"):
        assert found[place].startswith("ufw stops tcp port 808")
        assert "nobody outside gets through; to open it: ufw route allow" in found[place]
    assert firewalled.ask(firewalled.outside, HOST[4], 8080) == SILENCE
    assert firewalled.ask(firewalled.outside, HOST[6], 8080).endswith(" at 80")  # relayed, and ip6tables is empty


def test_the_remedy_that_is_named_opens_the_port(firewalled: Scene) -> None:
    firewalled.run("sh", "-ec", f"echo '{MINE}' | nft -f -")
    found = notes(firewalled)["0.0.0.0:8080"]
    assert firewalled.ask(firewalled.outside, HOST[4], 8080) == SILENCE
    remedy = found.partition("to open it: ")[2]
    assert remedy.startswith("nft ")
    firewalled.run("sh", "-ec", remedy)
    assert firewalled.ask(firewalled.outside, HOST[4], 8080) == f"{LAN[4]} at 80"
    assert notes(firewalled)["0.0.0.0:8080"] == ""


def test_a_range_too_wide_for_the_relay_that_it_needs_is_told_and_not_listed(scene: Scene, client: Client) -> None:
    words = ("run", "-d", "--stop-signal", "KILL", "-p", "20000-21024:20000-21024", "busybox", "sleep", "600")
    done = client.run(*words)
    assert done.returncode == 0, done.stderr
    assert "ports 20000-21024/tcp on :: published without a relay" in done.stderr
    assert set(notes(scene)) == {"0.0.0.0:20000-21024"}
    assert scene.ask(scene.outside, HOST[6], 20000) == REFUSED
