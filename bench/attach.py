"""Attach inside the daemon: claim an address, write the intent, plan, change the kernel, tell the keeper the names.

The floor is the same kernel steps alone, planned beforehand and applied by the same kernel thread's code. Measured
with no container present, with 500, and while as many containers leave as come.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from engine_half import Daemon, in_own_namespace, nothing, opened
from figures import line

from linkspan.kernel.diff import Step, diff
from linkspan.kernel.linux import LinuxKernel
from linkspan.model.container import Container
from linkspan.model.network import NetworkRequest


async def attaches(daemon: Daemon, containers: list[Container]) -> list[float]:
    samples: list[float] = []
    for container in containers:
        await asyncio.sleep(0.06 if len(samples) % 4 == 3 else 0)  # lets the spare pool fill, as between real starts
        before = time.perf_counter()
        await daemon.sandboxes.enter(container)
        samples.append(time.perf_counter() - before)
    return samples


async def floors(daemon: Daemon, containers: list[Container]) -> list[float]:
    """The kernel's share alone, on the kernel thread."""
    samples: list[float] = []
    for container in containers:
        await asyncio.sleep(0.06 if len(samples) % 4 == 3 else 0)
        scopes, _ = daemon.networking.previews.start(container)
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
    samples: list[float] = []
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
    async with opened(folder) as daemon:
        created = await daemon.networks.create(NetworkRequest(name="bench"))
        first = await attaches(daemon, [daemon.define(n, created.id) for n in range(samples)])
        floor = await floors(daemon, [daemon.define(n, created.id) for n in range(samples, samples + 40)])
        print(line("attach, none present at first", first, floor))
        print(line("  the kernel's steps alone (floor)", floor))
        await daemon.populate(created.id, range(1000, 1000 + present - samples), ports=nothing)
        later = await attaches(daemon, [daemon.define(n, created.id) for n in range(3000, 3000 + samples)])
        print(line(f"attach, {present} present", later, floor))
        busy = await churn(daemon, created.id, 5000, samples)
        print(line("attach, as many leave as come", busy, floor))
        before = time.perf_counter()
        await daemon.empty()
        left = time.perf_counter() - before
        await daemon.worker.drain()
        print(f"{present + samples} leave: {left:.2f} s until told, {time.perf_counter() - before:.2f} s until swept")
        await daemon.networks.remove(created.id)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--present", type=int, default=500)
    parser.add_argument("--samples", type=int, default=100)
    options = parser.parse_args()
    in_own_namespace(lambda folder: run(folder, options.present, options.samples))


if __name__ == "__main__":
    main()
