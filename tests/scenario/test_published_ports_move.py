"""Published ports through a container's life: networks that come and go, restarts, killed daemons and keepers."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from container_lab import Client
from daemons import Daemon, Launch, eventually
from linkspan.model.port import Transport
from network_lab import elements, inspected, sleeper
from port_lab import REFUSED, SILENCE
from port_scenes import HOST, LAN, Scene, bridge_calls, host_ports, scene_of

pytestmark = pytest.mark.scenario

CLOSED = (SILENCE, REFUSED)
LATER = {4: "198.51.100.50", 6: "2001:db8:51::50"}
"""Addresses that the host gets later."""
BOTH: tuple[Transport, ...] = ("tcp", "udp")


@contextmanager
def clients(scene: Scene, *asked: tuple[str, int]) -> Iterator[list[str]]:
    """New connections from outside all the time; yields what went wrong."""
    wrong: list[str] = []
    ended = threading.Event()

    def run(address: str, port: int) -> None:
        while not ended.is_set():
            said = scene.ask(scene.outside, address, port, patience=3)
            if " at " not in said:
                wrong.append(f"{address} port {port}: {said}")
            time.sleep(0.02)

    threads = [threading.Thread(target=run, args=each) for each in asked]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def keeper_pid(daemon: Daemon) -> int:
    """The one process that holds what outlives the daemon."""
    found = [line for line in daemon.processes() if "keeper" in line and "conmon" not in line]
    assert len(found) == 1, found
    return int(found[0].split()[0])


def taken(daemon: Daemon, port: int) -> bool:
    """Whether a program of the host is refused this port."""
    with daemon.namespace.entered(), socket.socket() as wish:
        try:
            wish.bind(("0.0.0.0", port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def test_ports_move_with_the_gateway(scene: Scene, client: Client) -> None:
    """As with Docker 28: ports lead to the network that gives the default route, in each family."""
    lab = scene.daemon
    client("network", "create", "mid")
    client("network", "create", "first")
    client("network", "create", "--ipv6", "zero")
    client.sleeper("front", "--network", "mid", "-p", "8080:80")
    scene.serve("front", 80)
    leads = {name: f"{inspected(lab, name)['IPAM']['Config'][0]['Gateway']} at 80" for name in ("mid", "first")}
    assert scene.ask(scene.outside, HOST[4], 8080) == f"{LAN[4]} at 80"
    assert scene.ask("front", HOST[4], 8080) == leads["mid"]
    client("network", "connect", "first", "front")
    assert scene.ask("front", HOST[4], 8080) == leads["first"]
    assert scene.ask(scene.outside, HOST[4], 8080) == f"{LAN[4]} at 80"
    assert scene.ask(scene.outside, HOST[6], 8080).endswith(" at 80")  # relayed: nobody has IPv6 yet
    client("network", "connect", "zero", "front")
    eventually(lambda: scene.ask(scene.outside, HOST[6], 8080) == f"{LAN[6]} at 80", "IPv6 is translated")
    client("network", "disconnect", "first", "front")
    assert scene.ask("front", HOST[4], 8080) == leads["mid"]
    client("network", "disconnect", "zero", "front")
    assert scene.ask(scene.outside, HOST[6], 8080).endswith(" at 80")
    assert scene.ask(scene.outside, HOST[4], 8080) == f"{LAN[4]} at 80"
    client("network", "disconnect", "mid", "front")
    assert elements(lab.namespace, "anyport4") == []
    assert scene.ask(scene.outside, HOST[4], 8080) in CLOSED
    client("network", "connect", "first", "front")
    assert scene.ask("front", HOST[4], 8080) == leads["first"]
    assert host_ports(lab, "front")["80/tcp"] == [("0.0.0.0", "8080"), ("::", "8080")]


def test_an_internal_network_takes_no_port_away(scene: Scene) -> None:
    lab = scene.daemon
    lab.linkspan("network", "create", "web")
    lab.linkspan("network", "create", "--internal", "aaa")
    sleeper(lab, "front", "--network", "aaa", "-p", "8080:80")
    scene.serve("front", 80)
    assert scene.ask(scene.outside, HOST[4], 8080) in CLOSED
    assert elements(lab.namespace, "anyport4") == []
    lab.linkspan("network", "connect", "web", "front")
    assert scene.ask(scene.outside, HOST[4], 8080) == f"{LAN[4]} at 80"


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("version", [4, 6])
def test_a_port_opens_when_its_address_appears(scene: Scene, client: Client, version: int, protocol: Transport) -> None:
    """moby#39559, moby#18826: a container that starts before its address is there."""
    lab = scene.daemon
    client("network", "create", "--ipv6", "web")
    address = LATER[version]
    spelled = f"[{address}]" if version == 6 else address
    words = ("--name", "front", "--network", "web", "--stop-signal", "KILL", "-p", f"{spelled}:8080:80/{protocol}")
    client("create", *words, "busybox", "sleep", "600")
    started = client.run("start", "front")
    assert started.returncode == 0, started.stderr
    pending = lab.linkspan("exposure", "--format", "{{.Address}} {{.Notes}}").splitlines()
    assert pending == [f"{spelled}:8080 the host does not have the address yet"]
    scene.serve("front", 80, protocols=(protocol,))
    scene.give(None, address)
    assert scene.ask(scene.outside, address, 8080, protocol) == f"{LAN[version]} at 80"
    assert scene.ask(None, address, 8080, protocol).endswith(" at 80")
    assert scene.ask(scene.outside, HOST[version], 8080, protocol) in CLOSED
    assert lab.linkspan("exposure", "--format", "{{.Notes}}").strip() == ""


