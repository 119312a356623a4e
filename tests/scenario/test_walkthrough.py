"""The walkthrough of the guide, line by line, with ``linkspan`` and with the real ``docker`` client."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from daemons import Daemon, eventually

pytestmark = pytest.mark.scenario

Client = Callable[..., str]


@pytest.fixture(params=["linkspan", "docker"])
def client(request: pytest.FixtureRequest, daemon: Daemon) -> Client:
    if request.param == "docker" and shutil.which("docker") is None:
        pytest.skip("no docker client here")
    return daemon.linkspan if request.param == "linkspan" else daemon.docker


def answers(daemon: Daemon, address: str) -> bool:
    """Whether nginx's page comes from an address, asked from the host."""
    return "nginx" in daemon.run("curl", "-sS", "--max-time", "5", f"http://{address}/").stdout


def test_each_network_mode_does_what_it_says(daemon: Daemon, client: Client) -> None:
    ranged = ("--subnet", "172.30.0.0/16", "--ip-range", "172.30.5.0/24", "--gateway", "172.30.0.1")
    client("network", "create", "--driver", "bridge", *ranged, "my_bridge")
    assert {"bridge", "host", "none", "my_bridge"} <= set(client("network", "ls", "--format", "{{.Name}}").split())
    assert "172.30.5.0/24" in client("network", "inspect", "my_bridge")

    client("run", "-d", "--name", "nginx_bridge", "--network", "my_bridge", "nginx")
    address = daemon.address("nginx_bridge")
    assert address.startswith("172.30.5.")
    assert address in client("exec", "nginx_bridge", "cat", "/etc/hosts")
    eventually(lambda: answers(daemon, address), "nginx_bridge answers the host")

    client("run", "-d", "--name", "nginx_host", "--network", "host", "nginx")
    eventually(lambda: answers(daemon, "127.0.0.1"), "nginx_host answers on the host's loopback")

    alone = client("run", "--rm", "--network", "none", "busybox", "ifconfig", "-a")
    assert alone.startswith("lo ")
    assert "eth" not in alone

    client("run", "--name=busybox_container", "--net=container:nginx_bridge", "-td", "busybox")
    assert f"inet addr:{address} " in client("exec", "busybox_container", "ifconfig", "eth0")
    fetch = ("exec", "busybox_container", "wget", "-qO-", "http://127.0.0.1/")
    assert "Welcome to nginx" in client(*fetch)

    namespace = client("exec", "busybox_container", "readlink", "/proc/self/ns/net")
    client("stop", "nginx_bridge")
    assert f"inet addr:{address} " in client("exec", "busybox_container", "ifconfig", "eth0")
    client("start", "nginx_bridge")
    eventually(lambda: "Welcome" in daemon.run(*words_of(daemon, fetch)).stdout, "nginx answers after its start")
    assert client("exec", "busybox_container", "readlink", "/proc/self/ns/net") == namespace
    assert daemon.address("nginx_bridge") == address


def words_of(daemon: Daemon, words: tuple[str, ...]) -> tuple[str, ...]:
    """A command line for ``Daemon.run``, which does not mind failure."""
    return ("docker" if shutil.which("docker") else "linkspan", *words)
