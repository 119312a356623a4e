"""A daemon that starts over what an earlier one left: nothing that somebody was told of is lost."""

from __future__ import annotations

import resource
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from daemons import LINKSPAN, Daemon

pytestmark = pytest.mark.scenario


def test_containers_and_their_volumes_outlive_a_start_with_another_storage_driver(daemon: Daemon) -> None:
    daemon.linkspan("create", "--name", "created", "busybox", "true")
    daemon.linkspan("run", "--name", "ended", "-v", "/data", "busybox", "sh", "-c", "echo precious > /data/file")
    daemon.linkspan("run", "-d", "--name", "running", "busybox", "sleep", "1000")

    daemon.options = ("--storage-driver", "copy")
    daemon.restart()
    refusal = daemon.refused("start", "created")
    assert "this storage driver has no root for the container" in refusal

    daemon.options = ()
    daemon.restart()
    statuses = daemon.linkspan("ps", "-a", "--format", "{{.Names}} {{.State}}").splitlines()
    assert sorted(statuses) == ["created created", "ended exited", "running running"]
    assert daemon.linkspan("run", "--rm", "-v", f"{volume_of(daemon)}:/v", "busybox", "cat", "/v/file") == "precious\n"


def volume_of(daemon: Daemon) -> str:
    return daemon.linkspan("volume", "ls", "-q").strip()


def test_what_cannot_be_put_right_at_the_start_is_named_and_keeps_nobody_else_from_running(daemon: Daemon) -> None:
    daemon.linkspan("run", "-d", "--name", "running", "busybox", "sleep", "1000")
    daemon.linkspan("create", "--name", "damaged", "busybox", "true")
    damaged = str(daemon.inspect("damaged")["Id"])
    daemon.stop()
    roots = daemon.data_root / "overlay" / "containers"
    (roots / damaged / "layers.json").write_bytes(b"")  # as a power failure leaves a file
    stuck = roots / ("a" * 64)
    stuck.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", stuck], check=True)

    daemon.start()

    assert daemon.linkspan("exec", "running", "echo", "here").strip() == "here"
    assert f"root file system of container {stuck.name[:12]} cannot be removed" in daemon.log_end()
    assert "the list of its layers is damaged" in daemon.refused("start", "damaged")
    daemon.linkspan("rm", "damaged")
    subprocess.run(["umount", stuck], check=True)


def test_a_network_that_could_not_be_put_back_is_put_back_when_it_is_needed(daemon: Daemon) -> None:
    daemon.linkspan("network", "create", "web")
    bridge = "br-" + str(daemon.inspect("web")["Id"])[:12]
    daemon.linkspan("create", "--name", "box", "--network", "web", "busybox", "sleep", "1000")
    daemon.stop()
    daemon.namespace.run("ip", "link", "del", bridge)
    daemon.namespace.run("ip", "link", "add", bridge, "type", "veth", "peer", "name", "foreign")
    daemon.start()

    assert " inet" not in daemon.namespace.run("ip", "addr", "show", bridge).stdout, "the foreign link got our address"
    assert bridge not in daemon.namespace.run("nft", "list", "ruleset").stdout, "our rules judge the foreign link"
    assert f"an interface {bridge} exists that is not ours" in daemon.refused("start", "box")
    daemon.namespace.run("ip", "link", "del", bridge)
    daemon.linkspan("start", "box")
    assert daemon.run("ping", "-c1", "-W1", daemon.address("box")).returncode == 0


def test_a_network_that_could_not_be_put_back_can_be_removed(daemon: Daemon) -> None:
    daemon.linkspan("network", "create", "--subnet", "10.99.0.0/24", "web")
    bridge = "br-" + str(daemon.inspect("web")["Id"])[:12]
    daemon.stop()
    daemon.namespace.run("ip", "link", "del", bridge)
    daemon.namespace.run("ip", "link", "add", bridge, "type", "veth", "peer", "name", "foreign")
    daemon.start()

    daemon.linkspan("network", "rm", "web")
    assert bridge in daemon.namespace.run("ip", "-br", "link").stdout, "a foreign interface stays"
    daemon.namespace.run("ip", "link", "del", bridge)
    assert bridge not in daemon.namespace.run("nft", "list", "ruleset").stdout
    daemon.linkspan("network", "create", "--subnet", "10.99.0.0/24", "web")


def test_a_request_that_outlasts_the_daemons_patience_is_broken_off_cleanly(daemon: Daemon) -> None:
    daemon.options = ("--shutdown-timeout", "1")
    daemon.restart()
    daemon.linkspan("run", "-d", "--name", "deaf", "busybox", "sh", "-c", "trap '' TERM; sleep 1000")
    with ThreadPoolExecutor(1) as client:
        stopping = client.submit(daemon.run, LINKSPAN, "stop", "--time", "60", "deaf")
        time.sleep(0.5)
        assert daemon.stop() == 0
        assert stopping.result().returncode != 0
    assert "closed" not in daemon.log_end()
    daemon.start()
    assert daemon.linkspan("exec", "deaf", "echo", "here").strip() == "here"


def test_a_daemon_that_a_shell_started_may_open_as_many_files_as_it_can(daemon: Daemon) -> None:
    daemon.stop()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        daemon.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE) == (min(hard, 1 << 20), hard)
