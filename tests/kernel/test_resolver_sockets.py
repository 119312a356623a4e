"""A resolver's sockets and table in a sandbox: from spare namespaces, bound later, beside a container's server."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from keeper_lab import canary, is_free, soon
from linkspan.kernel import netns
from linkspan.kernel.diff import Create, Delete, Step, diff
from linkspan.kernel.face import StepFailed
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.nft import Nft
from linkspan.kernel.state import Namespace, state_of
from linkspan.plan import resolver
from linux_objects import BOX, INSTANCE

pytestmark = pytest.mark.kernel

PORT = resolver.port_of(INSTANCE)
TABLE = resolver.table("box", PORT)
SANDBOX: tuple[Step, ...] = (Create(BOX), Create(TABLE))


@contextmanager
def inside(linux: LinuxKernel, name: str = "box") -> Iterator[None]:
    descriptor = linux.namespace_fd(name)
    try:
        with netns.entered(descriptor):
            yield
    finally:
        os.close(descriptor)


def watch(linux: LinuxKernel, name: str = "canary") -> Callable[[], bool]:
    """Whether the sandbox's namespace has gone, asked later."""
    descriptor = linux.namespace_fd("box")
    try:
        return canary(descriptor, name)
    finally:
        os.close(descriptor)


@contextmanager
def opened(linux: LinuxKernel, port: int = PORT) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The resolver's sockets."""
    udp, tcp = linux.open_resolver("box", port)
    with socket.socket(fileno=udp) as datagrams, socket.socket(fileno=tcp) as stream:
        yield datagrams, stream


