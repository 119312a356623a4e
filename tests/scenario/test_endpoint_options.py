"""What a person shapes of one endpoint: its names on both sides, its settings, its guard, one more address."""

from __future__ import annotations

import json

import pytest

from container_lab import Client
from daemons import LINKSPAN, Daemon
from network_lab import address4, addresses_in, inside, links, pings, sleeper

pytestmark = pytest.mark.scenario

INTERFACE = "com.docker.network.endpoint.ifname"
SYSCTLS = "com.docker.network.endpoint.sysctls"
HOST_INTERFACE = "linkspan.endpoint.host_ifname"
ANTI_SPOOFING = "linkspan.anti_spoofing"
BORROWED = "10.70.0.77"


@pytest.fixture
def web(lab: Daemon) -> Daemon:
    lab.linkspan("network", "create", "--subnet", "10.70.0.0/24", "web")
    return lab


def test_names_and_settings_of_an_interface_are_the_chosen_ones(web: Daemon, client: Client) -> None:
    settings = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.forwarding=0"
    wish = (
        f'name=web,driver-opt={INTERFACE}=lan0,driver-opt={HOST_INTERFACE}=box-lan0,"driver-opt={SYSCTLS}={settings}"'
    )
    client("run", "-d", "--name", "box", "--stop-signal", "KILL", "--network", wish, "busybox", "sleep", "1000")
    assert "box-lan0" in links(web.namespace)
    shown = json.loads(inside(web, "box", "ip", "-j", "link", "show", "dev", "lan0"))
    assert shown[0]["ifname"] == "lan0"
    assert inside(web, "box", "cat", "/proc/sys/net/ipv4/conf/lan0/log_martians").strip() == "1"
    assert inside(web, "box", "cat", "/proc/sys/net/ipv4/conf/lan0/forwarding").strip() == "0"


def test_a_name_on_the_host_is_free_when_its_container_has_stopped(web: Daemon) -> None:
    sleeper(web, "box", "--network", f"name=web,driver-opt={HOST_INTERFACE}=box-lan0")
    web.linkspan("stop", "box")
    web.namespace.run("ip", "link", "add", "box-lan0", "type", "veth")
    said = web.refused("start", "box", status=1)
    assert "cannot create veth box-lan0" in said
    assert "remove that or choose another name" in said
    web.namespace.run("ip", "link", "del", "box-lan0")
    web.linkspan("start", "box")


def test_a_setting_that_the_kernel_does_not_have_is_refused_and_nothing_is_left(web: Daemon) -> None:
    sleeper(web, "peer", "--network", "web")
    before = links(web.namespace).keys()
    wish = f"name=web,driver-opt={SYSCTLS}=net.ipv4.conf.IFNAME.no_such_setting=1"
    said = web.refused("run", "--rm", "--network", wish, "busybox", "true", status=125)
    assert "net/ipv4/conf/eth0/no_such_setting" in said
    assert "look whether this kernel has that setting" in said
    assert links(web.namespace).keys() == before


def test_an_address_that_a_container_takes_by_itself_passes_only_with_the_guard_off(web: Daemon) -> None:
    sleeper(web, "peer", "--network", "web")
    sleeper(web, "honest", "--cap-add", "NET_ADMIN", "--network", "web")
    sleeper(web, "router", "--cap-add", "NET_ADMIN", "--network", f"name=web,driver-opt={ANTI_SPOOFING}=false")
    for box, passes in (("honest", False), ("router", True)):
        web.linkspan("exec", box, "ip", "addr", "add", f"{BORROWED}/24", "dev", "eth0")
        assert pings(web, box, address4(web, "peer", "web"))
        words = ("exec", box, "ping", "-c1", "-W1", "-I", BORROWED, address4(web, "peer", "web"))
        assert (web.run(LINKSPAN, *words).returncode == 0) is passes, box
        web.linkspan("exec", box, "ip", "addr", "del", f"{BORROWED}/24", "dev", "eth0")


def test_the_guard_is_off_on_a_whole_network_that_says_so(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--subnet", "10.70.0.0/24", "--opt", f"{ANTI_SPOOFING}=false", "open")
    sleeper(lab, "peer", "--network", "open")
    sleeper(lab, "box", "--cap-add", "NET_ADMIN", "--network", "open")
    lab.linkspan("exec", "box", "ip", "addr", "add", f"{BORROWED}/24", "dev", "eth0")
    lab.linkspan("exec", "box", "ping", "-c1", "-W1", "-I", BORROWED, address4(lab, "peer", "open"))


def test_a_link_local_address_is_given_beside_the_others(web: Daemon, client: Client) -> None:
    sleeper(web, "peer", "--network", "name=web,link-local-ip=169.254.70.2")
    wish = ("--network", "web", "--link-local-ip", "169.254.70.1")
    client("run", "-d", "--name", "box", "--stop-signal", "KILL", *wish, "busybox", "sleep", "1000")
    found = addresses_in(inside(web, "box", "ip", "-4", "-j", "addr", "show", "dev", "eth0"))
    assert found == {f"{address4(web, 'box', 'web')}/24", "169.254.70.1/16"}
    assert pings(web, "box", "169.254.70.2")
