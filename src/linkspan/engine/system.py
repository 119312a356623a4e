"""The whole: info, disk usage, events, and logins to registries."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from linkspan import __version__
from linkspan.engine.config import DaemonConfig
from linkspan.engine.events import Events
from linkspan.engine.filters import Filters
from linkspan.engine.intent import Intent
from linkspan.engine.presentation import Presentation
from linkspan.engine.views import DiskUsage, SystemInfo
from linkspan.engine.volumes import Volumes
from linkspan.images.login import login
from linkspan.images.rootfs import RootFileSystems
from linkspan.images.store import ImageStore
from linkspan.ipam.pools import DEFAULT_POOLS
from linkspan.model.event import Event
from linkspan.runtime.containers import Runtime


class System:
    """The use cases that concern no single noun."""

    def __init__(
        self,
        config: DaemonConfig,
        intent: Intent,
        events: Events,
        presentation: Presentation,
        volumes: Volumes,
        images: ImageStore,
        roots: RootFileSystems,
        runtime: Runtime,
        storage_driver: str,
        warnings: tuple[str, ...],
        instance: str,
        obstacles: Callable[[], tuple[str, ...]],
    ) -> None:
        self._config = config
        self._intent = intent
        self._events = events
        self._presentation = presentation
        self._volumes = volumes
        self._images = images
        self._roots = roots
        self._runtime = runtime
        self._storage_driver = storage_driver
        self._warnings = warnings
        self._instance = instance
        self._obstacles = obstacles

    def info(self) -> SystemInfo:
        """What this daemon and this machine are."""
        machine = self._runtime.machine
        statuses = [self._intent.state(identity).status for identity in self._intent.containers]
        running, paused = statuses.count("running"), statuses.count("paused")
        release = _os_release()
        pools = self._config.default_address_pools or DEFAULT_POOLS
        return SystemInfo(
            instance=self._instance,
            name=platform.node(),
            version=__version__,
            kernel_version=platform.release(),
            operating_system=release.get("PRETTY_NAME", "Linux"),
            os_version=release.get("VERSION_ID", ""),
            architecture=platform.machine(),
            cpus=os.cpu_count() or 1,
            memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            data_root=str(self._config.data_root),
            exec_root=str(self._config.exec_root),
            storage_driver=self._storage_driver,
            runtime=machine.runtime_name,
            runtime_version=machine.runtime_version,
            runtimes={machine.runtime_name: machine.runtime_path},
            conmon_version=machine.conmon_version,
            cgroup_version=machine.cgroup_version,
            cgroup_driver="cgroupfs",
            containers=len(statuses),
            running=running,
            paused=paused,
            stopped=len(statuses) - running - paused,
            images=len(self._images.list({})),
            seccomp=machine.seccomp is not None,
            live_restore=True,
            labels=self._config.labels,
            default_address_pools=tuple((str(base), size) for base, size in pools),
            warnings=(*self._warnings, *self._obstacles()),
            system_time=time.time(),
        )

    async def disk_usage(self) -> DiskUsage:
        """What lies on disk, measured."""
        views = [self._presentation.view(item) for item in self._intent.containers.values()]
        sizes = [await self._roots.size(view.container.id) for view in views]
        measured = tuple(
            self._presentation.view(view.container, size_rw=size) for view, size in zip(views, sizes, strict=True)
        )
        images = self._images.list({})
        return DiskUsage(
            layers_size=self._images.layers_size(),
            images=images,
            shared_sizes=self._images.shared_sizes(),
            containers=measured,
            volumes=await asyncio.to_thread(self._volumes.usage),
        )

    def events(self, *, since: float | None, until: float | None, filters: Filters) -> AsyncIterator[Event]:
        """See ``Events.subscribe``."""
        return self._events.subscribe(since=since, until=until, filters=filters)

    async def login(self, server: str, username: str, password: str) -> str:
        """Tries a login at a registry. RegistryFailure when it refuses."""
        await login(server, username, password, self._config.insecure_registries)
        return "Login Succeeded"


def _os_release() -> dict[str, str]:
    """os-release(5), unquoted."""
    try:
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {name: value.strip('"') for name, value in pairs}