def test_who_publishes_on_an_address_that_is_not_there_is_warned(lab: Daemon, client: Client) -> None:
    done = client.run("run", "-d", "-p", f"{LATER[4]}:8080:80", "busybox", "sleep", "600")
    assert done.returncode == 0, done.stderr
    assert f"does not have the address {LATER[4]}" in done.stderr


@pytest.mark.parametrize("protocol", BOTH)
def test_answers_come_from_the_address_that_was_asked(scene: Scene, protocol: Transport) -> None:
    """With several addresses of the host, translated and relayed."""
    lab = scene.daemon
    scene.give(None, *LATER.values())
    lab.linkspan("network", "create", "--ipv6", "web")
    sleeper(lab, "dual", "--network", "web", "-p", f"8080:80/{protocol}")
    sleeper(lab, "four", "-p", f"8081:80/{protocol}")
    for name in ("dual", "four"):
        scene.serve(name, 80, protocols=(protocol,))
    for address in (HOST[4], HOST[6], *LATER.values()):
        for port in (8080, 8081):
            assert scene.ask(scene.outside, address, port, protocol).endswith(" at 80"), (address, port)
    for address in ("127.0.0.1", "127.0.0.9", "::1"):
        for port in (8080, 8081):
            assert scene.ask(None, address, port, protocol).endswith(" at 80"), (address, port)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_ports_go_on_while_the_daemon_is_away_and_after(scene: Scene, number: signal.Signals) -> None:
    lab = scene.daemon
    lab.linkspan("network", "create", "--ipv6", "web")
    sleeper(lab, "dual", "--network", "web", "-p", "8080:80", "-p", "82")
    sleeper(lab, "four", "-p", "8081:80")
    before = {name: host_ports(lab, name) for name in ("dual", "four")}
    for name in ("dual", "four"):
        scene.serve(name, 80)
    asked = [(HOST[version], port) for version in (4, 6) for port in (8080, 8081)]
    with clients(scene, *asked) as wrong:
        lab.kill(number)
        assert taken(lab, 8080)
        assert scene.ask(None, "::1", 8080).endswith(" at 80")
        time.sleep(0.5)
        lab.start()
        time.sleep(0.3)
    assert wrong == []
    assert {name: host_ports(lab, name) for name in before} == before
    assert taken(lab, 8080)
    assert "already published by container dual" in lab.refused("run", "-d", "-p", "8080:80", "busybox", "true")
    lab.linkspan("rm", "-f", "dual")
    assert not taken(lab, 8080)


