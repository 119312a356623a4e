"""Runs the child program ``linkspan.images.unpacker`` and talks to it. Nothing hostile is parsed on this side."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from linkspan.errors import InvalidRequest, RuntimeFailure
from linkspan.images.extraction import Style

_LINE_LIMIT = 64 << 20
"""Bytes of one reply; ``split`` names every member of the archive in one line."""


class LayerJob(msgspec.Struct, frozen=True, kw_only=True):
    """One layer to unpack: the blob as it lies on disk, into ``target``, an existing folder."""

    blob: Path
    target: Path
    style: Style
    diff_id: str


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A member of an outer archive: a file (``file`` holds its content) or a link to another name."""

    name: str
    file: str = ""
    size: int = 0
    digest: str = ""
    gzip: bool = False
    link: str = ""
    symbolic: bool = False


class Expanded(msgspec.Struct, frozen=True, kw_only=True):
    """A decompressed stream on disk; ``size`` in bytes."""

    digest: str
    size: int


class _Reply(msgspec.Struct, frozen=True, kw_only=True):
    progress: int | None = None
    error: str | None = None
    failure: str | None = None
    members: tuple[Member, ...] = ()
    digest: str = ""
    size: int = 0


@asynccontextmanager
async def _child(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The child in a process group of its own, since it forks; the whole group is gone when this ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-X",
        "utf8",
        "-m",
        "linkspan.images.unpacker",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_LIMIT,
        env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _reply(process: asyncio.subprocess.Process) -> _Reply:
    line = await _output(process).readline()
    if not line:
        raise RuntimeFailure(f"the unpacking program ended early with status {await process.wait()}")
    reply = msgspec.json.decode(line, type=_Reply)
    if reply.error is not None:
        raise InvalidRequest(reply.error)
    if reply.failure is not None:
        raise RuntimeFailure(reply.failure)
    return reply


def _output(process: asyncio.subprocess.Process) -> asyncio.StreamReader:
    if process.stdout is None:
        raise RuntimeFailure("the unpacking program has no output")
    return process.stdout


def _input(process: asyncio.subprocess.Process) -> asyncio.StreamWriter:
    if process.stdin is None:
        raise RuntimeFailure("the unpacking program has no input")
    return process.stdin


async def unpack_layers(jobs: Sequence[LayerJob]) -> AsyncGenerator[tuple[int, int, int | None], None]:
    """Unpacks layers in order. Yields (index, bytes of the blob read, None), and at each layer's end (index,
    0, bytes of unpacked content).

    InvalidRequest when a layer is damaged, hostile or not what its diff id says; the targets are then half full.
    """
    async with _child("layers") as process:
        sink = _input(process)
        for index, job in enumerate(jobs):
            sink.write(msgspec.json.encode(job, enc_hook=str) + b"\n")
            while (reply := await _reply(process)).progress is not None:
                yield index, reply.progress, None
            yield index, 0, reply.size
        sink.close()
        await process.wait()


async def split(body: AsyncIterator[bytes], folder: Path) -> tuple[Member, ...]:
    """Writes the members of an outer archive into ``folder`` under numbers. InvalidRequest when it is damaged."""
    return (await _fed(body, "split", str(folder))).members


async def expand(body: AsyncIterator[bytes], path: Path) -> Expanded:
    """Decompresses a stream into the new file ``path``. InvalidRequest when it is damaged."""
    reply = await _fed(body, "expand", str(path))
    return Expanded(digest=reply.digest, size=reply.size)


async def _fed(body: AsyncIterator[bytes], *arguments: str) -> _Reply:
    async with _child(*arguments) as process:
        feeder = asyncio.create_task(_feed(body, _input(process)))
        try:
            reply = await _reply(process)
            await feeder
            await process.wait()
        except (InvalidRequest, RuntimeFailure):
            # A body that broke off looks like a truncated archive to the child: the body's own error is the cause.
            if feeder.done() and not feeder.cancelled() and (cause := feeder.exception()) is not None:
                raise cause from None
            raise
        finally:
            feeder.cancel()
        return reply


async def _feed(body: AsyncIterator[bytes], sink: asyncio.StreamWriter) -> None:
    """Passes the body on. A child that gave up closes its end; what it said is the error then."""
    try:
        async for chunk in body:
            sink.write(chunk)
            try:
                await sink.drain()
            except (BrokenPipeError, ConnectionResetError):
                return
    finally:
        sink.close()
