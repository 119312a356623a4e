"""IPv6 on bridge networks: automatic and explicit subnets, networks of one family, addresses that work at once."""

from __future__ import annotations

import ipaddress
import json

import pytest

from container_lab import Client
from daemons import LINKSPAN, Daemon
from engine_api import EngineApi
from network_lab import (
    Json,
    Outside,
    address4,
    address6,
    addresses,
    addresses_in,
    default_route,
    endpoint,
    inside,
    pings,
    sleeper,
)

pytestmark = pytest.mark.scenario


def subnets(daemon: Daemon, name: str) -> list[str]:
    found: Json = EngineApi(daemon.socket)("GET", f"/networks/{name}")
    return [item["Subnet"] for item in found["IPAM"]["Config"]]


def test_an_automatic_ipv6_subnet_is_a_unique_local_one_of_this_daemon(lab: Daemon, client: Client) -> None:
    for name in ("one", "two"):
        client("network", "create", "--ipv6", name)
    found = [ipaddress.IPv6Network(subnets(lab, name)[1]) for name in ("one", "two")]
    assert all(each.prefixlen == 64 and each.subnet_of(ipaddress.IPv6Network("fd00::/8")) for each in found)
    first, second = found
    assert first.supernet(new_prefix=48) == second.supernet(new_prefix=48)
    assert not first.overlaps(second)
    assert [subnets(lab, name)[0] for name in ("one", "two")] == ["172.18.0.0/16", "172.19.0.0/16"]


def test_an_explicit_ipv6_subnet_gives_its_addresses_to_bridge_and_containers(lab: Daemon, client: Client) -> None:
    client("network", "create", "--ipv6", "--subnet", "fd61:0:0:5::/64", "--gateway", "fd61:0:0:5::ff", "six")
    assert subnets(lab, "six") == ["172.18.0.0/16", "fd61:0:0:5::/64"]
    client("run", "-d", "--name", "box", "--stop-signal", "KILL", "--network", "six", "busybox", "sleep", "1000")
    place = endpoint(lab, "box", "six")
    assert place["GlobalIPv6Address"] == "fd61:0:0:5::1"
    assert place["GlobalIPv6PrefixLen"] == 64
    assert place["IPv6Gateway"] == "fd61:0:0:5::ff"
    assert addresses(lab.namespace, f"br-{place['NetworkID'][:12]}") == {"172.18.0.1/16", "fd61:0:0:5::ff/64"}
    assert "fd61:0:0:5::1/64" in addresses_in(inside(lab, "box", "ip", "-j", "addr", "show", "dev", "eth0"))
    assert default_route(lab, "box", 6) == ("fd61:0:0:5::ff", "eth0")
    assert "fd61:0:0:5::1\t" in lab.linkspan("exec", "box", "cat", "/etc/hosts")


def test_ipv6_addresses_are_usable_at_once(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--ipv6", "six")
    sleeper(lab, "peer", "--network", "six")
    gateway, peer = endpoint(lab, "peer", "six")["IPv6Gateway"], address6(lab, "peer", "six")
    first = f"ip -6 addr show dev eth0; ping6 -c1 -W1 {gateway} && ping6 -c1 -W1 {peer}"
    done = lab.run(LINKSPAN, "run", "--rm", "--network", "six", "busybox", "sh", "-c", first)
    assert done.returncode == 0, done.stdout
    assert "tentative" not in done.stdout
    assert "tentative" not in inside(lab, "peer", "ip", "-6", "addr")
    bridge = f"br-{endpoint(lab, 'peer', 'six')['NetworkID'][:12]}"
    assert "tentative" not in lab.namespace.run("ip", "-6", "addr", "show", "dev", bridge).stdout


def test_the_link_local_address_follows_from_the_mac(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--ipv6", "six")
    sleeper(lab, "box", "--network", "six", "--mac-address", "02:42:ac:11:00:02")
    assert "inet6 fe80::42:acff:fe11:2/64 scope link" in inside(lab, "box", "ip", "-6", "addr", "show", "dev", "eth0")


@pytest.mark.newer_docker
def test_a_network_may_have_ipv6_alone(lab: Daemon, client: Client) -> None:
    client("network", "create", "--ipv4=false", "--ipv6", "six")
    (subnet,) = subnets(lab, "six")
    assert subnet.startswith("fd")
    shown: Json = json.loads(client("network", "inspect", "six"))[0]
    assert (shown["EnableIPv4"], shown["EnableIPv6"]) == (False, True)
    sleeper(lab, "box", "--network", "six")
    sleeper(lab, "peer", "--network", "six")
    place = endpoint(lab, "box", "six")
    assert (place["IPAddress"], place["Gateway"], place["IPPrefixLen"]) == ("", "", 0)
    assert pings(lab, "box", address6(lab, "peer", "six"))
    assert default_route(lab, "box") is None
    assert addresses_in(inside(lab, "box", "ip", "-4", "-j", "addr", "show", "dev", "eth0")) == set()
    assert lab.run(LINKSPAN, "network", "connect", "--ip", "10.0.0.5", "six", "box").returncode == 1


def test_a_network_without_ipv6_has_none_at_all(lab: Daemon) -> None:
    lab.linkspan("network", "create", "four")
    sleeper(lab, "box", "--network", "four")
    bridge = f"br-{endpoint(lab, 'box', 'four')['NetworkID'][:12]}"
    assert lab.namespace.run("ip", "-6", "addr", "show", "dev", bridge).stdout == ""
    assert inside(lab, "box", "ip", "-6", "addr", "show", "dev", "eth0") == ""


def test_routers_nearby_change_nothing_in_a_container(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--ipv6", "six")
    sleeper(lab, "box", "--network", "six")
    bridge = f"br-{endpoint(lab, 'box', 'six')['NetworkID'][:12]}"
    assert inside(lab, "box", "sysctl", "-n", "net.ipv6.conf.eth0.accept_ra").strip() == "0"
    assert lab.namespace.run("sysctl", "-n", f"net.ipv6.conf.{bridge}.accept_ra").stdout.strip() == "0"


def test_forwarding_keeps_the_hosts_own_ipv6_default_route(lab: Daemon) -> None:
    with Outside(lab) as world:
        lab.linkspan("network", "create", "--ipv6", "six")
        assert lab.namespace.run("sysctl", "-n", "net.ipv6.conf.all.forwarding").stdout.strip() == "1"
        assert world.pings("2001:db8:51::1")
        assert "default" in lab.namespace.run("ip", "-6", "route").stdout


@pytest.mark.parametrize(
    "options", [("--ip", "10.62.0.9"), ("--ip6", "fd62::9"), ("--ip", "10.62.0.9", "--ip6", "fd62::9")]
)
def test_a_chosen_address_of_one_family_leaves_the_other_automatic(lab: Daemon, options: tuple[str, ...]) -> None:
    lab.linkspan("network", "create", "--subnet", "10.62.0.0/24", "--ipv6", "--subnet", "fd62::/64", "both")
    sleeper(lab, "box", "--network", "both", *options)
    assert address4(lab, "box", "both") == ("10.62.0.9" if "--ip" in options else "10.62.0.2")
    assert address6(lab, "box", "both") == ("fd62::9" if "--ip6" in options else "fd62::2")
