"""Relays: whole conversations pass, slow readers slow writers down, strangers are refused, answers come from there."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network

import pytest

from keeper_lab import bound, echo_server, port_of
from linkspan.keeper import relay_tcp, relay_udp
from linkspan.keeper.allowance import Allowance
from linkspan.keeper.face import Relay
from linkspan.keeper.relay import Relaying, admission


@contextmanager
def relaying(relay: Relay, *sockets: socket.socket, allowance: Allowance | None = None) -> Iterator[None]:
    running = Relaying(relay, sockets, allowance or Allowance(1024))
    try:
        yield
    finally:
        running.close()
        for each in sockets:
            each.close()


def run(story: Callable[[], Awaitable[None]]) -> None:
    """Runs a story in which no descriptor may be left open, within ten seconds."""

    async def whole() -> None:
        async with asyncio.timeout(10):
            await story()
        await asyncio.sleep(0)

    before = len(os.listdir("/proc/self/fd"))
    asyncio.run(whole())
    assert len(os.listdir("/proc/self/fd")) == before


async def converse(port: int, data: bytes, address: str = "127.0.0.1") -> bytes:
    """Sends, ends its half, and reads to the end."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(data)
        writer.write_eof()
        return await reader.read()
    finally:
        writer.close()


def datagram_client(address: str = "127.0.0.1") -> socket.socket:
    client = bound(socket.SOCK_DGRAM, address)
    client.setblocking(False)
    return client


async def exchange(client: socket.socket, data: bytes, to: tuple[str, int]) -> tuple[bytes, str]:
    """What comes back for a datagram, and from which address."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendto(client, data, to)
    async with asyncio.timeout(3):
        answer, peer = await loop.sock_recvfrom(client, 65536)
    return answer, peer[0]


def test_a_conversation_passes_with_its_half_closed_end() -> None:
    data = os.urandom(5_000_000)

    async def story() -> None:
        with (
            echo_server() as target,
            relaying(Relay(target="127.0.0.1", port=target), held := bound(socket.SOCK_STREAM)),
        ):
            assert await converse(port_of(held), data) == data

    run(story)


def test_many_conversations_pass_at_once() -> None:
    async def story() -> None:
        with (
            echo_server() as target,
            relaying(Relay(target="127.0.0.1", port=target), held := bound(socket.SOCK_STREAM)),
        ):
            said = [os.urandom(10_000) for _ in range(50)]
            assert await asyncio.gather(*(converse(port_of(held), each) for each in said)) == said

    run(story)


def test_an_ipv6_client_reaches_an_ipv4_container() -> None:
    async def story() -> None:
        held = bound(socket.SOCK_STREAM, "::1")
        with echo_server() as target, relaying(Relay(target="127.0.0.1", port=target), held):
            assert await converse(port_of(held), b"hello", "::1") == b"hello"

    run(story)


def test_a_port_that_was_held_without_a_relay_is_free_at_once_after_its_connections() -> None:
    """What a container ends stays in TIME_WAIT on the relay's side."""

    async def story() -> None:
        ended = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        target = int(ended.sockets[0].getsockname()[1])
        held = bound(socket.SOCK_STREAM)
        port = port_of(held)
        with relaying(Relay(target="127.0.0.1", port=target), held):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            await asyncio.sleep(0.05)
        ended.close()
        with socket.socket() as following:
            following.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            following.bind(("127.0.0.1", port))

    run(story)


def test_the_nth_socket_goes_to_the_nth_port() -> None:
    async def story() -> None:
        first, second = bound(socket.SOCK_STREAM), bound(socket.SOCK_STREAM)
        with echo_server() as target, relaying(Relay(target="127.0.0.1", port=target - 1), first, second):
            assert await converse(port_of(second), b"hello") == b"hello"

    run(story)


def test_a_container_that_refuses_is_a_connection_that_is_reset() -> None:
    async def story() -> None:
        nobody = bound(socket.SOCK_STREAM)
        with (
            relaying(Relay(target="127.0.0.1", port=port_of(nobody)), held := bound(socket.SOCK_STREAM)),
            pytest.raises(ConnectionResetError),
        ):
            await converse(port_of(held), b"hello")
        nobody.close()

    run(story)


