"""conmon: the small process beside each container that holds its stdio, log and exit code.

Protocol (conmon 2.1, conmon(8) and its ``src/``): it daemonises, runs ``RUNTIME create`` and writes one JSON
line to the descriptor named in ``_OCI_SYNCPIPE``: ``{"data": PID}``, or ``{"data": -1, "message": TEXT}``.
Everything else it leaves in the bundle: ``attach`` (SEQPACKET socket), ``ctl`` (fifo), ``oom`` (marker), and the
exit code in EXITDIR/ID.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

import msgspec

from linkspan.errors import RuntimeFailure
from linkspan.runtime import descriptors, processes
from linkspan.runtime.descriptors import Stream
from linkspan.runtime.failures import failure_of
from linkspan.runtime.launcher import Launcher

PATIENCE = 60.0
"""Seconds that a runtime may take to create a container."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """One start of a container."""

    id: str
    config: bytes
    """``config.json`` as ``linkspan.runtime.spec.build`` makes it."""
    cgroups_path: str
    """The same as in the configuration."""
    program: str
    """The command's first part, for error texts."""
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    """The container's stdin closes when the attached client closes its own."""
    log_path: Path | None = None
    """None: keep no log."""
    log_max: int = 0
    """Bytes; a log that would grow beyond is begun anew. 0: no limit."""


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """A created container: its process exists and waits for ``start``. Start times as in ``processes``."""

    pid: int
    pid_start: int
    monitor_pid: int
    monitor_start: int


class _Sync(msgspec.Struct, frozen=True):
    data: int
    message: str = ""


class Conmon(msgspec.Struct, frozen=True, kw_only=True):
    """Where things are: conmon itself, the runtime that it calls, and its folders."""

    path: str
    runtime: str
    runtime_arguments: tuple[str, ...]
    exits: Path

    def arguments(self, launch: Launch, bundle: Path) -> list[str]:
        """conmon's command line for one container."""
        found = [self.path, "--api-version", "1", "-c", launch.id, "-u", launch.id, "-n", launch.id[:12]]
        found += ["-r", self.runtime, "-b", str(bundle), "-p", str(bundle / "pid"), "-P", str(bundle / "monitor")]
        found += ["--exit-dir", str(self.exits), "-0", str(bundle), "--full-attach", "--no-new-keyring"]
        found += ["--no-sync-log", "-l", f"k8s-file:{launch.log_path}" if launch.log_path else "none"]
        if launch.log_path and launch.log_max:
            found += ["--log-size-max", str(launch.log_max)]
        if launch.tty:
            found.append("-t")
        if launch.open_stdin:
            found.append("-i")
            if not closes_stdin(launch):
                found.append("--leave-stdin-open")
        for argument in self.runtime_arguments:
            found += ["--runtime-arg", argument]
        return found

    async def create(self, launcher: Launcher, launch: Launch, bundle: Path) -> Created:
        """Starts conmon in a bundle that holds ``config.json``. RuntimeFailure, or one of its two subclasses."""
        receiving, sending = os.pipe()
        stream = Stream(receiving)
        try:
            try:
                child = await launcher.spawn(
                    self.arguments(launch, bundle), passed=(sending,), environment={"_OCI_SYNCPIPE": str(sending)}
                )
            finally:
                os.close(sending)
            await child.wait()
            text = await _line(stream)
        finally:
            stream.close()
        monitor = _number(bundle / "monitor")
        try:
            sync = msgspec.json.decode(text, type=_Sync)
        except msgspec.DecodeError as error:
            await _end(monitor)
            raise RuntimeFailure(f"conmon said nothing about container {launch.id[:12]}") from error
        if sync.data <= 0:
            await _end(monitor)
            raise failure_of(sync.message, launch.program, "create")
        return Created(
            pid=sync.data,
            pid_start=processes.start_time(sync.data),
            monitor_pid=monitor,
            monitor_start=processes.start_time(monitor),
        )


def closes_stdin(launch: Launch) -> bool:
    """Whether the end of an attached client's input ends the container's. A terminal's input never ends."""
    return launch.open_stdin and launch.stdin_once and not launch.tty


def remove_bundle(bundle: Path) -> None:
    """Removes a bundle's folder; a missing one is fine."""
    shutil.rmtree(bundle, ignore_errors=True)


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


async def _end(monitor: int) -> None:
    """Sees the monitor of a failed start out, and reaps it."""
    pidfd = processes.open_process(monitor, processes.start_time(monitor))
    if pidfd is None:
        return
    try:
        async with asyncio.timeout(1):
            await descriptors.readable(pidfd)
    except TimeoutError:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        await descriptors.readable(pidfd)
    finally:
        processes.reap(pidfd)
        os.close(pidfd)


async def _line(stream: Stream) -> bytes:
    text = b""
    try:
        async with asyncio.timeout(PATIENCE):
            while b"\n" not in text:
                piece = await stream.read()
                if not piece:
                    break
                text += piece
    except TimeoutError as error:
        raise RuntimeFailure(f"the container runtime did not answer within {PATIENCE:g} s") from error
    return text
