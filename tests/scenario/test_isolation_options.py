"""Options of bridge networks as people say them: what they become in the kernel, what is refused, what is printed.

Nothing here uses the default bridge, which would stay: a plan for the first network has the tables in it too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from test_printed_plans import pasted

from container_lab import Client
from daemons import Daemon, Launch, eventually
from isolation_lab import Room, findings, ready, said_by_doctor, serving
from namespaces import Namespace
from network_lab import (
    Json,
    Outside,
    address4,
    address6,
    addresses,
    addresses_in,
    endpoint,
    inside,
    links,
    picture,
    ruleset,
    sentence,
    settled_picture,
    sleeper,
)

pytestmark = pytest.mark.scenario

DOCKER = "com.docker.network"
SUBNETS = ("--subnet", "10.75.0.0/24", "--ipv6", "--subnet", "fd75::/64")


# --- names and sizes -----------------------------------------------------------------------------------------------


def test_the_bridge_has_the_chosen_name_and_another_networks_name_is_refused(lab: Daemon, client: Client) -> None:
    client("network", "create", "--opt", f"{DOCKER}.bridge.name=lan0", "web")
    assert links(lab.namespace)["lan0"]["linkinfo"]["info_kind"] == "bridge"
    before = settled_picture(lab)
    said = sentence(client.refused("network", "create", "--opt", f"{DOCKER}.bridge.name=lan0", "other"))
    assert "lan0 is in use by another network" in said
    assert settled_picture(lab) == before


def test_a_bridge_of_somebody_else_is_not_taken(lab: Daemon) -> None:
    lab.namespace.run("ip", "link", "add", "theirs0", "type", "bridge")
    try:
        before = settled_picture(lab)
        said = sentence(lab.refused("network", "create", "--opt", f"{DOCKER}.bridge.name=theirs0", "web", status=1))
        assert "theirs0" in said
        assert settled_picture(lab) == before
    finally:
        lab.namespace.run("ip", "link", "del", "theirs0")


def sizes(daemon: Daemon, container: str, network: str) -> tuple[int, int, int]:
    """MTU of the bridge, of the veth pair's end on the host, and of that in the container."""
    bridge = f"br-{endpoint(daemon, container, network)['NetworkID'][:12]}"
    found = links(daemon.namespace)
    (port,) = (item["mtu"] for item in found.values() if item.get("master") == bridge)
    inner = json.loads(inside(daemon, container, "ip", "-j", "link", "show", "dev", "eth0"))[0]["mtu"]
    return found[bridge]["mtu"], port, inner


def test_the_mtu_of_a_network_is_that_of_both_ends(lab: Daemon, client: Client) -> None:
    client("network", "create", "--opt", f"{DOCKER}.driver.mtu=1380", "small")
    client("network", "create", "--opt", f"{DOCKER}.driver.mtu=9000", "jumbo")
    for network, mtu in (("small", 1380), ("jumbo", 9000)):
        sleeper(lab, f"on-{network}", "--network", network)
        assert sizes(lab, f"on-{network}", network) == (mtu, mtu, mtu)


def test_the_mtu_is_that_of_the_default_route_unless_a_network_says_otherwise(launch: Launch) -> None:
    def tunnel(daemon: Daemon) -> None:
        daemon.namespace.run("ip", "link", "add", "tun9", "mtu", "1380", "type", "veth", "peer", "name", "far9")
        daemon.namespace.run("ip", "addr", "add", "192.0.2.1/24", "dev", "tun9")
        for name in ("tun9", "far9"):
            daemon.namespace.run("ip", "link", "set", name, "up")
        daemon.namespace.run("ip", "route", "add", "default", "via", "192.0.2.254")

    daemon = launch(prepare=tunnel)
    daemon.linkspan("network", "create", "follows")
    daemon.linkspan("network", "create", "--opt", f"{DOCKER}.driver.mtu=1400", "says")
    for network, mtu in (("follows", 1380), ("says", 1400)):
        sleeper(daemon, f"on-{network}", "--network", network)
        assert sizes(daemon, f"on-{network}", network) == (mtu, mtu, mtu)
    assert said_by_doctor(daemon, "network says has MTU 1400 and the uplink 1380")
    daemon.namespace.run("ip", "link", "del", "tun9")


