"""The doctor, ``info`` and the warnings name what is wrong with a host, and the command that they name puts it right.

Pain 11: moby#39439, moby#52612, for-linux#949 (a FORWARD policy that drops): no policy of others is ever changed; whose
drop ends our traffic is said. Pain 20: moby#32168, moby#49556, moby#17064 ("why does it not work" has no answer).
Pain 33: moby#26824, moby#49643, moby#48568 (iptables beside nftables). Pain 35 (WSL#10029 and its kin): what the kernel
lacks is told before anything fails.
"""

from __future__ import annotations

import json
import shutil
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from container_lab import raw
from daemons import Daemon, eventually
from healing_town import Json, command
from network_lab import HOST4, OUTSIDE4, UPLINK, Outside, links, pings, sleeper

pytestmark = pytest.mark.scenario

needs_iptables = pytest.mark.skipif(shutil.which("iptables-nft") is None, reason="needs iptables-nft")
ALL_NODES = "ff02::1"
ICMPV6_ROUTER_ADVERTISEMENT = 134
"""RFC 4861, section 4.2."""


@pytest.fixture
def outside(lab: Daemon) -> Iterator[Outside]:
    lab.linkspan("network", "create", "--ipv6", "web")
    sleeper(lab, "one", "--network", "web", "-p", "8080:80")
    with Outside(lab) as outside:
        yield outside
    lab.namespace.run("nft", "flush", "ruleset")
    eventually(lambda: command(lab, "drift")[0] == 0, "our own tables are back")


def findings(daemon: Daemon) -> list[Json]:
    found: list[Json] = json.loads(raw(daemon, "GET", "/linkspan/doctor")[2])["Findings"]
    return found


def finding(daemon: Daemon, check: str) -> Json:
    """The one finding of a check."""
    (found,) = [each for each in findings(daemon) if each["Check"] == check]
    return found


def warnings(daemon: Daemon) -> list[str]:
    """Those of ``info`` about others' firewalls."""
    found = json.loads(raw(daemon, "GET", "/v1.44/info")[2])["Warnings"] or []
    return [each for each in found if "lift it with" in each]


def bridge_of(daemon: Daemon) -> str:
    return "br-" + str(daemon.inspect("web")["Id"])[:12]


def lifted(daemon: Daemon, remedy: str) -> None:
    """Does what a remedy says."""
    done = daemon.run("sh", "-ec", remedy)
    assert done.returncode == 0, f"{remedy}: {done.stderr}"


DROPS = {
    "nftables' policy": "nft add table inet theirs; nft 'add chain inet theirs f"
    " { type filter hook forward priority 10; policy drop; }'",
    "a rule of nftables": "nft add table ip theirs; nft 'add chain ip theirs f"
    " { type filter hook forward priority 10; }'; nft add rule ip theirs f counter drop",
    "iptables' policy": "iptables-nft -P FORWARD DROP",
}


@pytest.mark.parametrize("name", DROPS)
def test_a_foreign_drop_is_named_with_the_command_that_lifts_it(lab: Daemon, outside: Outside, name: str) -> None:
    if "iptables" in DROPS[name] and shutil.which("iptables-nft") is None:
        pytest.skip("needs iptables-nft")
    bridge = bridge_of(lab)
    assert pings(lab, "one", OUTSIDE4)
    eventually(lambda: not warnings(lab), "nothing of earlier tests is in the way", seconds=5)
    assert finding(lab, "other firewalls")["Level"] == "ok"

    lab.namespace.run("sh", "-ec", DROPS[name])
    assert not pings(lab, "one", OUTSIDE4), "nothing of ours can override it"
    told = [each for each in findings(lab) if each["Check"] == "other firewalls"]
    assert {each["Level"] for each in told} == {"failure"}
    assert all(bridge in each["Text"] for each in told)
    assert command(lab, "doctor")[0] == 1

    eventually(lambda: warnings(lab), "info names it", seconds=5)
    assert any(bridge in each for each in warnings(lab))
    assert "lift it with" in lab.log_text
    assert command(lab, "drift")[0] == 0, "it is no drift of ours"
    assert "lift it with" in lab.linkspan("drift")
    status, said = command(lab, "create", "--name", "warned", "--network", "web", "busybox", "true")
    assert status == 0
    assert "lift it with" in said
    status, said = command(lab, "create", "--name", "unwarned", "--network", "none", "busybox", "true")
    assert (status, "lift it with" in said) == (0, False)

    lifted(lab, " && ".join(each["Remedy"] for each in told))
    assert pings(lab, "one", OUTSIDE4), "the command that was named lifts it"
    assert finding(lab, "other firewalls")["Level"] == "ok"
    eventually(lambda: not warnings(lab), "info says no more of it", seconds=5)


