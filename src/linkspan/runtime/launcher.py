"""Starts conmon and the OCI runtime, in the mount namespace that they need.

One thread does it and does nothing else. Namespaces belong to threads, and a child inherits those of the thread
that forks it: so where a runtime needs another mount namespace (crun beside a hybrid cgroup mount, a root that is
no mount point) this thread moves into one at its start, and every later start costs nothing more. Rejected:
``preexec_fn`` (forbids vfork, runs Python between fork and exec), a wrapper program (2 to 10 ms a start), a
separate launcher process (another process to look after). ``subprocess`` uses vfork here, so that the size of the
daemon does not matter either.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from linkspan.errors import RuntimeFailure
from linkspan.runtime import descriptors, mountspace

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
"""All that runtimes get: an inherited NOTIFY_SOCKET or LISTEN_FDS would be passed on into containers."""


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """How a program ended. ``code`` is negative for a signal; ``output`` is its stdout and stderr."""

    code: int
    output: str


class Child:
    """A program that we started. Exactly one ``wait`` must follow: it reaps."""

    def __init__(self, process: subprocess.Popen[bytes], pidfd: int) -> None:
        self.pid = process.pid
        self._process = process
        self._pidfd = pidfd

    async def wait(self) -> int:
        """Its exit code, negative for a signal."""
        try:
            while (code := self._process.poll()) is None:
                await descriptors.readable(self._pidfd)
        finally:
            os.close(self._pidfd)
        return code


class Launcher:
    """``hidden`` and ``rebase`` as in ``mountspace.enter_slave``; without either, no namespace is made."""

    def __init__(self, hidden: tuple[str, ...] = (), rebase: Path | None = None) -> None:
        self._hidden = hidden
        self._rebase = rebase
        self._home: mountspace.Home | None = None
        """Where the thread came from; None: it has not gone anywhere."""
        self._known: frozenset[tuple[str, str, str]] = frozenset()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="launcher")

    async def follow_mounts(self) -> None:
        """Sees to it that what starts next sees what the host has mounted and unmounted meanwhile.

        A slave namespace follows shared mounts only, and without systemd ``/`` is private as a rule: there it is made
        anew when something has changed. Takes some milliseconds where there are hundreds of mounts.
        RuntimeFailure when the kernel refuses.
        """
        await asyncio.get_running_loop().run_in_executor(self._thread, self._follow)

    async def spawn(
        self,
        arguments: Sequence[str],
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
        stderr: int = subprocess.DEVNULL,
        passed: Sequence[int] = (),
        environment: Mapping[str, str] = {},
        folder: str = "/",
    ) -> Child:
        """Starts a program in a session of its own and in ``folder``. ``passed`` descriptors keep their numbers in it.

        RuntimeFailure when it cannot be started.
        """

        def start() -> Child:
            self._enter()
            try:
                process = subprocess.Popen(
                    arguments,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    pass_fds=passed,
                    env={**ENVIRONMENT, **environment},
                    cwd=folder,
                    start_new_session=True,
                )
            except OSError as error:
                raise RuntimeFailure(f"cannot start {arguments[0]}: {error.strerror}") from error
            return Child(process, os.pidfd_open(process.pid))

        return await asyncio.get_running_loop().run_in_executor(self._thread, start)

    async def run(self, arguments: Sequence[str]) -> Finished:
        """Runs a short program to its end. RuntimeFailure when it cannot be started."""
        output = os.memfd_create("output")
        try:
            child = await self.spawn(arguments, stdout=output, stderr=output)
            code = await child.wait()
            text = os.pread(output, 65536, 0).decode(errors="replace")
        finally:
            os.close(output)
        return Finished(code=code, output=text.strip())

    def close(self) -> None:
        """Ends the thread. What it started goes on."""
        self._thread.shutdown(wait=True)

        if self._home is not None:
            self._home.close()

    def _enter(self) -> None:
        if self._home is None and (self._hidden or self._rebase):
            self._home = mountspace.Home()
            self._known = mountspace.unshared_mounts()
            mountspace.enter_slave(self._hidden, self._rebase)

    def _follow(self) -> None:
        if self._home is None:
            return
        now = mountspace.unshared_mounts()
        if now != self._known:
            self._home.enter()
            mountspace.enter_slave(self._hidden, self._rebase)
            self._known = now
