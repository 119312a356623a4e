"""Containers: create, list, rename, remove, prune, update. Running them is ``lifecycle``, looking inside ``inside``."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import time
from collections.abc import Awaitable, MutableSequence, Sequence
from pathlib import Path

import msgspec

from linkspan.engine import definitions, filters
from linkspan.engine.face import WaitCondition
from linkspan.engine.filters import Filters
from linkspan.engine.inside import Inside
from linkspan.engine.launching import check_source
from linkspan.engine.lifecycle import Lifecycle
from linkspan.engine.listing import matching
from linkspan.engine.names import made_up
from linkspan.engine.networking import Networking
from linkspan.engine.planned import planned
from linkspan.engine.presentation import Presentation
from linkspan.engine.views import ContainerView, Created, PlannedStep, Pruned
from linkspan.engine.volumes import Volumes
from linkspan.errors import Conflict, NotFound
from linkspan.images.rootfs import RootFileSystems
from linkspan.images.store import ImageStore
from linkspan.model.container import Container, ContainerSpec, ContainerState, Mount, Resources, RestartPolicy
from linkspan.model.image import Image
from linkspan.model.names import container_name
from linkspan.model.options import check_labels
from linkspan.model.volume import Volume
from linkspan.runtime.containers import Runtime
from linkspan.runtime.spec import check

PRUNE_FILTERS = ("label", "label!", "until")


class Containers:
    """The noun of the API; ``lifecycle`` is its other file."""

    def __init__(
        self,
        networking: Networking,
        volumes: Volumes,
        images: ImageStore,
        roots: RootFileSystems,
        runtime: Runtime,
        presentation: Presentation,
        inside: Inside,
        lifecycle: Lifecycle,
    ) -> None:
        self._config = networking.config
        self._intent = networking.intent
        self._networks = networking.networks
        self._sandboxes = networking.sandboxes
        self._services = networking.services
        self._previews = networking.previews
        self._firewalls = networking.firewalls
        self._worker = networking.worker
        self._events = networking.events
        self._volumes = volumes
        self._images = images
        self._roots = roots
        self._runtime = runtime
        self._presentation = presentation
        self._inside = inside
        self.lifecycle = lifecycle

    async def create(self, name: str, spec: ContainerSpec) -> Created:
        """Writes the definition and makes the root file system's folders. All or nothing.

        The state is written last: a definition without one is known, after a crash, as cut short.
        """
        container, image, warnings = self._design(name, spec)
        container, volumes = self._with_volumes(container)
        warnings += self._sandboxes.reserve(container)
        container = msgspec.structs.replace(container, warnings=warnings)
        async with self.lifecycle.lock(container.id):
            try:
                self._intent.commit(put=[*volumes, container], image_configs={container.id: image.config})
                for volume in volumes:
                    self._volumes.made(volume)
                await self._roots.create(container.id, image)
                self._intent.commit(states={container.id: ContainerState()})
            except BaseException:
                self._sandboxes.unreserve(container)
                self._intent.commit(drop=[container])
                await self._volumes.discard(volume.name for volume in volumes)
                raise
        self._publish(container, "create")
        joined = {item.network for item in container.spec.endpoints}
        networks = [item for item in self._intent.networks.values() if item.id in joined]
        return Created(id=container.id, warnings=(*warnings, *self._firewalls.warnings(networks)))

    def plan_run(self, name: str, spec: ContainerSpec) -> tuple[PlannedStep, ...]:
        """The kernel steps that a start of this definition would take."""
        container, _, _ = self._design(name, spec)
        return planned(self._worker, *self._previews.start(container))

    def plan_start(self, reference: str) -> tuple[PlannedStep, ...]:
        """The kernel steps that its start would take; none while its sandbox is up."""
        return planned(self._worker, *self._previews.start(self._intent.container(reference)))

    def plan_stop(self, reference: str) -> tuple[PlannedStep, ...]:
        """The kernel steps that its stop would take; none while partners run."""
        return planned(self._worker, *self._previews.stop(self._intent.container(reference)))

    def list(self, *, everything: bool, filters: Filters, limit: int = 0) -> tuple[ContainerView, ...]:
        """All containers that match, newest first."""
        ancestors = self._ancestors(filters)
        found = matching(self._intent, filters, everything=everything, limit=limit, image_ids=ancestors)
        return tuple(self._presentation.view(item) for item in found)

    def get(self, reference: str) -> ContainerView:
        """One container. NotFound."""
        return self._presentation.view(self._intent.container(reference))

    async def with_size(self, view: ContainerView) -> ContainerView:
        """The same with the bytes that the container wrote."""
        return msgspec.structs.replace(view, size_rw=await self._roots.size(view.container.id))

    async def start(self, reference: str) -> None:
        """See ``Lifecycle.start``."""
        await self.lifecycle.start(reference)

    async def stop(self, reference: str, *, timeout: int | None, signal: str = "") -> None:
        """See ``Lifecycle.stop``."""
        await self.lifecycle.stop(reference, timeout=timeout, signal=signal)

    async def restart(self, reference: str, *, timeout: int | None, signal: str = "") -> None:
        """See ``Lifecycle.restart``."""
        await self.lifecycle.restart(reference, timeout=timeout, signal=signal)

    async def kill(self, reference: str, signal: str) -> None:
        """See ``Lifecycle.kill``."""
        await self.lifecycle.kill(reference, signal)

    async def pause(self, reference: str) -> None:
        """See ``Lifecycle.pause``."""
        await self.lifecycle.pause(reference)

    async def unpause(self, reference: str) -> None:
        """See ``Lifecycle.unpause``."""
        await self.lifecycle.unpause(reference)

    def wait(self, reference: str, condition: WaitCondition) -> Awaitable[int]:
        """See ``Lifecycle.wait``."""
        return self.lifecycle.wait(reference, condition)

    async def rename(self, reference: str, name: str) -> None:
        """Gives a container another name. Conflict when it is taken."""
        container = self._intent.container(reference)
        name = container_name(name)
        if name == container.name:
            raise Conflict(f"container {container.name} has that name already", remedy="choose another")
        renamed = await self._sandboxes.rename(container.id, name)
        self._publish(renamed, "rename", oldName=f"/{container.name}")

    async def remove(self, reference: str, *, force: bool, volumes: bool) -> None:
        """Removes a stopped container; with ``force`` it is killed first. Its sandbox stays for running partners."""
        container = self._intent.container(reference)
        while True:
            if force:
                await self.lifecycle.end_for_removal(container)
            async with self.lifecycle.lock(container.id):
                if container.id not in self._intent.containers:
                    return
                state = self._intent.state(container.id)
                if not state.running and state.status != "restarting":
                    await self.remove_stopped(self._intent.containers[container.id], volumes=volumes)
                    return
            if not force:
                raise Conflict(
                    f'cannot remove container "/{container.name}": container is {state.status}',
                    whose=container.id,
                    remedy="stop the container before removing or force remove",
                )

    async def remove_stopped(self, container: Container, *, volumes: bool) -> None:
        """The removal itself; the caller holds the container's lock. A daemon that dies here finishes it later."""
        state = self._intent.state(container.id)
        self._intent.commit(states={container.id: msgspec.structs.replace(state, status="removing")})
        await self._runtime.delete(container.id)
        await self._sandboxes.leave(container.id)
        await self._roots.remove(container.id)
        await asyncio.to_thread(shutil.rmtree, self._folder(container.id), True)
        container = self._intent.containers[container.id]  # it may have another name and other networks by now
        self._sandboxes.unreserve(container)
        anonymous = [item.source for item in container.spec.mounts if item.kind == "volume" and item.anonymous]
        self._intent.commit(drop=[container])
        if volumes:
            await self._volumes.discard(anonymous)
        self._inside.forget(container.id)
        self._publish(container, "destroy")
        self.lifecycle.forget(container.id, state.exit_code)

    async def prune(self, wanted: Filters) -> Pruned:
        """Removes every container that does not run."""
        filters.check_keys(wanted, PRUNE_FILTERS)
        before = filters.until(wanted, time.time())
        deleted: tuple[str, ...] = ()
        reclaimed = 0
        for container in tuple(self._intent.containers.values()):
            state = self._intent.state(container.id)
            idle = state.status in ("created", "exited", "dead")
            old_enough = before is None or container.created < before
            if idle and old_enough and filters.matches_labels(container.spec.labels, wanted):
                size = await self._roots.size(container.id)
                with contextlib.suppress(Conflict, NotFound):  # it was started or removed meanwhile
                    await self.remove(container.id, force=False, volumes=False)
                    reclaimed += size
                    deleted = (*deleted, container.id)
        return Pruned(deleted=deleted, reclaimed=reclaimed)

    async def update(self, reference: str, resources: Resources, restart: RestartPolicy | None) -> tuple[str, ...]:
        """Changes limits (those that are given) and the restart policy, of a running container at once."""
        container = self._intent.container(reference)
        async with self.lifecycle.lock(container.id):
            container = self._intent.container(container.id)
            merged = _merged(container.spec.resources, resources)
            spec = msgspec.structs.replace(container.spec, resources=merged, restart=restart or container.spec.restart)
            warnings = check(
                spec,
                self._intent.image_configs[container.id],
                self._runtime.machine.facts,
                self._runtime.machine.init_path,
            )
            if merged != container.spec.resources and self._intent.state(container.id).running:
                await self._runtime.update(container.id, merged)
            now = self._intent.containers[container.id]  # it may have another name and other networks by now
            changed = msgspec.structs.replace(now.spec, resources=spec.resources, restart=spec.restart)
            self._intent.commit(put=[msgspec.structs.replace(now, spec=changed)])
        self._publish(container, "update")
        return warnings

    def _design(self, name: str, spec: ContainerSpec) -> tuple[Container, Image, tuple[str, ...]]:
        """The container that a request means; nothing is written yet."""
        if name:
            name = container_name(name)
            self._intent.check_container_name(name)
        else:
            name = made_up(lambda text: self._intent.container_named(text) is not None)
        image = self._images.get(spec.image)
        for mount in spec.mounts:
            check_source(mount)
        warnings = check_labels(spec.labels)
        spec = definitions.settled(name, spec, self._intent, self._networks)
        spec = msgspec.structs.replace(spec, mounts=definitions.with_volumes(spec, image.config))
        if self._config.init and not spec.init:
            spec = msgspec.structs.replace(spec, init=True)
        warnings += check(spec, image.config, self._runtime.machine.facts, self._runtime.machine.init_path)
        warnings += self._services.check(spec, image.config)
        container = Container(
            id=secrets.token_hex(32), name=name, created=time.time(), image_id=image.id, spec=spec, warnings=warnings
        )
        return container, image, warnings

    def _with_volumes(self, container: Container) -> tuple[Container, Sequence[Volume]]:
        """The definition with a name for every volume, and the volumes that do not exist yet."""
        mounts: MutableSequence[Mount] = []
        fresh: dict[str, Volume] = {}
        for mount in container.spec.mounts:
            if mount.kind == "volume" and mount.source not in self._intent.volumes:
                volume = fresh.get(mount.source) or self._volumes.design(mount.source)
                fresh[volume.name] = volume
                mount = msgspec.structs.replace(mount, source=volume.name, anonymous=volume.anonymous)
            mounts.append(mount)
        spec = msgspec.structs.replace(container.spec, mounts=tuple(mounts))
        return msgspec.structs.replace(container, spec=spec), tuple(fresh.values())

    def _ancestors(self, wanted: Filters) -> frozenset[str] | None:
        references = wanted.get("ancestor", ())
        if not references:
            return None
        bases = [self._images.get(reference).layers for reference in references]
        return frozenset(
            image.id for image in self._images.list({}) for base in bases if image.layers[: len(base)] == base
        )

    def _folder(self, container_id: str) -> Path:
        return self._config.data_root / "containers" / container_id

    def _publish(self, container: Container, action: str, **attributes: str) -> None:
        known = {"image": container.spec.image, "name": container.name, **container.spec.labels}
        self._events.publish("container", action, container.id, {**known, **attributes})


def _merged(before: Resources, asked: Resources) -> Resources:
    """The limits after an update: what was asked for replaces, what was not stays."""
    default = Resources()
    changed = {
        field: value
        for field in Resources.__struct_fields__
        if (value := getattr(asked, field)) != getattr(default, field)
    }
    return msgspec.structs.replace(before, **changed)
