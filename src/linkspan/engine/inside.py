"""Looking into a container and reaching into it: streams, logs, processes, figures, files."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from linkspan.engine.events import Events
from linkspan.engine.intent import Intent
from linkspan.engine.launching import Launching
from linkspan.engine.process_table import rows_of
from linkspan.engine.streams import DetachKeys, ProcessSession, Waiting
from linkspan.engine.views import LogLine, PathStat, StatsSample
from linkspan.errors import Conflict, NotSupported
from linkspan.images.rootfs import RootFileSystems, RootFs
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.wire.link import Counters
from linkspan.kernel.worker import Worker
from linkspan.model.container import Container
from linkspan.plan.sandbox import namespace_of
from linkspan.runtime import archive
from linkspan.runtime.assembly import Assembly
from linkspan.runtime.attachment import Attachment
from linkspan.runtime.containers import Runtime
from linkspan.runtime.logs import Entry
from linkspan.runtime.rooted import Root

STATS_INTERVAL = 1.0
"""Seconds between samples (Docker's)."""


class Inside:
    """The part of the containers' use cases that looks into them."""

    def __init__(
        self,
        intent: Intent,
        runtime: Runtime,
        launching: Launching,
        roots: RootFileSystems,
        waiting: Waiting[Attachment],
        events: Events,
        kernel: LinuxKernel,
        worker: Worker,
    ) -> None:
        self._intent = intent
        self._runtime = runtime
        self._launching = launching
        self._roots = roots
        self._waiting = waiting
        self._events = events
        self._kernel = kernel
        self._worker = worker

    def forget(self, container_id: str) -> None:
        """The container was removed: clients that wait for its start are told."""
        self._waiting.give_up(container_id)

    async def attach(
        self,
        reference: str,
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        logs: bool,
        stream: bool,
        detach_keys: str = "",
    ) -> ProcessSession[Attachment]:
        """Registers a client, also before the start. ``logs`` first gives what was said so far."""
        container = self._intent.container(reference)
        state = self._intent.state(container.id)
        if state.status == "paused":
            raise Conflict(f"container {container.name} is paused", remedy="unpause the container before attach")
        spec = container.spec
        keys = DetachKeys(detach_keys) if spec.tty and stdin else None
        earlier = None
        if logs:
            earlier = self.logs(container.id, stdout=stdout, stderr=stderr, follow=False, tail=None)
        takes_input = stdin and spec.open_stdin
        attachment: asyncio.Future[Attachment | None] = asyncio.get_running_loop().create_future()
        if not stream:
            attachment.set_result(None)
        elif state.running:
            attachment.set_result(await self._runtime.attach(container.id))
        elif state.status == "created" or not logs:
            attachment = self._waiting.register(container.id)
        else:
            attachment.set_result(None)

        def let_go(held: Attachment, detached: bool) -> None:
            if takes_input and not detached:
                held.close()
            else:
                held.leave()

        self._publish(container, "attach")
        return ProcessSession(
            attachment,
            let_go,
            stdin=takes_input,
            half_closes=spec.stdin_once,
            outputs=frozenset({number for number, wanted in ((1, stdout), (2, stderr)) if wanted}),
            detach_keys=keys,
            earlier=earlier,
        )

    async def resize(self, reference: str, rows: int, columns: int) -> None:
        """Tells a running container's terminal its size."""
        container = self._running(reference)
        await self._runtime.resize(container.id, rows, columns)
        self._publish(container, "resize", height=str(rows), width=str(columns))

    def logs(
        self,
        reference: str,
        *,
        stdout: bool,
        stderr: bool,
        follow: bool,
        tail: int | None,
        since: float = 0.0,
        until: float = 0.0,
    ) -> AsyncIterator[LogLine]:
        """What the container has said, and with ``follow`` what it says until it ends."""
        container = self._intent.container(reference)
        if container.spec.log.driver == "none":
            raise NotSupported(
                "configured logging driver does not support reading", remedy="create the container without it"
            )
        entries = self._runtime.logs(
            container.id,
            self._launching.log_path(container.id),
            follow=follow and self._intent.state(container.id).running,
            tail=tail,
            since=since,
            until=until,
        )
        wanted = {number for number, asked in ((1, stdout), (2, stderr)) if asked}
        return _lines(entries, wanted)

    async def top(self, reference: str, ps_args: str) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        """The container's processes as ``ps`` shows them, with the host's pids."""
        container = self._running(reference)
        return await asyncio.to_thread(rows_of, self._runtime.processes(container.id), ps_args)

    def stats(self, reference: str, *, stream: bool) -> AsyncIterator[StatsSample]:
        """One sample, or one a second until the container is removed. A stopped one has empty figures."""
        container = self._intent.container(reference)
        return self._samples(container.id, stream)

    async def changes(self, reference: str) -> tuple[tuple[int, str], ...]:
        """What differs from the image."""
        container = self._intent.container(reference)
        return await self._roots.changes(container.id)

    async def export(self, reference: str) -> AsyncIterator[bytes]:
        """The whole root as a tar stream."""
        container = self._intent.container(reference)
        stack = contextlib.AsyncExitStack()
        root = await self._root(container, stack)
        return _until_closed(archive.export(root), stack)

    async def path_stat(self, reference: str, path: str) -> PathStat:
        """One path of the container."""
        container = self._intent.container(reference)
        async with contextlib.AsyncExitStack() as stack:
            return _stat_of(archive.path_stat(await self._whole(container, stack), path))

    async def archive_get(self, reference: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        """A file or folder as a tar stream."""
        container = self._intent.container(reference)
        stack = contextlib.AsyncExitStack()
        try:
            root = await self._whole(container, stack)
            facts = _stat_of(archive.path_stat(root, path))
            chunks = archive.read_archive(root, path)
        except BaseException:
            await stack.aclose()
            raise
        return facts, _until_closed(chunks, stack)

    async def archive_put(
        self, reference: str, path: str, body: AsyncIterator[bytes], *, no_overwrite_dir: bool, copy_owner: bool
    ) -> None:
        """Unpacks a tar stream into a folder of the container."""
        container = self._intent.container(reference)
        owner = None
        if copy_owner and container.spec.user:
            identity = self._launching.identity(container, await self._roots.mount(container.id), container.spec.user)
            owner = (identity.uid, identity.gid)
        async with contextlib.AsyncExitStack() as stack:
            root = await self._whole(container, stack)
            await archive.write_archive(root, path, body, no_overwrite_dir=no_overwrite_dir, owner=owner)
        self._publish(container, "extract-to-dir")

    async def _whole(self, container: Container, stack: contextlib.AsyncExitStack) -> Root:
        """The root with volumes and binds in it, also while the container does not run."""
        state = self._intent.state(container.id)
        if state.running or all(mount.kind == "tmpfs" for mount in container.spec.mounts):
            return await self._root(container, stack)
        root = await self._idle(container, stack)
        mounts = await self._launching.mounts(container, root)
        assembly = stack.enter_context(await asyncio.to_thread(Assembly, str(root.path), mounts))
        return stack.enter_context(Root(assembly.path, container.name))

    async def _root(self, container: Container, stack: contextlib.AsyncExitStack) -> Root:
        """The root: with its mounts while the container runs, else mounted for the occasion."""
        state = self._intent.state(container.id)
        folder = Path(f"/proc/{state.pid}/root") if state.running else (await self._idle(container, stack)).path
        return stack.enter_context(Root(folder, container.name))

    async def _idle(self, container: Container, stack: contextlib.AsyncExitStack) -> RootFs:
        root = await self._roots.mount(container.id)
        stack.push_async_callback(self._unmount_idle, container.id)
        return root

    async def _unmount_idle(self, container_id: str) -> None:
        if not self._intent.state(container_id).running:
            await self._roots.unmount(container_id)

    async def _samples(self, container_id: str, stream: bool) -> AsyncIterator[StatsSample]:
        while container_id in self._intent.containers:
            yield await self._sample(container_id)
            if not stream:
                return
            await asyncio.sleep(STATS_INTERVAL)

    async def _sample(self, container_id: str) -> StatsSample:
        name = self._intent.name_of(container_id)
        if not self._intent.state(container_id).running:
            return StatsSample(id=container_id, name=name, time=time.time())
        usage = self._runtime.usage(container_id)
        return StatsSample(
            id=container_id, name=name, interfaces=await self._counters(container_id), **msgspec.structs.asdict(usage)
        )

    async def _counters(self, container_id: str) -> dict[str, Counters]:
        sandbox = self._intent.sandbox_of(container_id)
        if sandbox is None or sandbox.host:
            return {}
        found = await self._worker.call(self._kernel.counters, namespace_of(sandbox))
        return {name: item for name, item in found.items() if name != "lo"}

    def _running(self, reference: str) -> Container:
        container = self._intent.container(reference)
        if not self._intent.state(container.id).running:
            raise Conflict(f"container {container.id} is not running", whose=container.id, remedy="start it first")
        return container

    def _publish(self, container: Container, action: str, **attributes: str) -> None:
        known = {"image": container.spec.image, "name": container.name, **container.spec.labels}
        self._events.publish("container", action, container.id, {**known, **attributes})


def _stat_of(found: archive.PathStat) -> PathStat:
    return PathStat(name=found.name, size=found.size, mode=found.mode, mtime=found.mtime, link_target=found.link_target)


async def _lines(entries: AsyncIterator[Entry], wanted: set[int]) -> AsyncIterator[LogLine]:
    async for entry in entries:
        if entry.stream in wanted:
            yield LogLine(stream=entry.stream, time=entry.time, data=entry.data)


async def _until_closed(chunks: AsyncIterator[bytes], stack: contextlib.AsyncExitStack) -> AsyncIterator[bytes]:
    async with stack:
        async for chunk in chunks:
            yield chunk
