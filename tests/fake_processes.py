"""A process that keeps its output in memory, and attachments to it."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from linkspan.engine.face import Channel
from linkspan.engine.views import AttachedNetwork, LogLine
from linkspan.model.container import Container, ContainerState
from linkspan.model.port import Publication


class Process:
    """Output is kept and handed to every attachment; input comes from one queue."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.listeners: list[asyncio.Queue[LogLine | None]] = []
        self.input: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended = asyncio.Event()

    def write(self, stream: Literal[1, 2], data: bytes) -> None:
        line = LogLine(stream=stream, time=time.time_ns(), data=data)
        self.lines.append(line)
        for listener in self.listeners:
            listener.put_nowait(line)

    def end(self) -> None:
        self.ended.set()
        for listener in self.listeners:
            listener.put_nowait(None)


class FakeSession:
    def __init__(self, process: Process, *, stdin: bool) -> None:
        self.process = process
        self.stdin = stdin
        self.queue: asyncio.Queue[LogLine | None] = asyncio.Queue()
        process.listeners.append(self.queue)

    async def pump(self, channel: Channel) -> None:
        feeder = asyncio.ensure_future(self._feed(channel))
        try:
            while (line := await self.queue.get()) is not None:
                await channel.write(line.stream, line.data)
        finally:
            feeder.cancel()
            self.process.listeners.remove(self.queue)

    async def _feed(self, channel: Channel) -> None:
        while self.stdin:
            data = await channel.read()
            await self.process.input.put(data)
            if not data:
                return


class FakeContainer:
    def __init__(self, container: Container, networks: tuple[AttachedNetwork, ...]) -> None:
        self.container = container
        self.networks = networks
        self.state = ContainerState()
        self.publications: tuple[Publication, ...] = ()
        self.process = Process()
        self.exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.removed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
