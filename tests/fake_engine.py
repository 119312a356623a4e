"""An engine without a kernel: containers whose process repeats its command line, or its input, in memory.

It stands for ``linkspan.engine.Engine`` where the API is tested, also with real Docker clients.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

import msgspec

from linkspan.engine.face import Channel, Filters, Session, WaitCondition
from linkspan.engine.views import (
    AttachedNetwork,
    ContainerView,
    Created,
    DiskUsage,
    ExecRequest,
    ExecView,
    InterfaceCounters,
    LogLine,
    NetworkMember,
    NetworkView,
    PathStat,
    PlannedStep,
    PoolUsage,
    Pruned,
    StatsSample,
    SystemInfo,
    VolumeView,
)
from linkspan.errors import Conflict, Forbidden, ImageNotFound, InvalidRequest, NotFound, NotModified, RegistryFailure
from linkspan.images.face import Credentials, Progress
from linkspan.model.container import Container, ContainerSpec, ContainerState, Resources, RestartPolicy
from linkspan.model.endpoint import Endpoint, EndpointRequest
from linkspan.model.event import Event
from linkspan.model.image import History, Image, ImageConfig
from linkspan.model.network import AddressPool, Network, NetworkRequest
from linkspan.model.volume import Volume

BUSYBOX = Image(
    id="sha256:" + "b" * 64,
    created=1_700_000_000.0,
    architecture="amd64",
    os="linux",
    size=4_000_000,
    config=ImageConfig(env=("PATH=/bin",), command=("sh",)),
    layers=("sha256:" + "1" * 64,),
    tags=("busybox:latest",),
    history=(History(created=1_700_000_000.0, created_by="ADD rootfs", size=4_000_000),),
)
Removed = tuple[Literal["Untagged", "Deleted"], str]


class Process:
    """Output is kept and handed to every attachment; input comes from one queue."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.listeners: list[asyncio.Queue[LogLine | None]] = []
        self.input: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended = asyncio.Event()

    def write(self, stream: Literal[1, 2], data: bytes) -> None:
        line = LogLine(stream=stream, time=time.time_ns(), data=data)
        self.lines.append(line)
        for listener in self.listeners:
            listener.put_nowait(line)

    def end(self) -> None:
        self.ended.set()
        for listener in self.listeners:
            listener.put_nowait(None)


class FakeSession:
    def __init__(self, process: Process, *, stdin: bool) -> None:
        self.process = process
        self.stdin = stdin
        self.queue: asyncio.Queue[LogLine | None] = asyncio.Queue()
        process.listeners.append(self.queue)

    async def pump(self, channel: Channel) -> None:
        feeder = asyncio.ensure_future(self._feed(channel))
        try:
            while (line := await self.queue.get()) is not None:
                await channel.write(line.stream, line.data)
        finally:
            feeder.cancel()
            self.process.listeners.remove(self.queue)

    async def _feed(self, channel: Channel) -> None:
        while self.stdin:
            data = await channel.read()
            await self.process.input.put(data)
            if not data:
                return


class FakeContainer:
    def __init__(self, container: Container, networks: tuple[AttachedNetwork, ...]) -> None:
        self.container = container
        self.networks = networks
        self.state = ContainerState()
        self.process = Process()
        self.exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.removed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class FakeEngine:
    def __init__(self) -> None:
        self.system = FakeSystem(self)
        self.networks = FakeNetworks(self)
        self.containers = FakeContainers(self)
        self.execs = FakeExecs(self)
        self.images = FakeImages()
        self.volumes = FakeVolumes()


