"""Processes of containers that became our children: whoever is a child subreaper has to reap them.

When conmon ends, what it had not reaped (the remains of a failed exec) becomes the daemon's child. As long as
such a process is a zombie, the first process of its pid namespace cannot end: the kernel waits for it
(pid_namespaces(7), zap_pid_ns_processes). So after the end of each conmon the daemon looks for children that live
in a deeper pid namespace than its own, which none of its own programs does, and reaps each when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from linkspan.runtime import descriptors, processes


class Orphans:
    """Watches adopted children by pidfd."""

    def __init__(self) -> None:
        self._level = _level(Path("/proc/self"))
        self._watched: dict[int, int] = {}

    def adopt(self) -> None:
        """Looks for new ones; those that have ended are reaped at once."""
        for pid in _children():
            if pid in self._watched or _level(Path(f"/proc/{pid}")) <= self._level:
                continue
            with contextlib.suppress(ProcessLookupError):
                self._watched[pid] = os.pidfd_open(pid)
                if not self._reap(pid):
                    asyncio.get_running_loop().add_reader(self._watched[pid], self._ended, pid)

    def open_neighbours(self, pids: tuple[int, ...]) -> list[int]:
        """pidfds of those processes that live in our own pid namespace (``--pid host``): nobody else reaps them."""
        found = []
        for pid in pids:
            if _level(Path(f"/proc/{pid}")) == self._level:
                with contextlib.suppress(ProcessLookupError):
                    found.append(os.pidfd_open(pid))
        return found

    def release(self) -> None:
        """Stops watching."""
        for pidfd in self._watched.values():
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)
        self._watched.clear()

    def _ended(self, pid: int) -> None:
        asyncio.get_running_loop().remove_reader(self._watched[pid])
        if not self._reap(pid):
            os.close(self._watched.pop(pid))

    def _reap(self, pid: int) -> bool:
        if processes.reap(self._watched[pid]) is None:
            return False
        os.close(self._watched.pop(pid))
        return True


async def reap_all(pidfds: list[int], patience: float) -> None:
    """Reaps killed processes as far as they are our children, and closes their pidfds."""
    for pidfd in pidfds:
        try:
            async with asyncio.timeout(patience):
                await descriptors.readable(pidfd)
            processes.reap(pidfd)
        except TimeoutError:
            continue
        finally:
            os.close(pidfd)


def _children() -> Iterator[int]:
    """Pids of this process's children (proc(5), task/TID/children; without it, every stat file's ppid)."""
    lists = list(Path("/proc/self/task").glob("*/children"))
    for file in lists:
        with contextlib.suppress(OSError):
            yield from map(int, file.read_text().split())
    if not lists:
        own = os.getpid()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]) == own:
                    yield int(folder.name)


def _level(folder: Path) -> int:
    """How deep a process's pid namespace lies: the number of its pids (proc(5), NSpid)."""
    with contextlib.suppress(OSError):
        for line in (folder / "status").read_text(errors="replace").splitlines():
            if line.startswith("NSpid:"):
                return len(line.split()) - 1
    return 0
