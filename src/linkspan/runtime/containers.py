"""Containers as processes: created and started through conmon and an OCI runtime, watched, signalled, removed.

On disk, all below the exec-root (a tmpfs as a rule, so that a reboot forgets it):

    c/ID/       the bundle: config.json, conmon's attach socket, ctl fifo and markers
    e/ID        the exit code, written by conmon
    oci/        the OCI runtime's own state
    root/       where runtimes live if / is no mount point (see ``mountspace``)

Paths are short since sockets' are limited. Nothing here remembers anything that is not there too, or in the
engine's store: after a restart ``adopt`` takes every container up again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from linkspan.errors import Conflict, NotFound, RuntimeFailure
from linkspan.model.container import Resources, Security
from linkspan.runtime import attachment, capabilities, cgroups, mountspace, processes, seccomp
from linkspan.runtime.attachment import Attachment
from linkspan.runtime.conmon import (
    Conmon,
    Created,
    Launch,
    closes_stdin,
    monitor_pid,
    reap_monitor,
    remove_bundle,
    resize,
)
from linkspan.runtime.execution import ExecLaunch, ExecSession, execute
from linkspan.runtime.failures import failure_of
from linkspan.runtime.filters import FilterCache
from linkspan.runtime.launcher import Launcher
from linkspan.runtime.logs import Entry, read_log
from linkspan.runtime.monitor import Exit, Monitor
from linkspan.runtime.orphans import Orphans, reap_all
from linkspan.runtime.probe import Machine
from linkspan.runtime.resources import limits

CUT_AFTER = 1.0
"""Seconds after SIGKILL until clients that do not read lose the rest of the output."""
ACCEPT_TRIES, ACCEPT_PAUSE = 1000, 0.001
"""Looks, and seconds between them, until conmon takes in a client: one that does not read may be blocking it."""
KILL_PATIENCE = 10.0
"""Seconds after SIGKILL until a container that still exists is an error."""
CGROUP_TRIES, CGROUP_PAUSE = 20, 0.05
"""How often, and how many seconds apart, a cgroup is removed that a dying process is still in."""


class _Linux(msgspec.Struct, rename="camel"):
    cgroups_path: str = ""


class _Config(msgspec.Struct):
    linux: _Linux


class Runtime:
    """All containers of one daemon. Methods take full container ids.

    NotFound is raised for an id that was neither created nor adopted here.
    """

    def __init__(self, exec_root: Path, instance: str, machine: Machine) -> None:
        self.machine = machine
        self._instance = instance
        self._bundles = exec_root / "c"
        self._exits = exec_root / "e"
        rebase = None if machine.root_is_mount_point else exec_root / "root"
        for folder in (self._bundles, self._exits, exec_root / "oci", *([rebase] if rebase else [])):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._launcher = Launcher(machine.hidden, rebase)
        options = ["--root", str(exec_root / "oci")]
        if machine.runtime_name == "crun":
            options += ["--cgroup-manager", "cgroupfs" if machine.facts.cgroups.version != "none" else "disabled"]
        self._command = [machine.runtime_path, *options]
        self._conmon = Conmon(
            path=machine.conmon_path,
            runtime=machine.runtime_path,
            runtime_arguments=tuple(options),
            exits=self._exits,
        )
        self._monitors: dict[str, Monitor] = {}
        self._exec_numbers = itertools.count(1)
        self._orphans = Orphans()
        self._filters = FilterCache() if machine.runtime_name == "crun" else None
        mountspace.become_subreaper()

    def close(self) -> None:
        """Lets go; containers go on, for the next daemon to adopt."""
        for monitor in self._monitors.values():
            monitor.release()
        self._monitors.clear()
        self._orphans.release()
        self._launcher.close()
        cgroups.remove_folder(self.machine.facts.cgroups, self._instance)

    async def warm_up(self) -> None:
        """Does ahead what the first container would wait for: its mount namespace and its seccomp filter."""
        machine = self.machine
        await self._launcher.run([*self._command, "--version"])
        if self._filters is not None and machine.seccomp is not None:
            granted = capabilities.granted(Security(), machine.facts.capabilities)
            section = seccomp.settle(machine.seccomp, granted, machine.facts)
            await asyncio.to_thread(self._filters.prepare, section)

    def bundle_ids(self) -> frozenset[str]:
        """The containers of which anything is on disk, so that what nobody knows can be deleted."""
        return frozenset(os.listdir(self._bundles)) | frozenset(os.listdir(self._exits))

    def cgroups_path(self, container: str, parent: str = "") -> str:
        """What the OCI configuration of a container must say."""
        return cgroups.path_of(self._instance, container, parent)

    async def create(self, launch: Launch) -> Created:
        """Makes the container's process, which waits before its program until ``start``.

        Attach now, and no output is lost. CommandNotFound, CommandNotExecutable or RuntimeFailure; then nothing
        is left. Conflict when it exists.
        """
        if launch.id in self._monitors:
            raise Conflict(f"container {launch.id[:12]} exists already in the runtime", whose=launch.id)
        if launch.binds:
            await self._launcher.follow_mounts()
        bundle = self._bundles / launch.id
        await self._sweep(launch.id, launch.cgroups_path)
        bundle.mkdir(mode=0o700)
        (bundle / "config.json").write_bytes(await self._configuration(launch))
        if closes_stdin(launch):
            (bundle / "stdin-once").touch()
        creating = asyncio.ensure_future(self._conmon.create(self._launcher, launch, bundle))
        try:
            created = await asyncio.shield(creating)
        except BaseException:
            await asyncio.shield(self._undo(creating, launch))
            raise
        self._watch(launch.id, created, launch.cgroups_path)
        return created

    async def adopt(self, container: str, created: Created) -> bool:
        """Takes up a container that an earlier daemon created; also one that has ended meanwhile.

        False when there is no trace of it (a reboot): nothing to wait for, nothing to delete.
        """
        if container in self._monitors:
            return True
        monitor = self._monitor(container, created, self._configured_path(container))
        if not monitor.has_trace():
            return False
        self._monitors[container] = monitor
        monitor.watch()
        return True

    async def start(self, container: str) -> None:
        """Lets a created container's program run. Raises as ``create``; the container is then to be deleted."""
        monitor = self._of(container)
        finished = await self._launcher.run([*self._command, "start", container])
        if finished.code:
            config = msgspec.json.decode((monitor.bundle / "config.json").read_bytes())
            raise failure_of(finished.output, config["process"]["args"][0], "start")

    async def wait(self, container: str) -> Exit:
        """Returns when the container has ended and its log is whole; at once if it has ended already."""
        return await asyncio.shield(self._of(container).ended)

    def ended(self, container: str) -> Exit | None:
        """How it ended; None while it lives."""
        future = self._of(container).ended
        return future.result() if future.done() else None

    async def kill(self, container: str, number: int) -> None:
        """Signals the first process. SIGKILL ends a paused container too. Conflict when it has ended."""
        monitor = self._of(container)
        created = monitor.created
        if not processes.send_signal(created.pid, created.pid_start, number):
            raise Conflict(f"container {container[:12]} is not running", whose=container)
        if number != signal.SIGKILL:
            return
        asyncio.get_running_loop().call_later(CUT_AFTER, monitor.cut)
        if cgroups.is_frozen(self.machine.facts.cgroups, monitor.cgroups_path):
            await self._launcher.run([*self._command, "resume", container])

    async def pause(self, container: str) -> None:
        """Freezes all its processes. Conflict when it has just ended, RuntimeFailure when the runtime refuses."""
        await self._do(container, "pause")

    async def unpause(self, container: str) -> None:
        """Lets them run again; no error when they already do."""
        if cgroups.is_frozen(self.machine.facts.cgroups, self._of(container).cgroups_path):
            await self._do(container, "resume")

    async def update(self, container: str, resources: Resources) -> None:
        """Changes cgroup limits of a running container; fields that are 0 stay. RuntimeFailure if refused."""
        monitor = self._of(container)
        file = monitor.bundle / "update.json"
        file.write_bytes(msgspec.json.encode(limits(resources, self.machine.facts)))
        try:
            await self._do(container, "update", "--resources", str(file))
        finally:
            file.unlink(missing_ok=True)

    def processes(self, container: str) -> tuple[int, ...]:
        """Host pids of all its processes, ascending."""
        return cgroups.processes_in(self.machine.facts.cgroups, self._of(container).cgroups_path)

    def usage(self, container: str) -> cgroups.Usage:
        """What it uses now."""
        return cgroups.usage(self.machine.facts.cgroups, self._of(container).cgroups_path)

    async def attach(self, container: str) -> Attachment:
        """A connection to its stdio, from its creation to its end. Conflict when it has ended.

        Returns when conmon has taken the connection in: it takes one a turn, and what the container says before
        that would be lost to this client.
        """
        monitor = self._of(container)
        once = (monitor.bundle / "stdin-once").exists()
        async with monitor.attaching:
            before = processes.sockets(monitor.created.monitor_pid)
            client = attachment.connect(monitor.bundle, monitor.parked if once else None)
            for _ in range(ACCEPT_TRIES):
                if not processes.sockets(monitor.created.monitor_pid) <= before:
                    break
                await asyncio.sleep(ACCEPT_PAUSE)
        monitor.attachments.add(client)
        return client

    def logs(
        self,
        container: str,
        path: Path,
        *,
        follow: bool,
        tail: int | None,
        since: float = 0.0,
        until: float = 0.0,
    ) -> AsyncIterator[Entry]:
        """The container's log as ``logs.read_log`` reads it; ``follow`` goes on until the container has ended."""
        monitor = self._monitors.get(container)
        over = monitor.ended if follow and monitor is not None else None
        return read_log(path, over=over, tail=tail, since=since, until=until)

    async def resize(self, container: str, rows: int, columns: int) -> None:
        """Sets the size of its terminal . Conflict when it has ended."""
        if not resize(self._of(container).bundle, rows, columns):
            raise Conflict(f"container {container[:12]} is not running", whose=container)

    async def execute(self, container: str, launch: ExecLaunch) -> ExecSession:
        """Starts a further process in it. CommandNotFound, CommandNotExecutable or RuntimeFailure.

        Conflict when the container has ended.
        """
        monitor = self._of(container)
        if monitor.ended.done():
            raise Conflict(f"container {container[:12]} is not running", whose=container)
        name = f"x{os.getpid()}-{next(self._exec_numbers)}"
        try:
            session = await execute(
                self._launcher, self._conmon, container, monitor.bundle / name, launch, self._orphans
            )
        except RuntimeFailure:
            self._refuse_ended(monitor)
            raise
        if session.client is not None:
            monitor.attachments.add(session.client)
        return session

    async def delete(self, container: str) -> None:
        """Kills what is left and removes every trace: cgroups, bundle, exit code. Repeating it is harmless.

        RuntimeFailure when its processes do not end (one is stuck in the kernel).
        """
        monitor = self._monitors.get(container)
        if monitor is None:
            await self._sweep(container, self._configured_path(container))
            return
        created = monitor.created
        if not monitor.ended.done():
            if cgroups.is_frozen(self.machine.facts.cgroups, monitor.cgroups_path):
                await self._launcher.run([*self._command, "resume", container])
            processes.send_signal(created.pid, created.pid_start, signal.SIGKILL)
            # With the host's pid namespace other processes outlive the first one and hold conmon's pipes.
            if not await self._ends(monitor, CUT_AFTER):
                monitor.cut()
                await self._launcher.run([*self._command, "delete", "--force", container])
                if not await self._ends(monitor, KILL_PATIENCE):
                    raise RuntimeFailure(
                        f"container {container[:12]} does not end after SIGKILL",
                        whose=container,
                        remedy=f"process {created.pid} may be stuck in the kernel",
                    )
        await self._discard(container, monitor.cgroups_path)
        self._monitors.pop(container, None)
        monitor.release()

    async def _configuration(self, launch: Launch) -> bytes:
        if self._filters is None:
            return launch.config
        if self._filters.knows(launch.config):
            return self._filters.annotated(launch.config)
        return await asyncio.to_thread(self._filters.annotated, launch.config)

    async def _ends(self, monitor: Monitor, patience: float) -> bool:
        done, _ = await asyncio.wait([monitor.ended], timeout=patience)
        return bool(done)

    async def _undo(self, creating: asyncio.Future[Created], launch: Launch) -> None:
        """Removes what a failed or cancelled ``create`` made, once conmon has come to the end of it."""
        await asyncio.wait([creating])
        if creating.exception() is None:
            self._watch(launch.id, creating.result(), launch.cgroups_path)
            await self.delete(launch.id)
        else:
            await self._discard(launch.id, launch.cgroups_path)

    async def _sweep(self, container: str, cgroups_path: str) -> None:
        """Removes what an earlier life of the container left, if anything."""
        if (self._bundles / container).exists() or (self._exits / container).exists():
            await self._discard(container, cgroups_path)

    async def _discard(self, container: str, cgroups_path: str) -> None:
        bundle = self._bundles / container
        monitor = monitor_pid(bundle)
        alive = processes.mentions(monitor, container)
        mounts = self.machine.facts.cgroups
        left = self._orphans.open_neighbours(cgroups.processes_in(mounts, cgroups_path)) if cgroups_path else []
        await self._launcher.run([*self._command, "delete", "--force", container])
        if alive:
            await reap_monitor(monitor)
        await reap_all(left, KILL_PATIENCE)
        self._orphans.adopt()
        for _ in range(CGROUP_TRIES if cgroups_path else 0):
            if cgroups.remove(mounts, cgroups_path):
                break
            await asyncio.sleep(CGROUP_PAUSE)
        remove_bundle(bundle)
        (self._exits / container).unlink(missing_ok=True)

    async def _do(self, container: str, verb: str, *options: str) -> None:
        monitor = self._of(container)
        finished = await self._launcher.run([*self._command, verb, *options, container])
        if finished.code:
            self._refuse_ended(monitor)
            raise failure_of(finished.output, "", verb)

    def _watch(self, container: str, created: Created, cgroups_path: str) -> None:
        monitor = self._monitor(container, created, cgroups_path)
        self._monitors[container] = monitor
        monitor.watch()

    def _monitor(self, container: str, created: Created, cgroups_path: str) -> Monitor:
        monitor = Monitor(created, self._bundles / container, self._exits / container, cgroups_path)
        monitor.ended.add_done_callback(lambda _: self._orphans.adopt())
        return monitor

    def _refuse_ended(self, monitor: Monitor) -> None:
        """Conflict when its process is gone: whatever the runtime says then, that is the reason."""
        if not processes.is_alive(monitor.created.pid, monitor.created.pid_start):
            raise Conflict(f"container {monitor.bundle.name[:12]} is not running", whose=monitor.bundle.name)

    def _of(self, container: str) -> Monitor:
        monitor = self._monitors.get(container)
        if monitor is None:
            raise NotFound(f"container {container[:12]} has no process")
        return monitor

    def _configured_path(self, container: str) -> str:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            text = (self._bundles / container / "config.json").read_bytes()
            return msgspec.json.decode(text, type=_Config).linux.cgroups_path
        return self.cgroups_path(container)
