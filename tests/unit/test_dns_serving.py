"""One sandbox's two sockets: many answers, several at once, and nobody waits for a bad neighbour."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import pairwise

import dns.flags
import dns.message
import dns.rcode
import msgspec
import pytest
import uvloop

from linkspan.dns import server, stream
from linkspan.dns.names import Host, Zone
from resolver_lab import ADDRESS, Lab, address_for, bound, laboratory, open_socket, texts

MANY = tuple(Host(id=str(n), names=(f"m{n}", "many"), addresses=(f"10.2.0.{n}",)) for n in range(100))


@asynccontextmanager
async def connection(lab: Lab) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(ADDRESS, lab.tcp[1])
    try:
        yield reader, writer
    finally:
        writer.close()


def framed(name: str, kind: str = "A", identity: int = 1) -> bytes:
    data = dns.message.make_query(name, kind, id=identity).to_wire()
    return len(data).to_bytes(2) + data


async def message_from(reader: asyncio.StreamReader) -> dns.message.Message:
    data = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
    return dns.message.from_wire(data)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_names_of_every_kind_are_answered_over_udp_and_tcp(run: object) -> None:
    expected = {
        ("WEB", "A"): ["10.0.0.2"],
        ("www.blue", "AAAA"): ["fd00::2"],
        ("2.0.0.10.in-addr.arpa", "PTR"): ["web.blue."],
        ("_http._tcp.web", "SRV"): ["0 0 80 web.blue."],
        ("web", "ANY"): ["10.0.0.2", "fd00::2"],
        ("localhost", "AAAA"): ["::1"],
        ("a.example", "A"): ["192.0.2.7"],
    }

    async def story() -> None:
        async with laboratory() as lab:
            await lab.serve(await lab.upstream())
            for (name, kind), answer in expected.items():
                assert sorted(texts(await lab.ask(name, kind))) == answer
                assert sorted(texts(await lab.ask_over_tcp(name, kind))) == answer
            service = await lab.ask("_80._tcp.web", "SRV")
            targets = sorted(each.to_text() for each in service.additional)
            assert targets == ["web.blue. 5 IN A 10.0.0.2", "web.blue. 5 IN AAAA fd00::2"]

    run(story())  # type: ignore[operator]


def test_several_addresses_take_turns_at_the_head() -> None:
    async def story() -> None:
        async with laboratory() as lab:
            lab.directory.put_zone(Zone(id="net", name="blue", hosts=MANY[:3]))
            await lab.serve()
            heads = []
            for _ in range(9):
                answer = texts(await lab.ask("many"))
                assert sorted(answer) == ["10.2.0.0", "10.2.0.1", "10.2.0.2"]
                heads.append(answer[0])
                assert not texts(await lab.ask("many", "AAAA"))
            assert all(heads.count(f"10.2.0.{number}") == 3 for number in range(3))
            assert all(first != second for first, second in pairwise(heads))

    asyncio.run(story())


def test_a_hundred_addresses_are_cut_over_udp_and_whole_over_tcp_and_with_room() -> None:
    async def story() -> None:
        async with laboratory() as lab:
            lab.directory.put_zone(Zone(id="net", name="blue", hosts=MANY))
            await lab.serve()
            for _ in range(3):
                cut = await lab.ask("many")
                assert cut.flags & dns.flags.TC
                assert len(texts(cut)) == 30
                for whole in (await lab.ask_over_tcp("many"), await lab.ask("many", use_edns=0, payload=4096)):
                    assert not whole.flags & dns.flags.TC
                    assert len(texts(whole)) == 100

    asyncio.run(story())


def test_a_change_of_names_is_seen_by_the_next_question() -> None:
    async def story() -> None:
        async with laboratory() as lab:
            await lab.serve(forward=False)
            assert texts(await lab.ask("web")) == ["10.0.0.2"]
            lab.directory.put_host("net", Host(id="1", names=("renamed",), addresses=("10.0.0.2",)))
            assert (await lab.ask("web")).rcode() == dns.rcode.NXDOMAIN
            assert texts(await lab.ask("renamed")) == ["10.0.0.2"]
            assert texts(await lab.ask("2.0.0.10.in-addr.arpa", "PTR")) == ["renamed.blue."]
            lab.directory.drop_host("net", "1")
            assert (await lab.ask("renamed")).rcode() == dns.rcode.NXDOMAIN
            lab.resolver.put_client(
                msgspec.structs.replace(lab.client, extra=(Host(id="9", names=("web",), addresses=("10.9.9.9",)),))
            )
            assert texts(await lab.ask("web")) == ["10.9.9.9"]

    asyncio.run(story())


def test_two_sandboxes_see_only_their_own_networks() -> None:
    async def story() -> None:
        async with laboratory() as lab:
            lab.directory.put_zone(Zone(id="other", name="red", hosts=MANY[:1]))
            await lab.serve(forward=False)
            other = msgspec.structs.replace(lab.client, id="d", zones=("other",))
            lab.resolver.put_client(other, open_socket)
            question = dns.message.make_query("m0", "A").to_wire()
            for client, code in (("c", dns.rcode.NXDOMAIN), ("d", dns.rcode.NOERROR)):
                answer = lab.resolver.local_answer(client, question)
                assert answer
                assert dns.message.from_wire(answer).rcode() == code

    asyncio.run(story())


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\0\1\1\0" + b"\xff" * 8, dns.rcode.FORMERR),
        (b"\0\1\x28\0" + b"\0" * 8, dns.rcode.NOTIMP),
        (dns.message.make_query("a.example", "AXFR").to_wire(), dns.rcode.REFUSED),
        (dns.message.make_query("version.bind", "TXT", "CH").to_wire(), dns.rcode.REFUSED),
    ],
    ids=["nonsense", "an update", "a transfer", "another class"],
)
def test_what_is_not_ours_to_answer_is_refused_politely(data: bytes, code: int) -> None:
    async def story() -> None:
        async with laboratory() as lab:
            upstream = await lab.upstream()
            await lab.serve(upstream)
            answer = await lab.resolver.answer("c", data)
            assert answer[:2] == data[:2]
            assert dns.message.from_wire(answer).rcode() == code
            assert not upstream.asked
            assert lab.resolver.figures()[0].refused == 1

    asyncio.run(story())


def test_many_queries_on_one_connection_are_answered_as_their_answers_come() -> None:
    def slow(query: dns.message.Message) -> dns.message.Message | None:
        return None if query.question[0].name.to_text().startswith("slow") else address_for(query)

    async def story() -> None:
        async with laboratory() as lab:
            await lab.serve(await lab.upstream(slow))
            async with connection(lab) as (reader, writer):
                writer.write(framed("slow.example", identity=1) + framed("quick.example", identity=2))
                writer.write(b"".join(framed("web", identity=number) for number in range(3, 203)))
                answers = [await message_from(reader) for _ in range(201)]
                assert {each.id for each in answers} == set(range(2, 203))
                assert all(texts(each) for each in answers)

    asyncio.run(story())


def test_a_query_that_comes_byte_by_byte_is_put_together() -> None:
    async def story() -> None:
        async with laboratory() as lab:
            await lab.serve()
            async with connection(lab) as (reader, writer):
                for byte in framed("web"):
                    writer.write(bytes((byte,)))
                    await writer.drain()
                    await asyncio.sleep(0.002)
                assert texts(await message_from(reader)) == ["10.0.0.2"]

    asyncio.run(story())


def test_silent_and_halting_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "IDLE", 0.2)
    monkeypatch.setattr(stream, "READ", 0.2)

    async def story() -> None:
        async with laboratory() as lab:
            serving = await lab.serve()
            async with connection(lab) as (silent, _), connection(lab) as (halting, writer):
                for byte in b"\xff\xff" + b"\0" * 3:
                    writer.write(bytes((byte,)))
                    await asyncio.sleep(0.03)
                assert await asyncio.wait_for(silent.read(), 2) == b""
                assert await asyncio.wait_for(halting.read(), 2) == b""
            assert not serving.conversations

    asyncio.run(story())


def test_a_client_that_takes_no_answers_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "WRITE", 0.2)

    async def story() -> None:
        async with laboratory() as lab:
            lab.directory.put_zone(Zone(id="net", name="blue", hosts=MANY))
            serving = await lab.serve()
            greedy = socket.socket()
            greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            greedy.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(greedy, lab.tcp)
            with suppress(OSError):
                async with asyncio.timeout(10):
                    while True:
                        await loop.sock_sendall(greedy, framed("many") * 100)
            greedy.close()
            await asyncio.sleep(0.1)
            assert not serving.conversations

    asyncio.run(story())


def test_one_connection_too_many_closes_the_idlest() -> None:
    async def story() -> None:
        async with laboratory() as lab:
            serving = await lab.serve()
            opened = [await asyncio.open_connection(ADDRESS, lab.tcp[1]) for _ in range(server.MOST_CONNECTIONS)]
            reader, writer = opened[0]
            writer.write(framed("web"))
            await message_from(reader)
            async with connection(lab) as (newest, to_newest):
                to_newest.write(framed("web"))
                assert texts(await message_from(newest)) == ["10.0.0.2"]
                assert await asyncio.wait_for(opened[1][0].read(), 2) == b""
                writer.write(framed("web"))
                assert texts(await message_from(reader)) == ["10.0.0.2"]
                assert len(serving.conversations) == server.MOST_CONNECTIONS
            for _, each in opened:
                each.close()

    asyncio.run(story())


def flood(lab: Lab, ended: threading.Event) -> None:
    """Asks over TCP without a pause, from a thread of its own: it does not wait for the loop that answers.

    It gives up in the end, so that a loop which it stopped can say so.
    """
    latest = time.monotonic() + 10
    with socket.create_connection(lab.tcp, timeout=5) as greedy:
        reading = threading.Thread(target=read_all, args=(greedy,))
        reading.start()
        with suppress(OSError):
            while not ended.is_set() and time.monotonic() < latest:
                greedy.sendall(framed("web") * 200)
            greedy.shutdown(socket.SHUT_RDWR)
        reading.join()


def read_all(greedy: socket.socket) -> None:
    with suppress(OSError):
        while greedy.recv(65536):
            pass


def test_a_bad_tcp_client_delays_nobody() -> None:
    """CVE-2024-8418 and CVE-2026-35406: one TCP client stopped the answers for all others."""

    async def story() -> None:
        async with laboratory() as lab:
            await lab.serve()
            halting = [await asyncio.open_connection(ADDRESS, lab.tcp[1]) for _ in range(40)]
            for _, writer in halting:
                writer.write(b"\0")
            ended = threading.Event()
            bad = [threading.Thread(target=flood, args=(lab, ended)) for _ in range(2)]
            for thread in bad:
                thread.start()
            longest = 0.0
            for _ in range(20):
                began = time.perf_counter()
                assert texts(await lab.ask("web")) == ["10.0.0.2"]
                longest = max(longest, time.perf_counter() - began)
                async with connection(lab) as (reader, writer):
                    writer.write(framed("web"))
                    assert texts(await message_from(reader)) == ["10.0.0.2"]
            ended.set()
            await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in bad))
            assert longest < 3.0
            for _, writer in halting:
                writer.close()

    asyncio.run(story())


def test_without_descriptors_nobody_is_accepted_for_a_moment_and_names_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ACCEPT_PAUSE", 0.3)
    loops = 0

    async def story() -> None:
        async with laboratory() as lab:
            serving = await lab.serve()
            accept, question = serving.accept, dns.message.make_query("web", "A").to_wire()

            def counted() -> None:
                nonlocal loops
                loops += 1
                accept()

            asyncio.get_running_loop().add_reader(serving.tcp, counted)
            with socket.socket() as client, bound(socket.SOCK_DGRAM) as asking:
                asking.settimeout(5)
                with no_descriptors():
                    client.connect(lab.tcp)
                    asking.sendto(question, lab.udp)
                    await asyncio.sleep(0.1)
                    assert asking.recv(512)[:2] == question[:2]
                    assert loops == 1
                client.setblocking(False)
                await asyncio.get_running_loop().sock_sendall(client, framed("web"))
                answer = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 512), 5)
                assert texts(dns.message.from_wire(answer[2:])) == ["10.0.0.2"]

    asyncio.run(story())


@contextmanager
def no_descriptors() -> Iterator[None]:
    """This process at its limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in taken:
            os.close(each)


