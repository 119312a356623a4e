"""What a daemon makes of its network settings and of the host that it finds; several daemons side by side."""

from __future__ import annotations

import ipaddress
import signal
import sys
from pathlib import Path

import pytest

from daemons import Daemon, Launch
from engine_api import EngineApi
from network_lab import (
    OUTSIDE4,
    TABLE,
    Json,
    Listener,
    Outside,
    address4,
    address6,
    addresses,
    endpoint,
    fetches,
    inside,
    links,
    nameserver,
    pings,
    ruleset,
    settled_picture,
    sleeper,
)

pytestmark = pytest.mark.scenario


def pools(daemon: Daemon, name: str) -> list[Json]:
    found: Json = EngineApi(daemon.socket)("GET", f"/networks/{name}")
    return list(found["IPAM"]["Config"])


# --- the default bridge --------------------------------------------------------------------------------------------


def test_a_default_bridge_that_nobody_needed_does_not_exist(launch: Launch) -> None:
    daemon = launch()
    assert links(daemon.namespace).keys() == {"lo"}
    assert ruleset(daemon.namespace) == [] or all("metainfo" in item for item in ruleset(daemon.namespace))
    assert daemon.namespace.run("sysctl", "-n", "net.ipv4.ip_forward").stdout.strip() == "0"
    assert pools(daemon, "bridge") == [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]
    daemon.linkspan("network", "create", "web")
    sleeper(daemon, "elsewhere", "--network", "web")
    sleeper(daemon, "alone", "--network", "none")
    daemon.restart()
    assert "linkspan0" not in links(daemon.namespace)

    sleeper(daemon, "box")
    assert addresses(daemon.namespace, "linkspan0") == {"172.17.0.1/16"}
    daemon.linkspan("rm", "-f", "box")
    daemon.restart()
    assert addresses(daemon.namespace, "linkspan0") == {"172.17.0.1/16"}, "once needed it is there at start"


def test_the_daemons_flags_shape_the_default_bridge(launch: Launch) -> None:
    daemon = launch(
        *("--bip", "10.70.0.1/16", "--fixed-cidr", "10.70.9.0/24", "--mtu", "1400"),
        *("--ipv6", "--bip6", "fd70::1/64", "--icc=false"),
    )
    sleeper(daemon, "one")
    sleeper(daemon, "two")
    bridge = links(daemon.namespace)["linkspan0"]
    assert bridge["mtu"] == 1400
    assert addresses(daemon.namespace, "linkspan0") == {"10.70.0.1/16", "fd70::1/64"}
    assert address4(daemon, "one", "bridge").startswith("10.70.9.")
    assert address6(daemon, "one", "bridge").startswith("fd70::")
    assert "mtu 1400" in inside(daemon, "one", "ip", "link", "show", "eth0")
    assert pings(daemon, "one", "10.70.0.1")
    assert not pings(daemon, "one", address4(daemon, "two", "bridge"))
    daemon.linkspan("network", "create", "web")
    sleeper(daemon, "three", "--network", "web")
    assert "mtu 1500" in inside(daemon, "three", "ip", "link", "show", "eth0"), "--mtu is the default bridge's"


def test_the_default_bridge_may_show_its_addresses(launch: Launch) -> None:
    daemon = launch("--bip", "10.70.0.1/16", "--ip-masq=false")
    sleeper(daemon, "box")
    with Outside(daemon) as world, Listener(world.namespace, OUTSIDE4, 8123):
        assert fetches(daemon, "box", OUTSIDE4, 8123) == address4(daemon, "box", "bridge")


def test_a_fixed_range_alone_is_the_subnet_of_the_default_bridge(launch: Launch) -> None:
    daemon = launch("--fixed-cidr", "10.73.5.0/24", "--ipv6", "--fixed-cidr-v6", "fd73::/64")
    assert [item["Subnet"] for item in pools(daemon, "bridge")] == ["10.73.5.0/24", "fd73::/64"]
    sleeper(daemon, "box")
    assert address4(daemon, "box", "bridge") == "10.73.5.2"
    assert address6(daemon, "box", "bridge") == "fd73::2"


