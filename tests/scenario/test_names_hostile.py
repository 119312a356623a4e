"""Large answers, servers of a container's own on port 53, and clients that mean harm to others' names."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dns.flags
import dns.message
import pytest

from daemons import Daemon, eventually
from engine_api import EngineApi
from names_lab import (
    RESOLVER,
    Load,
    NameServer,
    ask,
    code,
    figures,
    found,
    keeper_pid,
    loaded,
    lookup,
    measured,
    texts,
    within,
)
from network_lab import address4, address6, inspected, sleeper
from network_lab import inside as inside_of

pytestmark = pytest.mark.scenario

MANY = 20
"""Containers of one alias."""
TRICKLE = """
import socket, sys, time
connections = []
for _ in range(int(sys.argv[1])):
    each = socket.create_connection(("127.0.0.11", 53))
    each.sendall(b"\\0")
    connections.append(each)
print("ready", flush=True)
while True:
    for each in connections:
        try:
            each.sendall(b"\\x40" + b"a")
        except OSError:
            pass
    time.sleep(0.5)
"""
FLOOD = """
import socket
out = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(8)]
print("ready", flush=True)
query = bytes.fromhex("000101000001000000000000") + b"\\x05nobox\\x07invalid\\0" + b"\\0\\1\\0\\1"
while True:
    for each in out:
        try:
            each.sendto(query, ("127.0.0.11", 53))
        except OSError:
            pass
"""


@pytest.fixture
def town(lab: Daemon) -> Daemon:
    lab.linkspan("network", "create", "--ipv6", "one")
    sleeper(lab, "web", "--network", "one", "--network-alias", "www")
    sleeper(lab, "ann", "--network", "one")
    sleeper(lab, "mallory", "--network", "one")
    return lab


@contextmanager
def running_inside(daemon: Daemon, container: str, program: str, *words: str) -> Iterator[None]:
    """A Python program in a container's network namespace, from when it says that it is ready."""
    pid = EngineApi(daemon.socket)("GET", f"/containers/{container}/json")["State"]["Pid"]
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", "--", sys.executable, "-c", program, *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.communicate()


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory(pid: int) -> int:
    """Resident KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))


# --- large answers -------------------------------------------------------------------------------------------------


def test_an_answer_that_is_too_large_is_cut_and_whole_over_tcp_and_with_edns(lab: Daemon) -> None:
    lab.linkspan("network", "create", "--ipv6", "--subnet", "10.97.0.0/24", "one")
    sleeper(lab, "ann", "--network", "one")
    long = "-".join(["a-name-that-is-rather-long"] * 2)
    for number in range(MANY):
        sleeper(lab, f"many{number}", "--network", "one", "--network-alias", long)
    name = f"{long}.one"
    everywhere = {each["IPv6Address"].partition("/")[0] for each in inspected(lab, "one")["Containers"].values()}
    everywhere -= {address6(lab, "ann", "one")}
    with within(lab, "ann") as inside:
        cut = inside.ask(name, "AAAA")
        assert cut.flags & dns.flags.TC
        assert len(cut.to_wire()) <= 512
        assert set(texts(cut)) < everywhere
        larger = inside.ask(name, "AAAA", edns=4096)
        assert not larger.flags & dns.flags.TC
        assert set(texts(larger)) == everywhere
        assert larger.edns == 0
        middle = inside.ask(name, "AAAA", edns=700)
        assert len(middle.to_wire()) <= 700
        whole = inside.ask(name, "AAAA", tcp=True)
        assert not whole.flags & dns.flags.TC
        assert set(texts(whole)) == everywhere
        firsts = {texts(inside.ask(name, "AAAA"))[0] for _ in range(4 * MANY)}
        assert firsts == everywhere, "everybody has a turn, also in answers that are cut"
    assert lookup(lab, "ann", name) in {address4(lab, f"many{number}", "one") for number in range(MANY)}


def test_a_large_answer_of_another_server_arrives_over_udp_edns_and_tcp(lab: Daemon) -> None:
    lab.linkspan("network", "create", "one")
    sleeper(lab, "names", "--network", "one")
    sleeper(lab, "ann", "--network", "one", "--dns", address4(lab, "names", "one"))
    large = [f"192.0.2.{number}" for number in range(1, 101)]
    with within(lab, "names") as there, within(lab, "ann") as inside:
        server = NameServer(there, address4(lab, "names", "one"), records={("big.test.", "A"): large})
        with server:
            cut = inside.ask("big.test")
            assert cut.flags & dns.flags.TC
            assert set(texts(inside.ask("big.test", edns=4096))) == set(large)
            assert set(texts(inside.ask("big.test", tcp=True))) == set(large)


def test_many_questions_go_over_one_connection_and_are_all_answered(town: Daemon) -> None:
    here = address4(town, "web", "one")
    with within(town, "ann") as inside, inside.connected() as connection:
        queries = [dns.message.make_query(name, "A") for name in ("web", "www", "web.one") * 30]
        connection.sendall(b"".join(query.to_wire(prepend_length=True) for query in queries))
        stream = connection.makefile("rb")
        answers = [dns.message.from_wire(stream.read(int.from_bytes(stream.read(2)))) for _ in queries]
        assert {answer.id for answer in answers} == {query.id for query in queries}
        assert all(texts(answer) == [here] for answer in answers)


# --- a server of the container's own -------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before the daemon restarts", "while it runs"])
def test_a_container_may_run_a_name_server_of_its_own(town: Daemon, when: str) -> None:
    """Port 53 is the container's, on all addresses and on loopback, over UDP and TCP."""
    with within(town, "web") as inside, ExitStack() as stack:
        stack.enter_context(NameServer(inside, "0.0.0.0", "192.0.2.53"))
        stack.enter_context(NameServer(inside, "::", "192.0.2.66"))
        if when != "while it runs":
            town.restart()
        for tcp in (False, True):
            assert found(town, "web", "ann", tcp=tcp) == [address4(town, "ann", "one")]
            for address in (address4(town, "web", "one"), "127.0.0.1"):
                asker = "web" if address == "127.0.0.1" else "ann"
                assert said_by(town, asker, address, tcp=tcp) == ["192.0.2.53"], (address, tcp)
            assert said_by(town, "ann", address6(town, "web", "one"), tcp=tcp) == ["192.0.2.66"]
    assert found(town, "web", "ann") == [address4(town, "ann", "one")]


