"""Attach inside the daemon: claim an address, write the intent, plan, change the kernel.

The floor is the same kernel steps alone, planned beforehand and applied by the same kernel thread's code. Measured
with no container present, with 500, and while as many containers leave as come.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from figures import line

from linkspan.engine.config import DaemonConfig
from linkspan.engine.events import Events
from linkspan.engine.intent import Intent
from linkspan.engine.networks import Networks
from linkspan.engine.sandboxes import Sandboxes
from linkspan.engine.wants import Wants
from linkspan.ipam.book import Book
from linkspan.kernel import netns, probe
from linkspan.kernel.diff import Step, diff
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.worker import Worker
from linkspan.model.container import Container, ContainerSpec, NetworkMode
from linkspan.model.endpoint import EndpointRequest
from linkspan.model.network import NetworkRequest
from linkspan.runtime import mountspace
from linkspan.store import Store

CLONE_NEWNET = 0x40000000


class Daemon:
    """The engine's networking half on a real kernel, without containers."""

    def __init__(self, folder: Path) -> None:
        self.config = DaemonConfig(data_root=folder / "data", exec_root=folder / "exec")
        self.store = Store.open(self.config.data_root)
        self.config.exec_root.mkdir(parents=True)
        mountspace.prepare_mounts(self.config.data_root, self.config.exec_root)
        netns.prepare(self.config.exec_root)
        instance = self.store.instance
        group = int(instance, 16) & 0x0FFFFFFF | 1
        self.kernel = LinuxKernel(self.config.exec_root, instance, group)
        self.worker = Worker(self.kernel, idle=lambda: self.kernel.fill(self.config.spare_namespaces) > 0)
        self.intent = Intent(self.store)
        self.book = Book(self.intent.name_of)
        self.wants = Wants(self.intent, probe.facts(probe.abilities(), instance, group))
        events = Events()
        self.sandboxes = Sandboxes(self.config, self.intent, self.book, self.wants, self.worker, events)
        self.networks = Networks(
            self.config,
            self.intent,
            self.book,
            self.wants,
            self.worker,
            self.sandboxes,
            events,
            lambda: ([], ()),
            instance,
        )

    def define(self, number: int, network: str) -> Container:
        container = Container(
            id=f"{number:064x}",
            name=f"c{number}",
            created=time.time(),
            image_id="sha256:0",
            spec=ContainerSpec(
                image="none", network_mode=NetworkMode(raw=network), endpoints=(EndpointRequest(network=network),)
            ),
        )
        self.intent.commit(put=[container])
        return container

    async def close(self) -> None:
        await self.worker.drain()
        await self.worker.stop()
        self.kernel.close()
        netns.release(self.config.exec_root)
        mountspace.release_mounts(self.config.exec_root, self.config.data_root)
        self.store.close()


async def attaches(daemon: Daemon, containers: list[Container]) -> list[float]:
    samples = []
    for container in containers:
        await asyncio.sleep(0.06 if len(samples) % 4 == 3 else 0)  # lets the spare pool fill, as between real starts
        before = time.perf_counter()
        await daemon.sandboxes.enter(container)
        samples.append(time.perf_counter() - before)
    return samples


async def floors(daemon: Daemon, containers: list[Container]) -> list[float]:
    """The kernel's share alone, on the kernel thread."""
    samples = []
    for container in containers:
        await asyncio.sleep(0.06 if len(samples) % 4 == 3 else 0)
        scopes, _ = daemon.sandboxes.preview(container)
        steps = diff({key: item for state in scopes.values() for key, item in state.items()}, {})

        samples.append(await daemon.worker.call(timed_apply, daemon.kernel, steps))
        undo = diff({}, {key: item for state in scopes.values() for key, item in state.items()})
        await daemon.worker.call(daemon.kernel.apply, undo)
    return samples


def timed_apply(kernel: LinuxKernel, steps: Sequence[Step]) -> float:
    """Seconds that the kernel takes for the steps."""
    before = time.perf_counter()
    kernel.apply(steps)
    return time.perf_counter() - before


async def churn(daemon: Daemon, network: str, first: int, count: int) -> list[float]:
    samples = []
    leaving: list[asyncio.Task[None]] = []
    for number in range(first, first + count):
        container = daemon.define(number, network)
        before = time.perf_counter()
        await daemon.sandboxes.enter(container)
        samples.append(time.perf_counter() - before)
        leaving.append(asyncio.create_task(daemon.sandboxes.leave(container.id)))
    await asyncio.gather(*leaving)
    return samples


async def run(folder: Path, present: int, samples: int) -> None:
    daemon = Daemon(folder)
    daemon.worker.start()
    try:
        await daemon.worker.call(daemon.kernel.fill, daemon.config.spare_namespaces)
        created = await daemon.networks.create(NetworkRequest(name="bench"))
        first = await attaches(daemon, [daemon.define(n, created.id) for n in range(samples)])
        floor = await floors(daemon, [daemon.define(n, created.id) for n in range(samples, samples + 40)])
        print(line("attach, none present at first", first, floor))
        print(line("  the kernel's steps alone (floor)", floor))
        for number in range(1000, 1000 + present - samples):
            await daemon.sandboxes.enter(daemon.define(number, created.id))
        later = await attaches(daemon, [daemon.define(n, created.id) for n in range(3000, 3000 + samples)])
        print(line(f"attach, {present} present", later, floor))
        busy = await churn(daemon, created.id, 5000, samples)
        print(line("attach, as many leave as come", busy, floor))
        before = time.perf_counter()
        for identity in list(daemon.intent.containers):
            await daemon.sandboxes.leave(identity)
        left = time.perf_counter() - before
        await daemon.worker.drain()
        print(f"{present + samples} leave: {left:.2f} s until told, {time.perf_counter() - before:.2f} s until swept")
        await daemon.networks.remove(created.id)
    finally:
        await daemon.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--present", type=int, default=500)
    parser.add_argument("--samples", type=int, default=100)
    options = parser.parse_args()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "unshare")
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="linkspan-bench-") as folder:
        asyncio.run(run(Path(folder), options.present, options.samples))


if __name__ == "__main__":
    main()
