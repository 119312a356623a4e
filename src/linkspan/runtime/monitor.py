"""Watching one container's conmon: its pidfd tells when it is over, the exit file tells how.

Nothing is polled, and nothing depends on whose child conmon is, so a restarted daemon watches just as well.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import weakref
from pathlib import Path

import msgspec

from linkspan.runtime import processes
from linkspan.runtime.attachment import Attachment
from linkspan.runtime.conmon import Created
from linkspan.runtime.descriptors import Stream

KILLED = 137
"""The exit code of a process that SIGKILL ended: 128 + 9."""


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a container ended; ``finished`` in Unix seconds. ``oom_killed``: the OOM killer took one of its processes."""

    code: int
    oom_killed: bool
    finished: float


class Monitor:
    """``ended`` is settled once, when conmon has ended; by then the log is whole."""

    def __init__(self, created: Created, bundle: Path, exit_file: Path, cgroups_path: str) -> None:
        self.created = created
        self.bundle = bundle
        self.cgroups_path = cgroups_path
        self.parked: list[Stream] = []
        """Attachments that only stay so that the container keeps its stdin."""
        self.attachments: weakref.WeakSet[Attachment] = weakref.WeakSet()
        """The clients' connections to the container's conmon and to those of its execs."""
        self.attaching = asyncio.Lock()
        """One client attaches at a time, so that each knows its own connection."""
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._exit_file = exit_file
        self._pidfd: int | None = None

    def watch(self) -> None:
        """Begins. If conmon is gone already, ``ended`` is settled at once."""
        self._pidfd = processes.open_process(self.created.monitor_pid, self.created.monitor_start)
        if self._pidfd is None:
            self._settle()
        else:
            asyncio.get_running_loop().add_reader(self._pidfd, self._over)

    def has_trace(self) -> bool:
        """Whether conmon or the container's process lives, or the exit code is on disk."""
        created = self.created
        return (
            self._exit_file.exists()
            or processes.is_alive(created.monitor_pid, created.monitor_start)
            or processes.is_alive(created.pid, created.pid_start)
        )

    def cut(self) -> None:
        """Lets go every conmon that waits for its client to read: nothing can end before it has gone on.

        An exec's conmon holds up the whole container, since the kernel waits until its process was reaped
        (pid_namespaces(7)).
        """
        if not self.ended.done():
            for attachment in self.attachments:
                attachment.cut()

    def release(self) -> None:
        """Stops watching; conmon and its container go on."""
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        for stream in self.parked:
            stream.close()
        self.parked.clear()

    def _over(self) -> None:
        if self._pidfd is not None:
            processes.reap(self._pidfd)
        self.release()
        self._settle()

    def _settle(self) -> None:
        try:
            code = int(self._exit_file.read_text())
            finished = self._exit_file.stat().st_mtime
        except (OSError, ValueError):
            # Somebody killed conmon. Its container has neither stdio nor a keeper of its exit code: it ends too.
            processes.send_signal(self.created.pid, self.created.pid_start, signal.SIGKILL)
            code, finished = KILLED, time.time()
        if not self.ended.done():
            self.ended.set_result(Exit(code=code, oom_killed=(self.bundle / "oom").exists(), finished=finished))
