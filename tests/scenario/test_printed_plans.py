"""``linkspan plan``: what a command would do, as commands that build the same thing, and no trace of having asked."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from daemons import Daemon, Launch
from engine_api import EngineApi
from linkspan.runtime.mountspace import root_is_mount_point
from namespaces import Namespace
from network_lab import (
    Json,
    address4,
    addresses_in,
    default_route,
    idle,
    inside,
    links,
    picture,
    ruleset,
    sentence,
    settled_picture,
    sleeper,
)

pytestmark = pytest.mark.scenario

LASTING = ("mtu", "group", "gso_max_size", "gro_max_size", "inet6_addr_gen_mode")
"""Facts of a link that depend neither on its identity nor on who is connected."""


def pasted(namespace: Namespace, script: str, *looks: str) -> list[str]:
    """Runs a script in bash, in the network namespace and with a /run/netns of its own; what ``looks`` then print.

    Skips the test in a plain chroot: ``ip -n`` begins with ``mount --make-rslave /`` and does not work there.
    """
    if not root_is_mount_point():
        pytest.skip("ip netns needs a root that is a mount point")
    between = "echo; echo =====; "
    whole = f"set -e\nmkdir -p /run/netns; mount -t tmpfs none /run/netns\n(\n{script}\n) >/dev/null\n"
    whole += "\n".join(f"{between}{look}" for look in looks)
    done = subprocess.run(
        [*namespace.prefix(), "unshare", "--mount", "--propagation", "private", "bash"],
        input=whole,
        capture_output=True,
        text=True,
        check=False,
        pass_fds=(namespace.descriptor,),
    )
    assert done.returncode == 0, f"{done.stderr}\n{script}"
    return done.stdout.split("=====\n")[1:]


def lasting(link: Json) -> dict[str, Json]:
    carried = ("LOWER_UP", "NO-CARRIER")
    return {**{fact: link.get(fact) for fact in LASTING}, "flags": sorted(set(link["flags"]).difference(carried))}


@pytest.mark.parametrize(
    "options",
    [
        ("--subnet", "10.99.0.0/24"),
        ("--subnet", "10.99.0.0/24", "--ipv6", "--subnet", "fd99::/64", "--gateway", "fd99::7"),
        ("--subnet", "10.99.0.0/24", "--internal", "--opt", "com.docker.network.driver.mtu=1400"),
        ("--subnet", "10.99.0.0/24", "--opt", "com.docker.network.bridge.enable_icc=false"),
        ("--subnet", "10.99.0.0/24", "--opt", "com.docker.network.bridge.enable_ip_masquerade=false"),
    ],
)
def test_the_commands_of_a_network_build_the_same_network(lab: Daemon, options: tuple[str, ...]) -> None:
    wanted = (*options, "--opt", "com.docker.network.bridge.name=web0", "web")
    before = settled_picture(lab)
    script = lab.linkspan("plan", "network", "create", *wanted)
    assert picture(lab) == before

    lab.linkspan("network", "create", *wanted)
    look = ("-j", "addr", "show", "dev", "web0")
    sysctls = ["sysctl", "-n", "net.ipv4.ip_forward", "net.ipv6.conf.web0.accept_ra", "net.ipv6.conf.web0.disable_ipv6"]
    sysctls += ["net.ipv6.conf.all.forwarding"] if "--ipv6" in options else []
    with Namespace() as other:
        pasted(other, script)
        assert ruleset(other) == ruleset(lab.namespace)
        assert lasting(links(other)["web0"]) == lasting(links(lab.namespace)["web0"])
        assert addresses_in(other.run("ip", *look).stdout) == addresses_in(lab.namespace.run("ip", *look).stdout)
        assert other.run(*sysctls).stdout == lab.namespace.run(*sysctls).stdout
        alias = [re.sub(r"[0-9a-f]{12}$", "ID", links(each)["web0"]["ifalias"]) for each in (other, lab.namespace)]
        assert alias[0] == alias[1]


def test_the_commands_of_a_first_run_build_host_bridge_and_sandbox(launch: Launch) -> None:
    daemon = launch()
    before = picture(daemon)
    # without these, each run makes up an address and the name of the cable's end on the host
    named = "name=bridge,mac-address=02:42:ac:11:00:09,driver-opt=linkspan.endpoint.host_ifname=box0"
    script = daemon.linkspan("plan", "run", "--name", "box", "--network", named, "busybox")
    assert picture(daemon) == before
    assert links(daemon.namespace).keys() == {"lo"}
    (sandbox,) = re.findall(r"ip netns add (\w+)", script)

    sleeper(daemon, "box", "--network", named)
    with Namespace() as other:
        link, addresses, route, ping = pasted(
            other,
            script,
            f"ip -n {sandbox} -j -d link show eth0",
            f"ip -n {sandbox} -j addr show eth0",
            f"ip -n {sandbox} -j route show default",
            f"ip netns exec {sandbox} ping -n -c1 -W1 172.17.0.1",
        )
        assert ruleset(other) == ruleset(daemon.namespace)
        assert lasting(links(other)["linkspan0"]) == lasting(links(daemon.namespace)["linkspan0"])
    (real,) = json.loads(inside(daemon, "box", "ip", "-j", "-d", "link", "show", "eth0"))
    (made,) = json.loads(link)
    assert (made["address"], lasting(made)) == (real["address"], lasting(real))
    assert addresses_in(addresses) == addresses_in(inside(daemon, "box", "ip", "-j", "addr", "show", "eth0"))
    (way,) = json.loads(route)
    assert (way["gateway"], way["dev"]) == default_route(daemon, "box")
    assert "1 received" in ping


def test_the_commands_of_a_run_on_a_network_fit_behind_those_of_the_network(lab: Daemon) -> None:
    create = ("--subnet", "10.99.0.0/24", "--ipv6", "--subnet", "fd99::/64")
    create = (*create, "--opt", "com.docker.network.bridge.name=web0", "web")
    first = lab.linkspan("plan", "network", "create", *create)
    lab.linkspan("network", "create", *create)
    run = ("--network", "web", "--ip", "10.99.0.44", "--ip6", "fd99::44", "busybox")
    second = lab.linkspan("plan", "run", *run)
    (sandbox,) = re.findall(r"ip netns add (\w+)", second)
    with Namespace() as other:
        found, pings = pasted(
            other,
            first + second,
            f"ip -n {sandbox} -j addr show eth0",
            f"ip netns exec {sandbox} ping -n -c1 -W1 10.99.0.1; ip netns exec {sandbox} ping -n -c1 -W1 fd99::1",
        )
    assert addresses_in(found) == {"10.99.0.44/24", "fd99::44/64"}
    assert pings.count("1 received") == 2


def test_asking_uses_up_no_address(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--subnet", "10.99.0.0/24", "web")
    before = settled_picture(lab)
    plans = [lab.linkspan("plan", "run", "--network", "web", "busybox") for _ in range(3)]
    assert all("addr add 10.99.0.2/24" in plan for plan in plans)
    assert picture(lab) == before
    sleeper(lab, "box", "--network", "web")
    assert address4(lab, "box", "web") == "10.99.0.2"
    lab.linkspan("plan", "run", "--network", "web", "busybox")
    lab.linkspan("rm", "-f", "box")
    lab.restart()
    sleeper(lab, "box", "--network", "web")
    assert address4(lab, "box", "web") == "10.99.0.3"


def test_asking_for_a_network_uses_up_no_subnet(lab: Daemon) -> None:
    for _ in range(2):
        assert "172.18.0.1/16" in lab.linkspan("plan", "network", "create", "web")
    lab.linkspan("network", "create", "web")
    found: Json = EngineApi(lab.socket)("GET", "/networks/web")
    assert found["IPAM"]["Config"][0]["Subnet"] == "172.18.0.0/16"


def test_a_plan_tells_whose_each_step_is(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--subnet", "10.99.0.0/24", "web")
    answer: Json = json.loads(
        lab.linkspan("plan", "run", "--format", "json", "--name", "box", "--network", "web", "busybox")
    )
    scopes = {step["Scope"] for step in answer["Steps"]}
    assert scopes == {"sandbox of box", "endpoint of box on web"}
    assert {step["Action"] for step in answer["Steps"]} == {"create"}
    script = lab.linkspan("plan", "run", "--name", "box", "--network", "web", "busybox")
    assert "### endpoint of box on web" in script
    assert "# create address 10.99.0.2/24 on eth0" in script


def test_a_partner_of_a_running_container_needs_nothing(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--subnet", "10.99.0.0/24", "web")
    sleeper(lab, "owner", "--network", "web")
    assert lab.linkspan("plan", "run", "--network", "container:owner", "busybox").startswith("# nothing to do")
    assert lab.linkspan("plan", "run", "--network", "host", "busybox").startswith("# nothing to do")
    idle(lab, "resting", "--network", "web", "--ip", "10.99.0.77")
    script = lab.linkspan("plan", "run", "--network", "container:resting", "busybox")
    assert "### endpoint of resting on web" in script
    assert "addr add 10.99.0.77/24" in script


def test_the_network_none_wants_a_namespace_and_no_more(lab: Daemon) -> None:
    script = lab.linkspan("plan", "run", "--network", "none", "busybox")
    assert "ip netns add" in script
    assert "veth" not in script
    assert "linkspan0" not in script


REFUSED = [
    (("network", "create", "--subnet", "10.99.0.1/24", "fresh"), "has host bits set"),
    (("network", "create", "web"), "network with name web already exists"),
    (("network", "create", "--opt", "linkspan.mut=1", "fresh"), "linkspan.mut is unknown"),
    (("run", "--network", "missing", "busybox"), "network missing not found"),
    (("run", "--network", "web", "--ip", "10.99.0.2", "busybox"), "is held by container owner"),
    (("run", "--network", "web", "--ip", "10.98.0.2", "busybox"), "does not lie in subnet"),
    (("run", "--network", "full", "busybox"), "no free IPv4 address"),
    (("run", "--name", "owner", "busybox"), "is already in use"),
    (("run", "--network", "container:missing", "busybox"), "No such container: missing"),
    (("run", "nosuchimage"), "nosuchimage"),
]


def test_what_would_be_refused_is_refused(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--subnet", "10.99.0.0/24", "web")
    lab.linkspan("network", "create", "--subnet", "10.98.8.0/30", "full")
    sleeper(lab, "owner", "--network", "web")
    sleeper(lab, "filler", "--network", "full")
    before = settled_picture(lab)
    for words, said in REFUSED:
        assert said in sentence(lab.refused("plan", *words, status=1))
    assert picture(lab) == before