def test_a_container_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_tcp, "DIAL_SECONDS", 0.2)

    async def story() -> None:
        silent = bound(socket.SOCK_STREAM)
        silent.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for each in fillers:  # a full backlog lets the next one wait
            each.setblocking(False)
            each.connect_ex(silent.getsockname())
        with (
            relaying(Relay(target="127.0.0.1", port=port_of(silent)), held := bound(socket.SOCK_STREAM)),
            pytest.raises(ConnectionResetError),
        ):
            await converse(port_of(held), b"hello")
        for each in (silent, *fillers):
            each.close()

    run(story)


def test_a_container_that_reads_nothing_slows_its_client_down() -> None:
    async def story() -> None:
        server = bound(socket.SOCK_STREAM)
        server.listen(1)
        with relaying(Relay(target="127.0.0.1", port=port_of(server)), held := bound(socket.SOCK_STREAM)):
            client = socket.create_connection(held.getsockname())
            client.setblocking(False)
            sent, quiet = 0, 0
            while quiet < 20:
                try:
                    sent += client.send(bytes(100_000))
                    quiet = 0
                except BlockingIOError:
                    quiet += 1
                    await asyncio.sleep(0.01)
            assert sent < 40_000_000  # what the kernel's buffers take, and no more
            client.close()
        server.close()

    run(story)


def test_closing_a_relay_resets_its_connections() -> None:
    async def story() -> None:
        server = bound(socket.SOCK_STREAM)
        server.listen(1)
        held = bound(socket.SOCK_STREAM)
        running = Relaying(Relay(target="127.0.0.1", port=port_of(server)), [held], Allowance(1024))
        reader, writer = await asyncio.open_connection(*held.getsockname())
        writer.write(b"hello")
        await asyncio.sleep(0.05)
        running.close()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        held.close()
        server.close()

    run(story)


def test_more_connections_than_the_bound_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_tcp, "MOST_CONNECTIONS", 2)

    async def story() -> None:
        with (
            echo_server() as target,
            relaying(Relay(target="127.0.0.1", port=target), held := bound(socket.SOCK_STREAM)),
        ):
            idle = [await asyncio.open_connection(*held.getsockname()) for _ in range(2)]
            third = asyncio.create_task(converse(port_of(held), b"third"))
            await asyncio.sleep(0.1)
            assert not third.done()
            for _, writer in idle:
                writer.close()
            assert await third == b"third"
            assert await converse(port_of(held), b"fourth") == b"fourth"

    run(story)


def test_clients_from_elsewhere_are_judged_by_their_address() -> None:
    limited = admission(
        Relay(target="10.0.0.2", port=80, limited=True, sources=(ip_network("10.9.0.0/16"), ip_network("fd00::/8")))
    )
    admitted = ["127.0.0.1", "127.9.9.9", "::1", "10.9.1.2", "::ffff:10.9.1.2", "fd00::5", "::ffff:127.0.0.1"]
    assert all(map(limited, admitted))
    assert not any(map(limited, ["10.8.1.2", "::ffff:10.8.1.2", "2001:db8::1", "fe80::1%2"]))
    assert not admission(Relay(target="10.0.0.2", port=80, limited=True))("10.9.1.2")
    assert admission(Relay(target="10.0.0.2", port=80))("2001:db8::1")


def test_a_client_that_may_not_come_is_reset_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linkspan.keeper.relay.admission", lambda _: lambda address: address == "127.0.0.2")

    async def story() -> None:
        with (
            echo_server() as target,
            relaying(
                Relay(target="127.0.0.1", port=target, limited=True),
                tcp := bound(socket.SOCK_STREAM),
            ),
        ):
            with pytest.raises(ConnectionResetError):
                await converse(port_of(tcp), b"hello")
            with socket.socket() as other:
                other.bind(("127.0.0.2", 0))
                other.connect(tcp.getsockname())

    run(story)


