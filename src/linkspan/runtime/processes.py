"""A process is known by its pid *and* its start time: a pid alone may be somebody else's by now."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def start_time(pid: int) -> int:
    """When the process began, in clock ticks since boot (proc(5), stat field 22); 0 when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])


def is_alive(pid: int, started: int) -> bool:
    """Whether that very process exists and is no zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    fields = text.rpartition(")")[2].split()
    return int(fields[19]) == started and fields[0] not in "ZX"


def mentions(pid: int, word: str) -> bool:
    """Whether the process exists and one of its arguments is that word."""
    try:
        return pid > 0 and word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def sockets(pid: int) -> frozenset[str]:
    """The sockets that a process holds, as /proc/PID/fd names them; empty when it is gone or not ours to look at."""
    folder = f"/proc/{pid}/fd"
    found: set[str] = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):  # closed meanwhile
                found.add(os.readlink(f"{folder}/{name}"))
    return frozenset(item for item in found if item.startswith("socket:"))


def open_process(pid: int, started: int) -> int | None:
    """A pidfd of that very process (a zombie too), for the caller to close; None when it is gone."""
    if pid <= 0:
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    if start_time(pid) == started:
        return descriptor
    os.close(descriptor)
    return None


def send_signal(pid: int, started: int, number: int) -> bool:
    """Signals that very process; False when it is gone."""
    descriptor = open_process(pid, started)
    if descriptor is None:
        return False
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def reap(pidfd: int) -> int | None:
    """The exit code of an ended process (128 + signal where one ended it); None when it is not our child."""
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else 128 + result.si_status
