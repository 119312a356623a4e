"""Host ports that somebody else has, or wants: programs of the host, other containers, the same container."""

from __future__ import annotations

import errno
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from container_lab import Client
from daemons import LINKSPAN, Daemon, Done, eventually
from linkspan.model.port import Transport
from network_lab import elements, sentence, settled_picture, sleeper
from port_lab import KIND
from port_scenes import HOST, LAN, Scene

pytestmark = pytest.mark.scenario

OPTIONS = {"plain": (), "SO_REUSEADDR": (socket.SO_REUSEADDR,), "SO_REUSEPORT": (socket.SO_REUSEPORT,)}
PROGRAM = """
import socket, sys, time
kind, address, port = sys.argv[1:4]
ear = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, getattr(socket, kind))
for name in sys.argv[4:]:
    ear.setsockopt(socket.SOL_SOCKET, getattr(socket, name), 1)
if ":" in address:
    ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
ear.bind((address, int(port)))
if kind == "SOCK_STREAM":
    ear.listen()
print("ready", flush=True)
time.sleep(600)
"""


@contextmanager
def program(daemon: Daemon, kind: str, address: str, port: int, *options: str) -> Iterator[int]:
    """A program of the host that has a port; its pid."""
    words = [*daemon.namespace.prefix(), sys.executable, "-c", PROGRAM, kind, address, str(port), *options]
    with subprocess.Popen(words, stdout=subprocess.PIPE, pass_fds=(daemon.namespace.descriptor,)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process.pid
        finally:
            process.kill()


def bind(daemon: Daemon, protocol: Transport, address: str, port: int, *options: int) -> int:
    """The error number that a program of the host gets for this port; 0 for none."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with daemon.namespace.entered(), socket.socket(family, KIND[protocol]) as wish:
        for option in options:
            wish.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            wish.bind((address, port))
            if protocol == "tcp":
                wish.listen()
        except OSError as error:
            return error.errno or 0
    return 0


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_program_of_the_host_gets_address_in_use(scene: Scene, protocol: Transport, options: tuple[int, ...]) -> None:
    lab = scene.daemon
    ports = (
        "-p",
        f"8080:80/{protocol}",
        "-p",
        f"{HOST[4]}:8081:81/{protocol}",
        "-p",
        f"9000-9009:9000-9009/{protocol}",
    )
    sleeper(lab, "front", *ports)
    for address in ("0.0.0.0", "::", "127.0.0.1", "::1", HOST[4], HOST[6]):
        for port in (8080, 9000, 9009):
            assert bind(lab, protocol, address, port, *options) == errno.EADDRINUSE, (address, port)
    for address in ("0.0.0.0", HOST[4]):
        assert bind(lab, protocol, address, 8081, *options) == errno.EADDRINUSE
    assert bind(lab, protocol, "127.0.0.1", 8081, *options) == 0
    assert bind(lab, "udp" if protocol == "tcp" else "tcp", "0.0.0.0", 8080, *options) == 0


@pytest.mark.parametrize("options", [(), ("SO_REUSEADDR",), ("SO_REUSEPORT",), ("SO_REUSEADDR", "SO_REUSEPORT")])
@pytest.mark.parametrize("address", ["0.0.0.0", "::", "127.0.0.1"])
@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
def test_a_program_that_was_first_is_named_with_its_pid(
    lab: Daemon, kind: str, address: str, options: tuple[str, ...]
) -> None:
    """moby#10749, moby#31389, moby#43052: who has the port is said, not only that it is taken."""
    protocol = "tcp" if kind == "SOCK_STREAM" else "udp"
    with program(lab, kind, address, 8080, *options) as pid:
        before = settled_picture(lab)
        said = lab.run("docker", "run", "-d", "--name", "front", "-p", f"8080:80/{protocol}", "busybox", "true")
        assert said.returncode == 125
        text = sentence(said.stderr)
        assert f"8080/{protocol}" in text
        assert "python" in text
        assert re.search(rf"\b{pid}\b", text), text
        lab.linkspan("rm", "front")
        assert settled_picture(lab) == before
    sleeper(lab, "front", "-p", f"8080:80/{protocol}")


def test_a_wide_range_meets_a_program_too(lab: Daemon) -> None:
    with program(lab, "SOCK_DGRAM", "0.0.0.0", 25000, "SO_REUSEADDR") as pid:
        said = lab.refused("run", "-d", "-p", "20000-29999:20000-29999/udp", "busybox", "true")
        assert "25000/udp" in said
        assert str(pid) in said
        assert elements(lab.namespace, "anyrange4") == []


def test_of_two_containers_at_the_same_instant_exactly_one_gets_the_port(lab: Daemon) -> None:
    names = ("one", "two", "three", "four")
    for name in names:
        lab.linkspan("create", "--name", name, "--stop-signal", "KILL", "-p", "8080:80", "busybox", "sleep", "600")
    before = {name: lab.inspect(name) for name in names}
    for _ in range(3):
        done: dict[str, Done] = {}
        gate = threading.Barrier(len(names))

        def start(name: str, gate: threading.Barrier = gate, done: dict[str, Done] = done) -> None:
            gate.wait()
            done[name] = lab.run(LINKSPAN, "start", name)

        threads = [threading.Thread(target=start, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [name for name in names if done[name].returncode == 0]
        assert len(winners) == 1, done
        for name in set(names) - set(winners):
            assert f"already published by container {winners[0]}" in done[name].stderr
            state = json.loads(lab.linkspan("inspect", "--format", "{{json .NetworkSettings}}", name))
            assert state["Ports"] == {}
            assert all(each["IPAddress"] == "" for each in state["Networks"].values())
        assert len(elements(lab.namespace, "anyport4")) == 1
        lab.linkspan("stop", winners[0])
        assert elements(lab.namespace, "anyport4") == []
    assert {name: lab.inspect(name)["HostConfig"] for name in names} == {
        name: found["HostConfig"] for name, found in before.items()
    }


def test_what_meets_is_refused_and_what_does_not_lives_side_by_side(client: Client, lab: Daemon) -> None:
    """moby#46276: one port on two addresses of the host are two ports."""
    client.sleeper("first", "-p", "127.0.0.1:8080:80", "-p", "9000-9010:9000-9010")
    client.sleeper("other", "-p", "127.0.0.2:8080:80", "-p", "9000-9010:9000-9010/udp", "-p", "[::1]:8080:80")
    for port in ("8080:80", "0.0.0.0:8080:80", "127.0.0.1:8080:81", "9005:80", "9010-9012:9010-9012"):
        before = settled_picture(lab)
        said = client.run("run", "-d", "--name", "late", "-p", port, "busybox", "sleep", "600")
        assert said.returncode == 125, port
        assert "already published by container " in sentence(said.stderr)
        assert "choose another host port" in sentence(said.stderr)
        client("rm", "late")
        assert settled_picture(lab) == before


@pytest.mark.parametrize(
    ("port", "reason"),
    [
        ("8000-8005:80-82", "80-82"),
        ("8080:80/icmp", "icmp"),
        ("70000:80", "70000"),
        ("8080:0", "0"),
        ("300.1.1.1:8080:80", "300.1.1.1"),
        ("8005-8000:80", "8005-8000"),
        ("[::1:8080:80", "::1"),
        ("224.0.0.1:8080:80", "224.0.0.1"),
        ("8080:80/sctp", "sctp"),
        ("[fe80::1]:8080:80", "fe80::1"),
    ],
)
def test_what_is_no_port_is_refused_naming_it(client: Client, lab: Daemon, port: str, reason: str) -> None:
    done = client.run("run", "-d", "-p", port, "busybox", "true")
    assert done.returncode in (125, 1, 64, 2), done
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_one_container_that_asks_for_one_host_port_twice_is_refused(client: Client, lab: Daemon) -> None:
    said = sentence(client.refused("run", "-d", "-p", "8080:80", "-p", "8080:81", "busybox", "true", status=125))
    assert "8080/tcp" in said
    assert "asked for twice" in said


def test_a_port_is_free_at_once_when_its_container_stops_or_goes(client: Client, scene: Scene) -> None:
    """TIME_WAIT of served connections keeps nobody out."""
    lab = scene.daemon
    client.sleeper("front", "-p", "8080:80")
    scene.serve("front", 80)
    for _ in range(5):
        assert scene.ask(scene.outside, HOST[4], 8080) == f"{LAN[4]} at 80"
        assert scene.ask(None, "::1", 8080).endswith(" at 80")  # through the relay: its sockets are the host's
    client("stop", "front")
    assert bind(lab, "tcp", "0.0.0.0", 8080) == 0
    assert bind(lab, "tcp", "::", 8080, socket.SO_REUSEADDR) == 0
    client.sleeper("second", "-p", "8080:80")
    assert "published by container second" in client.refused("start", "front")
    client("rm", "-f", "second")
    client("start", "front")
    client("restart", "front")
    assert bind(lab, "tcp", "0.0.0.0", 8080, socket.SO_REUSEADDR) == errno.EADDRINUSE
    client("rm", "-f", "front")
    assert bind(lab, "tcp", "0.0.0.0", 8080) == 0


def test_sixty_four_containers_with_ports_start_in_parallel(lab: Daemon) -> None:
    """moby#42096: 64 containers at once took 5 to 15 seconds with Docker's bridge."""
    names = [f"c{number}" for number in range(64)]
    for number, name in enumerate(names):
        words = ("--stop-signal", "KILL", "-p", f"{7000 + number}:80", "-p", "81/udp", "busybox", "sleep", "600")
        lab.linkspan("create", "--name", name, *words)
    began = time.monotonic()
    starts = [
        subprocess.Popen(
            [*lab.namespace.prefix(), LINKSPAN, "start", name],
            env=lab.environment,
            pass_fds=(lab.namespace.descriptor,),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for name in names
    ]
    errors = [process.communicate()[1] for process in starts]
    assert time.monotonic() - began < 60  # a shared machine of two cores
    assert [process.returncode for process in starts] == [0] * len(names), errors
    shown = lab.linkspan("ps", "--format", "{{.Ports}}").splitlines()
    published = set(re.findall(r"0\.0\.0\.0:(\d+)->80/tcp", "\n".join(shown)))
    assert published == {str(7000 + number) for number in range(64)}
    randoms = re.findall(r"0\.0\.0\.0:(\d+)->81/udp", "\n".join(shown))
    assert len(randoms) == len(set(randoms)) == 64
    lab.linkspan("rm", "-f", *names)
    eventually(lambda: elements(lab.namespace, "anyport4") == [], "no port is published any more")
