"""Containers whose process repeats its command line, or its input, in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING

import msgspec

from fake_images import BUSYBOX, chunks
from fake_processes import FakeContainer, FakeSession, Process
from linkspan.engine.face import Filters, Session, WaitCondition
from linkspan.engine.views import (
    AttachedNetwork,
    ContainerView,
    Created,
    ExecRequest,
    ExecView,
    InterfaceCounters,
    LogLine,
    PathStat,
    PlannedStep,
    Pruned,
    StatsSample,
)
from linkspan.errors import Conflict, ImageNotFound, NotFound, NotModified
from linkspan.model.container import Container, ContainerSpec, ContainerState, Resources, RestartPolicy
from linkspan.model.endpoint import Endpoint
from linkspan.model.port import Publication

if TYPE_CHECKING:
    from fake_engine import FakeEngine


class FakeContainers:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.known: dict[str, FakeContainer] = {}
        self.sizes: list[tuple[int, int]] = []
        self.uploaded = bytearray()
        self.cancelled: list[str] = []

    def find(self, reference: str) -> FakeContainer:
        for each in self.known.values():
            if each.container.name == reference or each.container.id.startswith(reference):
                return each
        raise NotFound(f"No such container: {reference}")

    def view(self, found: FakeContainer) -> ContainerView:
        spec = found.container.spec
        command = (*(spec.entrypoint or ()), *(spec.command or BUSYBOX.config.command or ()))
        return ContainerView(
            container=found.container,
            state=found.state,
            image=BUSYBOX,
            image_config=BUSYBOX.config,
            networks=found.networks,
            command=command,
            entrypoint_length=len(spec.entrypoint or ()),
            runtime="crun",
            publications=found.publications,
        )

    def views(self) -> tuple[ContainerView, ...]:
        return tuple(self.view(each) for each in self.known.values())

    async def create(self, name: str, spec: ContainerSpec) -> Created:
        if spec.image not in ("busybox", "busybox:latest", BUSYBOX.id):
            raise ImageNotFound(f"No such image: {spec.image}")
        number = len(self.known) + 1
        key, name = f"{number:02x}" * 32, name or f"quiet_{number}"
        if any(each.container.name == name for each in self.known.values()):
            raise Conflict(f"the container name /{name} is already in use")
        networks = tuple(
            AttachedNetwork(
                network=self.engine.networks.find(each.network),
                request=each,
                endpoint=Endpoint(
                    id="e" * 64, network_id="", sandbox_id="", request=each, interface="eth0", host_interface="v1",
                    mac="02:42:ac:11:00:02", ipv4=each.ipv4 or IPv4Address("172.17.0.2"),
                ),
                names=(name, key[:12]),
            )
            for each in spec.endpoints
        )  # fmt: skip
        container = Container(id=key, name=name, created=time.time(), image_id=BUSYBOX.id, spec=spec)
        self.known[key] = FakeContainer(container, networks)
        self.engine.system.publish("container", "create", key, image=spec.image, name=name)
        return Created(id=key)

    def plan_run(self, name: str, spec: ContainerSpec) -> tuple[PlannedStep, ...]:
        return (PlannedStep(scope="endpoint", action="create", object="veth", commands=("ip link add v1 type veth",)),)

    def plan_start(self, reference: str) -> tuple[PlannedStep, ...]:
        name = self.find(reference).container.name
        return (PlannedStep(scope="sandbox", action="create", object="namespace", commands=(f"ip netns add {name}",)),)

    def plan_stop(self, reference: str) -> tuple[PlannedStep, ...]:
        name = self.find(reference).container.name
        return (PlannedStep(scope="sandbox", action="delete", object="namespace", commands=(f"ip netns del {name}",)),)

    def list(self, *, everything: bool, filters: Filters, limit: int = 0) -> tuple[ContainerView, ...]:
        return tuple(view for view in self.views() if everything or view.state.running)

    def get(self, reference: str) -> ContainerView:
        return self.view(self.find(reference))

    async def with_size(self, view: ContainerView) -> ContainerView:
        return msgspec.structs.replace(view, size_rw=12)

    async def start(self, reference: str) -> None:
        found = self.find(reference)
        if found.state.running:
            raise NotModified("already started")
        found.state = ContainerState(status="running", pid=42, started=time.time())
        found.publications = tuple(_publications(found.container.spec))
        self.engine.system.publish("container", "start", found.container.id, name=found.container.name)
        found.task = asyncio.ensure_future(self._run(found))

    async def _run(self, found: FakeContainer) -> None:
        spec, process = found.container.spec, found.process
        if spec.open_stdin:
            while data := await process.input.get():
                process.write(1, data)
            process.write(1, b"end of input\n")
        elif spec.command and spec.command[0] == "sleep":
            await asyncio.sleep(float(spec.command[1]))
        else:
            process.write(1, " ".join(spec.command or ("nothing",)).encode() + b"\n")
            process.write(2, b"a word of warning\n")
        self._end(found, 3 if spec.command and spec.command[0] == "false" else 0)

    def _end(self, found: FakeContainer, code: int) -> None:
        found.state = ContainerState(status="exited", exit_code=code, started=1.0, finished=time.time())
        found.publications = ()
        found.process.end()
        if not found.exit.done():
            found.exit.set_result(code)
        self.engine.system.publish("container", "die", found.container.id, exitCode=str(code))
        if found.container.spec.auto_remove:
            self._forget(found)

    def _forget(self, found: FakeContainer) -> None:
        del self.known[found.container.id]
        self.engine.system.publish("container", "destroy", found.container.id)
        found.removed.set()

    async def stop(self, reference: str, *, timeout: int | None, signal: str = "") -> None:
        found = self.find(reference)
        if not found.state.running:
            raise NotModified("already stopped")
        await self.kill(reference, "SIGTERM")

    async def restart(self, reference: str, *, timeout: int | None, signal: str = "") -> None:
        self.find(reference)

    async def kill(self, reference: str, signal: str) -> None:
        found = self.find(reference)
        if found.task is not None:
            found.task.cancel()
        self._end(found, 137)

    async def pause(self, reference: str) -> None:
        self.find(reference)

    async def unpause(self, reference: str) -> None:
        self.find(reference)

    async def rename(self, reference: str, name: str) -> None:
        found = self.find(reference)
        found.container = msgspec.structs.replace(found.container, name=name)

    async def remove(self, reference: str, *, force: bool, volumes: bool) -> None:
        found = self.find(reference)
        if found.state.running and not force:
            raise Conflict(f"container {found.container.name} is running", remedy="stop it, or remove it with force")
        if found.state.running:
            await self.kill(reference, "SIGKILL")
        self._forget(found)

    async def prune(self, filters: Filters) -> Pruned:
        return Pruned(deleted=("a" * 64,), reclaimed=5)

    async def update(self, reference: str, resources: Resources, restart: RestartPolicy | None) -> tuple[str, ...]:
        self.find(reference)
        return ()

    def wait(self, reference: str, condition: WaitCondition) -> Awaitable[int]:
        return self._wait(self.find(reference), condition)

    async def _wait(self, found: FakeContainer, condition: WaitCondition) -> int:
        try:
            code = await asyncio.shield(found.exit)
            if condition == "removed":
                await found.removed.wait()
        except asyncio.CancelledError:
            self.cancelled.append("wait")
            raise
        return code

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
    ) -> Session:
        return FakeSession(self.find(reference).process, stdin=stdin)

    async def resize(self, reference: str, rows: int, columns: int) -> None:
        self.sizes.append((rows, columns))

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
        return self._logs(self.find(reference), follow)

    async def _logs(self, found: FakeContainer, follow: bool) -> AsyncIterator[LogLine]:
        try:
            for line in found.process.lines:
                yield line
            if follow:
                await found.process.ended.wait()
        except asyncio.CancelledError:
            self.cancelled.append("logs")
            raise

    async def top(self, reference: str, ps_args: str) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        return ("PID", "CMD"), (("42", "sh"),)

    async def stats(self, reference: str, *, stream: bool) -> AsyncIterator[StatsSample]:
        found = self.find(reference)
        for count in range(1, 100):
            yield StatsSample(
                id=found.container.id, name=found.container.name, time=1_700_000_000.0 + count,
                cpu_total=count * 1000, system_cpu=count * 100_000, online_cpus=2, memory_usage=1 << 20,
                memory_limit=1 << 30, pids=1, interfaces={"eth0": InterfaceCounters(rx_bytes=count)},
            )  # fmt: skip
            if not stream:
                return
            await asyncio.sleep(0.05)

    async def changes(self, reference: str) -> tuple[tuple[int, str], ...]:
        return ((1, "/new"),)

    async def export(self, reference: str) -> AsyncIterator[bytes]:
        return chunks(b"tar", 1)

    async def path_stat(self, reference: str, path: str) -> PathStat:
        self.find(reference)
        if path != "/etc":
            raise NotFound(f"Could not find the file {path} in container {reference}")
        return PathStat(name="etc", size=4096, mode=0o40755, mtime=1_700_000_000.0)

    async def archive_get(self, reference: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        return await self.path_stat(reference, path), chunks(b"x" * 65536, 64)

    async def archive_put(
        self, reference: str, path: str, body: AsyncIterator[bytes], *, no_overwrite_dir: bool, copy_owner: bool
    ) -> None:
        self.find(reference)
        async for chunk in body:
            self.uploaded += chunk


def _publications(spec: ContainerSpec) -> list[Publication]:
    """Every binding on a port of its own: what was asked for, or one from 32768 on."""
    found: list[Publication] = []
    for number, each in enumerate(spec.port_bindings):
        host_port = int(each.host_port.partition("-")[0] or 0) or 32768 + number
        found += [
            Publication(protocol=each.protocol, address=ip_address(address), host_port=host_port, port=each.port)
            for address in ((each.host_ip,) if each.host_ip else ("0.0.0.0", "::"))
            if each.protocol != "sctp"
        ]
    return found


class FakeExecs:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.known: dict[str, ExecView] = {}

    async def create(self, container: str, request: ExecRequest) -> str:
        key = f"{len(self.known) + 1:064x}"
        found = self.engine.containers.find(container)
        self.known[key] = ExecView(id=key, container_id=found.container.id, request=request)
        return key

    def get(self, reference: str) -> ExecView:
        if reference not in self.known:
            raise NotFound(f"No such exec instance: {reference}")
        return self.known[reference]

    async def start(self, reference: str, *, tty: bool) -> Session:
        view, process = self.get(reference), Process()
        session = FakeSession(process, stdin=view.request.attach_stdin)
        asyncio.get_running_loop().call_soon(self._run, view, process)
        return session

    def _run(self, view: ExecView, process: Process) -> None:
        process.write(1, " ".join(view.request.command).encode() + b"\n")
        self.known[view.id] = msgspec.structs.replace(view, exit_code=7)
        process.end()

    async def start_detached(self, reference: str) -> None:
        self.get(reference)

    async def resize(self, reference: str, rows: int, columns: int) -> None:
        self.get(reference)
