"""The doctor: what is well is said, what is not is said with its remedy, in one sentence each."""

from __future__ import annotations

import socket
import threading
from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec
import pytest

from linkspan.insight import examination
from linkspan.insight.doctor import CHECKS, Examination, NameServer, diagnose
from linkspan.insight.firewalls import foreign_rules, sentence
from linkspan.insight.views import Finding, ForeignRule
from linkspan.kernel.foreign import Obstacle
from linkspan.kernel.probe import Settings

HEALTHY = Examination(
    networks=2,
    ipv6_used=True,
    forwarding={4: True, 6: True},
    bridge_calls={4: False, 6: False},
    reverse_path={"eth0": 2},
    routes=((ip_network("192.0.2.0/24"), "eth0"),),
    subnets=(("web", ip_network("10.9.0.0/24")), ("web", ip_network("fd00:9::/64"))),
    uplink_mtu=1500,
    mtus=(("web", 1500),),
    tracked=10,
    tracked_limit=1000,
    name_servers=(NameServer(address="192.0.2.53", answers=True),),
    host_addresses=frozenset({ip_address("192.0.2.1")}),
    published=(("db", ip_address("0.0.0.0")), ("db", ip_address("192.0.2.1")), ("db", ip_address("127.0.0.1"))),
    ports=(("web", 3),),
)
OBSTACLE = Obstacle(
    owner="ufw",
    where="table ip filter, chain FORWARD (hook forward)",
    what="policy drop",
    bridge="br-a",
    directions=("in", "out"),
    versions=(4,),
    remedy="ufw route allow out on br-a && ufw route allow in on br-a",
)


def sick(**changes: object) -> list[Finding]:
    """What is found besides what is well."""
    return [each for each in diagnose(msgspec.structs.replace(HEALTHY, **changes)) if each.level != "ok"]