def test_datagrams_of_each_client_come_back_to_it() -> None:
    async def story() -> None:
        with (
            echo_server() as target,
            relaying(Relay(target="127.0.0.1", port=target), held := bound(socket.SOCK_DGRAM)),
        ):
            clients = [datagram_client() for _ in range(20)]
            for number, client in enumerate(clients * 2):
                said = f"from {number}".encode()
                assert await exchange(client, said, held.getsockname()) == (said, "127.0.0.1")
            for client in clients:
                client.close()

    run(story)


def test_an_answer_comes_from_the_address_that_was_asked() -> None:
    async def story() -> None:
        held = bound(socket.SOCK_DGRAM, "0.0.0.0")
        with echo_server() as target, relaying(Relay(target="127.0.0.1", port=target), held):
            client = datagram_client("0.0.0.0")
            for address in ("127.0.0.5", "127.0.0.6", "127.0.0.1"):
                assert await exchange(client, b"hello", (address, port_of(held))) == (b"hello", address)
            client.close()

    run(story)


def test_large_and_empty_datagrams_pass() -> None:
    async def story() -> None:
        with (
            echo_server() as target,
            relaying(Relay(target="127.0.0.1", port=target), held := bound(socket.SOCK_DGRAM)),
        ):
            client = datagram_client()
            for said in (b"", os.urandom(65_000)):
                assert await exchange(client, said, held.getsockname()) == (said, "127.0.0.1")
            client.close()

    run(story)


def test_a_container_that_refuses_datagrams_does_not_end_the_relay() -> None:
    async def story() -> None:
        with echo_server() as target:
            pass
        with relaying(Relay(target="127.0.0.1", port=target), held := bound(socket.SOCK_DGRAM)):
            client = datagram_client()
            for _ in range(3):
                client.sendto(b"anybody?", held.getsockname())
                await asyncio.sleep(0.02)
            with echo_server(port=target):
                assert await exchange(client, b"now", held.getsockname()) == (b"now", "127.0.0.1")
            client.close()

    run(story)


def test_quiet_associations_go_and_a_new_one_takes_the_place_of_the_quietest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_udp, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(relay_udp, "MOST_ASSOCIATIONS", 3)

    async def story() -> None:
        with (
            echo_server() as target,
            relaying(Relay(target="127.0.0.1", port=target), held := bound(socket.SOCK_DGRAM)),
        ):
            clients = [datagram_client() for _ in range(10)]
            open_before = len(os.listdir("/proc/self/fd"))
            for client in clients:
                await exchange(client, b"hello", held.getsockname())
            assert len(os.listdir("/proc/self/fd")) == open_before + 3
            await asyncio.sleep(0.5)
            assert len(os.listdir("/proc/self/fd")) == open_before
            assert await exchange(clients[0], b"again", held.getsockname()) == (b"again", "127.0.0.1")
            for client in clients:
                client.close()

    run(story)


def test_relays_together_leave_descriptors_for_names() -> None:
    async def story() -> None:
        allowance = Allowance(5)
        with (
            echo_server() as target,
            relaying(Relay(target="127.0.0.1", port=target), held := bound(socket.SOCK_STREAM), allowance=allowance),
            relaying(Relay(target="127.0.0.1", port=target), other := bound(socket.SOCK_DGRAM), allowance=allowance),
            relaying(Relay(target="127.0.0.1", port=target), third := bound(socket.SOCK_DGRAM), allowance=allowance),
        ):
            clients = [datagram_client() for _ in range(4)]
            for client in clients[:2]:
                await exchange(client, b"hello", other.getsockname())
            assert allowance.left == 3
            _, writer = await asyncio.open_connection(*held.getsockname())
            waiting = asyncio.create_task(converse(port_of(held), b"later"))
            await exchange(clients[2], b"hello", other.getsockname())
            await asyncio.sleep(0.1)
            assert (allowance.left, waiting.done()) == (0, False)
            # Who has none gets none; who has some gives up the quietest of them.
            clients[3].sendto(b"lost", third.getsockname())
            assert await exchange(clients[3], b"hello", other.getsockname()) == (b"hello", "127.0.0.1")
            assert allowance.left == 0
            writer.close()
            assert await waiting == b"later"
            for client in clients:
                client.close()
        await asyncio.sleep(0.05)
        assert allowance.left == 5

    run(story)
