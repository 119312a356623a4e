"""A keeper's process: how the daemon starts one, and how it ends one that does not answer any more.

The daemon makes the listening socket and hands it to the new process as its standard input (as inetd does), so the
daemon can connect and send at once, before the keeper has read a line of its program. The process has a session of
its own and no file but its log; nothing ties it to the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from linkspan.keeper.protocol import SOCKET

LOG = "keeper.log"
"""Below the exec-root; what the keeper has to say is rare."""
BACKLOG = 8

_CREDENTIALS = struct.Struct("iII")  # struct ucred in linux/socket.h


def command(exec_root: Path, instance: str) -> tuple[str, ...]:
    """How a keeper is started: by this interpreter, without the user's settings for it."""
    return (sys.executable, "-I", "-m", "linkspan.keeper", str(exec_root), instance)


def start(exec_root: Path, words: Sequence[str]) -> subprocess.Popen[bytes]:
    """Starts a keeper that listens on a fresh socket; whoever connects now is heard. OSError."""
    path = exec_root / SOCKET
    fresh = exec_root / f"{SOCKET}.new"
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC))
        fresh.unlink(missing_ok=True)
        listener.bind(str(fresh))
        os.chmod(fresh, 0o600)
        listener.listen(BACKLOG)
        log = os.open(exec_root / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        opened.callback(os.close, log)
        fresh.rename(path)  # before the keeper looks for it
        return subprocess.Popen(
            words,
            stdin=listener.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd="/",
            env={},
            start_new_session=True,
        )


def connect(exec_root: Path) -> socket.socket | None:
    """A connection to the keeper, or None when there is none. OSError when the socket cannot be used."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    connection.setblocking(False)
    try:
        connection.connect(str(exec_root / SOCKET))
    except OSError as error:
        connection.close()
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTSOCK):
            return None
        raise
    return connection


async def ended(pid: int, patience: float) -> bool:
    """Whether a process ends within this time (seconds): all its descriptors are closed then."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, lambda: None if over.done() else over.set_result(None))
    try:
        async with asyncio.timeout(patience):
            await over
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return True


def listener(connection: socket.socket) -> int:
    """Who listens at the other end: the process that called listen(2) last (SO_PEERCRED); 0 when it is ourselves.

    We called it ourselves for a keeper that has not come that far yet.
    """
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(told)[0]
    return 0 if pid == os.getpid() else pid


async def kill(pid: int, patience: float) -> None:
    """Ends a process by force, and waits for its end; 0 is none."""
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        await ended(pid, patience)