def exchange_with(udp: socket.socket, tcp: socket.socket) -> tuple[bytes, bytes]:
    """Asks 127.0.0.11 port 53 from inside, answers from these sockets; what came back over UDP and TCP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.sendto(b"who?", ("127.0.0.11", 53))
        udp.settimeout(2)
        question, peer = udp.recvfrom(512)
        udp.sendto(b"me: " + question, peer)
        datagram, server = client.recvfrom(512)
        assert server == ("127.0.0.11", 53)
    with socket.create_connection(("127.0.0.11", 53), timeout=2) as connection:
        tcp.settimeout(2)
        accepted, _ = tcp.accept()
        with accepted:
            accepted.sendall(b"me too")
        assert connection.getpeername() == ("127.0.0.11", 53)
        return datagram, connection.recv(512)


def test_questions_to_port_53_reach_the_sockets_and_answers_come_back(linux: LinuxKernel) -> None:
    linux.apply(SANDBOX)
    with opened(linux) as sockets, inside(linux):
        assert exchange_with(*sockets) == (b"me: who?", b"me too")


def test_a_prepared_spare_brings_table_and_sockets_without_a_transaction(
    linux: LinuxKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    linux.prepare_spares(resolver.table("", PORT), PORT)
    assert linux.fill(2, 1) == 1
    assert linux.fill(2) == 3
    with monkeypatch.context() as patch:
        patch.setattr(Nft, "run", lambda *_: pytest.fail("a transaction"))
        patch.setattr("linkspan.kernel.spares.open_inside", lambda *_: pytest.fail("sockets made"))
        linux.apply(SANDBOX)
        with opened(linux) as sockets, inside(linux):
            assert exchange_with(*sockets) == (b"me: who?", b"me too")
    assert linux.read(["box"]) == state_of([BOX, TABLE])
    assert linux.fill(2) == 1


def test_plain_sandboxes_take_plain_spares(linux: LinuxKernel) -> None:
    linux.prepare_spares(resolver.table("", PORT), PORT)
    linux.fill(1)
    linux.apply([Create(BOX)])
    with inside(linux):
        assert subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True).stdout == ""
        assert is_free(PORT, "127.0.0.11")
    assert linux.read(["box"]) == state_of([BOX])


def test_another_table_is_not_taken_for_the_prepared_one(linux: LinuxKernel) -> None:
    linux.prepare_spares(resolver.table("", PORT), PORT)
    linux.fill(1)
    other = resolver.table("box", PORT + 1)
    linux.apply([Create(BOX), Create(other)])
    assert linux.read(["box"]) == state_of([BOX, other])
    with opened(linux, PORT + 1) as sockets, inside(linux):
        assert exchange_with(*sockets) == (b"me: who?", b"me too")


def test_a_table_that_went_is_made_again_by_the_next_steps(linux: LinuxKernel) -> None:
    linux.prepare_spares(resolver.table("", PORT), PORT)
    linux.fill(1)
    linux.apply(SANDBOX)
    with inside(linux):
        subprocess.run(["nft", "flush", "ruleset"], check=True)
    live = linux.read(["box"])
    assert live == state_of([BOX])
    linux.apply(diff(state_of([BOX, TABLE]), live))
    with opened(linux) as sockets, inside(linux):
        assert exchange_with(*sockets) == (b"me: who?", b"me too")


def test_a_table_that_somebody_changed_is_seen_and_replaced(linux: LinuxKernel) -> None:
    linux.apply(SANDBOX)
    with inside(linux):
        subprocess.run(["nft", "add rule ip linkspan output drop"], check=True)
    live = linux.read(["box"])
    assert live != state_of([BOX, TABLE])
    linux.apply(diff(state_of([BOX, TABLE]), live))
    assert linux.read(["box"]) == state_of([BOX, TABLE])


def test_a_failed_attach_leaves_neither_sockets_nor_namespace(linux: LinuxKernel) -> None:
    linux.prepare_spares(resolver.table("", PORT), PORT)
    linux.fill(1)
    with pytest.raises(StepFailed):
        linux.apply([*SANDBOX, Create(Namespace(name="../escape"))])
    gone = watch(linux)
    linux.apply([Delete(TABLE), Delete(BOX)])
    assert soon(gone)


def test_sockets_that_nobody_asked_for_go_with_the_namespace(linux: LinuxKernel) -> None:
    linux.prepare_spares(resolver.table("", PORT), PORT)
    for discard in (False, True):
        linux.fill(1)
        linux.apply(SANDBOX)
        gone = watch(linux, f"canary{discard:d}")
        if discard:
            linux.discard((), ["box"])
            linux.sweep()
        else:
            linux.apply([Delete(BOX)])
        assert soon(gone)


def test_a_port_that_a_container_has_is_told(linux: LinuxKernel) -> None:
    linux.apply(SANDBOX)
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with inside(linux):
            taken = socket.socket(socket.AF_INET, kind)
        with inside(linux):
            taken.bind(("0.0.0.0", PORT))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        with pytest.raises(OSError, match=f"Address already in use: 127.0.0.11 port {PORT}") as caught:
            linux.open_resolver("box", PORT)
        assert caught.value.errno == errno.EADDRINUSE
        taken.close()
    with opened(linux), inside(linux):
        assert not is_free(PORT, "127.0.0.11")


def test_a_namespace_that_is_not_there_is_told(linux: LinuxKernel) -> None:
    with pytest.raises(FileNotFoundError):
        linux.open_resolver("box", PORT)


def test_sockets_are_opened_again_after_connections_that_linger(linux: LinuxKernel) -> None:
    linux.apply(SANDBOX)
    for _ in range(3):
        with opened(linux) as sockets, inside(linux):
            exchange_with(*sockets)  # the server's end closes first and stays in TIME_WAIT


def test_a_container_runs_its_own_server_on_port_53_of_every_address(linux: LinuxKernel) -> None:
    linux.apply(SANDBOX)
    with opened(linux) as sockets, inside(linux):
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        for each in own:
            each.bind(("0.0.0.0", 53))
        own[1].listen()
        assert exchange_with(*sockets) == (b"me: who?", b"me too")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(2)
            client.connect(("127.0.0.1", 53))
            client.send(b"own?")
            own[0].settimeout(2)
            question, peer = own[0].recvfrom(512)
            own[0].sendto(b"own: " + question, peer)
            assert client.recv(512) == b"own: own?"
        with socket.create_connection(("127.0.0.1", 53), timeout=2):
            own[1].settimeout(2)
            own[1].accept()[0].close()
        for each in own:
            each.close()


def test_spares_that_are_prepared_anew_leave_nothing_of_the_old(linux: LinuxKernel) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for port in range(PORT, PORT + 20):
        linux.prepare_spares(resolver.table("", port), port)
        linux.fill(2)
        linux.apply([Create(BOX), Create(resolver.table("box", port))])
        for descriptor in linux.open_resolver("box", port):
            os.close(descriptor)
        linux.apply([Delete(BOX)])
    linux.prepare_spares(resolver.table("", PORT), PORT)
    assert len(os.listdir("/proc/self/fd")) == before + 2  # two plain ones wait
