"""The engine put together: what is opened, in which order, and what a new daemon does with what it finds."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Awaitable
from pathlib import Path

from linkspan.engine.config import DaemonConfig
from linkspan.engine.containers import Containers
from linkspan.engine.depths import KernelDepths
from linkspan.engine.execs import Execs
from linkspan.engine.healing import Healing
from linkspan.engine.images import Images
from linkspan.engine.inside import Inside
from linkspan.engine.insight import Insights
from linkspan.engine.launching import Launching
from linkspan.engine.lifecycle import Lifecycle
from linkspan.engine.networking import Networking
from linkspan.engine.networks import Networks
from linkspan.engine.ports import Ports
from linkspan.engine.presentation import Presentation
from linkspan.engine.streams import Waiting
from linkspan.engine.surroundings import name_servers
from linkspan.engine.system import System
from linkspan.engine.volumes import Volumes
from linkspan.errors import KernelFailure, LinkspanError
from linkspan.images.face import ImageUser
from linkspan.images.rootfs import RootFileSystems
from linkspan.images.store import ImageStore
from linkspan.keeper.client import KeeperClient
from linkspan.kernel import netns
from linkspan.kernel import probe as kernel_probe
from linkspan.kernel.holders import holders, in_use
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.observe import Observer
from linkspan.kernel.probe import Abilities
from linkspan.kernel.reservation import LinuxSockets
from linkspan.kernel.worker import Worker
from linkspan.model.address import IPAddress, IPNetwork
from linkspan.model.container import Container
from linkspan.plan import resolver
from linkspan.plan.sandbox import namespace_of
from linkspan.runtime import mountspace, processes
from linkspan.runtime.attachment import Attachment
from linkspan.runtime.containers import Runtime
from linkspan.runtime.probe import probe
from linkspan.store import Store

log = logging.getLogger(__name__)

RESERVED_SHARE = 4
"""One of so many descriptors that the daemon may have open goes to reserved host ports: the keeper has them too."""


class Engine:
    """All nouns over one data-root and one exec-root. ``start`` before use, ``stop`` at the end."""

    networks: Networks
    containers: Containers
    inside: Inside
    execs: Execs
    images: Images
    volumes: Volumes
    system: System
    insight: Insights

    def __init__(self, config: DaemonConfig) -> None:
        self._config = config

    async def start(self) -> None:
        """Opens everything, takes up what an earlier daemon left, and makes the kernel hold what is wanted.

        Conflict when another daemon has the data-root; RuntimeFailure when a needed program is missing.
        """
        config = self._config
        self._store = Store.open(config.data_root)
        config.exec_root.mkdir(mode=0o711, parents=True, exist_ok=True)
        _make_private(config.data_root / "containers", config.data_root / "volumes")
        mountspace.prepare_mounts(config.data_root, config.exec_root)
        netns.prepare(config.exec_root)
        machine = probe(config.runtime, config.seccomp_profile)
        networking, abilities = await self._open_networking()
        intent, events = networking.intent, networking.events
        store = ImageStore(
            config.data_root,
            users=self._users_of_image,
            storage_driver=config.storage_driver,
            insecure_registries=config.insecure_registries,
        )
        self._roots = roots = store.roots
        self._runtime = Runtime(config.exec_root, self._store.instance, machine)
        waiting: Waiting[Attachment] = Waiting()
        sandboxes, files = networking.sandboxes, networking.files

        self.volumes = Volumes(config.data_root, intent, events)
        launching = Launching(config, intent, files, self.volumes, roots, self._runtime)
        self._lifecycle = Lifecycle(intent, sandboxes, self._runtime, launching, waiting, events, self._remove_ended)
        self.execs = Execs(config, intent, self._runtime, launching, events, roots)
        presentation = Presentation(
            intent, files, self.volumes, store, machine.runtime_name, launching.log_path, self.execs.ids_of
        )
        self.inside = Inside(intent, self._runtime, launching, roots, waiting, events, self._kernel, self._worker)
        self.containers = Containers(
            networking, self.volumes, store, roots, self._runtime, presentation, self.inside, self._lifecycle
        )
        self.images = Images(store, events)
        warnings = (
            *machine.warnings,
            *((store.warning,) if store.warning else ()),
            *(f"{sentence[0].upper()}{sentence[1:]}." for sentence in kernel_probe.missing(abilities)),
        )
        self.system = System(
            config,
            intent,
            events,
            presentation,
            self.volumes,
            store,
            roots,
            self._runtime,
            store.storage_driver,
            warnings,
            self._store.instance,
            networking.firewalls.warnings,
        )
        self.insight = Insights(networking, self._healing, self._kernel, abilities, self._repin)
        for warning in warnings:
            log.warning("%s", warning)
        self._observer = Observer(self._kernel.mark, self._worker.memory, self._worker.thread_id, self._healing.notice)
        self._observer.start()
        await self._take_up(roots)
        self._healing.start()
        self._warming = asyncio.create_task(self._runtime.warm_up())

    async def _open_networking(self) -> tuple[Networking, Abilities]:
        """The kernel with its thread, the keeper, and all that stands between them and what people defined."""
        config, instance = self._config, self._store.instance
        group = int(instance, 16) & 0x0FFFFFFF | 0x1
        self._kernel = LinuxKernel(config.exec_root, instance, group)
        self._worker = Worker(self._kernel, idle=lambda: self._kernel.fill(config.spare_namespaces, 1) > 0)
        self._worker.start()
        abilities = await self._worker.call(kernel_probe.abilities)
        facts = kernel_probe.facts(abilities, instance, group)
        keeper = KeeperClient(config.exec_root, instance)
        await keeper.start()
        port = resolver.port_of(instance)
        await self._worker.call(self._kernel.prepare_spares, resolver.table("", port), port)
        self._depths = KernelDepths(self._worker, self._kernel)
        ports = Ports(
            LinuxSockets(),
            in_use,
            lambda protocol, address, port: holders(protocol, address, port, except_pids=(keeper.pid,)),
            most_sockets=resource.getrlimit(resource.RLIMIT_NOFILE)[0] // RESERVED_SHARE,
        )
        self._networking = Networking(
            config, self._store, self._worker, facts, keeper, ports, self._depths.depths(), self._surroundings
        )
        self._healing = Healing(
            self._networking.intent,
            self._networking.wants,
            self._worker,
            self._networking.events,
            self._networking.services,
            self._networking.firewalls,
        )
        self.networks = self._networking.networks
        self.networks.is_drifted = self._healing.is_drifted
        self._intent = self._networking.intent
        self._wants = self._networking.wants
        self._sandboxes = self._networking.sandboxes
        return self._networking, abilities

    async def stop(self) -> None:
        """Lets go of everything. Containers, networks and names go on; where nothing runs, our mounts go too."""
        self._observer.close()
        await self._healing.stop()
        self._warming.cancel()
        await asyncio.gather(self._warming, return_exceptions=True)
        await self._lifecycle.close()
        await self.execs.close()
        await self._networking.services.close(end=not self._intent.sandboxes)
        await self._worker.drain()
        await self._worker.stop()
        self._runtime.close()
        self._kernel.close()
        if not self._intent.sandboxes:
            await self._roots.recover(self._intent.containers.keys(), ())
            netns.release(self._config.exec_root)
            mountspace.release_mounts(self._config.exec_root, self._config.data_root)
        self._store.close()

    async def _take_up(self, roots: RootFileSystems) -> None:
        """The recovery, which is the start-up path: intent is true, everything else is made to follow it."""
        await asyncio.to_thread(self.volumes.empty_trash)
        self._networking.restore()
        await self._lifecycle.recover()
        for cut_short in self._intent.containers.keys() - self._intent.states.keys():
            await _logged(self.containers.remove_stopped(self._intent.containers[cut_short], volumes=True))
        self.networks.follow_settings()
        for unknown in self._runtime.bundle_ids() - self._intent.containers.keys():
            await _logged(self._runtime.delete(unknown))
        running = {identity for identity, state in self._intent.states.items() if state.running}
        await roots.recover(self._intent.containers.keys(), running)
        await self._worker.call(self._repin)
        self._wants.raise_stored()
        pins = await self._worker.call(self._kernel.namespaces.names)
        try:
            await self._worker.resync(self._wants.everything(), pins)
        except ExceptionGroup as failures:
            for failure in failures.exceptions:
                log.error("%s", failure)
                if isinstance(failure, KernelFailure):
                    self._wants.unmark_raised(failure.whose)
        await self._networking.resume()
        self._lifecycle.resume()

    def _repin(self) -> None:
        """A pin that was lost is made again from a process that lives in the namespace. On the kernel thread."""
        self._kernel.namespaces.repair()
        for sandbox in self._intent.sandboxes.values():
            name = namespace_of(sandbox)
            if sandbox.host or self._kernel.namespaces.exists(name):
                continue
            states = [self._intent.state(member) for member in sandbox.members]
            living = [state.pid for state in states if processes.is_alive(state.pid, state.pid_start)]
            try:
                for pid in living[:1]:
                    self._kernel.namespaces.repin(name, pid)
            except OSError as error:
                log.error("the namespace of container %s cannot be pinned again: %s", sandbox.owner_name, error)

    def _surroundings(self) -> tuple[list[tuple[IPNetwork, str]], tuple[IPAddress, ...]]:
        return kernel_probe.on_link_routes(self._kernel.mark), name_servers()

    async def _remove_ended(self, container: Container) -> None:
        """``--rm``: anonymous volumes go with their container. Another one's removal may have meant to keep them."""
        await self.containers.remove_stopped(container, volumes=container.spec.auto_remove)

    def _users_of_image(self, image_id: str) -> tuple[ImageUser, ...]:
        return tuple(
            ImageUser(name=item.name, running=self._intent.state(item.id).running)
            for item in self._intent.containers.values()
            if item.image_id == image_id
        )


def _make_private(*folders: Path) -> None:
    """For root alone: what containers write there, programs that run as root too, is none of the host's users'."""
    for folder in folders:
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)


async def _logged(deed: Awaitable[None]) -> None:
    """One container that makes trouble does not keep the daemon from starting for all others."""
    try:
        await deed
    except LinkspanError as error:
        log.error("%s", error)