class FakeSystem:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.past: list[Event] = []
        self.queues: list[asyncio.Queue[Event]] = []
        self.last_filters: Filters = {}

    def publish(self, kind: Literal["container", "network"], action: str, key: str, **attributes: str) -> None:
        event = Event(kind=kind, action=action, id=key, attributes=attributes, time=time.time_ns())
        self.past.append(event)
        for queue in self.queues:
            queue.put_nowait(event)

    def info(self) -> SystemInfo:
        return SystemInfo(
            instance="cafe0123", name="here", version="0.1.0",
            kernel_version="6.1", operating_system="Debian", os_version="12", architecture="x86_64", cpus=2,
            memory=1 << 30, data_root="/d", exec_root="/e", storage_driver="overlay", runtime="crun",
            runtime_version="1.8.1", runtimes={"crun": "/usr/bin/crun"}, conmon_version="2.1.6", cgroup_version="2",
            cgroup_driver="cgroupfs", containers=1, running=1, paused=0, stopped=0, images=1, seccomp=True,
            live_restore=True, default_address_pools=(("172.17.0.0/12", 16),),
        )  # fmt: skip

    async def disk_usage(self) -> DiskUsage:
        return DiskUsage(layers_size=4_000_000, images=(BUSYBOX,), containers=self.engine.containers.views())

    def events(self, *, since: float | None, until: float | None, filters: Filters) -> AsyncIterator[Event]:
        self.last_filters = filters
        queue: asyncio.Queue[Event] = asyncio.Queue()
        if since is not None:
            for event in self.past:
                queue.put_nowait(event)
        self.queues.append(queue)
        return self._follow(queue, until)

    async def _follow(self, queue: asyncio.Queue[Event], until: float | None) -> AsyncIterator[Event]:
        try:
            while until is None or time.time() < until or not queue.empty():
                yield await queue.get()
        finally:
            self.queues.remove(queue)

    async def login(self, server: str, username: str, password: str) -> str:
        if password != "right":
            raise RegistryFailure(f"{server} refused the login of {username}")
        return "Login Succeeded"


class FakeNetworks:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.known: dict[str, Network] = {}
        self._add(Network(id="0" * 64, name="bridge", driver="bridge", created=1.5, pools=(_pool(17),)))
        self._add(Network(id="1" * 64, name="host", driver="host", created=1.5))
        self._add(Network(id="2" * 64, name="none", driver="null", created=1.5))
        self.connected: list[tuple[str, str, EndpointRequest]] = []
        self.requests: list[NetworkRequest] = []

    def _add(self, network: Network) -> None:
        self.known[network.name] = network

    async def create(self, request: NetworkRequest) -> Created:
        self.requests.append(request)
        if request.name in self.known:
            raise Conflict(f"network with name {request.name} already exists")
        number = len(self.known) + 17
        network = Network(
            id=f"{number:064x}", name=request.name, driver="bridge", created=time.time(), pools=(_pool(number),),
            labels=request.labels, options=request.options,
        )  # fmt: skip
        self._add(network)
        return Created(id=network.id)

    def list(self, filters: Filters) -> tuple[NetworkView, ...]:
        return tuple(NetworkView(network=each) for each in self.known.values())

    def get(self, reference: str) -> NetworkView:
        network = self.find(reference)
        members = tuple(
            NetworkMember(container_id=each.container.id, name=each.container.name, endpoint=attached.endpoint)
            for each in self.engine.containers.known.values()
            for attached in each.networks
            if attached.network.id == network.id and attached.endpoint is not None
        )
        usage = tuple(PoolUsage(subnet=str(pool.subnet), capacity=65533, in_use=len(members)) for pool in network.pools)
        return NetworkView(network=network, members=members, usage=usage)

    def find(self, reference: str) -> Network:
        for network in self.known.values():
            if reference in (network.name, network.id):
                return network
        raise NotFound(f"network {reference} not found")

    async def remove(self, reference: str) -> None:
        network = self.find(reference)
        if network.predefined:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        del self.known[network.name]

    async def prune(self, filters: Filters) -> Pruned:
        return Pruned()

    async def connect(self, reference: str, container: str, request: EndpointRequest) -> None:
        self.connected.append((self.find(reference).name, container, request))

    async def disconnect(self, reference: str, container: str, *, force: bool) -> None:
        self.find(reference)

    def plan_create(self, request: NetworkRequest) -> tuple[PlannedStep, ...]:
        step = PlannedStep(scope="network", action="create", object="link", commands=("ip link add br-1 type bridge",))
        return (step,)


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
        return _chunks(b"tar", 1)

    async def path_stat(self, reference: str, path: str) -> PathStat:
        self.find(reference)
        if path != "/etc":
            raise NotFound(f"Could not find the file {path} in container {reference}")
        return PathStat(name="etc", size=4096, mode=0o40755, mtime=1_700_000_000.0)

    async def archive_get(self, reference: str, path: str) -> tuple[PathStat, AsyncIterator[bytes]]:
        return await self.path_stat(reference, path), _chunks(b"x" * 65536, 64)

    async def archive_put(
        self, reference: str, path: str, body: AsyncIterator[bytes], *, no_overwrite_dir: bool, copy_owner: bool
    ) -> None:
        self.find(reference)
        async for chunk in body:
            self.uploaded += chunk


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


