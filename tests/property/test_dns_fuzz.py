"""Malformed packets by the hundred thousand, from a corpus and a seeded generator: no crash, no nonsense, no growth.

Every answer is checked for its header, and one in ten is read by dnspython. ``--full`` sends ten times as many, with
a new seed each time (which a failure shows).
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
import pytest

from linkspan.dns import asker, reply, wire
from linkspan.dns.names import Client, Host, Zone
from linkspan.dns.resolver import Resolver
from linkspan.dns.wire import Malformed, Query, parse_query
from resolver_lab import Lab, bound, laboratory, open_socket, texts

QUERIES = 160_000
REPLIES = 20_000
DATAGRAMS = 4_000
CHECKED = 16
"""One answer in so many is read by dnspython, which takes longer than all else."""
GROWTH = 4 * 1024 * 1024
"""Bytes that the second half may leave: the allocator's play. One kept packet in ten would be more."""

Mutation = Callable[[random.Random, bytearray], bytearray]

NAMES = ["web", "WEB.blue.", "many", "_http._tcp.web", "2.0.0.10.in-addr.arpa", "localhost", "a.example", "."]
KINDS = ["A", "AAAA", "PTR", "SRV", "MX", "ANY", "TXT", "HTTPS"]


def message(name: str, kind: str, **options: object) -> bytes:
    return dns.message.make_query(name, kind, **options).to_wire()  # type: ignore[arg-type]


def corpus() -> list[bytes]:
    """Good queries of all kinds, and the classics of bad ones."""
    cookie = dns.edns.CookieOption(b"12345678", b"")
    subnet = dns.edns.ECSOption("10.0.0.0", 8)
    good = [message(name, kind) for name in NAMES for kind in KINDS]
    good += [message(name, "A", use_edns=0, payload=size, want_dnssec=True) for name in NAMES for size in (0, 4096)]
    good += [message(name, "A", use_edns=0, options=[cookie, subnet]) for name in NAMES]
    question, tail = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0), b"\0\1\0\1"
    bad = [
        b"",
        b"\0",
        question,
        question + b"\xc0\x0c" + tail,  # a pointer to itself
        question + b"\3web\xc0\x0c" + tail,  # and one behind a label
        question + b"\xc0\x0e\xc0\x0c" + tail,  # two that point at each other
        question + b"\xff" * 500,
        question + b"\1a" * 127 + b"\0" + tail,  # 255 bytes: the longest name
        question + b"\1a" * 128 + b"\0" + tail,
        question + (b"\x3f" + b"b" * 63) * 4 + b"\0" + tail,
        question + b"\x40\1\2" + b"\0" + tail,  # a label of a type that was given up
        question + b"\3a.b\0" + tail,
        question + b"\3\0\0\0\0" + tail,
        question + b"\3w\xc3\xb6\0" + tail,
        struct.pack("!6H", 7, 0x0100, 65535, 65535, 65535, 65535) + b"\3web\0" + tail,
        struct.pack("!6H", 7, 0x0100, 1, 0, 0, 2) + b"\3web\0" + tail + wire.options_record(False) * 2,
        struct.pack("!6H", 7, 0x0100, 1, 0, 0, 1) + b"\3web\0" + tail + b"\xc0\x0c" + wire.options_record(False)[1:],
        struct.pack("!6H", 7, 0x0100, 1, 0, 0, 1) + b"\3web\0" + tail + wire.options_record(False)[:-2] + b"\xff\xff",
        struct.pack("!6H", 7, 0x8180, 1, 0, 0, 0) + b"\3web\0" + tail,
    ]
    return good + bad


def flip_bits(rng: random.Random, data: bytearray) -> bytearray:
    for _ in range(rng.randint(1, 8)):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def cut_off(rng: random.Random, data: bytearray) -> bytearray:
    return data[: rng.randrange(len(data) + 1)]