def test_a_drop_that_was_there_before_the_daemon_is_in_its_log_and_in_info(lab: Daemon, outside: Outside) -> None:
    lab.stop()
    lab.namespace.run("sh", "-ec", DROPS["nftables' policy"])
    lab.start()
    eventually(lambda: warnings(lab), "info names it", seconds=5)
    status, said = command(lab, "network", "create", "--internal", "closed")
    assert (status, "lift it" in said) == (0, False)
    status, said = command(lab, "network", "create", "other")
    assert status == 0
    assert "lift it with" in said


@needs_iptables
def test_no_policy_or_rule_of_others_is_changed_by_anything_that_we_do(lab: Daemon, outside: Outside) -> None:
    """Pain 11: moby#39439: Docker sets the policy of FORWARD to DROP, and libvirt's and LXD's guests lose their net."""
    run = lab.namespace.run
    run("iptables-nft", "-A", "FORWARD", "-s", "192.0.2.0/24", "-j", "DROP")
    before = run("iptables-nft", "-S").stdout
    lab.linkspan("network", "create", "other")
    sleeper(lab, "two", "--network", "other", "-p", "81:80")
    run("nft", "delete", "table", "inet", "linkspan")
    eventually(lambda: command(lab, "drift")[0] == 0, "it is repaired")
    lab.linkspan("rm", "-f", "two")
    lab.linkspan("repair")
    lab.linkspan("gc")
    assert run("iptables-nft", "-S").stdout == before
    assert "-P FORWARD ACCEPT" in before


def test_a_route_that_overlaps_a_subnet_of_ours_is_named_when_it_appears(lab: Daemon, outside: Outside) -> None:
    lab.linkspan("network", "create", "--subnet", "10.66.0.0/24", "office")
    assert finding(lab, "overlapping subnets")["Level"] == "ok"
    lab.namespace.run("ip", "route", "add", "10.66.0.0/16", "dev", UPLINK)
    found = finding(lab, "overlapping subnets")
    assert found["Level"] == "failure"
    assert "10.66.0.0/24 of network office" in found["Text"]
    assert f"10.66.0.0/16 on {UPLINK}" in found["Text"]
    lab.namespace.run("ip", "route", "del", "10.66.0.0/16")
    assert finding(lab, "overlapping subnets")["Level"] == "ok"


def test_an_uplink_with_a_smaller_mtu_is_named_and_new_networks_follow_it(lab: Daemon, outside: Outside) -> None:
    assert finding(lab, "MTU")["Level"] == "ok"
    lab.namespace.run("ip", "link", "set", UPLINK, "mtu", "1280")
    found = finding(lab, "MTU")
    assert found["Level"] == "warning"
    assert "MTU 1500 and the uplink 1280" in found["Text"]

    def made() -> int:
        lab.linkspan("network", "create", "narrow")
        name = "br-" + str(lab.inspect("narrow")["Id"])[:12]
        mtu = int(links(lab.namespace)[name]["mtu"])
        lab.linkspan("network", "rm", "narrow")
        return mtu

    eventually(lambda: made() == 1280, "the automatic MTU follows the uplink", seconds=5)


