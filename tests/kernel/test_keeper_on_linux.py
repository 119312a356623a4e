"""A keeper with sandboxes: names in and out of namespaces, whoever is killed, and nothing that outlives its sandbox."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keeper_lab import (
    INSTANCE,
    ask,
    asked,
    bound,
    canary,
    descriptors,
    echo_server,
    is_free,
    is_running,
    keeper,
    pair,
    port_of,
    soon,
    until,
)
from linkspan.dns.names import Client, Host, Server, Zone
from linkspan.keeper.client import KeeperClient
from linkspan.keeper.face import Relay
from linkspan.kernel import netns
from linkspan.kernel.diff import Create, Delete
from linkspan.kernel.linux import LinuxKernel
from linkspan.plan import resolver
from linux_objects import BOX
from namespaces import Namespace

pytestmark = pytest.mark.kernel

PORT = resolver.port_of(INSTANCE)
WEB = Host(id="e1", names=("web",), addresses=("10.0.0.2",))
ZONE = Zone(id="n1", name="front", hosts=(WEB,))

DAEMON = """
import asyncio, os, sys
from pathlib import Path
from linkspan.dns.names import Client, Host, Zone
from linkspan.keeper.client import KeeperClient
from linkspan.keeper.face import Relay

async def main(exec_root, instance, target, *numbers):
    udp, tcp, namespace, held, relayed = map(int, numbers)
    keeper = KeeperClient(Path(exec_root), instance)
    await keeper.start()
    web = Host(id="e1", names=("web",), addresses=("10.0.0.2",))
    await keeper.put_zone(Zone(id="n1", name="front", hosts=(web,)))
    await keeper.serve(Client(id="s1", name="web", zones=("n1",), forward=False), udp, tcp, namespace)
    await keeper.hold("held", [held])
    await keeper.hold("relayed", [relayed], Relay(target="127.0.0.1", port=int(target)))
    await keeper.figures()
    print(keeper.pid, flush=True)
    await asyncio.sleep(1000)

asyncio.run(main(*sys.argv[1:]))
"""


class Box:
    """A sandbox with the resolver's table, and its three descriptors."""

    def __init__(self, linux: LinuxKernel) -> None:
        self.linux = linux
        linux.apply([Create(BOX), Create(resolver.table("box", PORT))])
        self.namespace = linux.namespace_fd("box")
        self.gone = canary(self.namespace)
        self.open()

    def open(self) -> None:
        self.udp, self.tcp = self.linux.open_resolver("box", PORT)

    def close(self) -> None:
        for descriptor in (self.udp, self.tcp):
            os.close(descriptor)

    def delete(self) -> None:
        """Our own hold on the namespace ends; whether it goes is the others' doing."""
        os.close(self.namespace)
        self.linux.apply([Delete(BOX)])

    async def serve(self, client: KeeperClient, *servers: Server) -> None:
        who = Client(id="s1", name="web", zones=("n1",), servers=servers, forward=bool(servers))
        await client.serve(who, self.udp, self.tcp, self.namespace)

    def ask(self, name: str, *, over_tcp: bool = False) -> str:
        with netns.entered(self.namespace):
            return ask(name, over_tcp=over_tcp)

    def run(self, work: Callable[[], None]) -> threading.Thread:
        """Starts a thread inside."""

        def enter() -> None:
            with netns.entered(self.namespace):
                work()

        thread = threading.Thread(target=enter)
        thread.start()
        return thread


@pytest.fixture
def box(linux: LinuxKernel) -> Box:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return Box(linux)


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(30):
            await story()

    asyncio.run(whole())


class Load:
    """Asks for ``web`` without a pause, over UDP and TCP, and counts what came and what failed."""

    def __init__(self, box: Box) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self._over = threading.Event()
        self._threads = [box.run(self._udp), box.run(self._tcp)]

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _udp(self) -> None:
        self._ask(over_tcp=False)

    def _tcp(self) -> None:
        self._ask(over_tcp=True)

    def _ask(self, *, over_tcp: bool) -> None:
        while not self._over.is_set():
            try:
                answer = ask("web", over_tcp=over_tcp)
            except OSError as error:
                answer = str(error)
            if answer == "10.0.0.2":
                self.answers += 1
            else:
                self.failures.append(answer)

    async def go_on(self, count: int = 200) -> None:
        """Returns after so many more answers."""
        goal = self.answers + count
        while self.answers < goal:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_a_sandbox_hears_its_names_and_is_gone_when_it_is_not_served_any_more(box: Box, tmp_path: Path) -> None:
    async def story() -> None:
        async with keeper(tmp_path) as client:
            await client.put_zone(ZONE)
            await box.serve(client)
            box.close()
            assert await asyncio.to_thread(box.ask, "web") == "10.0.0.2"
            assert await asyncio.to_thread(box.ask, "web.front", over_tcp=True) == "10.0.0.2"
            assert await asyncio.to_thread(box.ask, "elsewhere.example") == "code 3"
            await client.stop_serving("s1")
            box.delete()
            assert await asyncio.to_thread(soon, box.gone)

    run(story)