def the_one(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


def test_a_healthy_host_has_one_good_word_for_each_check() -> None:
    found = diagnose(HEALTHY)
    assert [each.level for each in found] == ["ok"] * len(CHECKS)
    assert len({each.check for each in found}) == len(CHECKS)


def test_a_host_about_which_nothing_is_known_does_not_fail_the_doctor() -> None:
    assert {each.level for each in diagnose(Examination())} <= {"ok", "note", "warning", "failure"}


CASES: dict[str, tuple[dict[str, object], str, str]] = {
    "an ability is missing": ({"missing": ("this kernel has no IPv6",)}, "warning", "this kernel has no IPv6"),
    "a foreign drop": (
        {"obstacles": (OBSTACLE,)},
        "failure",
        "ufw drops IPv4 connections from outside to br-a and from br-a to the outside (table ip filter",
    ),
    "the old iptables": ({"legacy_tables": ("filter",)}, "note", "only the policies are read"),
    "bridged frames": ({"bridge_calls": {4: True, 6: False}}, "note", "IPv4 firewall rules"),
    "no forwarding": ({"forwarding": {4: True, 6: False}}, "failure", "does not forward IPv6"),
    "strict reverse path": ({"reverse_path": {"eth0": 1, "eth1": 2}}, "warning", "strict on eth0"),
    "an overlap": ({"routes": ((ip_network("10.0.0.0/8"), "vpn0"),)}, "failure", "overlaps 10.0.0.0/8 on vpn0"),
    "a large MTU": ({"uplink_mtu": 1400}, "warning", "MTU 1500 and the uplink 1400"),
    "a full table": ({"tracked": 1000}, "failure", "1000 of 1000 connections"),
    "a nearly full table": ({"tracked": 800}, "warning", "800 of 1000 connections"),
    "no name server": ({"name_servers": ()}, "failure", "names no server"),
    "a silent one": (
        {"name_servers": (NameServer(address="192.0.2.53", answers=False),)},
        "failure",
        "no name server of the host answers (192.0.2.53)",
    ),
    "one of two is silent": (
        {"name_servers": (*HEALTHY.name_servers, NameServer(address="192.0.2.54", answers=False))},
        "warning",
        "192.0.2.54 does not answer",
    ),
    "loopback only": (
        {"name_servers": (NameServer(address="127.0.0.53", loopback=True, answers=True),)},
        "note",
        "on its loopback",
    ),
    "an absent address": (
        {"published": (("db", ip_address("198.51.100.7")),)},
        "warning",
        "publishes ports on 198.51.100.7",
    ),
    "a crowded bridge": ({"ports": (("web", 1000),)}, "warning", "has 1000 containers"),
    "a full bridge": ({"ports": (("web", 1023),)}, "failure", "has 1023 containers"),
    "another manager": ({"managers": ("NetworkManager",)}, "note", "NetworkManager runs"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_well_is_one_sentence_with_a_remedy(case: str) -> None:
    changes, level, words = CASES[case]
    found = the_one(sick(**changes))
    assert found.level == level
    assert words in found.text
    assert not found.text.endswith(".")
    assert "\n" not in found.text
    assert found.remedy


def test_what_nobody_uses_is_not_missed() -> None:
    assert sick(forwarding={4: True, 6: False}, ipv6_used=False) == []
    assert sick(forwarding={4: False, 6: False}, ipv6_used=False, networks=0) == []
    assert sick(managers=("NetworkManager",), unmanaged=frozenset({"NetworkManager"})) == []
    assert sick(reverse_path={"eth0": 1}) == [], "with one uplink the way back is the way in"


def test_foreign_chains_are_told_to_the_api_with_their_remedy() -> None:
    assert foreign_rules([OBSTACLE]) == (
        ForeignRule(owner="ufw", where=OBSTACLE.where, what="policy drop", remedy=OBSTACLE.remedy),
    )
    inwards = msgspec.structs.replace(OBSTACLE, directions=("in",), versions=(4, 6))
    assert sentence(inwards).startswith("ufw drops IPv4 and IPv6 connections from outside to br-a (")


def test_managers_that_were_told_to_leave_our_links_alone_are_known(tmp_path: Path) -> None:
    folder = tmp_path / "etc/NetworkManager/conf.d"
    folder.mkdir(parents=True)
    names = ("NetworkManager", "systemd-networkd")
    assert examination.unmanaged(names, tmp_path) == frozenset()
    (folder / "linkspan.conf").write_text("[keyfile]\nunmanaged-devices=interface-name:br-*;interface-name:veth*\n")
    assert examination.unmanaged(names, tmp_path) == {"NetworkManager"}


def test_settings_of_the_host_are_understood() -> None:
    settings = Settings(
        forward4=True,
        forward6=None,
        rp_filter={"all": 1, "eth0": 0, "eth1": 2},
        bridge_calls={"iptables": True, "arptables": True},
        conntrack_count=1,
        conntrack_max=2,
        port_range=None,
        reserved_ports="",
    )
    assert examination.forwarding(settings) == {4: True, 6: False}
    assert examination.bridge_calls(settings) == {4: True}
    assert examination.reverse_path(settings, ["eth0", "eth1", "gone"]) == {"eth0": 1, "eth1": 2}


def test_the_hosts_facts_are_read() -> None:
    assert set(examination.managers()) <= {"NetworkManager", "systemd-networkd"}
    assert examination.bridge_ports([("web", "no-such-bridge")]) == ()
    assert isinstance(examination.legacy_tables(), tuple)


def test_a_name_server_that_answers_is_told_from_one_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        monkeypatch.setattr(examination, "DNS_PORT", server.getsockname()[1])

        def answer() -> None:
            question, client = server.recvfrom(512)
            server.sendto(question[:2] + b"\x81\x85" + question[4:], client)

        thread = threading.Thread(target=answer)
        thread.start()
        path = tmp_path / "resolv.conf"
        path.write_text("search lan\nnameserver 127.0.0.1\nnameserver 127.0.0.1\nnameserver 127.0.0.2\nnameserver x\n")
        found = examination.name_servers(path, patience=0.5)
        thread.join()
    assert found == (
        NameServer(address="127.0.0.1", loopback=True, answers=True),
        NameServer(address="127.0.0.2", loopback=True, answers=False),
    )
    assert examination.name_servers(tmp_path / "absent") == ()
