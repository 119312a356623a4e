"""The engine's networking half on a real kernel with a real keeper, in a network namespace of its own: no containers.

What ``Engine`` opens is opened here the same way. A container is a definition that is never run: its sandbox, its
names and its published ports are as real as any.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from linkspan.engine.config import DaemonConfig
from linkspan.engine.depths import KernelDepths
from linkspan.engine.engine import RESERVED_SHARE
from linkspan.engine.healing import Healing
from linkspan.engine.networking import Networking
from linkspan.engine.ports import Ports
from linkspan.keeper.client import KeeperClient
from linkspan.kernel import netns, probe
from linkspan.kernel.holders import holders, in_use
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.observe import Observer
from linkspan.kernel.reservation import LinuxSockets
from linkspan.kernel.worker import Worker
from linkspan.model.container import Container, ContainerSpec, NetworkMode, PortBinding
from linkspan.model.endpoint import EndpointRequest
from linkspan.plan import resolver
from linkspan.plan.sandbox import namespace_of
from linkspan.runtime import mountspace
from linkspan.store import Store

CLONE_NEWNET = 0x40000000  # linux/sched.h


class Daemon:
    """All of the daemon that an attachment passes. ``opened`` makes one."""

    def __init__(
        self,
        config: DaemonConfig,
        store: Store,
        kernel: LinuxKernel,
        worker: Worker,
        keeper: KeeperClient,
        networking: Networking,
        healing: Healing,
    ) -> None:
        self.config = config
        self.store = store
        self.kernel = kernel
        self.worker = worker
        self.keeper = keeper
        self.networking = networking
        self.healing = healing
        """At work only where that was asked for."""
        self.intent = networking.intent
        self.sandboxes = networking.sandboxes
        self.networks = networking.networks

    def define(
        self,
        number: int,
        *networks: str,
        ports: Sequence[PortBinding] = (),
        driver_options: dict[str, str] | None = None,
    ) -> Container:
        """A container on these networks, as ``create`` writes it."""
        requests = [
            self.networks.checked_request(
                self.intent.networks[each], EndpointRequest(network=each, driver_options=driver_options or {})
            )
            for each in networks
        ]
        container = Container(
            id=f"{number:064x}",
            name=f"c{number}",
            created=time.time(),
            image_id="sha256:0",
            spec=ContainerSpec(
                image="none",
                network_mode=NetworkMode(raw=networks[0]),
                endpoints=tuple(requests),
                port_bindings=tuple(ports),
            ),
        )
        self.intent.commit(put=[container])
        return container

    def namespace(self, container: Container) -> int:
        """A descriptor of the namespace that the container's sandbox has; the caller closes it."""
        sandbox = self.intent.sandbox_of(container.id)
        if sandbox is None:
            raise LookupError(f"container {container.name} is in no sandbox")
        return self.kernel.namespace_fd(namespace_of(sandbox))

    async def populate(self, network: str, numbers: range, *, ports: Callable[[int], Sequence[PortBinding]]) -> None:
        """These containers enter; ``ports`` says what each publishes."""
        for number in numbers:
            await self.sandboxes.enter(self.define(number, network, ports=ports(number)))

    async def empty(self) -> None:
        """All containers leave."""
        for identity in list(self.intent.containers):
            await self.sandboxes.leave(identity)


def nothing(number: int) -> Sequence[PortBinding]:
    """What a container publishes that publishes nothing."""
    return ()


@asynccontextmanager
async def opened(folder: Path, *, healing: bool = False) -> AsyncIterator[Daemon]:
    """A daemon over an empty folder, in the namespace of the calling thread. ``healing``: it watches the kernel.

    Its own containers and networks must have gone before the end.
    """
    config = DaemonConfig(data_root=folder / "data", exec_root=folder / "exec")
    async with AsyncExitStack() as stack:
        store = Store.open(config.data_root)
        stack.callback(store.close)
        config.exec_root.mkdir(parents=True)
        mountspace.prepare_mounts(config.data_root, config.exec_root)
        stack.callback(mountspace.release_mounts, config.exec_root, config.data_root)
        netns.prepare(config.exec_root)
        stack.callback(netns.release, config.exec_root)
        instance = store.instance
        group = int(instance, 16) & 0x0FFFFFFF | 1
        kernel = LinuxKernel(config.exec_root, instance, group)
        stack.callback(kernel.close)
        worker = Worker(kernel, idle=lambda: kernel.fill(config.spare_namespaces) > 0)
        worker.start()
        stack.push_async_callback(worker.stop)
        stack.push_async_callback(worker.drain)
        facts = probe.facts(await worker.call(probe.abilities), instance, group)
        keeper = KeeperClient(config.exec_root, instance)
        await keeper.start()
        port = resolver.port_of(instance)
        await worker.call(kernel.prepare_spares, resolver.table("", port), port)
        ports = Ports(
            LinuxSockets(),
            in_use,
            lambda protocol, address, number: holders(protocol, address, number, except_pids=(keeper.pid,)),
            most_sockets=resource.getrlimit(resource.RLIMIT_NOFILE)[0] // RESERVED_SHARE,
        )
        networking = Networking(
            config,
            store,
            worker,
            facts,
            keeper,
            ports,
            KernelDepths(worker, kernel).depths(),
            lambda: (probe.on_link_routes(kernel.mark), ()),
        )
        stack.push_async_callback(networking.services.close, end=True)
        networking.restore()
        networking.wants.raise_stored()
        await worker.resync(networking.wants.everything(), await worker.call(kernel.namespaces.names))
        await networking.resume()
        await worker.call(kernel.fill, config.spare_namespaces)
        healer = Healing(networking.intent, networking.wants, worker, networking.events, networking.services)
        if healing:
            healer.start()
            stack.push_async_callback(healer.stop)
            observer = Observer(kernel.mark, worker.memory, worker.thread_id, healer.notice)
            observer.start()
            stack.callback(observer.close)
        yield Daemon(config, store, kernel, worker, keeper, networking, healer)


def in_own_namespace(story: Callable[[Path], Coroutine[object, object, None]]) -> None:
    """Runs a benchmark in a network namespace with nothing but loopback, and in a folder of its own."""
    if os.geteuid() != 0:
        raise SystemExit("needs root")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "unshare")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    logging.disable(logging.WARNING)
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="linkspan-bench-") as folder:
        asyncio.run(story(Path(folder)))