def test_questions_to_other_servers_leave_from_the_sandbox_or_from_the_host(box: Box, tmp_path: Path) -> None:
    """Both servers have the same address and port, each in its own namespace."""

    def answer(server: socket.socket, address: str) -> None:
        query, peer = server.recvfrom(512)
        question = query[12 : query.index(b"\0", 12) + 5]
        record = b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4" + socket.inet_aton(address)
        server.sendto(query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question + record, peer)

    async def story() -> None:
        with bound(socket.SOCK_DGRAM) as outside, netns.entered(box.namespace):
            inside = bound(socket.SOCK_DGRAM, port=port_of(outside))
        with bound(socket.SOCK_DGRAM, port=port_of(inside)) as outside:
            async with keeper(tmp_path) as client:
                for server, from_host, address in ((inside, False, "192.0.2.1"), (outside, True, "192.0.2.2")):
                    server.settimeout(5)
                    await box.serve(client, Server(address="127.0.0.1", port=port_of(inside), from_host=from_host))
                    await client.figures()
                    answering = asyncio.create_task(asyncio.to_thread(answer, server, address))
                    assert await asyncio.to_thread(box.ask, f"{address}.example") == address
                    await answering
        inside.close()
        box.close()
        os.close(box.namespace)

    run(story)


def test_a_question_that_is_under_way_does_not_keep_its_sandbox(box: Box, tmp_path: Path) -> None:
    async def story() -> None:
        with netns.entered(box.namespace):
            silent = bound(socket.SOCK_DGRAM)
            asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        async with keeper(tmp_path) as client:
            await box.serve(client, Server(address="127.0.0.1", port=port_of(silent)))
            asker.sendto(asked("slow.example"), ("127.0.0.11", 53))
            silent.settimeout(5)
            assert await asyncio.to_thread(silent.recv, 512)
            before = descriptors(client.pid)
            await client.stop_serving("s1")
            assert descriptors(client.pid) == before - 4
            silent.close()
            asker.close()
            box.close()
            box.delete()
            assert await asyncio.to_thread(soon, box.gone)

    run(story)


@contextmanager
def daemon(
    box: Box, exec_root: Path, target: int, held: socket.socket, relayed: socket.socket
) -> Iterator[tuple[int, int]]:
    """A program that tells a keeper of a sandbox and two ports, until it is killed; its pid and the keeper's."""
    numbers = [box.udp, box.tcp, box.namespace, held.fileno(), relayed.fileno()]
    process = subprocess.Popen(
        [sys.executable, "-c", DAEMON, exec_root, INSTANCE, str(target), *map(str, numbers)],
        stdout=subprocess.PIPE,
        pass_fds=numbers,
    )
    assert process.stdout is not None
    with process:
        keeper_pid = 0
        try:
            keeper_pid = int(process.stdout.readline())
            yield process.pid, keeper_pid
        finally:
            process.kill()
            if keeper_pid and is_running(keeper_pid):
                os.kill(keeper_pid, signal.SIGKILL)


def relay_works(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"hello")
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(100) == b"hello"