def huge_counts(rng: random.Random, data: bytearray) -> bytearray:
    at = rng.choice((4, 6, 8, 10))
    data[at : at + 2] = rng.choice((0, 1, 2, 255, 32768, 65535)).to_bytes(2)
    return data


def point_anywhere(rng: random.Random, data: bytearray) -> bytearray:
    at = rng.randrange(len(data) + 1)
    data[at : at + 2] = (0xC000 | rng.randrange(min(0x3FFF, len(data) + 20))).to_bytes(2)
    return data


def insert_noise(rng: random.Random, data: bytearray) -> bytearray:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.randint(1, 40))
    return data


def repeat_a_part(rng: random.Random, data: bytearray) -> bytearray:
    start = rng.randrange(len(data) + 1)
    return data + data[start:] * rng.randint(1, 12)


def set_a_length(rng: random.Random, data: bytearray) -> bytearray:
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 1, 63, 64, 127, 128, 191, 192, 255))
    return data


def change_case(rng: random.Random, data: bytearray) -> bytearray:
    for at in range(12, len(data)):
        if chr(data[at]).isalpha() and data[at] < 128 and rng.random() < 0.5:
            data[at] ^= 0x20
    return data


MUTATIONS: list[Mutation] = [
    flip_bits,
    cut_off,
    huge_counts,
    point_anywhere,
    insert_noise,
    repeat_a_part,
    set_a_length,
    change_case,
]


def packets(rng: random.Random, seeds: list[bytes], count: int) -> Iterator[bytes]:
    yield from seeds
    for _ in range(count):
        data = bytearray(rng.choice(seeds))
        if rng.random() < 0.02:
            data = bytearray(rng.randbytes(rng.randrange(600)))
        for _ in range(rng.choice((1, 1, 2, 3))):
            data = rng.choice(MUTATIONS)(rng, data)
        yield bytes(data)


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.option.full)


@pytest.fixture
def rng(full: bool) -> random.Random:
    seed = secrets.randbelow(1 << 32) if full else 1
    print(f"seed {seed}")
    return random.Random(seed)