def test_a_killed_keeper_loses_no_reservation_and_no_request_that_the_kernel_carries(scene: Scene) -> None:
    lab = scene.daemon
    lab.linkspan("network", "create", "--ipv6", "web")
    sleeper(lab, "dual", "--network", "web", "-p", "8080:80")
    sleeper(lab, "four", "-p", "8081:80")
    for name in ("dual", "four"):
        scene.serve(name, 80)
    first = keeper_pid(lab)
    free: list[float] = []
    with clients(scene, (HOST[4], 8080), (HOST[6], 8080), (HOST[4], 8081)) as wrong:
        os.kill(first, signal.SIGKILL)
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            if not taken(lab, 8080):
                free.append(time.monotonic())
            time.sleep(0.005)
    assert wrong == []
    assert free == []
    assert keeper_pid(lab) != first
    eventually(lambda: " at 80" in scene.ask(scene.outside, HOST[6], 8081), "the relay is back")
    lab.linkspan("rm", "-f", "dual", "four")
    assert not taken(lab, 8080)


def test_partners_publish_nothing_and_containers_of_the_host_are_warned(lab: Daemon, client: Client) -> None:
    sleeper(lab, "owner", "-p", "8080:80")
    said = client.refused(
        "run", "-d", "--network", "container:owner", "-p", "8081:80", "busybox", "sleep", "60", status=125
    )
    assert "port" in said
    assert "container" in said
    done = client.run(
        "run", "-d", "--name", "hosted", "--network", "host", "-p", "8082:80", *("busybox", "sleep", "60")
    )
    assert done.returncode == 0, done.stderr
    assert "discarded" in done.stderr
    assert host_ports(lab, "hosted") == {}
    assert not taken(lab, 8082)
    assert client("port", "hosted") == ""


def test_a_container_without_a_network_publishes_nothing_and_keeps_its_definition(lab: Daemon, client: Client) -> None:
    done = client.run("run", "-d", "--name", "lone", "--network", "none", "-p", "8080:80", *("busybox", "sleep", "60"))
    assert done.returncode == 0, done.stderr
    assert elements(lab.namespace, "anyport4") == []
    assert not taken(lab, 8080)


def test_a_stopped_container_holds_no_port_and_has_it_again_when_it_starts(scene: Scene, client: Client) -> None:
    lab = scene.daemon
    client.sleeper("front", "-p", "8080:80", "-p", "81")
    client("stop", "front")
    assert not taken(lab, 8080)
    assert elements(lab.namespace, "anyport4") == []
    assert client("port", "front") == ""
    client("start", "front")
    scene.serve("front", 80)
    assert scene.ask(scene.outside, HOST[4], 8080) == f"{LAN[4]} at 80"
    assert set(host_ports(lab, "front")) == {"80/tcp", "81/tcp"}
    lab.run("docker", "kill", "front")
    eventually(lambda: not taken(lab, 8080), "the port of a killed container is free")


def test_a_container_s_new_address_gets_what_its_old_one_had(scene: Scene) -> None:
    """moby#8795, moby#53384: a UDP client that never pauses, and a container that comes back elsewhere."""
    lab = scene.daemon
    lab.linkspan("network", "create", "--subnet", "10.77.0.0/24", "web")
    sleeper(lab, "front", "--network", "web", "-p", "5300:53/udp")
    old = lab.address("front")
    ended = threading.Event()
    with scene.inside(scene.outside):
        talker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    talker.connect((HOST[4], 5300))
    talker.settimeout(0.5)

    def talk() -> None:
        while not ended.wait(0.01):
            with contextlib.suppress(OSError):
                talker.send(b"on and on")

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        lab.linkspan("stop", "front")
        sleeper(lab, "squatter", "--network", "web", "--ip", old)
        lab.linkspan("start", "front")
        assert lab.address("front") != old
        scene.serve("front", 53, protocols=("udp",))
        eventually(lambda: _heard(talker) == f"{LAN[4]} at 53", "the new address answers", seconds=3)
    finally:
        ended.set()
        thread.join()
        talker.close()