def test_names_ports_and_relays_go_on_when_the_daemon_is_killed(box: Box, tmp_path: Path) -> None:
    async def story() -> None:
        held, relayed = bound(socket.SOCK_STREAM), bound(socket.SOCK_STREAM)
        ports = port_of(held), port_of(relayed)
        with echo_server() as target, daemon(box, tmp_path, target, held, relayed) as (pid, keeper_pid):
            for each in (held, relayed):
                each.close()
            box.close()
            with Load(box) as load:
                await load.go_on()
                os.kill(pid, signal.SIGKILL)
                await load.go_on()
                assert not is_free(ports[0])
                assert await asyncio.to_thread(relay_works, ports[1])
                async with keeper(tmp_path) as client:
                    assert client.pid == keeper_pid
                    assert client.held().keys() == {"held", "relayed"}
                    await load.go_on()
                    assert load.failures == []
                    os.kill(keeper_pid, signal.SIGKILL)  # the sockets live on, and questions wait in them
                    await until(keeper_pid, client)
                    await load.go_on()
                    assert not is_free(ports[0])
                    assert await asyncio.to_thread(relay_works, ports[1])
                    assert len(load.failures) <= 2, load.failures  # what it had read and not yet answered
                    load.end()
                    await client.stop_serving("s1")
                    await client.release(["held", "relayed"])
                    assert is_free(ports[0])
                    box.delete()
                    assert await asyncio.to_thread(soon, box.gone)

    run(story)


def test_when_both_are_killed_everything_can_be_opened_again(box: Box, tmp_path: Path) -> None:
    async def story() -> None:
        held, relayed = bound(socket.SOCK_STREAM), bound(socket.SOCK_STREAM)
        port = port_of(held)
        with daemon(box, tmp_path, 9, held, relayed) as (pid, keeper_pid):
            for each in (held, relayed):
                each.close()
            box.close()
            assert box.ask("web", over_tcp=True) == "10.0.0.2"
            for victim in (pid, keeper_pid):
                os.kill(victim, signal.SIGKILL)
            assert soon(lambda: not is_running(pid) and not is_running(keeper_pid))
            with pytest.raises(ConnectionRefusedError):
                box.ask("web", over_tcp=True)
        async with keeper(tmp_path) as client:
            assert not client.held()
            assert not client.served()
            with bound(socket.SOCK_STREAM, port=port) as again:
                await client.hold("held", [again.fileno()])
            await client.put_zone(ZONE)
            box.open()
            await box.serve(client)
            box.close()
            assert await asyncio.to_thread(box.ask, "web") == "10.0.0.2"
            await client.stop_serving("s1")
            box.delete()
            assert await asyncio.to_thread(soon, box.gone)

    run(story)


def test_a_thousand_sandboxes_come_and_go_without_a_trace(box: Box, tmp_path: Path) -> None:
    async def story() -> None:
        async with keeper(tmp_path) as client:
            before = descriptors(client.pid), descriptors(os.getpid())
            for number in range(1000):
                udp, tcp = pair()
                await client.serve(Client(id=f"s{number % 7}", name="web"), udp.fileno(), tcp.fileno(), box.namespace)
                udp.close()
                tcp.close()
                await client.stop_serving(f"s{number % 5}")
            for number in range(7):
                await client.stop_serving(f"s{number}")
            assert (descriptors(client.pid), descriptors(os.getpid())) == before
            box.close()
            box.delete()
            assert await asyncio.to_thread(soon, box.gone)

    run(story)


def test_an_ipv6_answer_comes_from_the_address_that_was_asked(private_netns: Namespace, tmp_path: Path) -> None:
    addresses = ("fd00:77::1", "fd00:77::2", "::1")
    for address in addresses[:2]:
        subprocess.run(["ip", "address", "add", f"{address}/128", "dev", "lo", "nodad"], check=True)

    async def story() -> None:
        tcp = bound(socket.SOCK_STREAM, "::")
        udp = bound(socket.SOCK_DGRAM, "::", port_of(tcp))
        with echo_server() as target:
            async with keeper(tmp_path) as client:
                await client.hold("tcp", [tcp.fileno()], Relay(target="127.0.0.1", port=target))
                await client.hold("udp", [udp.fileno()], Relay(target="127.0.0.1", port=target))
                await client.figures()
                for address in addresses:
                    with bound(socket.SOCK_DGRAM, "::") as asker:
                        asker.settimeout(5)
                        asker.sendto(b"hello", (address, port_of(udp)))
                        answer, peer = await asyncio.to_thread(asker.recvfrom, 100)
                        assert (answer, peer[0]) == (b"hello", address)
                    with socket.create_connection((address, port_of(tcp)), timeout=5) as connection:
                        connection.sendall(b"hello")
                        connection.shutdown(socket.SHUT_WR)
                        assert await asyncio.to_thread(connection.recv, 100) == b"hello"
        tcp.close()
        udp.close()

    run(story)
