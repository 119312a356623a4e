"""An engine without a kernel; its nouns: ``fake_containers``, ``fake_networks``, ``fake_images``, ``fake_insight``.

It stands for ``linkspan.engine.Engine`` where the API is tested, also with real Docker clients.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Literal

from fake_containers import FakeContainers, FakeExecs
from fake_images import BUSYBOX, FakeImages, FakeVolumes
from fake_insight import FakeInsight
from fake_networks import FakeNetworks
from linkspan.engine.face import Filters
from linkspan.engine.views import DiskUsage, SystemInfo
from linkspan.errors import RegistryFailure
from linkspan.model.event import Event


class FakeEngine:
    def __init__(self) -> None:
        self.system = FakeSystem(self)
        self.networks = FakeNetworks(self)
        self.containers = FakeContainers(self)
        self.inside = self.containers
        self.execs = FakeExecs(self)
        self.images = FakeImages()
        self.volumes = FakeVolumes()
        self.insight = FakeInsight(self)


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