def test_a_server_on_both_families_at_once_gets_its_questions(town: Daemon) -> None:
    with within(town, "web") as inside, NameServer(inside, "::", "192.0.2.66", both=True):
        for tcp in (False, True):
            assert said_by(town, "ann", address4(town, "web", "one"), tcp=tcp) == ["192.0.2.66"]
            assert said_by(town, "ann", address6(town, "web", "one"), tcp=tcp) == ["192.0.2.66"]
            assert found(town, "web", "ann", tcp=tcp) == [address4(town, "ann", "one")]


def said_by(daemon: Daemon, asker: str, address: str, *, tcp: bool) -> list[str]:
    """What a server on port 53 of an address says to a container."""
    query = dns.message.make_query("anything.test", "A")
    with within(daemon, asker) as inside:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with inside.opened(socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM, family) as opened:
            opened.connect((address, 53))
            opened.sendall(query.to_wire(prepend_length=tcp))
            data = opened.recv(4096)
            return texts(dns.message.from_wire(data[2:] if tcp else data))


def test_nobody_else_reaches_a_sandboxes_resolver(town: Daemon) -> None:
    """CVE-2020-8558's way: an address of loopback that arrives over the network."""
    with within(town, "mallory") as inside, inside.opened() as opened:
        opened.settimeout(0.5)
        opened.sendto(
            dns.message.make_query("ann", "A").to_wire(), (address4(town, "web", "one"), resolver_port(town, "web"))
        )
        with pytest.raises(OSError, match=r"timed out|refused"):
            opened.recv(512)


def resolver_port(daemon: Daemon, container: str) -> int:
    """The port of 127.0.0.11 on which the resolver really is."""
    for line in inside_of(daemon, container, "ss", "-Hlun").splitlines():
        if f"{RESOLVER}:" in line:
            return int(line.split()[3].rpartition(":")[2])
    raise AssertionError("there is no resolver")


# --- harm ----------------------------------------------------------------------------------------------------------