class FakeImages:
    def __init__(self) -> None:
        self.logins: list[Credentials | None] = []
        self.loaded = bytearray()

    def list(self, filters: Filters) -> tuple[Image, ...]:
        return (BUSYBOX,)

    def get(self, reference: str) -> Image:
        if reference not in ("busybox", "busybox:latest", "docker.io/library/busybox", BUSYBOX.id):
            raise ImageNotFound(f"No such image: {reference}")
        return BUSYBOX

    def history(self, reference: str) -> tuple[tuple[str, History], ...]:
        return ((BUSYBOX.id, BUSYBOX.history[0]), ("<missing>", History()))

    async def pull(self, reference: str, credentials: Credentials | None) -> AsyncIterator[Progress]:
        self.logins.append(credentials)
        if reference.startswith("absent"):
            raise NotFound(f"manifest for {reference} not found")
        yield Progress(status="Pulling from library/busybox", id="latest")
        yield Progress(status="Downloading", id="1111", current=5, total=10)
        if reference.startswith("broken"):
            raise RegistryFailure("the registry hung up")
        yield Progress(status=f"Status: Downloaded newer image for {reference}")

    async def push(self, reference: str, credentials: Credentials | None) -> AsyncIterator[Progress]:
        yield Progress(status="Pushed", id="1111")
        yield Progress(status="", aux={"Tag": "latest", "Digest": "sha256:" + "d" * 64, "Size": "12"})

    async def load(self, body: AsyncIterator[bytes]) -> AsyncIterator[Progress]:
        async for chunk in body:
            self.loaded += chunk
        if not self.loaded:
            raise InvalidRequest("the archive is empty")
        yield Progress(status="", stream="Loaded image: busybox:latest")

    async def save(self, references: Sequence[str]) -> AsyncIterator[bytes]:
        for reference in references:
            self.get(reference)
        return _chunks(b"tar " + ",".join(references).encode(), 1)

    async def import_archive(
        self, body: AsyncIterator[bytes], reference: str, message: str, changes: Sequence[str]
    ) -> AsyncIterator[Progress]:
        async for chunk in body:
            self.loaded += chunk
        yield Progress(status=BUSYBOX.id)

    async def tag(self, reference: str, target: str) -> None:
        self.get(reference)

    async def remove(self, reference: str, *, force: bool) -> tuple[Removed, ...]:
        self.get(reference)
        return (("Untagged", reference),)

    async def prune(self, filters: Filters) -> tuple[tuple[Removed, ...], int]:
        return (("Deleted", "sha256:1"),), 7


class FakeVolumes:
    def __init__(self) -> None:
        self.known: dict[str, VolumeView] = {}

    async def create(self, name: str, driver: str, labels: Mapping[str, str], options: Mapping[str, str]) -> VolumeView:
        view = VolumeView(volume=Volume(name=name or "f" * 64, created=2.0, labels=dict(labels)), path=f"/v/{name}")
        self.known[view.volume.name] = view
        return view

    def list(self, filters: Filters) -> tuple[VolumeView, ...]:
        return tuple(self.known.values())

    def get(self, reference: str) -> VolumeView:
        if reference not in self.known:
            raise NotFound(f"get {reference}: no such volume")
        return self.known[reference]

    async def remove(self, reference: str, *, force: bool) -> None:
        self.get(reference)
        del self.known[reference]

    async def prune(self, filters: Filters) -> Pruned:
        return Pruned()


def _pool(number: int) -> AddressPool:
    return AddressPool(subnet=IPv4Network(f"172.{number}.0.0/16"), gateway=IPv4Address(f"172.{number}.0.1"))


async def _chunks(piece: bytes, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield piece
