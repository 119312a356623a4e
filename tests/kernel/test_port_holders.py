"""Who holds a port: programs are named, connections that ended are told apart, reserved ports are known."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest

from linkspan.kernel import holders as kernel_holders
from linkspan.kernel.holders import Holder, ephemeral_range, holders, in_use
from linkspan.kernel.reservation import LinuxSockets
from namespaces import Namespace

pytestmark = pytest.mark.kernel

ALL4, ALL6 = ip_address("0.0.0.0"), ip_address("::")
LOCAL4, LOCAL6 = ip_address("127.0.0.1"), ip_address("::1")

PROGRAM = """
import socket, sys
kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[sys.argv[1]]
family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
ear = socket.socket(family, kind)
if "only" in sys.argv:
    ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
if "shared" in sys.argv:
    ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
ear.bind((sys.argv[2], int(sys.argv[3])))
if "listen" in sys.argv:
    ear.listen()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def here() -> Iterator[Namespace]:
    """The test's thread in a namespace of its own."""
    with Namespace() as namespace, namespace.entered():
        yield namespace


@contextmanager
def program(*words: str) -> Iterator[int]:
    """Another program with a socket; its pid."""
    command = [sys.executable, "-c", PROGRAM, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process.pid
        finally:
            process.stdin.close()


def one(found: tuple[Holder, ...]) -> Holder:
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize(("held", "wanted"), [("127.0.0.1", LOCAL4), ("0.0.0.0", LOCAL4), ("::1", ALL6), ("::", ALL4)])
def test_the_program_that_serves_on_a_port_is_named(here: Namespace, protocol: str, held: str, wanted: object) -> None:
    with program(protocol, held, "8080", *(("listen",) if protocol == "tcp" else ())) as pid:
        found = one(holders(protocol, ip_address(str(wanted)), 8080))
        assert found == Holder(address=held, port=8080, state="listening", pid=pid, program=found.program)
        assert found.program.startswith("python")
        assert str(found) == f"{found.program} (pid {pid})"
        assert holders(protocol, ip_address(str(wanted)), 8081) == ()
        assert holders("udp" if protocol == "tcp" else "tcp", ip_address(str(wanted)), 8080) == ()


def test_a_socket_that_is_bound_and_does_not_listen_is_found(here: Namespace) -> None:
    with program("tcp", "0.0.0.0", "8080") as pid:
        found = one(holders("tcp", LOCAL4, 8080))
        assert (found.state, found.pid) == ("bound", pid)
        assert in_use("tcp", ALL4, 8000, 9000) == (8080,)


def test_one_that_shares_its_address_is_found_too(here: Namespace) -> None:
    """SO_REUSEADDR lets bind(2) pass beside such a socket; the list of sockets does not."""
    with program("tcp", "0.0.0.0", "8080", "shared") as pid:
        assert one(holders("tcp", ALL4, 8080)).pid == pid


def test_addresses_that_do_not_overlap_are_in_nobodys_way(here: Namespace) -> None:
    with program("udp", "127.0.0.2", "8080"):
        assert holders("udp", LOCAL4, 8080) == ()
        assert holders("udp", ALL6, 8080) == ()
    with program("udp", "::", "8080", "only"):
        assert holders("udp", ALL4, 8080) == ()
        assert one(holders("udp", LOCAL6, 8080)).state == "listening"
    with program("tcp", "::", "8080", "only", "listen"):
        assert holders("tcp", ALL4, 8080) == ()
    with program("tcp", "::", "8080", "only"):
        assert [item.state for item in holders("tcp", ALL6, 8080)] == ["bound"]
        assert holders("tcp", ALL4, 8080) == ()


def test_our_own_sockets_are_left_out_and_those_of_named_processes(here: Namespace) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("0.0.0.0", 8080))
        assert holders("udp", ALL4, 8080) == ()
    with program("udp", "0.0.0.0", "8080") as pid:
        assert holders("udp", ALL4, 8080, except_pids=(pid,)) == ()


def test_a_socket_that_several_processes_share_is_named_once(here: Namespace) -> None:
    ear = socket.create_server(("127.0.0.1", 8080))
    child = subprocess.Popen(["sleep", "60"], pass_fds=(ear.fileno(),))
    try:
        assert holders("tcp", LOCAL4, 8080) == (), "we hold it as well"
        ear.close()
        found = one(holders("tcp", LOCAL4, 8080))
        assert (found.pid, found.program) == (child.pid, "sleep")
    finally:
        child.kill()
        child.wait()


def test_a_connection_that_has_ended_is_held_by_nobody(here: Namespace) -> None:
    ear = socket.create_server(("127.0.0.1", 8080))
    client = socket.create_connection(("127.0.0.1", 8080))
    served, _ = ear.accept()
    served.close()
    client.close()
    ear.close()
    found = one(holders("tcp", LOCAL4, 8080))
    assert (found.state, found.pid, found.program) == ("time-wait", 0, "")
    assert in_use("tcp", LOCAL4, 8000, 9000) == ()


def test_ports_in_use_are_told_for_a_large_range_in_order(here: Namespace) -> None:
    with program("udp", "0.0.0.0", "20500"), program("udp", "127.0.0.1", "10000"), program("udp", "::1", "10001"):
        assert in_use("udp", ALL4, 10000, 20500) == (10000, 20500)
        assert in_use("udp", ALL4, 10001, 20499) == ()
        assert in_use("udp", ALL6, 10000, 20500) == (10001,)
        assert in_use("udp", ip_address("192.0.2.1"), 10000, 20500) == (20500,)
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.bind(("127.0.0.1", 15000))
        client.connect(("127.0.0.1", 10000))
        assert in_use("udp", ALL4, 10000, 20500) == (10000, 20500), "a client is no server"
        client.close()


def test_reserved_ports_and_the_range_for_clients_are_read(here: Namespace) -> None:
    assert ephemeral_range() == (32768, 60999)
    assert 8080 not in LinuxSockets().dynamic_ports().reserved
    here.run("sysctl", "-qw", "net.ipv4.ip_local_reserved_ports=8080,9000-9010")
    assert [
        port for port in (8079, 8080, 8081, 8999, 9000, 9010, 9011) if port in LinuxSockets().dynamic_ports().reserved
    ] == [8080, 9000, 9010]
    here.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 50000")
    assert ephemeral_range() == (40000, 50000)


def test_nothing_stays_open(here: Namespace) -> None:
    before = len(os.listdir("/proc/self/fd"))
    holders("tcp", ALL4, 8080)
    in_use("udp", ALL4, 1, 65535)
    assert len(os.listdir("/proc/self/fd")) == before


def test_who_is_not_found_in_time_is_not_named(here: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_holders, "PATIENCE", -1.0)
    with program("tcp", "127.0.0.1", "8080", "listen"):
        found = one(holders("tcp", LOCAL4, 8080))
        assert found == Holder(address="127.0.0.1", port=8080, state="listening")