def test_a_new_bip_counts_from_the_next_start_on(launch: Launch) -> None:
    daemon = launch()
    sleeper(daemon, "box")
    daemon.linkspan("stop", "box")
    daemon.options = ("--bip", "10.71.0.1/24")
    daemon.restart()
    daemon.linkspan("start", "box")
    assert address4(daemon, "box", "bridge").startswith("10.71.0.")
    assert addresses(daemon.namespace, "linkspan0") == {"10.71.0.1/24"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--bip", "10.70.0.1"), "10.70.0.1"),
        (("--bip", "10.70.0.0/16"), "10.70.0.0 is not a host's address"),
        (("--bip", "fd70::1/64"), "IPv4 address"),
        (("--bip", "10.70.0.1/16", "--fixed-cidr", "10.71.0.0/24"), "10.71.0.0/24 lies outside"),
        (("--default-address-pool", "base=10.10.0.0/16"), "size"),
        (("--default-address-pool", "base=10.10.0.0/16,size=8"), "invalid size 8"),
        (("--default-address-pool", "base=ten,size=24"), "ten"),
        (("--default-gateway", "10.70.0.9"), "10.70.0.9"),
        (("--bip", "10.70.0.1/16", "--default-gateway", "10.70.0.9"), "10.70.0.9"),
        (("--mtu", "99999"), "99999"),
        (("--mtu", "small"), "small"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    daemon = Daemon(tmp_path / "d")
    try:
        done = daemon.run(sys.executable, "-m", "linkspan.api.daemon", "--validate", *options)
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        daemon.erase()


def test_the_mtu_follows_the_hosts_way_out(launch: Launch) -> None:
    def narrow(daemon: Daemon) -> None:
        world = Outside(daemon)
        daemon.namespace.run("ip", "link", "set", "dev", "up0", "mtu", "1380")
        worlds.append(world)

    worlds: list[Outside] = []
    daemon = launch(prepare=narrow)
    sleeper(daemon, "box")
    daemon.linkspan("network", "create", "web")
    daemon.linkspan("network", "connect", "web", "box")
    for interface in ("eth0", "eth1"):
        assert "mtu 1380" in inside(daemon, "box", "ip", "link", "show", interface)
    worlds[0].close()


# --- automatic subnets ---------------------------------------------------------------------------------------------


def test_automatic_subnets_come_from_the_pools_that_the_daemon_was_given(launch: Launch) -> None:
    daemon = launch(
        *("--default-address-pool", "base=10.72.0.0/23,size=24", "--default-address-pool", "base=fd72::/62,size=64"),
        images=False,
    )
    assert pools(daemon, "bridge")[0]["Subnet"] == "10.72.0.0/24"
    daemon.linkspan("network", "create", "--ipv6", "one")
    assert [item["Subnet"] for item in pools(daemon, "one")] == ["10.72.1.0/24", "fd72::/64"]
    before = settled_picture(daemon)
    said = daemon.refused("network", "create", "two", status=1)
    assert "all default IPv4 address pools are in use" in said
    assert "--default-address-pool" in said
    assert settled_picture(daemon) == before
    daemon.linkspan("network", "rm", "one")
    daemon.linkspan("network", "create", "two")


def test_automatic_subnets_keep_clear_of_what_the_host_has_on_its_links(launch: Launch) -> None:
    def busy(daemon: Daemon) -> None:
        run = daemon.namespace.run
        run("ip", "link", "add", "lan0", "type", "bridge")
        run("ip", "addr", "add", "172.17.5.1/24", "dev", "lan0")
        run("ip", "link", "set", "lan0", "up")

    daemon = launch(prepare=busy, images=False)
    run = daemon.namespace.run
    assert pools(daemon, "bridge")[0]["Subnet"] == "172.18.0.0/16"
    run("ip", "route", "add", "172.19.128.0/24", "dev", "lan0")
    run("ip", "route", "add", "172.20.0.0/16", "dev", "lan0", "table", "77")
    run("ip", "route", "add", "172.21.0.0/16", "via", "172.17.5.9")
    daemon.linkspan("network", "create", "one")
    assert pools(daemon, "one")[0]["Subnet"] == "172.21.0.0/16", "what lies behind a gateway is far away"
    assert "lan0" in links(daemon.namespace)
    run("ip", "link", "del", "lan0")


def test_an_explicit_subnet_that_the_host_has_on_a_link_is_taken_with_a_warning(launch: Launch) -> None:
    daemon = launch(images=False)
    with Outside(daemon):
        reply: Json = EngineApi(daemon.socket)(
            "POST",
            "/networks/create",
            {"Name": "lan", "IPAM": {"Config": [{"Subnet": "198.51.100.0/25", "Gateway": "198.51.100.100"}]}},
        )
        assert "subnet 198.51.100.0/25 overlaps 198.51.100.0/24 (up0)" in reply["Warning"]


@pytest.mark.skipif(not nameserver() or ":" in nameserver(), reason="this machine has no name server elsewhere")
def test_automatic_subnets_keep_clear_of_the_hosts_name_server(launch: Launch) -> None:
    server = ipaddress.IPv4Address(nameserver())
    around = ipaddress.IPv4Network((int(server) & ~0xFF, 24))
    base = around.supernet(new_prefix=23)
    daemon = launch("--default-address-pool", f"base={base},size=24", images=False)
    (other,) = (each for each in base.subnets(new_prefix=24) if each != around)
    assert pools(daemon, "bridge")[0]["Subnet"] == str(other)
    assert "address pools are in use" in daemon.refused("network", "create", "one", status=1)


# --- restarts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_networks_go_on_without_the_daemon_and_are_untouched_by_its_restart(
    launch: Launch, number: signal.Signals
) -> None:
    daemon = launch()
    daemon.linkspan("network", "create", "--ipv6", "web")
    daemon.linkspan("network", "create", "--internal", "--label", "a=b", "inner")
    for name, network in (("one", "web"), ("two", "web"), ("three", "bridge")):
        sleeper(daemon, name, "--network", network)
    before = settled_picture(daemon)
    one, two = endpoint(daemon, "one", "web"), endpoint(daemon, "two", "web")
    sandbox: Json = daemon.inspect("one")
    daemon.kill(number)
    enter = ("nsenter", "-t", str(sandbox["State"]["Pid"]), "-n", "--", "ping", "-n", "-c1", "-W1")
    with Outside(daemon) as world, Listener(world.namespace, OUTSIDE4, 8123):
        for address in (two["IPAddress"], two["GlobalIPv6Address"], one["Gateway"], OUTSIDE4):
            assert daemon.run(*enter, address).returncode == 0
        assert not world.pings(one["IPAddress"]), "the firewall stands"
    daemon.start()
    assert settled_picture(daemon) == before
    assert pings(daemon, "one", two["IPAddress"])


def test_what_was_torn_down_meanwhile_is_made_again_at_the_start(launch: Launch) -> None:
    daemon = launch()
    daemon.linkspan("network", "create", "--ipv6", "web")
    sleeper(daemon, "one", "--network", "web")
    sleeper(daemon, "two", "--network", "web")
    rules = ruleset(daemon.namespace)
    place = endpoint(daemon, "one", "web")
    bridge = f"br-{place['NetworkID'][:12]}"
    daemon.stop()
    daemon.namespace.run("nft", "delete", "table", "inet", TABLE)
    daemon.namespace.run("ip", "link", "del", bridge)
    daemon.start()
    assert ruleset(daemon.namespace) == rules
    assert addresses(daemon.namespace, bridge) == {f"{place['Gateway']}/16", f"{place['IPv6Gateway']}/64"}
    assert endpoint(daemon, "one", "web") == place
    assert pings(daemon, "one", address4(daemon, "two", "web"))
    assert pings(daemon, "one", address6(daemon, "two", "web"))


# --- side by side --------------------------------------------------------------------------------------------------


def test_two_daemons_in_two_namespaces_do_not_meet(launch: Launch) -> None:
    first, second = launch(), launch()
    assert first.instance != second.instance
    for daemon in (first, second):
        daemon.linkspan("network", "create", "--ipv6", "web")
        sleeper(daemon, "box", "--network", "web")
        sleeper(daemon, "peer", "--network", "web")
        sleeper(daemon, "default")
    for daemon in (first, second):
        assert address4(daemon, "box", "web") == "172.18.0.2"
        assert pings(daemon, "box", address4(daemon, "peer", "web"))
        assert len(daemon.linkspan("ps", "-q").split()) == 3
    assert pools(first, "web")[1]["Subnet"] != pools(second, "web")[1]["Subnet"], "unique local, daemon by daemon"

    untouched = settled_picture(second)
    first.kill()
    first.start()
    first.linkspan("rm", "-f", "box", "peer", "default")
    first.linkspan("network", "rm", "web")
    first.stop()
    assert settled_picture(second) == untouched
    assert pings(second, "box", address4(second, "peer", "web"))
    first.start()