def test_a_closed_serving_leaves_no_connection_open() -> None:
    async def story() -> None:
        async with laboratory() as lab:
            serving = await lab.serve(await lab.upstream(lambda query: None))
            async with connection(lab) as (reader, writer), connection(lab) as (other, _):
                writer.write(framed("a.example"))
                await asyncio.sleep(0.05)
                await lab.ask("web")
                await serving.close()
                await serving.close()
                assert await asyncio.wait_for(reader.read(), 2) == b""
                assert await asyncio.wait_for(other.read(), 2) == b""
            assert not serving.tasks

    asyncio.run(story())


def test_every_answer_is_counted_with_its_time() -> None:
    async def story() -> None:
        async with laboratory() as lab:
            await lab.serve(await lab.upstream())
            for name in ("web", "web", "a.example", "a.example"):
                await lab.ask(name)
            await lab.ask_over_tcp("web")
            with bound(socket.SOCK_DGRAM) as stranger:
                stranger.sendto(struct.pack("!6H", 1, 0x8000, 1, 0, 0, 0), lab.udp)
                stranger.sendto(b"", lab.udp)
            await lab.ask("web")
            (figures,) = lab.resolver.figures()
            assert (figures.id, figures.name) == ("c", "client")
            assert (figures.local, figures.cached, figures.forwarded, figures.refused) == (4, 1, 1, 2)
            assert figures.queries == 8
            assert sum(figures.buckets) == 6
            assert 0 < figures.slowest <= figures.seconds < 1

    asyncio.run(story())