def test_connections_that_trickle_stall_nobody_else(town: Daemon) -> None:
    """CVE-2024-8418, CVE-2026-35406: one TCP client that sent half a message stopped the names of all."""
    here = address4(town, "web", "one")
    with running_inside(town, "mallory", TRICKLE, "200"), within(town, "ann") as inside, ExitStack() as stack:
        loads = loaded(stack, inside, {"web": here})
        with within(town, "mallory") as own:
            for _ in range(20):
                assert texts(own.ask("web")) == [here], "its own datagrams are answered as well"
                assert texts(own.ask("web", tcp=True)) == [here]
                time.sleep(0.1)
        stack.close()
        assert descriptors(keeper_pid(town)) < 200, "connections are bounded"
    assert not [text for load in loads for text in load.failures], measured(loads)
    assert max(load.slowest for load in loads) < 1, measured(loads)


def test_a_client_that_never_reads_its_answers_stalls_nobody_else(town: Daemon) -> None:
    """CVE-2026-35406."""
    here = address4(town, "web", "one")
    query = dns.message.make_query("web", "A").to_wire(prepend_length=True)
    with within(town, "mallory") as bad, within(town, "ann") as inside, ExitStack() as stack:
        load = stack.enter_context(Load(inside, "web", here))
        for _ in range(20):
            connection = stack.enter_context(bad.connected())
            connection.setblocking(False)
            for _ in range(1000):
                try:
                    connection.send(query * 100)
                except (BlockingIOError, ConnectionError):
                    break
        time.sleep(2)
    assert not load.failures, measured([load])
    assert load.slowest < 1, measured([load])


def test_a_flood_of_questions_stalls_nobody_else(town: Daemon) -> None:
    """moby#27868: a resolver that stopped for all."""
    here = address4(town, "web", "one")
    with running_inside(town, "mallory", FLOOD), within(town, "ann") as inside, ExitStack() as stack:
        loads = loaded(stack, inside, {"web": here})
        time.sleep(4)
        stack.close()
    assert not [text for load in loads for text in load.failures], measured(loads)
    assert max(load.slowest for load in loads) < 1, measured(loads)
    assert figures(town, "mallory")["Queries"] > 100
    assert figures(town, "ann")["Refused"] == 0


def test_malformed_packets_end_nothing_and_leave_nothing(town: Daemon) -> None:
    seeded = random.Random(53)
    keeper = keeper_pid(town)
    sound = dns.message.make_query("web", "A").to_wire()

    def packet() -> bytes:
        data = bytearray(sound if seeded.random() < 0.7 else seeded.randbytes(seeded.randrange(0, 600)))
        for _ in range(seeded.randrange(1, 6)):
            if data:
                data[seeded.randrange(len(data))] = seeded.randrange(256)
        return bytes(data[: seeded.randrange(len(data) + 1)] if seeded.random() < 0.3 else data)

    with within(town, "mallory") as inside, inside.opened() as opened:
        opened.setblocking(False)
        grown = []
        for number in range(20_000):
            try:
                opened.sendto(packet(), (RESOLVER, 53))
                opened.recv(4096)
            except BlockingIOError:
                pass
            if number in (5_000, 19_999):
                time.sleep(0.5)
                grown.append(memory(keeper))
        for _ in range(50):
            with inside.connected() as connection:
                data = packet()
                connection.sendall(seeded.randrange(len(data) + 20).to_bytes(2) + data)
    before = descriptors(keeper)
    eventually(lambda: descriptors(keeper) <= before, "connections are closed")
    assert keeper_pid(town) == keeper, "it lives"
    assert grown[1] - grown[0] < 4096, f"KiB: {grown}"
    assert found(town, "mallory", "web") == [address4(town, "web", "one")]
    assert found(town, "ann", "web", tcp=True) == [address4(town, "web", "one")]
    assert "Traceback" not in (town.exec_root / "keeper.log").read_text()


def test_a_sandbox_goes_while_its_connections_are_open(town: Daemon) -> None:
    with within(town, "mallory") as inside, ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(inside.connected()).sendall(b"\0")
        began = time.monotonic()
        town.linkspan("rm", "-f", "mallory")
        assert time.monotonic() - began < 3
    assert code(ask(town, "ann", "web")) == "NOERROR"
