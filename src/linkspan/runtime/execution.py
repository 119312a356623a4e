"""A further process in a running container (``exec``), held by the daemon itself.

The runtime starts it detached and goes; as the daemon is a child subreaper, the process becomes its child and its
exit code is there to be read. Its pipes or its terminal end in the daemon. Rejected: ``conmon --exec`` (twice the
time, a process more, and an exit code that nobody keeps either).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from linkspan.errors import RuntimeFailure
from linkspan.runtime import descriptors, processes
from linkspan.runtime.descriptors import Stream
from linkspan.runtime.failures import failure_of
from linkspan.runtime.launcher import Launcher

CONSOLE_PATIENCE = 10.0
"""Seconds that a runtime may take to hand over the terminal."""


class ExecLaunch(msgspec.Struct, frozen=True, kw_only=True):
    """One process to start. What is not attached reads nothing and writes into nothing."""

    process: bytes
    """``process.json`` as ``linkspan.runtime.exec_process.build_exec`` makes it."""
    program: str
    """The command's first part, for error texts."""
    tty: bool = False
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    console_size: tuple[int, int] | None = None
    """Rows and columns."""


class ExecSession:
    """A started process. ``exit_code`` must be awaited once, or the process stays a zombie when it ends."""

    def __init__(self, pid: int, pidfd: int, streams: dict[int, Stream], terminal: Stream | None) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._terminal = terminal
        self._input = streams.pop(0, None)
        self._outputs = streams
        self._queue: asyncio.Queue[tuple[Literal[1, 2], bytes] | None] = asyncio.Queue(maxsize=1)
        self._pumps: list[asyncio.Task[None]] = []
        self._ended = 0

    async def read(self) -> tuple[Literal[1, 2], bytes] | None:
        """The next output (1 stdout, 2 stderr; a terminal has only 1); None at the end."""
        if not self._pumps:
            self._pumps = [asyncio.create_task(self._pump(number)) for number in self._outputs]
        while self._ended < len(self._pumps):
            item = await self._queue.get()
            if item is not None:
                return item
            self._ended += 1
        return None

    async def write(self, data: bytes) -> None:
        """Gives bytes to its stdin. BrokenPipeError when it does not read any more or stdin is not attached."""
        target = self._terminal or self._input
        if target is None:
            raise BrokenPipeError("stdin is not attached")
        await target.write(data)

    def half_close(self) -> None:
        """The end of its input. A terminal's input never ends."""
        if self._input is not None:
            self._input.close()

    def resize(self, rows: int, columns: int) -> None:
        """Sets the terminal's size; without a terminal nothing happens (ioctl_tty(2), TIOCSWINSZ)."""
        if self._terminal is not None and self._terminal.descriptor >= 0:
            fcntl.ioctl(self._terminal.descriptor, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    async def exit_code(self) -> int:
        """Waits for its end. 128 + signal where one ended it; 255 when the code is not to be had."""
        try:
            await descriptors.readable(self._pidfd)
            code = processes.reap(self._pidfd)
        finally:
            os.close(self._pidfd)
        return 255 if code is None else code

    def close(self) -> None:
        """Lets go of its streams. The process goes on; a terminal's gets SIGHUP."""
        for task in self._pumps:
            task.cancel()
        for stream in (*self._outputs.values(), self._input, self._terminal):
            if stream is not None:
                stream.close()

    async def _pump(self, number: int) -> None:
        stream = self._outputs[number]
        while data := await stream.read():
            await self._queue.put((1 if number == 1 else 2, data))
        await self._queue.put(None)


async def execute(
    launcher: Launcher, command: list[str], container: str, bundle: Path, name: str, launch: ExecLaunch
) -> ExecSession:
    """Starts the process. ``command`` is the runtime with its global options, ``name`` unique in the bundle.

    CommandNotFound, CommandNotExecutable or RuntimeFailure; nothing is left of a failed one.
    """
    with _files(bundle, name) as files:
        process, pid_file, log = files
        process.write_bytes(launch.process)
        arguments = [*command, "--log", str(log), "exec", "--detach", "--process", str(process)]
        arguments += ["--pid-file", str(pid_file)]
        if launch.tty:
            streams, terminal = {}, await _start_on_terminal(launcher, arguments, container, bundle, name, log, launch)
            streams[1] = terminal
        else:
            streams, terminal = await _start_on_pipes(launcher, arguments, container, log, launch), None
        pid = int(pid_file.read_text())
        session = ExecSession(pid, _open(pid, streams), streams, terminal)
    if launch.console_size:
        session.resize(*launch.console_size)
    return session


def _open(pid: int, streams: dict[int, Stream]) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        for stream in streams.values():
            stream.close()
        raise RuntimeFailure(f"the process {pid} of the exec is gone", remedy="is the daemon a subreaper?") from error


async def _start_on_pipes(
    launcher: Launcher, arguments: list[str], container: str, log: Path, launch: ExecLaunch
) -> dict[int, Stream]:
    """Runs the runtime with pipes for what is attached; the daemon's ends by their number in the process."""
    streams: dict[int, Stream] = {}
    theirs: dict[int, int] = {}
    for number, attached in enumerate((launch.stdin, launch.stdout, launch.stderr)):
        if attached:
            reading, writing = os.pipe()
            ours, theirs[number] = (writing, reading) if number == 0 else (reading, writing)
            streams[number] = Stream(ours)
    try:
        child = await launcher.spawn(
            [*arguments, container],
            stdin=theirs.get(0, subprocess.DEVNULL),
            stdout=theirs.get(1, subprocess.DEVNULL),
            stderr=theirs.get(2, subprocess.DEVNULL),
        )
    except RuntimeFailure:
        for stream in streams.values():
            stream.close()
        raise
    finally:
        for descriptor in theirs.values():
            os.close(descriptor)
    if await child.wait():
        for stream in streams.values():
            stream.close()
        raise failure_of(_log_text(log), launch.program, "exec")
    return streams


async def _start_on_terminal(
    launcher: Launcher, arguments: list[str], container: str, bundle: Path, name: str, log: Path, launch: ExecLaunch
) -> Stream:
    """Runs the runtime with a console socket and takes the terminal's master end from it."""
    loop = asyncio.get_running_loop()
    folder = os.open(bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    # Through an open folder: a socket's own path may have only 107 bytes (unix(7)), and runc has no way around.
    path = f"/proc/{os.getpid()}/fd/{folder}/{name}.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listener.setblocking(False)
    accepting: asyncio.Task[tuple[socket.socket, object]] | None = None
    try:
        listener.bind(path)
        listener.listen(1)
        accepting = asyncio.create_task(loop.sock_accept(listener))
        child = await launcher.spawn([*arguments, "--console-socket", path, container])
        if await child.wait():
            raise failure_of(_log_text(log), launch.program, "exec")
        async with asyncio.timeout(CONSOLE_PATIENCE):
            connection, _ = await accepting
            try:
                await descriptors.readable(connection.fileno())
                _, received, _, _ = socket.recv_fds(connection, 4096, 1)
            finally:
                connection.close()
    except TimeoutError as error:
        raise RuntimeFailure("the container runtime handed over no terminal") from error
    finally:
        if accepting is not None:
            accepting.cancel()
        listener.close()
        os.close(folder)
        (bundle / f"{name}.sock").unlink(missing_ok=True)
    if not received:
        raise RuntimeFailure("the container runtime handed over no terminal")
    return Stream(received[0])


@contextlib.contextmanager
def _files(bundle: Path, name: str) -> Iterator[tuple[Path, Path, Path]]:
    files = (bundle / f"{name}.json", bundle / f"{name}.pid", bundle / f"{name}.log")
    try:
        yield files
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _log_text(log: Path) -> str:
    try:
        return log.read_text(errors="replace")
    except OSError:
        return ""
