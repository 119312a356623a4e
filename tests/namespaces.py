"""Network namespaces for tests: without a name, so that none can be left behind by name."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

CLONE_NEWNET = 0x40000000  # linux/sched.h
libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Namespace:
    """A network namespace held by a descriptor; it goes when the last holder does."""

    def __init__(self) -> None:
        here = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            checked(libc.unshare(CLONE_NEWNET))
            self.descriptor = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        finally:
            checked(libc.setns(here, CLONE_NEWNET))
            os.close(here)

    @property
    def path(self) -> str:
        """A path that this process and its children with the descriptor can open."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread inside."""
        here = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            checked(libc.setns(self.descriptor, CLONE_NEWNET))
            yield
        finally:
            checked(libc.setns(here, CLONE_NEWNET))
            os.close(here)

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A program inside, with its output."""
        return subprocess.run(
            [*self.prefix(), *words], check=check, capture_output=True, text=True, pass_fds=(self.descriptor,)
        )

    def prefix(self) -> Sequence[str]:
        """What to put before a command line; the descriptor must be passed on."""
        return ("nsenter", f"--net=/proc/self/fd/{self.descriptor}", "--")
