"""What outlives the daemon: containers, exits, policies, names; and several daemons on one machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from container_lab import SLEEP, Client, gone, line_of, pid_of, running
from daemons import LINKSPAN, Daemon, eventually
from namespaces import Namespace

pytestmark = pytest.mark.scenario

BOTH_ENDS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])


@BOTH_ENDS
def test_containers_and_their_streams_outlive_the_daemon(linkspan: Client, number: signal.Signals) -> None:
    lab = linkspan.daemon
    linkspan("network", "create", "web")
    linkspan.script("it", "i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.05; done", "--network", "web", "--init")
    linkspan("run", "-dit", "--name", "shell", "busybox", "sh")
    linkspan.sleeper("still")
    linkspan("pause", "still")
    before = {name: linkspan.inspect(name) for name in ("it", "shell", "still")}
    lab.kill(number)
    time.sleep(0.3)
    lab.start()
    for name, found in before.items():
        now = linkspan.inspect(name)
        assert now["State"] == found["State"], name
        assert now["NetworkSettings"]["Networks"] == found["NetworkSettings"]["Networks"]
        assert (now["Id"], now["Created"], now["HostConfig"]) == (found["Id"], found["Created"], found["HostConfig"])
    ticks = [int(line.split()[1]) for line in linkspan("logs", "it").splitlines()]
    assert ticks == list(range(len(ticks))), "no line is lost or twice"
    assert len(ticks) > 5
    assert linkspan("exec", "it", "echo", "here") == "here\n"
    with linkspan.terminal("attach", "shell") as terminal:
        terminal.type("echo al$((1))ive\n")
        terminal.expect("al1ive")
        terminal.type("exit 5\n")
        assert terminal.end() == 5
    linkspan("unpause", "still")
    for name in ("it", "still"):
        linkspan("stop", "-t", "0", name)
        assert linkspan.state(name) == "exited"


@BOTH_ENDS
def test_what_ends_while_the_daemon_is_away_is_known_afterwards(linkspan: Client, number: signal.Signals) -> None:
    lab = linkspan.daemon
    linkspan.script("brief", "sleep 0.5; echo last words; exit 42")
    linkspan("run", "-d", "--name", "victim", *SLEEP)
    removed = linkspan.script("removed", "sleep 0.5", "--rm", "-v", "/anonymous")
    volumes = linkspan("volume", "ls", "-q").split()
    assert len(volumes) == 1
    pid = pid_of(linkspan, "victim")
    lab.kill(number)
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.8)
    begin = time.time()
    lab.start()
    assert linkspan.format("brief", "{{.State.Status}} {{.State.ExitCode}}") == "exited 42"
    assert linkspan.format("victim", "{{.State.Status}} {{.State.ExitCode}}") == "exited 137"
    assert linkspan("logs", "brief") == "last words\n"
    finished = linkspan("inspect", "--format", "{{json .State.FinishedAt}}", "brief").strip().strip('"')
    assert finished < time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(begin)) + "z", "it ended when it ended"
    eventually(gone(linkspan, removed), "what removes itself is gone")
    assert linkspan("volume", "ls", "-q") == ""
    linkspan("start", "brief")
    assert linkspan("wait", "brief") == "42\n"


@BOTH_ENDS
def test_policies_hold_over_a_restart_of_the_daemon(linkspan: Client, number: signal.Signals) -> None:
    lab = linkspan.daemon
    policies = {"no": "no", "always": "always", "unless": "unless-stopped", "failure": "on-failure"}
    for name, policy in policies.items():
        linkspan("run", "-d", "--name", name, "--restart", policy, "--stop-signal", "KILL", *SLEEP)
        linkspan("run", "-d", "--name", f"{name}-stopped", "--restart", policy, "--stop-signal", "KILL", *SLEEP)
        linkspan("stop", f"{name}-stopped")
    linkspan("create", "--name", "always-created", "--restart", "always", *SLEEP)
    pids = [pid_of(linkspan, name) for name in policies]
    lab.kill(number)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    lab.start()

    def runs() -> set[str]:
        return set(linkspan("ps", "--format", "{{.Names}}").split())

    expected = {"always", "unless", "failure", "always-stopped"}
    eventually(lambda: runs() == expected, f"{expected} run")
    time.sleep(0.5)
    assert runs() == expected, "a container that a person stopped starts with the daemon with `always` alone"
    assert linkspan.state("always-created") == "created"


def test_a_restarting_loop_goes_on_after_a_restart_of_the_daemon(linkspan: Client, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    linkspan.script("it", "echo x >> /t/tries; exit 1", "--restart", "always", "-v", f"{tmp_path}:/t")
    eventually(lambda: tries.exists() and len(tries.read_text()) >= 4, "it tries twice")
    linkspan.daemon.restart(signal.SIGKILL)
    count = len(tries.read_text())
    eventually(lambda: len(tries.read_text()) > count + 2, "it tries on")
    linkspan("rm", "-f", "it")


def test_clients_are_told_when_the_daemon_stops(linkspan: Client) -> None:
    lab = linkspan.daemon
    linkspan.script("it", "echo up; sleep 1000", "--stop-signal", "KILL")
    with (
        running(linkspan.start("logs", "-f", "it")) as logs,
        running(linkspan.start("events")) as events,
        running(linkspan.start("wait", "it")) as waiting,
        running(linkspan.start("exec", "it", "sleep", "100")) as execution,
    ):
        assert line_of(logs) == "up"
        begin = time.monotonic()
        assert lab.stop() == 0
        assert time.monotonic() - begin < 5, "streams do not hold the daemon up"
        for process in (logs, events, waiting, execution):
            process.wait(timeout=5)
    lab.start()
    assert linkspan.state("it") == "running"


def test_a_stopped_daemon_leaves_its_socket_and_lock_behind_for_nobody(linkspan: Client) -> None:
    lab = linkspan.daemon
    lab.stop()
    assert not lab.socket.exists()
    done = linkspan.run("ps")
    assert done.returncode == 1
    assert str(lab.socket) in done.stderr
    lab.start()
    assert oct(lab.socket.stat().st_mode & 0o777) in ("0o660", "0o600")


# --- several -------------------------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path, image_archives: list[Path]) -> Iterator[tuple[Client, Client]]:
    """Two daemons, each in a network namespace of its own."""
    daemons = [Daemon(tmp_path / name) for name in ("one", "two")]
    try:
        for daemon in daemons:
            daemon.start()
            daemon.linkspan("load", "-q", "-i", str(image_archives[0]))
        yield Client(daemons[0], LINKSPAN), Client(daemons[1], LINKSPAN)
        for daemon in daemons:
            assert daemon.take_down() == []
            assert "Traceback" not in daemon.log_text
    finally:
        for daemon in daemons:
            daemon.erase()


def test_daemons_live_side_by_side(two: tuple[Client, Client]) -> None:
    one, other = two
    assert one.daemon.instance != other.daemon.instance
    for client in two:
        client("network", "create", "--subnet", "10.70.0.0/24", "web")
        client.sleeper("it", "--network", "web", "--ip", "10.70.0.9")
        client.script("loop", "while :; do sleep 0.1; done", "--restart", "always")
    assert one.format("it", "{{.Id}}") != other.format("it", "{{.Id}}")
    assert one.daemon.run("ping", "-c1", "-W1", "10.70.0.9").returncode == 0
    for number in (signal.SIGKILL, signal.SIGTERM):
        one.daemon.restart(number)
        assert other.state("it") == "running"
        assert other.daemon.run("ping", "-c1", "-W1", "10.70.0.9").returncode == 0
        assert one.state("it") == "running"
    one("rm", "-f", "it", "loop")
    one("system", "prune", "-af", "--volumes")
    assert other("exec", "it", "echo", "untouched") == "untouched\n"
    assert other("images", "--format", "{{.Repository}}") == "busybox\n"


def test_a_second_daemon_on_the_same_folders_or_the_same_network_is_refused(linkspan: Client, tmp_path: Path) -> None:
    lab = linkspan.daemon
    places = {"--data-root": lab.data_root, "--exec-root": lab.exec_root, "--host": lab.socket}

    def refusal(namespace: Namespace, taken: str) -> str:
        words = [sys.executable, "-m", "linkspan.api.daemon"]
        for option, place in places.items():
            path = place if option == taken else tmp_path / option.strip("-")
            words += [option, f"unix://{path}" if option == "--host" else str(path)]
        done = namespace.run(*words, check=False)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr.strip().splitlines()[-1]

    try:
        with Namespace() as fresh:
            for taken, place in places.items():
                assert str(place) in refusal(fresh, taken)
        assert "works in this network namespace" in refusal(lab.namespace, "")
        assert linkspan("ps", "-q") == ""
    finally:
        for point in ("data-root", "exec-root/netns", "exec-root"):
            subprocess.run(["umount", "-l", tmp_path / point], check=False, capture_output=True)


# --- settings ------------------------------------------------------------------------------------------------------


def test_the_daemons_flags_shape_what_it_does(tmp_path: Path, image_archives: list[Path]) -> None:
    (tmp_path / "daemon.json").write_text(
        json.dumps(
            {
                "default-address-pools": [{"base": "10.80.0.0/16", "size": 24}],
                "dns": ["10.9.9.9"],
                "init": True,
                "labels": ["rack=7"],
                "log-driver": "json-file",
                "iptables": True,
            }
        )
    )
    second = tmp_path / "second"
    options = ("--config-file", str(tmp_path / "daemon.json"), "--bip", "10.81.0.1/24", "--mtu", "1400")
    options += (
        "--host",
        f"unix://{second}",
        "--default-ulimit",
        "nofile=100:200",
        "--no-new-privileges",
        "--icc=false",
    )
    daemon = Daemon(tmp_path / "d", *options)
    try:
        daemon.start()
        client = Client(daemon, LINKSPAN)
        client("load", "-q", "-i", str(image_archives[0]))
        assert daemon.run("env", f"DOCKER_HOST=unix://{second}", "docker", "images", "-q").returncode == 0
        client.sleeper("it")
        assert daemon.address("it") == "10.81.0.2"
        assert "mtu 1400" in client("exec", "it", "ip", "link", "show", "eth0")
        assert "nameserver 10.9.9.9" in client("exec", "it", "cat", "/etc/resolv.conf")
        assert client("exec", "it", "sh", "-c", "ulimit -n; ulimit -Hn").split() == ["100", "200"]
        assert "NoNewPrivs:\t1" in client("exec", "it", "cat", "/proc/self/status")
        assert client.inspect("it")["HostConfig"]["Init"] is True
        client("network", "create", "web")
        assert "10.80.0.0/24" in client("network", "inspect", "web")
        assert json.loads(client("info", "--format", "{{json .Labels}}")) == ["rack=7"]
        assert daemon.take_down() == []
        assert "Traceback" not in daemon.log_text
    finally:
        daemon.erase()


def test_settings_are_validated_without_a_start(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    words = [LINKSPAN, "daemon", "--validate", "--config-file", str(file)]
    for text, status, said in (
        ('{"mtu": 1400, "log-driver": "json-file"}', 0, "configuration OK"),
        ('{"mtu": "x"}', 1, "mtu"),
        ('{"mttu": 1}', 1, "did you mean mtu?"),
        ('{"log-driver": "syslog"}', 1, "not supported here"),
        ("{", 1, "daemon.json"),
    ):
        file.write_text(text)
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert said in done.stdout + done.stderr
