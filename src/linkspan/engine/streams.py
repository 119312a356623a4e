"""Attachments: the clients that hear and feed a container, from before its process exists until it ended.

``docker run`` attaches first and starts then, and may close its half before the process exists. So an attachment
is registered at once and connected when the container starts; what the client sent meanwhile waits in its socket.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, Literal, Protocol, TypeVar

from linkspan.engine.face import Channel
from linkspan.engine.views import LogLine
from linkspan.errors import InvalidRequest

DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"


class Attachment(Protocol):
    """The runtime's end: the output and input of a process."""

    async def read(self) -> tuple[Literal[1, 2], bytes] | None:
        """A piece of output and its stream; None at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Input for the process. BrokenPipeError when it reads no more."""
        ...

    def half_close(self) -> None:
        """The end of input."""
        ...


A = TypeVar("A", bound=Attachment)


class DetachKeys:
    """Finds the key sequence that detaches a terminal in what a client types.

    ``feed`` gives the bytes to pass on; ``detached`` is set once the sequence is complete. The keys of a sequence
    that breaks off are passed on.
    """

    def __init__(self, text: str) -> None:
        self._keys = parse_keys(text or DEFAULT_DETACH_KEYS)
        self._held = b""
        self.detached = False

    def feed(self, data: bytes) -> bytes:
        """The part of ``data`` (and of what was held back) that is input."""
        if not self._held and self._keys[:1] not in data:
            return data
        passed = bytearray()
        for byte in data:
            self._held += bytes([byte])
            while not self._keys.startswith(self._held):
                passed.append(self._held[0])
                self._held = self._held[1:]
            if self._held == self._keys:
                self.detached = True
                break
        return bytes(passed)


def parse_keys(text: str) -> bytes:
    """``ctrl-p,ctrl-q`` or ``a,b`` as bytes. InvalidRequest for keys that do not exist."""
    keys = bytearray()
    for name in text.split(","):
        if len(name) == 1:
            keys += name.encode()
        elif name.startswith("ctrl-") and len(name) == 6 and name[5].lower() in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
            keys.append(ord(name[5].upper()) & 0x1F)
        else:
            raise InvalidRequest(
                f"invalid detach key '{name}'", remedy="give single characters or ctrl- with one letter, by commas"
            )
    return bytes(keys)


class ProcessSession(Generic[A]):
    """One client at one process: ``Session`` of the engine's face.

    ``let_go`` is called at the end, with whether the client detached by keys. ``half_closes`` says whether the end
    of the client's input is the end of the process's.
    """

    def __init__(
        self,
        attachment: asyncio.Future[A | None],
        let_go: Callable[[A, bool], None],
        *,
        stdin: bool,
        half_closes: bool,
        outputs: frozenset[int] = frozenset({1, 2}),
        detach_keys: DetachKeys | None = None,
        earlier: AsyncIterator[LogLine] | None = None,
    ) -> None:
        self._attachment = attachment
        self._let_go = let_go
        self._stdin = stdin
        self._half_closes = half_closes
        self._outputs = outputs
        self._detach_keys = detach_keys
        self._earlier = earlier

    async def pump(self, channel: Channel) -> None:
        """Carries bytes both ways until the output ends, or the client goes or detaches."""
        try:
            if self._earlier is not None:
                async for line in self._earlier:
                    if line.stream in self._outputs:
                        await channel.write(line.stream, line.data)
            attachment = await self._attachment
            if attachment is not None:
                await self._carry(attachment, channel)
        finally:
            self._finish()

    async def _carry(self, attachment: A, channel: Channel) -> None:
        output = asyncio.ensure_future(self._carry_output(attachment, channel))
        inputs = [asyncio.ensure_future(self._carry_input(attachment, channel))] if self._stdin else []
        try:
            await self._until_over(output, inputs)
        finally:
            for task in (output, *inputs):
                task.cancel()
            await asyncio.gather(output, *inputs, return_exceptions=True)

    def _finish(self) -> None:
        """Lets the process go, also for a client that left before anything was carried: unread output blocks it."""
        if not self._attachment.done():
            self._attachment.cancel()
        elif not self._attachment.cancelled() and (attachment := self._attachment.result()) is not None:
            self._let_go(attachment, self._detached())

    async def _until_over(self, output: asyncio.Future[None], inputs: Sequence[asyncio.Future[None]]) -> None:
        """The output's end ends everything; the input's end only when the client detached."""
        done, _ = await asyncio.wait([output, *inputs], return_when=asyncio.FIRST_COMPLETED)
        if output not in done and not self._detached():
            await asyncio.wait([output])
        if output.done():
            with contextlib.suppress(ConnectionError):
                output.result()

    async def _carry_output(self, attachment: A, channel: Channel) -> None:
        while (piece := await attachment.read()) is not None:
            stream, data = piece
            if stream in self._outputs:
                await channel.write(stream, data)

    async def _carry_input(self, attachment: A, channel: Channel) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await channel.read():
                if self._detach_keys is not None:
                    data = self._detach_keys.feed(data)
                if data:
                    await attachment.write(data)
                if self._detached():
                    return
            if self._half_closes:
                attachment.half_close()

    def _detached(self) -> bool:
        return self._detach_keys is not None and self._detach_keys.detached


class Waiting(Generic[A]):
    """Attachments of containers that do not run yet, by container id."""

    def __init__(self) -> None:
        self._futures: defaultdict[str, list[asyncio.Future[A | None]]] = defaultdict(list)

    def register(self, container_id: str) -> asyncio.Future[A | None]:
        """A place in the queue, filled at the start or by ``give_up``."""
        future: asyncio.Future[A | None] = asyncio.get_running_loop().create_future()
        living = [each for each in self._futures[container_id] if not each.done()]  # clients may come and go
        self._futures[container_id] = [*living, future]
        return future

    async def connect(self, container_id: str, attach: Callable[[], Awaitable[A]]) -> None:
        """Gives an attachment to everybody who waits for this container; nobody waits on when one fails."""
        waiting = self._futures.pop(container_id, [])
        try:
            for future in waiting:
                if not future.done():
                    future.set_result(await attach())
        finally:
            _end(waiting)

    def give_up(self, container_id: str) -> None:
        """The container did not start: sessions end with no output."""
        _end(self._futures.pop(container_id, []))


def _end(waiting: Sequence[asyncio.Future[A | None]]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)