def test_interfaces_inside_are_called_as_the_network_says_or_else_the_endpoint(lab: Daemon, client: Client) -> None:
    client("network", "create", "--opt", f"{DOCKER}.container_iface_prefix=lan", "web")
    client("network", "create", "plain")
    sleeper(lab, "box", "--network", "web")
    lab.linkspan("network", "connect", "plain", "box")
    lab.linkspan("network", "create", "third")
    lab.linkspan("network", "connect", "--driver-opt", f"{DOCKER}.endpoint.ifname=wan7", "third", "box")
    found = json.loads(inside(lab, "box", "ip", "-j", "link"))
    assert {item["ifname"] for item in found} == {"lo", "lan0", "eth0", "wan7"}


# --- what is misspelt, and what means nothing ----------------------------------------------------------------------

MISSPELT = [
    (f"{DOCKER}.bridge.enable_ipmasquerade=false", f"{DOCKER}.bridge.enable_ip_masquerade"),
    (f"{DOCKER}.bridge.enable_icc_=false", f"{DOCKER}.bridge.enable_icc"),
    (f"{DOCKER}.brigde.name=lan0", f"{DOCKER}.bridge.name"),
    (f"{DOCKER}.mtu=1400", f"{DOCKER}.driver.mtu"),
    (f"{DOCKER}.bridge.gateway_mode_ip4=routed", f"{DOCKER}.bridge.gateway_mode_ipv4"),
    (f"{DOCKER}.bridge.trusted_host_interface=eth0", f"{DOCKER}.bridge.trusted_host_interfaces"),
    ("linkspan.antispoofing=false", "linkspan.anti_spoofing"),
    ("linkspan.dns_serach=example.org", "linkspan.dns_search"),
]


@pytest.mark.parametrize("how", ["--opt", "--label"])
def test_a_misspelt_option_or_label_is_refused_naming_the_near_one(lab: Daemon, client: Client, how: str) -> None:
    before = settled_picture(lab)
    for text, meant in MISSPELT:
        said = sentence(client.refused("network", "create", how, text, "web"))
        assert text.partition("=")[0] in said
        assert f"did you mean {meant}" in said, said
    assert picture(lab) == before


def test_a_misspelt_option_of_an_endpoint_is_refused_naming_the_near_one(lab: Daemon) -> None:
    for name in ("home", "web"):
        lab.linkspan("network", "create", name)
    sleeper(lab, "box", "--network", "home")
    before = settled_picture(lab)
    for text, meant in (
        (f"{DOCKER}.endpoint.ifnam=lan0", f"{DOCKER}.endpoint.ifname"),
        (f"{DOCKER}.endpoint.sysctl=net.ipv4.conf.IFNAME.log_martians=1", f"{DOCKER}.endpoint.sysctls"),
        ("linkspan.endpoint.hostifname=lan0", "linkspan.endpoint.host_ifname"),
        ("linkspan.antispoofing=false", "linkspan.anti_spoofing"),
    ):
        wish = f"name=web,driver-opt={text}"
        for words, status in (
            (("network", "connect", "--driver-opt", text, "web", "box"), 1),
            (("run", "--network", wish, "busybox", "true"), 125),
            (("create", "--network", wish, "busybox", "true"), 1),
        ):
            assert f"did you mean {meant}" in sentence(lab.refused(*words, status=status)), words
    assert picture(lab) == before


def test_a_misspelt_label_of_a_container_is_refused_and_those_of_others_are_not(lab: Daemon, client: Client) -> None:
    nowhere = ("--network", "none")
    before = settled_picture(lab)
    words = ("run", "--label", "linkspan.publish-form=10.0.0.0/8", *nowhere, "busybox", "true")
    said = client.refused(*words, status=125)
    assert "did you mean linkspan.publish-from" in said
    assert picture(lab) == before
    client(
        "run",
        "--rm",
        "--label",
        "com.docker.compose.project=x",
        "--label",
        "org.example=y",
        *nowhere,
        "busybox",
        "true",
    )


BAD_VALUES = [
    ("driver.mtu=67", '"67" is not an MTU'),
    ("driver.mtu=65536", '"65536" is not an MTU'),
    ("driver.mtu=1e3", '"1e3" is not an MTU'),
    ("bridge.enable_icc=2", '"2" is neither true nor false'),
    ("bridge.host_binding_ipv4=here", '"here" is not an IP address'),
    ("bridge.gateway_mode_ipv4=bridge", '"bridge" is no gateway mode'),
    ("container_iface_prefix=a-name-too-long", '"a-name-too-long" cannot begin an interface name'),
    ("advertise_addr_nmsgs=4", "4"),
    ("advertise_addr_nmsgs=-1", "-1"),
    ("advertise_addr_ms=99", "99"),
    ("advertise_addr_ms=2001", "2001"),
    ("bridge.default_bridge=true", "belongs to the network bridge alone"),
    ("enable_ipv6=true", "say --ipv6 instead"),
    ("internal=true", "say --internal instead"),
]