def _heard(talker: socket.socket) -> str:
    try:
        return talker.recv(200).decode()
    except OSError:
        return ""


@pytest.mark.parametrize("calls", ["0", "1"], ids=["br_netfilter off", "br_netfilter on"])
def test_who_shares_another_network_with_the_server_reaches_its_port_by_the_host(launch: Launch, calls: str) -> None:
    """The server would answer such a client directly, from an address that it never asked."""
    lab = launch(prepare=bridge_calls(calls))
    with scene_of(lab) as scene:
        for name in ("alpha", "beta"):
            lab.linkspan("network", "create", "--ipv6", name)
        sleeper(lab, "front", "--network", "alpha", "-p", "8080:80", "-p", "8080:80/udp")
        lab.linkspan("network", "connect", "beta", "front")
        sleeper(lab, "friend", "--network", "beta")
        sleeper(lab, "both", "--network", "beta")
        lab.linkspan("network", "connect", "alpha", "both")
        scene.serve("front", 80, protocols=BOTH)
        for name in ("friend", "both"):
            scene.meet_container(name)
        gateways = [item["Gateway"] for name in ("alpha", "beta") for item in inspected(lab, name)["IPAM"]["Config"]]
        wrong = {
            (who, address, protocol): said
            for address in (*HOST.values(), *gateways)
            for who in ("friend", "both", "front", None)
            for protocol in BOTH
            if not (said := scene.ask(who, address, 8080, protocol)).endswith(" at 80")
        }
        assert wrong == {}


def test_ports_are_there_again_when_daemon_and_keeper_were_killed_together(scene: Scene) -> None:
    """What the kernel carries goes on; the reservations and the relay come back with the daemon."""
    lab = scene.daemon
    lab.linkspan("network", "create", "--ipv6", "web")
    sleeper(lab, "dual", "--network", "web", "-p", "8080:80")
    sleeper(lab, "four", "-p", "8081:80")
    for name in ("dual", "four"):
        scene.serve(name, 80)
    with clients(scene, (HOST[4], 8080), (HOST[6], 8080), (HOST[4], 8081)) as wrong:
        os.kill(keeper_pid(lab), signal.SIGKILL)
        lab.kill()
        time.sleep(0.3)
        lab.start()
        eventually(lambda: taken(lab, 8080), "the port is reserved again")
        eventually(lambda: " at 80" in scene.ask(scene.outside, HOST[6], 8081), "the relay is back")
    assert wrong == []
    assert lab.linkspan("port", "dual", "80").split() == ["0.0.0.0:8080", "[::]:8080"]


def test_a_program_that_took_a_port_while_nobody_held_it_is_named_in_the_log(scene: Scene) -> None:
    lab = scene.daemon
    sleeper(lab, "front", "-p", "8080:80")
    scene.serve("front", 80)
    os.kill(keeper_pid(lab), signal.SIGKILL)
    lab.kill()
    with lab.namespace.entered():
        squatter = socket.create_server(("0.0.0.0", 8080))
    with squatter:
        lab.start()
        assert scene.ask(scene.outside, HOST[4], 8080) == f"{LAN[4]} at 80"
        eventually(lambda: "8080/tcp on 0.0.0.0 is in use by " in lab.log_text, "the holder is named")
    lab.linkspan("rm", "-f", "front")
    assert not taken(lab, 8080)


def test_connections_that_stand_go_on_while_another_container_publishes(scene: Scene) -> None:
    lab = scene.daemon
    sleeper(lab, "front", "-p", "8080:80")
    with scene.inside("front"):
        ear = socket.create_server(("0.0.0.0", 80))
    with scene.inside(scene.outside):
        talker = socket.create_connection((HOST[4], 8080), timeout=5)
    with ear, talker:
        heard, _ = ear.accept()
        with heard:
            heard.settimeout(5)
            for number in range(3):
                sleeper(lab, f"other{number}", "-p", f"{8090 + number}:80", "-p", f"{8090 + number}:80/udp")
                lab.linkspan("rm", "-f", f"other{number}")
                talker.sendall(b"still here")
                assert heard.recv(100) == b"still here"
