"""What a person shapes of one endpoint: its names on both sides, its settings, its guard, one more address."""

from __future__ import annotations

import json

import pytest

from container_lab import Client
from daemons import LINKSPAN, Daemon
from network_lab import (
    address4,
    addresses_in,
    endpoint,
    idle,
    inside,
    links,
    pings,
    sentence,
    settled_picture,
    sleeper,
)

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


def test_a_chosen_name_on_the_host_is_used_again_right_after_a_stop(web: Daemon) -> None:
    """moby#17064: scripts on the host (tc, pcap) want a name that does not change with each start."""
    wish = f"name=web,driver-opt={HOST_INTERFACE}=box-lan0"
    sleeper(web, "box", "--network", wish)
    for _ in range(3):
        web.linkspan("stop", "box")
        web.linkspan("start", "box")
        web.linkspan("restart", "-t", "0", "box")
        assert "box-lan0" in links(web.namespace)
    for name in ("second", "third"):
        web.linkspan("rm", "-f", "box")
        sleeper(web, "box", "--network", wish)
        assert pings(web, "box", "10.70.0.1"), name
    web.linkspan("network", "disconnect", "web", "box")
    web.linkspan("network", "connect", "--driver-opt", f"{HOST_INTERFACE}=box-lan0", "web", "box")
    assert pings(web, "box", "10.70.0.1")


def test_a_name_on_the_host_that_another_container_has_is_refused_naming_it(web: Daemon, client: Client) -> None:
    """moby#17064, and pain 36: what is taken, by whom, and what to do."""
    wish = f"name=web,driver-opt={HOST_INTERFACE}=box-lan0"
    sleeper(web, "first", "--network", wish)
    idle(web, "second", "--network", wish)
    before = settled_picture(web)
    said = sentence(without_last_line(client.refused("start", "second")))
    assert "box-lan0" in said
    assert "first" in said
    # the container itself keeps the error of its start, as Docker's do
    assert {**settled_picture(web), "containers": ()} == {**before, "containers": ()}
    client("stop", "first")
    client("start", "second")


def without_last_line(text: str) -> str:
    """What the clients add after the daemon's sentence when a start fails."""
    return "\n".join(line for line in text.splitlines() if "failed to start containers" not in line)


def test_two_interfaces_of_one_container_cannot_have_one_name(web: Daemon) -> None:
    web.linkspan("network", "create", "--subnet", "10.71.0.0/24", "other")
    sleeper(web, "box", "--network", f"name=web,driver-opt={INTERFACE}=lan0")
    before = settled_picture(web)
    said = sentence(web.refused("network", "connect", "--driver-opt", f"{INTERFACE}=lan0", "other", "box", status=1))
    assert "lan0" in said
    assert settled_picture(web) == before
    web.linkspan("network", "connect", "--driver-opt", f"{INTERFACE}=eth0", "other", "box")
    assert endpoint(web, "box", "other")["IPAddress"] in inside(web, "box", "ip", "addr", "show", "dev", "eth0")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("net.ipv4.ip_forward=1", "net.ipv4.ip_forward=1"),
        ("net.ipv4.conf.eth0.log_martians=1", "net.ipv4.conf.eth0.log_martians=1"),
        ("kernel.hostname=IFNAME", "kernel.hostname=IFNAME"),
        ("net.ipv4.conf.IFNAME.log_martians", "net.ipv4.conf.IFNAME.log_martians"),
        ("net.ipv4.conf.IFNAME.../../log_martians=1", "log_martians=1"),
        ("net.ipv4.conf.IFNAME.log_martians=banana", "log_martians"),
        ("net.ipv4.conf.IFNAME.rp_filter=1,net.ipv4.conf.IFNAME.rp_filter=2", "rp_filter is set twice"),
    ],
)
def test_a_bad_setting_of_an_interface_is_refused_and_leaves_nothing(web: Daemon, settings: str, said: str) -> None:
    sleeper(web, "peer", "--network", "web")
    web.linkspan("network", "create", "--subnet", "10.71.0.0/24", "other")
    before = settled_picture(web)
    words = ("network", "connect", "--driver-opt", f'"{SYSCTLS}={settings}"', "other", "peer")
    assert said in sentence(web.refused(*words, status=1))
    assert settled_picture(web) == before


def test_a_setting_that_a_comma_cuts_off_is_told_and_not_lost(web: Daemon, client: Client) -> None:
    """Docker's command line splits ``--driver-opt`` at commas, and its daemon keeps what it does not know."""
    web.linkspan("network", "create", "--subnet", "10.71.0.0/24", "other")
    sleeper(web, "box", "--network", "web")
    settings = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.rp_filter=2"
    before = settled_picture(web)
    said = sentence(client.refused("network", "connect", "--driver-opt", f"{SYSCTLS}={settings}", "other", "box"))
    assert "net.ipv4.conf.IFNAME.rp_filter" in said
    assert "put quotes around the whole option" in said
    assert settled_picture(web) == before
    client("network", "connect", "--driver-opt", f'"{SYSCTLS}={settings}"', "other", "box")
    assert inside(web, "box", "cat", "/proc/sys/net/ipv4/conf/eth1/rp_filter").strip() == "2"


def test_settings_hold_for_one_interface_and_come_back_with_each_start(web: Daemon) -> None:
    web.linkspan("network", "create", "--subnet", "10.71.0.0/24", "--ipv6", "other")
    sleeper(web, "box", "--network", "web")
    settings = (
        "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.accept_ra=2,net.ipv4.neigh.IFNAME.gc_stale_time=7"
    )
    web.linkspan("network", "connect", "--driver-opt", f'"{SYSCTLS}={settings}"', "other", "box")
    names = ("net.ipv4.conf.eth1.log_martians", "net.ipv6.conf.eth1.accept_ra", "net.ipv4.neigh.eth1.gc_stale_time")
    for _ in range(2):
        assert inside(web, "box", "sysctl", "-n", *names).split() == ["1", "2", "7"]
        assert inside(web, "box", "sysctl", "-n", "net.ipv4.conf.eth0.log_martians").strip() == "0"
        web.linkspan("restart", "-t", "0", "box")


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
