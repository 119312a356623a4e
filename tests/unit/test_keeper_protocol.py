"""What daemon and keeper say: every message there and back, descriptors by the hundred, and strange ones survived."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_network

import msgspec
import pytest

from linkspan.dns.names import Client, Figures, Host, Server, Zone
from linkspan.keeper import protocol
from linkspan.keeper.channel import Channel
from linkspan.keeper.face import Relay

WEB = Host(id="e1", names=("web", "www"), addresses=("10.0.0.2", "fd00::2"), ports=("80/tcp",))
ZONE = Zone(id="n1", name="front", hosts=(WEB,))
CLIENT = Client(id="s1", name="web", zones=("n1",), extra=(WEB,), servers=(Server(address="192.0.2.1"),))
RELAY = Relay(target="10.0.0.2", port=80, limited=True, sources=(ip_network("10.9.0.0/16"), ip_network("fd00::/8")))

ORDERS: tuple[protocol.Order, ...] = (
    protocol.Hello(version=1, instance="0badcafe"),
    protocol.PutZone(zone=ZONE),
    protocol.DropZone(network="n1"),
    protocol.PutHosts(hosts=(("n1", WEB),)),
    protocol.DropHosts(hosts=(("n1", "e1"),)),
    protocol.PutClient(client=CLIENT),
    protocol.Serve(client=CLIENT),
    protocol.StopServing(sandbox="s1", request=1),
    protocol.Hold(key="k", relay=RELAY),
    protocol.Hold(key="k"),
    protocol.Release(keys=("k",), request=2),
    protocol.AskFigures(request=3),
    protocol.End(),
)
ANSWERS: tuple[protocol.Answer, ...] = (
    protocol.Inventory(version=1, instance="0badcafe", pid=1, held=(protocol.Held(key="k", sockets=2),)),
    protocol.Done(request=1),
    protocol.FiguresAre(request=1, figures=(Figures(id="s1", name="web", queries=3),)),
)

Got = tuple[bytes, list[int]]


class Ends:
    """Two channels on one pair of sockets, and what each heard."""

    def __init__(self) -> None:
        left, right = socket.socketpair()
        self.heard: asyncio.Queue[Got] = asyncio.Queue()
        self.lost = asyncio.Event()
        self.left = Channel(left, lambda _, descriptors: close(descriptors), self.lost.set)
        self.right = Channel(right, lambda body, descriptors: self.heard.put_nowait((body, descriptors)), self.lost.set)

    def close(self) -> None:
        self.left.close()
        self.right.close()
        while not self.heard.empty():
            close(self.heard.get_nowait()[1])


def close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def with_ends(story: Callable[[Ends], Awaitable[None]]) -> None:
    """Runs a story in which no descriptor may be left open, within ten seconds."""

    async def whole() -> None:
        ends = Ends()
        try:
            async with asyncio.timeout(10):
                await story(ends)
        finally:
            ends.close()

    before = len(os.listdir("/proc/self/fd"))
    asyncio.run(whole())
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: type(order).__name__)
def test_every_order_arrives_as_it_was_given(order: protocol.Order) -> None:
    assert protocol.decode_order(protocol.encode(order)) == order


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_every_answer_arrives_as_it_was_given(answer: protocol.Answer) -> None:
    assert protocol.decode_answer(protocol.encode(answer)) == answer


def test_parts_of_an_inventory_are_read_apart() -> None:
    told = protocol.Inventory(
        version=1,
        instance="0badcafe",
        pid=1,
        held=(protocol.Held(key="k", sockets=1, relay=protocol.part(RELAY)), protocol.Held(key="l", sockets=1)),
        served=(protocol.Served(id="s1", client=protocol.part(CLIENT)),),
        zones=(protocol.part(ZONE),),
    )
    heard = protocol.decode_answer(protocol.encode(told))
    assert isinstance(heard, protocol.Inventory)
    assert [protocol.read_part(item.relay, Relay) for item in heard.held] == [RELAY, None]
    assert protocol.read_part(heard.served[0].client, Client) == CLIENT
    assert protocol.read_part(heard.zones[0], Zone) == ZONE
    assert protocol.descriptors_of(heard) == 5


def test_the_inventory_of_a_stranger_version_can_be_taken_over() -> None:
    heard = protocol.decode_answer(
        b'{"type":"inventory","version":99,"instance":"0badcafe","pid":7,"mood":"good",'
        b'"held":[{"key":"k","sockets":2,"relay":{"through":"a tunnel"}}],"served":[{"id":"s1","client":[1]}]}'
    )
    assert isinstance(heard, protocol.Inventory)
    assert (heard.version, protocol.descriptors_of(heard)) == (99, 5)
    assert protocol.read_part(heard.held[0].relay, Relay) is None
    assert protocol.read_part(heard.served[0].client, Client) is None


def test_what_is_no_message_is_refused() -> None:
    for body in (b"", b"{", b"[]", b'{"type":"dance"}', b"\xff\xff"):
        with pytest.raises(msgspec.DecodeError):
            protocol.decode_order(body)


@pytest.mark.parametrize("count", [0, 1, 249, 250, 251, 500, 900])
def test_a_message_brings_all_its_descriptors_in_their_order(count: int) -> None:
    async def story(ends: Ends) -> None:
        pipes = [os.memfd_create(f"number-{number}") for number in range(count)]
        ends.left.send(b"{}", pipes)
        ends.left.send(b"after")
        close(pipes)
        body, descriptors = await ends.heard.get()
        names = [os.readlink(f"/proc/self/fd/{descriptor}") for descriptor in descriptors]
        close(descriptors)
        assert (body.strip(), await ends.heard.get()) == (b"{}", (b"after", []))
        assert names == [f"/memfd:number-{number} (deleted)" for number in range(count)]

    with_ends(story)


def test_large_messages_pass_a_slow_reader_in_order() -> None:
    zone = Zone(
        id="n1",
        name="front",
        hosts=tuple(
            Host(id=f"e{n}", names=(f"web{n}", f"alias{n}"), addresses=(f"10.{n >> 8}.{n & 255}.1",))
            for n in range(5000)
        ),
    )

    async def story(ends: Ends) -> None:
        held = os.memfd_create("held")
        for number in range(10):
            ends.left.send(protocol.encode(protocol.PutZone(zone=zone)))
            ends.left.send(str(number).encode(), [held])
        os.close(held)
        for number in range(10):
            order = protocol.decode_order((await ends.heard.get())[0])
            assert isinstance(order, protocol.PutZone)
            assert order.zone == zone
            body, descriptors = await ends.heard.get()
            assert body == str(number).encode()
            assert os.readlink(f"/proc/self/fd/{descriptors[0]}") == "/memfd:held (deleted)"
            close(descriptors)

    with_ends(story)


def test_the_end_of_the_other_side_is_told_once_and_sending_on_does_no_harm() -> None:
    async def story(ends: Ends) -> None:
        ends.right.close()
        await ends.lost.wait()
        assert not ends.left.open
        ends.left.send(b"into the void")

    with_ends(story)


def test_messages_that_wait_when_a_channel_closes_leave_no_descriptor() -> None:
    async def story(ends: Ends) -> None:
        held = os.memfd_create("held")
        for _ in range(100):
            ends.left.send(bytes(100_000), [held])
        os.close(held)
        ends.left.close()

    with_ends(story)


def test_a_stream_that_went_astray_ends_the_channel() -> None:
    async def story(ends: Ends) -> None:
        ends.left.socket.send(b"GET / HTTP/1.1\r\n\r\n")
        await ends.lost.wait()
        assert not ends.right.open

    with_ends(story)
