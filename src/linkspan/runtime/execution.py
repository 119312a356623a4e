"""A further process in a running container (``exec``), with a conmon of its own.

That conmon is the process's parent: it reaps it, whatever happens to the daemon. (Tried: the runtime's own
``exec --detach`` with the daemon as subreaper. It is faster by 4 ms, but after a failed exec, or one that
outlives its daemon, a zombie stays in the container's pid namespace, and then the container's first process
cannot end: the kernel waits for the zombie.)

Order of things (conmon's ``src/conmon.c``): a byte on ``_OCI_STARTPIPE`` lets conmon begin; a line on
``_OCI_ATTACHPIPE`` says that the attach socket is there; a second byte starts the process; ``_OCI_SYNCPIPE`` gives
its pid and, in the end, its exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Literal

import msgspec

from linkspan.errors import RuntimeFailure
from linkspan.runtime import attachment
from linkspan.runtime.attachment import Attachment
from linkspan.runtime.conmon import Conmon, SyncPipe, monitor_pid, reap_monitor, remove_bundle, resize, runtime_words
from linkspan.runtime.failures import failure_of
from linkspan.runtime.launcher import Launcher
from linkspan.runtime.orphans import Orphans

UNKNOWN_CODE = 255
"""The exit code of a process whose conmon was killed."""


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

    @property
    def attached(self) -> bool:
        """Whether anybody is at the other end of its streams."""
        return self.stdin or self.stdout or self.stderr


class ExecSession:
    """A started process and its streams."""

    def __init__(
        self,
        pid: int,
        launch: ExecLaunch,
        bundle: Path,
        client: Attachment | None,
        sync: SyncPipe,
        orphans: Orphans,
    ) -> None:
        self.pid = pid
        self._launch = launch
        self._bundle = bundle
        self.client = client
        self._wanted = frozenset(
            number for number, asked in ((1, launch.stdout), (2, launch.stderr)) if asked or launch.tty
        )
        self._code = asyncio.create_task(self._watch(sync, orphans))

    async def read(self) -> tuple[Literal[1, 2], bytes] | None:
        """The next output (1 stdout, 2 stderr; a terminal has only 1); None at the end."""
        while self.client is not None and (frame := await self.client.read()) is not None:
            if frame[0] in self._wanted:
                return frame
        return None

    async def write(self, data: bytes) -> None:
        """Gives bytes to its stdin. BrokenPipeError when it has ended or stdin is not attached."""
        if self.client is None or not self._launch.stdin:
            raise BrokenPipeError("stdin is not attached")
        await self.client.write(data)

    def half_close(self) -> None:
        """The end of its input. A terminal's input never ends."""
        if self.client is not None and not self._launch.tty:
            self.client.half_close()

    def resize(self, rows: int, columns: int) -> None:
        """Sets the terminal's size; without a terminal, or after the end, nothing happens."""
        if self._launch.tty:
            resize(self._bundle, rows, columns)

    async def exit_code(self) -> int:
        """Waits for its end. 128 + signal where one ended it; 255 when the code is not to be had."""
        return await asyncio.shield(self._code)

    def close(self) -> None:
        """Lets go of its streams; the process goes on."""
        if self.client is not None:
            self.client.close()

    async def _watch(self, sync: SyncPipe, orphans: Orphans) -> int:
        try:
            message = await sync.receive(patience=None)
            await reap_monitor(monitor_pid(self._bundle))
        finally:
            sync.close()
        orphans.adopt()
        remove_bundle(self._bundle)
        return UNKNOWN_CODE if message is None or message.data < 0 else message.data


async def execute(
    launcher: Launcher, conmon: Conmon, container: str, bundle: Path, launch: ExecLaunch, orphans: Orphans
) -> ExecSession:
    """Starts the process; ``bundle`` is a folder to be made for it.

    CommandNotFound, CommandNotExecutable or RuntimeFailure; nothing is left of a failed one.
    """
    bundle.mkdir(mode=0o700)
    (bundle / "process.json").write_bytes(launch.process)
    client: Attachment | None = None
    sync, sync_end = SyncPipe.open()
    ready, ready_end = SyncPipe.open()
    start_end, start = os.pipe()
    try:
        os.write(start, b"0")
        environment = {"_OCI_SYNCPIPE": str(sync_end), "_OCI_STARTPIPE": str(start_end)}
        if launch.attached:
            environment["_OCI_ATTACHPIPE"] = str(ready_end)
        arguments = conmon.exec_arguments(
            container, bundle, tty=launch.tty, stdin=launch.stdin, attached=launch.attached
        )
        try:
            child = await launcher.spawn(
                arguments,
                passed=(sync_end, ready_end, start_end),
                environment=environment,
                folder=str(bundle),
            )
        finally:
            for descriptor in (sync_end, ready_end, start_end):
                os.close(descriptor)
        await child.wait()
        if launch.attached:
            if await ready.receive() is None:
                raise RuntimeFailure("conmon offers no attach socket")
            client = attachment.connect(bundle, None)
            with contextlib.suppress(BrokenPipeError):
                os.write(start, b"0")
        message = await sync.receive()
        if message is None or message.data <= 0:
            raise failure_of(runtime_words(bundle, message), launch.program, "exec")
    except BaseException:
        await asyncio.shield(reap_monitor(monitor_pid(bundle)))
        orphans.adopt()
        if client is not None:
            client.close()
        sync.close()
        remove_bundle(bundle)
        raise
    finally:
        ready.close()
        os.close(start)
    session = ExecSession(message.data, launch, bundle, client, sync, orphans)
    if launch.console_size:
        session.resize(*launch.console_size)
    return session