def resident() -> int:
    """Bytes of memory of this process (proc(5): statm, in pages)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def resolver(*, forward: bool) -> Resolver:
    made = Resolver(Lab().directory)
    hosts = tuple(Host(id=f"m{n}", names=(f"m{n}", "many"), addresses=(f"10.2.0.{n}",)) for n in range(100))
    web = Host(id="1", names=("web", "www"), addresses=("10.0.0.2", "fd00::2"), ports=("80/tcp",))
    made.directory.put_zone(Zone(id="net", name="blue", hosts=(web, *hosts)))
    made.put_client(Client(id="c", name="c", zones=("net",), forward=forward), open_socket)
    return made


def check_header(data: bytes, answer: bytes, limit: int) -> None:
    assert answer[:2] == data[:2]
    assert answer[2] & 0x80
    assert 12 <= len(answer) <= limit


def test_malformed_queries_are_answered_properly_or_not_at_all(rng: random.Random, full: bool) -> None:
    count = QUERIES * (10 if full else 1)
    made = resolver(forward=False)
    client = made.askers["c"]
    sent = answered = 0
    middle = 0
    for data in packets(rng, corpus(), count):
        sent += 1
        over_tcp = bool(sent & 1)
        answer = client.answer(data, over_tcp)
        assert isinstance(answer, bytes), "an internal network asks nobody else"
        if answer:
            answered += 1
            check_header(data, answer, 65535)
            if sent % CHECKED == 0:
                dns.message.from_wire(answer)
        if sent == count // 2:
            middle = resident()
    assert answered > sent // 2
    assert resident() - middle < GROWTH
    assert client.rendered_bytes <= asker.MOST_RENDERED
    assert made.cache.count == 0


def test_a_query_is_read_as_dnspython_reads_it(rng: random.Random, full: bool) -> None:
    for number, data in enumerate(packets(rng, corpus(), QUERIES // 4 * (10 if full else 1))):
        try:
            query = parse_query(data)
        except Malformed:
            continue
        assert query.limit(over_tcp=False) >= 512
        if number % CHECKED:
            continue
        # dnspython judges an option's content too, which is none of our business: the question counts.
        bare = dns.message.from_wire(struct.pack("!6H", query.id, query.flags, 1, 0, 0, 0) + query.question)
        assert bare.question[0].rdtype == query.type
        labels = [label.replace(b".", b"\\.") for label in bare.question[0].name.labels if label]
        assert query.name == b".".join(labels).lower().decode("utf-8", "replace")


def replies() -> list[bytes]:
    """Servers' answers: with and without compression, signatures' bit, EDNS and authorities."""
    made = []
    for name in ("web", "a.example"):
        for edns in (-1, 0):
            query = dns.message.make_query(name, "A", id=7, use_edns=edns)
            answer = dns.message.make_response(query)
            addresses = [f"10.0.0.{number}" for number in range(60)]
            answer.answer = [
                dns.rrset.from_text(name + ".", 60, "IN", "CNAME", "b.example."),
                dns.rrset.from_text_list("b.example.", 30, "IN", "A", addresses),
            ]
            answer.authority = [dns.rrset.from_text("example.", 900, "IN", "SOA", "ns. root. 1 2 3 4 5")]
            answer.additional = [dns.rrset.from_text("ns.", 10, "IN", "AAAA", "::1")]
            made.append(answer.to_wire())
    return made


def test_malformed_answers_of_servers_are_taken_apart_or_passed_over(rng: random.Random, full: bool) -> None:
    queries = [parse_query(message(name, "A", id=7)) for name in ("web", "a.example")]
    taken = 0
    for data in packets(rng, replies(), REPLIES * (10 if full else 1)):
        for query in queries:
            if not reply.answers(query, 7, data) or len(data) == 12:
                continue
            try:
                found = reply.parse_reply(data)
            except Malformed:
                continue
            if found is None:
                continue
            taken += 1
            limit = rng.choice((512, 1232, 65535))
            handed = asker.handed_on(query, found, limit)
            later = reply.aged(found, rng.randrange(100))
            assert len(handed) <= limit
            assert len(later) == len(found.data)
            reply.parse_reply(handed)
            reply.parse_reply(later)
    assert taken > 1000


def test_a_served_sandbox_survives_packets_of_all_kinds(rng: random.Random, full: bool) -> None:
    """Through real sockets, forwarding included; one good query after every hundred gets its answer."""

    async def story() -> None:
        async with laboratory() as lab:
            await lab.serve(await lab.upstream(lambda query: None), forward=True)
            lab.resolver.put_client(lab.client)
            with bound(socket.SOCK_DGRAM) as sender:
                for number, data in enumerate(packets(rng, corpus(), DATAGRAMS * (10 if full else 1))):
                    sender.sendto(data, lab.udp)
                    if number % 100 == 0:
                        assert texts(await lab.ask("web")) == ["10.0.0.2"]
                        assert texts(await after_noise(lab, data)) == ["10.0.0.2"]
            assert lab.resolver.askers["c"].waiting <= 100

    asyncio.run(story())


async def after_noise(lab: Lab, noise: bytes) -> dns.message.Message:
    """A good query over TCP, behind a message of noise on the same connection."""
    reader, writer = await asyncio.open_connection(*lab.tcp)
    try:
        good = message("web", "A", id=4242)
        for data in (noise or b"\0", good):
            writer.write(len(data).to_bytes(2) + data)
        while True:
            answer = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
            if answer[:2] == good[:2]:
                return dns.message.from_wire(answer)
    finally:
        writer.close()


def test_every_query_that_is_let_through_is_whole(rng: random.Random) -> None:
    client = resolver(forward=True).askers["c"]
    for data in packets(rng, corpus(), 20_000):
        answer = client.answer(data)
        if isinstance(answer, Query):
            assert answer.klass == wire.IN
            assert answer.question in data
