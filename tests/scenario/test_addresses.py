"""Who gets which address: next-free order, static ones, what is held and what is reserved, exhaustion."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from container_lab import Client
from daemons import LINKSPAN, Daemon
from engine_api import EngineApi, Refused
from network_lab import Json, address4, address6, idle, picture, sentence, settled_picture, sleeper

pytestmark = pytest.mark.scenario


@pytest.fixture
def small(lab: Daemon) -> Daemon:
    """A network of five addresses: 10.80.0.2 to 10.80.0.6."""
    lab.linkspan("network", "create", "--subnet", "10.80.0.0/29", "small")
    return lab


@pytest.fixture
def wide(lab: Daemon) -> Daemon:
    lab.linkspan("network", "create", "--subnet", "10.81.0.0/24", "--ipv6", "--subnet", "fd81::/64", "wide")
    return lab


def start_again(daemon: Daemon, name: str) -> None:
    daemon.linkspan("stop", name)
    daemon.linkspan("start", name)


def free(daemon: Daemon, network: str) -> int:
    """How many dynamic addresses are left, as inspect tells."""
    found: Json = EngineApi(daemon.socket)("GET", f"/networks/{network}")
    return int(next(iter(found["Status"]["IPAM"]["Subnets"].values()))["DynamicIPsAvailable"])


# --- next-free, not lowest-free ------------------------------------------------------------------------------------


def test_an_address_is_not_used_again_at_once(wide: Daemon, client: Client) -> None:
    found = []
    for _ in range(3):
        client("run", "-d", "--name", "box", "--network", "wide", "busybox", "sleep", "1000")
        found.append((address4(wide, "box", "wide"), address6(wide, "box", "wide")))
        client("rm", "-f", "box")
    assert found == [("10.81.0.2", "fd81::2"), ("10.81.0.3", "fd81::3"), ("10.81.0.4", "fd81::4")]


def test_the_order_wraps_round_at_the_end_of_the_range(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--subnet", "10.82.0.0/24", "--ip-range", "10.82.0.8/30", "ranged")
    assert EngineApi(lab.socket)("GET", "/networks/ranged")["IPAM"]["Config"][0]["Gateway"] == "10.82.0.8"
    found = []
    for _ in range(4):
        sleeper(lab, "box", "--network", "ranged")
        found.append(address4(lab, "box", "ranged"))
        lab.linkspan("rm", "-f", "box")
    assert found == ["10.82.0.9", "10.82.0.10", "10.82.0.11", "10.82.0.9"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_order_goes_on_after_a_restart_of_the_daemon(wide: Daemon, number: signal.Signals) -> None:
    sleeper(wide, "first", "--network", "wide")
    sleeper(wide, "second", "--network", "wide")
    wide.linkspan("rm", "-f", "second")
    wide.restart(number)
    assert address4(wide, "first", "wide") == "10.81.0.2"
    sleeper(wide, "third", "--network", "wide")
    assert (address4(wide, "third", "wide"), address6(wide, "third", "wide")) == ("10.81.0.4", "fd81::4")


def test_a_container_keeps_its_dynamic_address_over_a_restart_of_its_own(wide: Daemon) -> None:
    sleeper(wide, "box", "--network", "wide")
    wide.linkspan("restart", "-t", "0", "box")
    assert address4(wide, "box", "wide") == "10.81.0.2"
    start_again(wide, "box")
    assert address4(wide, "box", "wide") == "10.81.0.3", "a stop gives it back"


def test_large_subnets_cost_no_more(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--subnet", "10.0.0.0/8", "--ipv6", "--subnet", "fd83::/48", "huge")
    sleeper(lab, "box", "--network", "huge")
    sleeper(lab, "far", "--network", "huge", "--ip", "10.255.255.254", "--ip6", "fd83:0:0:ffff::1")
    assert (address4(lab, "box", "huge"), address6(lab, "box", "huge")) == ("10.0.0.2", "fd83::2")
    assert free(lab, "huge") == 2**24 - 3 - 2


# --- static addresses ----------------------------------------------------------------------------------------------


def test_a_static_address_belongs_to_its_container_while_that_is_stopped(small: Daemon, client: Client) -> None:
    client("create", "--name", "owner", "--network", "small", "--ip", "10.80.0.3", "busybox", "sleep", "1000")
    assert free(small, "small") == 4
    got = []
    for name in ("one", "two", "three", "four"):
        sleeper(small, name, "--network", "small")
        got.append(address4(small, name, "small"))
    assert got == ["10.80.0.2", "10.80.0.4", "10.80.0.5", "10.80.0.6"]
    assert free(small, "small") == 0
    small.linkspan("start", "owner")
    assert address4(small, "owner", "small") == "10.80.0.3"


def test_a_static_address_is_kept_over_restarts_of_the_daemon(small: Daemon) -> None:
    idle(small, "owner", "--network", "small", "--ip", "10.80.0.2")
    small.restart(signal.SIGKILL)
    sleeper(small, "other", "--network", "small")
    assert address4(small, "other", "small") == "10.80.0.3"


@pytest.mark.parametrize("gone", ["rm", "disconnect"])
def test_a_static_address_is_free_when_no_definition_names_it_any_more(small: Daemon, gone: str) -> None:
    idle(small, "owner", "--network", "small", "--ip", "10.80.0.2")
    assert free(small, "small") == 4
    small.linkspan(*(("rm", "owner") if gone == "rm" else ("network", "disconnect", "small", "owner")))
    assert free(small, "small") == 5
    sleeper(small, "other", "--network", "small")
    assert address4(small, "other", "small") == "10.80.0.2"


def test_a_second_definition_may_name_the_address_and_is_warned(small: Daemon) -> None:
    sleeper(small, "first", "--network", "small", "--ip", "10.80.0.4")
    for program in (LINKSPAN, "docker"):
        done = small.run(program, "create", "--network", "small", "--ip", "10.80.0.4", "busybox", "sleep", "1000")
        assert done.returncode == 0
        assert "WARNING: address 10.80.0.4 on network small is already named by container first" in done.stderr


def test_the_second_does_not_start_while_the_first_holds_the_address(small: Daemon, client: Client) -> None:
    sleeper(small, "first", "--network", "small", "--ip", "10.80.0.4")
    idle(small, "second", "--network", "small", "--ip", "10.80.0.4")
    before = settled_picture(small)
    done = client.run("start", "second")
    assert done.returncode == 1
    assert "address 10.80.0.4 on network small is held by container first" in done.stderr
    with pytest.raises(Refused) as refusal:
        EngineApi(small.socket)("POST", "/containers/second/start")
    assert refusal.value.status == 409
    after = settled_picture(small)
    for name, container in (("before", before), ("after", after)):
        for item in container["containers"]:
            item["State"] = name  # the failed start is told there
    assert {**before, "containers": 0} == {**after, "containers": 0}

    small.linkspan("stop", "first")
    small.linkspan("start", "second")
    assert address4(small, "second", "small") == "10.80.0.4"
    assert "held by container second" in small.refused("start", "first", status=1)


def test_an_address_that_somebody_holds_dynamically_is_refused_naming_the_holder(small: Daemon, client: Client) -> None:
    sleeper(small, "first", "--network", "small")
    assert address4(small, "first", "small") == "10.80.0.2"
    done = client.run("run", "-d", "--name", "second", "--network", "small", "--ip", "10.80.0.2", "busybox", "true")
    assert done.returncode == 125
    assert "address 10.80.0.2 on network small is held by container first" in done.stderr
    before = settled_picture(small)
    sleeper(small, "third", "--network", "none")
    small.linkspan("rm", "-f", "third")
    sleeper(small, "fourth")
    said = small.refused("network", "connect", "--ip", "10.80.0.2", "small", "fourth", status=1)
    assert sentence(said).startswith("address 10.80.0.2 on network small is held by container first")
    small.linkspan("rm", "-f", "fourth")
    assert settled_picture(small)["networks"][1:] == before["networks"][1:]


NOBODYS = [
    (("--ip", "10.80.1.2"), "address 10.80.1.2 does not lie in subnet 10.80.0.0/29"),
    (("--ip", "10.80.0.0"), "address 10.80.0.0 is the network address of subnet 10.80.0.0/29"),
    (("--ip", "10.80.0.7"), "address 10.80.0.7 is the broadcast address of subnet 10.80.0.0/29"),
    (("--ip", "10.80.0.1"), "address 10.80.0.1 is the gateway of network small"),
    (("--ip", "10.80.0.6"), "address 10.80.0.6 is the auxiliary address printer of network small"),
    (("--ip", "fd80::5"), "fd80::5"),
    (("--ip", "ten"), "ten"),
    (("--ip6", "fd80::"), "address fd80:: is the subnet-router anycast address of subnet fd80::/64"),
    (("--ip6", "fd80::1"), "address fd80::1 is the gateway of network small"),
    (("--ip6", "fd80:0:0:1::5"), "address fd80:0:0:1::5 does not lie in subnet fd80::/64"),
]


def test_addresses_that_nobody_can_have_are_refused(lab: Daemon, client: Client) -> None:
    subnets = ("--subnet", "10.80.0.0/29", "--aux-address", "printer=10.80.0.6", "--ipv6", "--subnet", "fd80::/64")
    lab.linkspan("network", "create", *subnets, "small")
    before = settled_picture(lab)
    for options, said in NOBODYS:
        for verb, status in (("run", 125), ("create", 1)):
            done = client.run(verb, "--network", "small", *options, "busybox", "true")
            assert done.returncode == status, done.stderr
            assert said in sentence(done.stderr)
    assert picture(lab) == before


def test_a_static_address_outside_the_range_is_as_good_as_any(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--subnet", "10.84.0.0/24", "--ip-range", "10.84.0.128/25", "ranged")
    sleeper(lab, "box", "--network", "ranged", "--ip", "10.84.0.5")
    assert address4(lab, "box", "ranged") == "10.84.0.5"


# --- exhaustion ----------------------------------------------------------------------------------------------------


def test_a_full_subnet_says_so_and_every_release_brings_an_address_back(small: Daemon, client: Client) -> None:
    for number in range(5):
        sleeper(small, f"box{number}", "--network", "small")
    idle(small, "late", "--network", "small")
    before = settled_picture(small)
    done = client.run("start", "late")
    assert done.returncode == 1
    assert "network small has no free IPv4 address: all 5 of subnet 10.80.0.0/29 are held or reserved" in done.stderr
    with pytest.raises(Refused) as refusal:
        EngineApi(small.socket)("POST", "/containers/late/start")
    assert refusal.value.status == 409
    after = settled_picture(small)
    assert {**before, "containers": 0} == {**after, "containers": 0}
    assert free(small, "small") == 0

    small.linkspan("stop", "box2")
    assert free(small, "small") == 1
    small.linkspan("start", "late")
    assert address4(small, "late", "small") == "10.80.0.4"
    small.linkspan("network", "disconnect", "small", "box0")
    small.linkspan("rm", "-f", "box4")
    assert free(small, "small") == 2
    small.linkspan("start", "box2")
    assert address4(small, "box2", "small") in ("10.80.0.2", "10.80.0.6")


def test_a_connect_to_a_full_subnet_is_refused_and_changes_nothing(small: Daemon) -> None:
    for number in range(5):
        sleeper(small, f"box{number}", "--network", "small")
    sleeper(small, "guest")
    before = settled_picture(small)
    assert "no free IPv4 address" in sentence(small.refused("network", "connect", "small", "guest", status=1))
    assert picture(small) == before


def test_a_refused_start_uses_up_no_address(wide: Daemon) -> None:
    refused = wide.run(LINKSPAN, "run", "--network", "wide", "busybox", "/no/such/program")
    assert refused.returncode == 127
    wide.linkspan("rm", *wide.linkspan("ps", "-aq").split())
    assert free(wide, "wide") == 253
    assert wide.run(LINKSPAN, "run", "--network", "wide", "--ip", "10.81.0.255", "busybox", "true").returncode == 125
    assert free(wide, "wide") == 253


# --- many at once --------------------------------------------------------------------------------------------------


def together(daemon: Daemon, count: int, target: str, body: Json = None) -> list[int]:
    """Sends as many requests at once, ``{}`` in the target or in a name being their number; their statuses."""

    def ask(number: int) -> int:
        filled = json.loads(json.dumps(body).replace("{}", str(number)))
        try:
            EngineApi(daemon.socket)("POST", target.replace("{}", str(number)), filled)
        except Refused as refusal:
            return refusal.status
        return 200

    with ThreadPoolExecutor(count) as pool:
        return sorted(pool.map(ask, range(count)))


def test_starts_at_once_share_the_addresses_without_a_clash(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--subnet", "10.85.0.0/28", "--ipv6", "--subnet", "fd85::/64", "crowd")
    body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "crowd"}}
    assert together(lab, 16, "/containers/create?name=box{}", body) == [200] * 16
    assert together(lab, 16, "/containers/box{}/start") == [200] * 13 + [409] * 3
    members: Json = EngineApi(lab.socket)("GET", "/networks/crowd")["Containers"]
    assert len({item["IPv4Address"] for item in members.values()}) == 13
    assert len({item["IPv6Address"] for item in members.values()}) == 13
    assert free(lab, "crowd") == 0


def test_of_networks_created_at_once_with_one_name_one_is_made(lab: Daemon) -> None:
    assert together(lab, 8, "/networks/create", {"Name": "web"}) == [200] + [409] * 7
    assert together(lab, 8, "/networks/create", {"Name": "web{}"}) == [200] * 8
    found: list[Json] = EngineApi(lab.socket)("GET", "/networks")
    subnets = [item["IPAM"]["Config"][0]["Subnet"] for item in found if item["Driver"] == "bridge"]
    assert len(set(subnets)) == len(subnets) == 10


def test_a_network_that_is_removed_while_containers_start_on_it_is_whole_or_gone(lab: Daemon) -> None:
    body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "web"}}
    for attempt in range(5):
        lab.linkspan("network", "create", "--subnet", "10.86.0.0/24", "web")
        together(lab, 4, f"/containers/create?name=box{attempt}-{{}}", body)
        with ThreadPoolExecutor(1) as pool:
            starts = pool.submit(together, lab, 4, f"/containers/box{attempt}-{{}}/start")
            removal = lab.run(LINKSPAN, "network", "rm", "web")
            statuses = starts.result()
        if removal.returncode == 0:
            assert statuses == [404] * 4
            assert "br-" not in str(picture(lab)["links"])
            continue
        assert 200 in statuses
        members: Json = EngineApi(lab.socket)("GET", "/networks/web")["Containers"]
        assert len(members) == statuses.count(200)
        lab.linkspan("rm", "-f", *lab.linkspan("ps", "-aq").split())
        lab.linkspan("network", "rm", "web")