@pytest.mark.parametrize(("option", "said"), BAD_VALUES)
def test_a_bad_value_is_refused_in_one_sentence_and_leaves_nothing(lab: Daemon, option: str, said: str) -> None:
    before = settled_picture(lab)
    refused = sentence(lab.refused("network", "create", "--opt", f"{DOCKER}.{option}", "web", status=1))
    assert said in refused
    assert f"{DOCKER}.{option.partition('=')[0]}" in refused
    assert picture(lab) == before


def test_a_network_that_the_kernel_refuses_leaves_nothing(lab: Daemon) -> None:
    """All or nothing, when the plan is good and the kernel says no: somebody has a link of that name meanwhile."""
    lab.namespace.run("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
    try:
        before = settled_picture(lab)
        said = sentence(lab.refused("network", "create", *SUBNETS, "--opt", f"{DOCKER}.bridge.name=lan0", "web"))
        assert "lan0" in said
        assert settled_picture(lab) == before
    finally:
        lab.namespace.run("ip", "link", "del", "lan0")
    lab.linkspan("network", "create", *SUBNETS, "--opt", f"{DOCKER}.bridge.name=lan0", "web")


# --- what is printed -----------------------------------------------------------------------------------------------

PLANNED = [
    ((), ["masquerade4", "masquerade6", "hidden4", "egress", "10.75.0.1/24", "fd75::1/64"], ["source4"]),
    (("bridge.enable_icc=false",), ['pair { "web0" . "web0" : drop }'], []),
    (("bridge.enable_ip_masquerade=false",), ["egress"], ["masquerade4", "masquerade6", "hidden4"]),
    (("bridge.gateway_mode_ipv4=routed",), ["direct4", "goto routed", "masquerade6"], ["masquerade4", "direct6"]),
    (("bridge.gateway_mode_ipv6=nat-unprotected",), ["direct6", "goto unprotected", "hidden4"], ["hidden6"]),
    (("host_ipv4=198.51.100.9",), ["source4 { 10.75.0.0/24 : 198.51.100.9 }"], ["masquerade4"]),
    (("host_ipv6=2001:db8::9",), ["source6 { fd75::/64 : 2001:db8::9 }"], ["masquerade6"]),
    (("bridge.trusted_host_interfaces=up0:up1",), ['trusted4 { "up0"', 'trusted6 { "up1"', "goto trusting"], []),
    (("driver.mtu=1400",), ["mtu 1400"], []),
    (("bridge.inhibit_ipv4=true",), ["fd75::1/64"], ["10.75.0.1/24"]),
    (("bridge.host_binding_ipv4=198.51.100.9",), ["10.75.0.1/24"], []),
    (("advertise_addr_nmsgs=1", "advertise_addr_ms=500"), ["10.75.0.1/24"], []),
    (("container_iface_prefix=lan",), ["10.75.0.1/24"], []),
    (
        ("bridge.gateway_mode_ipv4=isolated", "bridge.gateway_mode_ipv6=isolated"),
        ["internal"],
        ["10.75.0.1/24", "fd75::1", "egress {"],
    ),
]


@pytest.mark.parametrize(("options", "present", "absent"), PLANNED, ids=lambda item: ",".join(item[:1]))
def test_the_plan_of_a_network_shows_each_option_and_builds_the_same(
    lab: Daemon, options: tuple[str, ...], present: list[str], absent: list[str]
) -> None:
    given = [word for option in options for word in ("--opt", f"{DOCKER}.{option}")]
    given += ["--internal"] if any("isolated" in option for option in options) else []
    words = (*SUBNETS, "--opt", f"{DOCKER}.bridge.name=web0", *given, "web")
    before = settled_picture(lab)
    script = lab.linkspan("plan", "network", "create", *words)
    assert picture(lab) == before
    added = "\n".join(line for line in script.splitlines() if "add element" in line or line.startswith("ip "))
    for text in present:
        assert text in added, added
    for text in absent:
        assert text not in added, added
    lab.linkspan("network", "create", *words)
    with Namespace() as other:
        pasted(other, script)
        assert ruleset(other) == ruleset(lab.namespace)
        assert addresses(other, "web0") == addresses(lab.namespace, "web0")
        assert links(other)["web0"]["mtu"] == links(lab.namespace)["web0"]["mtu"]


def test_a_shown_network_with_containers_is_pasted_into_an_empty_host_and_works(lab: Daemon) -> None:
    lab.linkspan("network", "create", *SUBNETS, "--opt", f"{DOCKER}.bridge.name=web0", "web")
    sleeper(lab, "front", "--network", "web", "-p", "8080:80", "-p", "127.0.0.1:8443:443")
    wish = f"name=web,driver-opt={DOCKER}.endpoint.ifname=lan0"
    sleeper(lab, "back", "--network", wish)
    script = lab.linkspan("network", "show", "--commands", "web")
    boxes = re.findall(r"ip netns add (\w+)", script)
    assert len(boxes) == 2
    with Namespace() as other:
        own = {address4(lab, name, "web"): address6(lab, name, "web") for name in ("front", "back")}
        looks = [f"ip -n {box} -j addr" for box in boxes]
        pings = [f"ip netns exec {boxes[0]} ping -n -c1 -W3 {each}" for pair in own.items() for each in pair]
        pings.append(f"ip netns exec {boxes[1]} ping -n -c1 -W3 10.75.0.1")
        shown = pasted(other, script, *looks, *pings)
        found = {address for text in shown[:2] for address in addresses_in(text)}
        assert {f"{four}/24" for four in own} | {f"{six}/64" for six in own.values()} <= found
        assert all("1 received" in text for text in shown[2:])
        assert any('"lan0"' in text for text in shown[:2])
        assert ruleset(other) == ruleset(lab.namespace)
        assert links(other)["web0"]["mtu"] == links(lab.namespace)["web0"]["mtu"]
        assert addresses(other, "web0") == addresses(lab.namespace, "web0")


# --- what changes around us ----------------------------------------------------------------------------------------


@pytest.fixture
def outside(lab: Daemon) -> Iterator[Outside]:
    with Outside(lab) as world:
        yield world


def test_a_route_that_appears_later_on_our_subnet_is_told_by_the_doctor(lab: Daemon, outside: Outside) -> None:
    """As a VPN does it, long after the network was made."""
    lab.linkspan("network", "create", *SUBNETS, "web")
    assert not said_by_doctor(lab, "10.75.0.0/24", "overlaps")
    for version, prefix in ((4, "10.75.0.0/16"), (6, "fd75::/48")):
        lab.namespace.run("ip", f"-{version}", "route", "add", prefix, "dev", "up0")
        assert said_by_doctor(lab, "network web", f"overlaps {prefix} on up0"), findings(lab)
        lab.namespace.run("ip", f"-{version}", "route", "del", prefix, "dev", "up0")
    assert not said_by_doctor(lab, "network web", "overlaps")


def test_a_gateway_that_somebody_else_is_leaves_the_bridge_without_its_address(lab: Daemon) -> None:
    """Docker's ``inhibit_ipv4``: a router on the bridge is the gateway, and nothing of ours answers in its place."""
    name = ("--opt", f"{DOCKER}.bridge.name=web0", "--opt", f"{DOCKER}.bridge.inhibit_ipv4=true")
    lab.linkspan("network", "create", "--subnet", "10.75.0.0/24", *name, "web")
    assert addresses(lab.namespace, "web0") == set()
    sleeper(lab, "box", "--network", "web")
    with ExitStack() as stack:
        router = stack.enter_context(Namespace())
        lab.namespace.run("ip", "link", "add", "rt0", "type", "veth", "peer", "name", "eth0", "netns", router.path)
        stack.callback(lab.namespace.run, "ip", "link", "del", "rt0")
        lab.namespace.run("ip", "link", "set", "rt0", "master", "web0", "up")
        router.run("ip", "link", "set", "eth0", "up")
        router.run("ip", "addr", "add", "10.75.0.1/24", "dev", "eth0")
        room = stack.enter_context(Room(lab, "box"))
        stack.enter_context(serving(router, 8123))
        ready(room, ("10.75.0.1", 8123))


def test_what_inspect_shows_is_what_was_asked_for(lab: Daemon, client: Client) -> None:
    options = {f"{DOCKER}.{key}": value for key, _, value in (item[0][0].partition("=") for item in PLANNED[1:8])}
    words = [word for key, value in options.items() for word in ("--opt", f"{key}={value}")]
    client("network", "create", *SUBNETS, *words, "web")
    shown: Json = json.loads(client("network", "inspect", "web"))[0]
    assert shown["Options"] == options
    eventually(lambda: f"br-{shown['Id'][:12]}" in links(lab.namespace), "it is there")
