"""``--network container:X``: one sandbox, whoever of its containers runs, stops, restarts or is removed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from container_lab import Client
from daemons import Daemon, eventually
from engine_api import EngineApi, Refused
from network_lab import (
    Json,
    address4,
    endpoint,
    idle,
    inside,
    links,
    picture,
    pings,
    sandbox_of,
    sentence,
    settled_picture,
    sleeper,
)

pytestmark = pytest.mark.scenario


@pytest.fixture
def web(lab: Daemon) -> Daemon:
    lab.linkspan("network", "create", "--subnet", "10.90.0.0/24", "web")
    return lab


def joined(daemon: Daemon, name: str, owner: str) -> None:
    sleeper(daemon, name, "--network", f"container:{owner}")


def view(daemon: Daemon, container: str) -> tuple[str, str, str, str]:
    """What a container sees of its sandbox: the namespace, its interfaces, /etc/hosts and the hostname."""
    script = "readlink /proc/self/ns/net; ifconfig eth0 | grep 'inet addr'; cat /etc/hosts; cat /etc/hostname"
    namespace, address, *rest = daemon.linkspan("exec", container, "sh", "-c", script).splitlines()
    return namespace, address.split()[1], "\n".join(rest[:-1]), rest[-1]


def test_a_partner_of_a_running_container_shares_its_network_stack(web: Daemon, client: Client) -> None:
    serve = "echo hello >/tmp/index.html && exec httpd -f -p 127.0.0.1:80 -h /tmp"
    client("run", "-d", "--name", "owner", "--network", "web", "--hostname", "stack", "busybox", "sh", "-c", serve)
    client(
        "run",
        "-d",
        "--stop-signal",
        "KILL",
        "--name",
        "guest",
        "--network",
        "container:owner",
        "busybox",
        "sleep",
        "1000",
    )
    assert view(web, "guest") == view(web, "owner")
    assert view(web, "guest")[3] == "stack"
    fetch = ("exec", "guest", "wget", "-qO-", "http://127.0.0.1/")
    eventually(lambda: client.run(*fetch).stdout == "hello\n", "the owner's loopback answers its partner")
    shown: Json = json.loads(client("inspect", "guest"))[0]
    owner: Json = web.inspect("owner")
    assert shown["HostConfig"]["NetworkMode"] == f"container:{owner['Id']}"
    assert shown["NetworkSettings"]["Networks"] == {}
    assert shown["NetworkSettings"]["SandboxKey"] == owner["NetworkSettings"]["SandboxKey"]
    assert len([name for name in links(web.namespace) if name.startswith("veth")]) == 1


def test_the_owner_may_be_named_by_its_id(web: Daemon) -> None:
    identity = sleeper(web, "owner", "--network", "web")
    joined(web, "guest", identity[:12])
    assert view(web, "guest") == view(web, "owner")


def test_the_sandbox_stays_while_the_owner_is_stopped_and_the_owner_rejoins_it(web: Daemon, client: Client) -> None:
    sleeper(web, "owner", "--network", "web")
    joined(web, "guest", "owner")
    sleeper(web, "other", "--network", "web")
    before = view(web, "guest")
    client("stop", "owner")
    assert view(web, "guest") == before
    assert pings(web, "other", "10.90.0.2")
    client("start", "owner")
    assert view(web, "owner") == view(web, "guest") == before
    client("restart", "-t", "0", "owner")
    assert view(web, "owner") == view(web, "guest") == before


def test_the_sandbox_stays_while_the_partner_restarts(web: Daemon) -> None:
    sleeper(web, "owner", "--network", "web")
    joined(web, "guest", "owner")
    before = view(web, "owner")
    web.linkspan("restart", "-t", "0", "guest")
    assert view(web, "guest") == view(web, "owner") == before
    web.linkspan("stop", "guest")
    web.linkspan("rm", "guest")
    assert view(web, "owner") == before


def test_a_lone_restart_of_the_owner_keeps_the_sandbox(web: Daemon) -> None:
    sleeper(web, "owner", "--network", "web")
    before = view(web, "owner")
    web.linkspan("restart", "-t", "0", "owner")
    assert view(web, "owner") == before


@pytest.mark.parametrize("life", ["created", "stopped"])
def test_starting_the_partner_of_a_container_that_does_not_run_brings_its_endpoints_up(
    web: Daemon, client: Client, life: str
) -> None:
    options = ("--network", "web", "--ip", "10.90.0.77", "--hostname", "stack", "--add-host", "db:10.9.9.9")
    if life == "created":
        idle(web, "owner", *options)
    else:
        sleeper(web, "owner", *options)
        web.linkspan("stop", "owner")
    client(
        "run",
        "-d",
        "--stop-signal",
        "KILL",
        "--name",
        "guest",
        "--network",
        "container:owner",
        "busybox",
        "sleep",
        "1000",
    )
    namespace, address, hosts, hostname = view(web, "guest")
    assert address == "addr:10.90.0.77"
    assert "10.9.9.9\tdb" in hosts
    assert hostname == "stack"
    assert endpoint(web, "owner", "web")["IPAddress"] == "10.90.0.77", "the owner's, though it does not run"
    client("start", "owner")
    assert view(web, "owner") == (namespace, address, hosts, hostname)
    client("stop", "guest")
    assert view(web, "owner")[0] == namespace


def test_the_sandbox_goes_with_its_last_container(web: Daemon) -> None:
    before = settled_picture(web)
    sleeper(web, "owner", "--network", "web")
    joined(web, "guest", "owner")
    pin = Path(sandbox_of(web, "owner"))
    assert pin.exists()
    web.linkspan("stop", "owner")
    assert pin.exists()
    web.linkspan("stop", "guest")
    assert not pin.exists()
    assert endpoint(web, "owner", "web")["IPAddress"] == ""
    web.linkspan("rm", "owner", "guest")
    assert settled_picture(web) == before


def test_a_removed_owner_leaves_its_sandbox_to_the_partners(web: Daemon, client: Client) -> None:
    sleeper(web, "owner", "--network", "web")
    joined(web, "guest", "owner")
    sleeper(web, "other", "--network", "web")
    before = view(web, "guest")
    client("rm", "-f", "owner")
    assert view(web, "guest") == before
    assert pings(web, "other", "10.90.0.2")
    assert pings(web, "guest", address4(web, "other", "web"))
    members = EngineApi(web.socket)("GET", "/networks/web")["Containers"].values()
    assert {(item["Name"], item["IPv4Address"]) for item in members} == {
        ("owner", "10.90.0.2/24"),
        ("other", "10.90.0.3/24"),
    }
    joined(web, "late", "owner")
    assert view(web, "late") == before, "the name of the removed one still leads there"

    said = sentence(web.refused("network", "rm", "web", status=1))
    assert "network web" in said
    assert "(guest, late, other)" in said
    client("stop", "guest", "late")
    client("rm", "-f", "other")
    client("network", "rm", "web")
    said = sentence(web.refused("start", "guest", status=1))
    assert "container" in said
    assert "was removed" in said


def test_a_removed_owner_keeps_its_sandbox_over_a_restart_of_the_daemon(web: Daemon) -> None:
    sleeper(web, "owner", "--network", "web")
    joined(web, "guest", "owner")
    web.linkspan("rm", "-f", "owner")
    before = view(web, "guest")
    web.restart(signal.SIGKILL)
    assert view(web, "guest") == before
    assert "(guest)" in web.refused("network", "rm", "web", status=1)
    web.linkspan("rm", "-f", "guest")
    web.linkspan("network", "rm", "web")


def test_the_name_of_a_removed_owner_may_be_given_again(web: Daemon) -> None:
    sleeper(web, "owner", "--network", "web")
    joined(web, "guest", "owner")
    web.linkspan("rm", "-f", "owner")
    sleeper(web, "owner", "--network", "web")
    assert address4(web, "owner", "web") == "10.90.0.3"
    joined(web, "late", "owner")
    assert view(web, "late") == view(web, "owner")
    assert view(web, "guest")[1] == "addr:10.90.0.2"
    assert pings(web, "late", "10.90.0.2")


def test_a_partner_of_a_removed_owner_is_taken_off_its_network_by_force(web: Daemon) -> None:
    sleeper(web, "owner", "--network", "web")
    joined(web, "guest", "owner")
    web.linkspan("rm", "-f", "owner")
    assert "No such container: owner" in web.refused("network", "disconnect", "web", "owner", status=1)
    web.linkspan("network", "disconnect", "--force", "web", "owner")
    assert "eth0" not in web.linkspan("exec", "guest", "ip", "link")
    web.linkspan("network", "rm", "web")


def test_what_the_owner_is_connected_to_its_partners_have_at_once(web: Daemon) -> None:
    web.linkspan("network", "create", "--subnet", "10.91.0.0/24", "second")
    sleeper(web, "owner", "--network", "web")
    joined(web, "guest", "owner")
    web.linkspan("network", "connect", "--ip", "10.91.0.9", "second", "owner")
    assert "10.91.0.9" in web.linkspan("exec", "guest", "ifconfig", "eth1")
    assert "10.91.0.9" in web.linkspan("exec", "guest", "cat", "/etc/hosts"), "files are edited in place"
    web.linkspan("stop", "owner")
    web.linkspan("network", "disconnect", "web", "owner")
    assert "eth0" not in web.linkspan("exec", "guest", "ip", "link")
    assert "10.90.0" not in web.linkspan("exec", "guest", "cat", "/etc/hosts")


def test_partners_of_partners_share_the_one_sandbox(web: Daemon) -> None:
    sleeper(web, "owner", "--network", "web")
    joined(web, "guest", "owner")
    joined(web, "third", "guest")
    assert view(web, "third") == view(web, "owner")
    web.linkspan("stop", "owner", "guest")
    assert view(web, "third")[1] == "addr:10.90.0.2"
    web.linkspan("stop", "third")
    web.linkspan("start", "third")
    assert view(web, "third")[1] == "addr:10.90.0.3"


def test_the_last_partner_of_a_removed_owner_may_restart_in_place(web: Daemon) -> None:
    sleeper(web, "owner", "--network", "web")
    joined(web, "guest", "owner")
    web.linkspan("rm", "-f", "owner")
    before = view(web, "guest")
    web.linkspan("restart", "-t", "0", "guest")
    assert view(web, "guest") == before


def test_a_renamed_owner_is_still_the_owner(web: Daemon) -> None:
    sleeper(web, "owner", "--network", "web")
    joined(web, "guest", "owner")
    web.linkspan("rename", "owner", "boss")
    web.linkspan("restart", "-t", "0", "guest")
    assert view(web, "guest") == view(web, "boss")
    web.linkspan("stop", "boss", "guest")
    web.linkspan("start", "guest")
    assert endpoint(web, "boss", "web")["IPAddress"] == view(web, "guest")[1].removeprefix("addr:")


def test_an_owner_rejoins_its_sandbox_after_the_daemon_was_killed(web: Daemon) -> None:
    sleeper(web, "owner", "--network", "web", "--ip", "10.90.0.50")
    joined(web, "guest", "owner")
    web.linkspan("stop", "owner")
    before = view(web, "guest")
    web.restart(signal.SIGKILL)
    assert view(web, "guest") == before
    assert "(guest)" in web.refused("network", "rm", "web", status=1)
    web.linkspan("start", "owner")
    assert view(web, "owner") == before


def test_a_static_address_is_held_by_an_owner_that_is_stopped_while_its_partner_runs(web: Daemon) -> None:
    sleeper(web, "owner", "--network", "web", "--ip", "10.90.0.50")
    joined(web, "guest", "owner")
    web.linkspan("stop", "owner")
    idle(web, "rival", "--network", "web", "--ip", "10.90.0.50")
    assert "is held by container owner" in web.refused("start", "rival", status=1)
    web.linkspan("rm", "-f", "owner")
    assert "is held by container owner" in web.refused("start", "rival", status=1)
    web.linkspan("stop", "guest")
    web.linkspan("start", "rival")
    assert address4(web, "rival", "web") == "10.90.0.50"


def test_partners_of_hosted_and_of_lone_containers(web: Daemon) -> None:
    sleeper(web, "hosted", "--network", "host")
    joined(web, "guest", "hosted")
    seen = [line.split()[1] for line in web.linkspan("exec", "guest", "ip", "-o", "link").splitlines()]
    assert {name.partition("@")[0].rstrip(":") for name in seen} == links(web.namespace).keys()
    idle(web, "alone", "--network", "none")
    joined(web, "friend", "alone")
    names = [item["ifname"] for item in json.loads(inside(web, "friend", "ip", "-j", "link"))]
    assert names == ["lo"]


def test_a_partner_that_is_restarted_again_and_again_keeps_the_sandbox_by_itself(web: Daemon) -> None:
    sleeper(web, "owner", "--network", "web")
    script = "ifconfig eth0 | grep 'inet addr'; readlink /proc/self/ns/net; sleep 0.1; exit 1"
    options = ("--network", "container:owner", "--restart", "always", "--name", "phoenix")
    web.linkspan("run", "-d", *options, "busybox", "sh", "-c", script)
    web.linkspan("stop", "owner")
    deaths = "{{.RestartCount}}"
    eventually(lambda: int(web.linkspan("inspect", "-f", deaths, "phoenix")) >= 3, "the partner restarts")
    namespaces = {line for line in web.linkspan("logs", "phoenix").splitlines() if line.startswith("net:")}
    assert len(namespaces) == 1
    assert endpoint(web, "owner", "web")["IPAddress"] == "10.90.0.2"
    web.linkspan("stop", "phoenix")
    assert endpoint(web, "owner", "web")["IPAddress"] == ""


# --- network rm and containers that do not run ---------------------------------------------------------------------


def test_stopped_containers_do_not_block_the_removal_of_a_network(web: Daemon, client: Client) -> None:
    sleeper(web, "box", "--network", "web")
    idle(web, "fresh", "--network", "web", "--ip", "10.90.0.9")
    idle(web, "guest", "--network", "container:box")
    web.linkspan("stop", "box")
    identity = EngineApi(web.socket)("GET", "/networks/web")["Id"]
    client("network", "rm", "web")
    before = settled_picture(web)
    for name, container in (("box", "box"), ("fresh", "fresh"), ("guest", "box")):
        done = client.run("start", name)
        assert done.returncode == 1
        assert f"network {identity[:12]} of container {container} not found" in done.stderr
        with pytest.raises(Refused) as refusal:
            EngineApi(web.socket)("POST", f"/containers/{name}/start")
        assert refusal.value.status == 404
    after = picture(web)
    assert {**before, "containers": 0} == {**after, "containers": 0}

    web.linkspan("network", "create", "--subnet", "10.90.0.0/24", "web")
    client("network", "disconnect", identity[:12], "box")
    client("network", "connect", "web", "box")
    client("start", "guest")
    assert view(web, "guest")[1] == "addr:10.90.0.2"
    web.linkspan("rm", "fresh")


def test_a_running_partner_blocks_the_removal_of_the_owners_network(web: Daemon, client: Client) -> None:
    sleeper(web, "owner", "--network", "web")
    joined(web, "guest", "owner")
    web.linkspan("stop", "owner")
    done = client.run("network", "rm", "web")
    assert done.returncode == 1
    assert "network web" in done.stderr
    assert "(guest)" in done.stderr
    web.linkspan("stop", "guest")
    client("network", "rm", "web")


# --- refusals ------------------------------------------------------------------------------------------------------


NO_PARTNERS_WISH = [
    (("--network", "container:self", "--name", "self"), "it is the container itself"),
    (("--network", "container:missing"), "No such container: missing"),
    (("--network", "container:"), "container:<name|id>"),
    (("--network", "container"), "container:<name|id>"),
    (("--network", "container:owner", "--hostname", "x"), "hostname and the network mode"),
    (("--network", "container:owner", "--dns", "1.1.1.1"), "dns and the network mode"),
    (("--network", "container:owner", "--add-host", "a:1.1.1.1"), "custom host-to-IP mapping"),
    (("--network", "container:owner", "--mac-address", "02:00:00:00:00:01"), "mac-address and the network mode"),
    (("--network", "container:owner", "-p", "80:80"), "port publishing and the container type network mode"),
    (("--network", "container:owner", "--expose", "80"), "port exposing and the container type network mode"),
    (("--network", "container:owner", "--ip", "10.90.0.5"), "user specified IP address"),
    (("--network", "container:owner", "--network-alias", "x"), "network-scoped alias"),
]


def test_what_a_partner_cannot_ask_for_is_refused(web: Daemon, client: Client) -> None:
    sleeper(web, "owner", "--network", "web")
    before = settled_picture(web)
    for options, said in NO_PARTNERS_WISH:
        done = client.run("run", "-d", *options, "busybox", "true")
        assert done.returncode == 125
        assert said in done.stderr
    assert picture(web) == before
    assert os.listdir(web.exec_root / "netns") == [Path(sandbox_of(web, "owner")).name]


def test_a_partner_whose_owner_is_gone_with_its_sandbox_says_so(web: Daemon) -> None:
    sleeper(web, "owner", "--network", "web")
    idle(web, "guest", "--network", "container:owner")
    web.linkspan("rm", "-f", "owner")
    said = sentence(web.refused("start", "guest", status=1))
    assert "removed" in said
