"""A server with an engine in memory, and a client that sends exactly the bytes it is told to."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from fake_engine import FakeEngine
from linkspan.api.router import Application
from linkspan.api.routes import router
from linkspan.api.server import Server

PATIENCE = 5.0


class Response(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> object:
        return msgspec.json.decode(self.body)

    @property
    def message(self) -> str:
        return msgspec.json.decode(self.body, type=dict[str, str])["message"]


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def request(self, method: str, target: str, body: bytes = b"", *headers: str) -> None:
        lines = [f"{method} {target} HTTP/1.1", "Host: docker", *headers, f"Content-Length: {len(body)}", "", ""]
        self.send("\r\n".join(lines).encode() + body)

    async def head(self) -> Response:
        """A reply's head; its body is still to be read."""
        async with asyncio.timeout(PATIENCE):
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = text.rstrip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        return Response(int(first.split()[1]), headers, b"")

    async def response(self, method: str = "GET") -> Response:
        reply = await self.head()
        if "content-length" in reply.headers and method != "HEAD":
            reply.body = await self.reader.readexactly(int(reply.headers["content-length"]))
        elif reply.headers.get("transfer-encoding") == "chunked":
            while chunk := await self.chunk():
                reply.body += chunk
        return reply

    async def chunk(self) -> bytes:
        """One chunk of a chunked reply; empty at its end."""
        async with asyncio.timeout(PATIENCE):
            size = int(await self.reader.readline(), 16)
            data = await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        return data

    async def call(self, method: str, target: str, body: bytes = b"", *headers: str) -> Response:
        self.request(method, target, body, *headers)
        return await self.response(method)

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def frames(self) -> list[tuple[int, bytes]]:
        """All frames of a multiplexed stream."""
        data, found = await self.rest(), []
        while data:
            stream, size = data[0], int.from_bytes(data[4:8], "big")
            found.append((stream, data[8 : 8 + size]))
            data = data[8 + size :]
        return found

    async def close(self) -> None:
        self.writer.close()


class Served:
    """A running server; ``connect`` gives a new client."""

    def __init__(self, engine: FakeEngine, path: Path, server: Server) -> None:
        self.engine = engine
        self.server = server
        self.path = path
        self.clients: list[Client] = []

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_unix_connection(str(self.path), limit=1 << 24))
        self.clients.append(client)
        return client

    async def call(self, method: str, target: str, body: bytes = b"", *headers: str) -> Response:
        client = await self.connect()
        try:
            return await client.call(method, target, body, *headers)
        finally:
            await client.close()

    async def create(self, name: str, **members: object) -> str:
        """A container of the fake engine; its id."""
        body = msgspec.json.encode({"Image": "busybox", **members})
        reply = await self.call("POST", f"/containers/create?name={name}", body)
        return str(msgspec.json.decode(reply.body, type=dict[str, object])["Id"])


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    """A server on a socket of its own, stopped in the end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "api.sock"
        engine = FakeEngine()
        server = Server(Application(engine, router()), group="no-such-group")
        await server.start([f"unix://{path}"])
        served = Served(engine, path, server)
        try:
            yield served
        finally:
            for client in served.clients:
                await client.close()
            await server.stop(1)


async def eventually(holds: Callable[[], bool]) -> None:
    """Waits until ``holds()`` is true."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - the fakes have no events for it
            await asyncio.sleep(0.01)
