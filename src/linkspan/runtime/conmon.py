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

RUNTIME_LOG = "runtime.log"
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
    binds: bool = False
    """Host paths are bound, which may lie on mounts that are newer than the daemon."""
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
        return found + self._runtime_options(bundle)

    def exec_arguments(self, container: str, bundle: Path, *, tty: bool, stdin: bool, attached: bool) -> list[str]:
        """conmon's command line for a further process; ``bundle`` is its own folder, with ``process.json``."""
        found = [self.path, "--api-version", "1", "-c", container, "-u", f"{container}-{bundle.name}"]
        found += ["-r", self.runtime, "-b", str(bundle), "-p", str(bundle / "pid"), "-P", str(bundle / "monitor")]
        found += ["-e", "--exec-process-spec", str(bundle / "process.json"), "--full-attach", "-l", "none"]
        if attached:
            found.append("--exec-attach")
        if tty:
            found += ["-t", "--leave-stdin-open"]
        if stdin:
            found.append("-i")
        return found + self._runtime_options(bundle)

    def _runtime_options(self, bundle: Path) -> list[str]:
        # conmon hands on what the runtime prints, but nothing once a terminal is set up: so it also keeps a log.
        options = (*self.runtime_arguments, "--log", str(bundle / RUNTIME_LOG), "--log-format", "json")
        return [word for option in options for word in ("--runtime-arg", option)]

    async def create(self, launcher: Launcher, launch: Launch, bundle: Path) -> Created:
        """Starts conmon in a bundle that holds ``config.json``. RuntimeFailure, or one of its two subclasses."""
        sync, sending = SyncPipe.open()
        try:
            try:
                child = await launcher.spawn(
                    self.arguments(launch, bundle),
                    passed=(sending,),
                    environment={"_OCI_SYNCPIPE": str(sending)},
                    folder=str(bundle),  # where conmon leaves its OOM marker
                )
            finally:
                os.close(sending)
            await child.wait()
            message = await sync.receive()
        finally:
            sync.close()
        monitor = monitor_pid(bundle)
        if message is None or message.data <= 0:
            await reap_monitor(monitor)
            raise failure_of(runtime_words(bundle, message), launch.program, "create")
        return Created(
            pid=message.data,
            pid_start=processes.start_time(message.data),
            monitor_pid=monitor,
            monitor_start=processes.start_time(monitor),
        )


class SyncMessage(msgspec.Struct, frozen=True):
    """One line: a pid, an exit code, or a negative number with the runtime's words."""

    data: int
    message: str = ""


class SyncPipe:
    """The reading end of a pipe on which conmon writes JSON lines."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = b""

    @staticmethod
    def open() -> tuple[SyncPipe, int]:
        """A new pipe, and the end for conmon, which the caller closes."""
        receiving, sending = os.pipe()
        return SyncPipe(Stream(receiving)), sending

    async def receive(self, patience: float | None = PATIENCE) -> SyncMessage | None:
        """The next message; None at the end. RuntimeFailure when none comes for ``patience`` seconds."""
        try:
            async with asyncio.timeout(patience):
                while b"\n" not in self._buffer:
                    piece = await self._stream.read()
                    if not piece:
                        break
                    self._buffer += piece
        except TimeoutError as error:
            raise RuntimeFailure(f"the container runtime did not answer within {patience:g} s") from error
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            return msgspec.json.decode(line, type=SyncMessage) if line else None
        except msgspec.DecodeError as error:
            raise RuntimeFailure(f"conmon wrote {line[:200]!r}") from error

    def close(self) -> None:
        """Closes it."""
        self._stream.close()


def closes_stdin(launch: Launch) -> bool:
    """Whether the end of an attached client's input ends the container's. A terminal's input never ends."""
    return launch.open_stdin and launch.stdin_once and not launch.tty


def remove_bundle(bundle: Path) -> None:
    """Removes a bundle's folder; a missing one is fine."""
    shutil.rmtree(bundle, ignore_errors=True)


def resize(bundle: Path, rows: int, columns: int) -> bool:
    """Sets a terminal's size (message 1 on the ``ctl`` fifo); False when conmon is gone."""
    try:
        descriptor = os.open(bundle / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(descriptor, f"1 {rows} {columns}\n".encode())
    finally:
        os.close(descriptor)
    return True


def runtime_words(bundle: Path, message: SyncMessage | None) -> str:
    """What the runtime said of its failure: through conmon, or in its log."""
    if message is not None and message.message:
        return message.message
    try:
        lines = (bundle / RUNTIME_LOG).read_bytes().splitlines()
        return msgspec.json.decode(lines[-1], type=_LogLine).msg if lines else ""
    except (OSError, msgspec.DecodeError):
        return ""


class _LogLine(msgspec.Struct):
    msg: str = ""


def monitor_pid(bundle: Path) -> int:
    """conmon's pid as it wrote it down; 0 if it did not."""
    try:
        return int((bundle / "monitor").read_text())
    except (OSError, ValueError):
        return 0


async def reap_monitor(pid: int) -> None:
    """Sees a conmon out that has nothing more to do, so that no zombie stays."""
    pidfd = processes.open_process(pid, processes.start_time(pid))
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