def test_forwarding_that_somebody_insists_on_switching_off_is_named(lab: Daemon, outside: Outside) -> None:
    assert finding(lab, "IP forwarding")["Level"] == "ok"

    def off() -> bool:
        lab.namespace.run("sysctl", "-w", "net.ipv4.ip_forward=0")
        return bool(finding(lab, "IP forwarding")["Level"] == "failure")

    eventually(off, "it is told")
    deadline = time.monotonic() + 20
    while "is not repaired any more" not in lab.log_text and time.monotonic() < deadline:
        lab.namespace.run("sysctl", "-w", "net.ipv4.ip_forward=0")
        time.sleep(0.1)
    lab.namespace.run("sysctl", "-w", "net.ipv4.ip_forward=0")
    found = finding(lab, "IP forwarding")
    assert "does not forward IPv4" in found["Text"]
    lifted(lab, found["Remedy"].partition(",")[0])
    assert finding(lab, "IP forwarding")["Level"] == "ok"
    lab.linkspan("repair")


def test_a_published_address_that_the_host_does_not_have_is_named_until_it_has(lab: Daemon, outside: Outside) -> None:
    sleeper(lab, "two", "--network", "web", "-p", "203.0.113.7:82:80")
    found = finding(lab, "published addresses")
    assert found["Level"] == "warning"
    assert "container two publishes ports on 203.0.113.7" in found["Text"]
    lifted(lab, found["Remedy"].partition(",")[0].replace("INTERFACE", UPLINK))
    assert finding(lab, "published addresses")["Level"] == "ok"


def test_a_table_of_connections_that_fills_up_is_named(lab: Daemon, outside: Outside) -> None:
    found = finding(lab, "connection tracking")
    assert found["Level"] == "ok"
    assert "connections are tracked" in found["Text"]


def test_bridged_frames_that_pass_the_firewall_are_named(lab: Daemon, outside: Outside) -> None:
    switch = "net.bridge.bridge-nf-call-iptables"
    before = lab.namespace.run("sysctl", "-n", switch, check=False)
    if before.returncode:
        pytest.skip("needs br_netfilter")
    expected = "note" if before.stdout.strip() == "1" else "ok"
    assert finding(lab, "br_netfilter")["Level"] == expected


def test_the_kernel_s_abilities_are_told_in_doctor_and_info(lab: Daemon) -> None:
    """Pain 35: what is missing is a sentence before it is a failure."""
    kernel = [each for each in findings(lab) if each["Check"] == "kernel"]
    info = json.loads(raw(lab, "GET", "/v1.44/info")[2])["Warnings"] or []
    for each in kernel:
        sentence = each["Text"]
        assert each["Level"] == "ok" or any(sentence[1:] in warning for warning in info)


# --- router advertisements -----------------------------------------------------------------------------------------


def test_a_default_route_that_routers_advertise_outlives_the_first_network_with_ipv6(lab: Daemon) -> None:
    """A host that forwards ignores advertisements, and would lose its route when that expires: accept_ra=2 first."""
    run = lab.namespace.run
    lab.linkspan("network", "create", "old")
    with Outside(lab) as outside:
        for words in (
            ("ip", "-6", "route", "del", "default"),
            ("sysctl", "-w", "net.ipv6.conf.all.forwarding=0"),
            ("sysctl", "-w", f"net.ipv6.conf.{UPLINK}.accept_ra=1"),
        ):
            run(*words)

        def advertised() -> bool:
            advertise(outside)
            return "proto ra" in run("ip", "-6", "route", "show", "default").stdout

        eventually(advertised, "the route is learned")

        def accepting() -> str:
            return run("sysctl", "-n", f"net.ipv6.conf.{UPLINK}.accept_ra").stdout.strip()

        assert accepting() == "1"
        time.sleep(0.5)
        lab.linkspan("network", "create", "--ipv6", "new")
        assert accepting() == "2"
        assert run("sysctl", "-n", "net.ipv6.conf.all.forwarding").stdout.strip() == "1"
        run("ip", "-6", "route", "del", "default")
        eventually(advertised, "advertisements are heard still")
        assert outside.pings(HOST4)


def advertise(outside: Outside) -> None:
    """The neighbour says that it is a router, for half an hour (RFC 4861, section 4.2)."""
    with outside.namespace.entered():
        router = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        index = socket.if_nametoindex("eth0")
    with router:
        router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        message = struct.pack("!BBHBBHII", ICMPV6_ROUTER_ADVERTISEMENT, 0, 0, 64, 0, 1800, 0, 0)
        router.sendto(message, (ALL_NODES, 0, 0, index))
    time.sleep(0.1)
