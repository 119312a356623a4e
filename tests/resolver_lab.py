"""A resolver on loopback sockets, clients that ask it, and servers that it asks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import dns.asyncquery
import dns.message
import dns.rrset
import msgspec

from linkspan.dns.names import Client, Host, Server, Zone
from linkspan.dns.resolver import Resolver
from linkspan.dns.server import Serving, serve
from linkspan.dns.table import Directory

WEB = Host(id="1", names=("web", "www"), addresses=("10.0.0.2", "fd00::2"), ports=("80/tcp",))
ZONE = Zone(id="net", name="blue", hosts=(WEB,))
ADDRESS = "127.0.0.1"

Behaviour = Callable[[dns.message.Message], dns.message.Message | bytes | None]
"""What a server says to a query: a message, bytes, or nothing."""


def bound(kind: socket.SocketKind) -> socket.socket:
    opened = socket.socket(socket.AF_INET, kind)
    opened.bind((ADDRESS, 0))
    return opened


def open_socket(server: Server, kind: socket.SocketKind) -> socket.socket:
    return socket.socket(socket.AF_INET, kind)


def address_for(query: dns.message.Message, *, ttl: int = 60, address: str = "192.0.2.7") -> dns.message.Message:
    """The ordinary behaviour: one address for whatever is asked."""
    message = dns.message.make_response(query, recursion_available=True)
    message.answer = [dns.rrset.from_text(query.question[0].name, ttl, "IN", "A", address)]
    return message


def failing(code: int) -> Behaviour:
    def behave(query: dns.message.Message) -> dns.message.Message:
        message = dns.message.make_response(query)
        message.set_rcode(code)  # type: ignore[arg-type]
        return message

    return behave


class Upstream:
    """A name server on UDP and TCP of one port."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.asked: list[tuple[dns.message.Message, tuple[str, int]]] = []
        self.asked_over_tcp = 0
        self.tcp = bound(socket.SOCK_STREAM)
        self.tcp.listen()
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((ADDRESS, self.port))
        self.udp.setblocking(False)
        asyncio.get_running_loop().add_reader(self.udp, self.datagram)
        self.server: asyncio.Server | None = None

    @property
    def description(self) -> Server:
        return Server(address=ADDRESS, port=self.port)

    async def start(self) -> None:
        self.server = await asyncio.start_server(self.stream, sock=self.tcp)

    def said(self, data: bytes, peer: tuple[str, int]) -> bytes:
        query = dns.message.from_wire(data)
        self.asked.append((query, peer))
        answer = self.behaviour(query)
        return answer.to_wire() if isinstance(answer, dns.message.Message) else answer or b""

    def datagram(self) -> None:
        data, peer = self.udp.recvfrom(4096)
        answer = self.said(data, peer)
        if answer:
            self.udp.sendto(answer, peer)

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
        self.asked_over_tcp += 1
        answer = self.said(data, writer.get_extra_info("peername"))
        if answer:
            writer.write(len(answer).to_bytes(2) + answer)
        await reader.read()
        writer.close()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.udp)
        self.udp.close()
        if self.server is not None:
            self.server.close()


class Lab:
    """One resolver that serves client ``c``."""

    def __init__(self) -> None:
        self.directory = Directory()
        self.directory.put_zone(ZONE)
        self.now = 1000.0
        self.resolver = Resolver(self.directory, lambda: self.now)
        self.upstreams: list[Upstream] = []
        self.servings: list[Serving] = []
        self.udp: tuple[str, int] = ("", 0)
        self.tcp: tuple[str, int] = ("", 0)
        self.client = Client(id="c", name="client", zones=("net",))

    async def upstream(self, behaviour: Behaviour = address_for) -> Upstream:
        made = Upstream(behaviour)
        await made.start()
        self.upstreams.append(made)
        return made

    async def serve(self, *upstreams: Upstream, **changes: object) -> Serving:
        """Serves the client, with these servers and these changes of its description."""
        servers = tuple(each.description for each in upstreams)
        self.client = msgspec.structs.replace(self.client, servers=servers, **changes)
        self.resolver.put_client(self.client, open_socket)
        udp, tcp = bound(socket.SOCK_DGRAM), bound(socket.SOCK_STREAM)
        self.udp, self.tcp = udp.getsockname(), tcp.getsockname()
        serving = await serve(self.resolver, self.client.id, udp, tcp)
        self.servings.append(serving)
        return serving

    async def ask(self, name: str, kind: str = "A", **options: object) -> dns.message.Message:
        """The answer over UDP, checked by dnspython to be one."""
        query = dns.message.make_query(name, kind, **options)  # type: ignore[arg-type]
        return await dns.asyncquery.udp(query, ADDRESS, port=self.udp[1], timeout=8)

    async def ask_over_tcp(self, name: str, kind: str = "A", **options: object) -> dns.message.Message:
        query = dns.message.make_query(name, kind, **options)  # type: ignore[arg-type]
        return await dns.asyncquery.tcp(query, ADDRESS, port=self.tcp[1], timeout=8)

    async def close(self) -> None:
        for serving in self.servings:
            await serving.close()
        await self.resolver.drop_client("c")
        for each in self.upstreams:
            each.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def laboratory() -> AsyncIterator[Lab]:
    """A lab that ends, and proves that no task of it is left."""
    made = Lab()
    try:
        yield made
    finally:
        await made.close()
        for _ in range(3):
            await asyncio.sleep(0)


def texts(message: dns.message.Message) -> list[str]:
    """The data of all answers."""
    return [data.to_text() for records in message.answer for data in records]
