"""Sandboxes and their endpoints: who enters, who leaves, what they claim, and what the kernel is told.

A sandbox is shaped by its owner's definition and lives as long as any member runs (or somebody holds it over a
restart). Partners (``container:OWNER``) enter the same one, whoever comes first; when its owner is removed it goes
on for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec

from linkspan.engine.claims import Claims
from linkspan.engine.events import Events
from linkspan.engine.intent import Intent, Record
from linkspan.engine.sandbox_folders import SandboxFolders
from linkspan.engine.services import Services
from linkspan.engine.surroundings import text_of
from linkspan.engine.wants import Wants
from linkspan.errors import Conflict, Forbidden, LinkspanError, NotFound
from linkspan.kernel.state import Scope, State
from linkspan.kernel.worker import Worker
from linkspan.model.container import Container
from linkspan.model.endpoint import Endpoint, EndpointRequest
from linkspan.model.network import Network
from linkspan.model.sandbox import Sandbox


class Sandboxes:
    """The use cases of sandboxes and endpoints."""

    def __init__(
        self,
        intent: Intent,
        claims: Claims,
        wants: Wants,
        worker: Worker,
        events: Events,
        files: SandboxFolders,
        services: Services,
    ) -> None:
        self._events = events
        self._intent = intent
        self._claims = claims
        self._wants = wants
        self._worker = worker
        self._files = files
        self._services = services
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By owner, as long as somebody has it or waits for it."""
        self._departing: dict[str, asyncio.Future[None]] = {}
        """By network and endpoint id: let go by the intent, not yet by the kernel, so they may come back."""

    async def departed(self, network_id: str) -> None:
        """Returns when nobody is on the way off this network: whom the kernel would not let go is back on it."""
        while pending := [item for key, item in self._departing.items() if key.startswith(network_id)]:
            await asyncio.wait(pending)

    @contextlib.contextmanager
    def _departure(self, endpoints: Sequence[Endpoint]) -> Iterator[None]:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        keys = [f"{item.network_id} {item.id}" for item in endpoints]
        self._departing |= dict.fromkeys(keys, over)
        try:
            yield
        finally:
            for key in keys:
                del self._departing[key]
            over.set_result(None)

    def owner_of(self, container: Container) -> str:
        """The id of the container whose definition shapes the sandbox that ``container`` runs in.

        Conflict when the chain of ``container:`` modes ends nowhere.
        """
        seen = {container.id}
        while container.spec.network_mode.kind == "container":
            owner = container.spec.network_mode.container
            if owner not in self._intent.containers:
                if self._intent.sandbox_owned_by(owner) is not None:
                    return owner
                raise _removed(owner)
            if owner in seen:
                raise Conflict(f"container {container.name} joins the network of itself")
            seen.add(owner)
            container = self._intent.containers[owner]
        return container.id

    def _locked(self, owner: str) -> asyncio.Lock:
        return self._locks.setdefault(owner, asyncio.Lock())

    async def enter(self, container: Container) -> Sandbox:
        """Makes ``container`` a member of its sandbox, which is brought up when nobody is in it yet.

        Raises what claiming and the kernel raise; then nothing is left behind.
        """
        owner = self.owner_of(container)
        async with self._locked(owner):
            sandbox = self._intent.sandbox_owned_by(owner)
            if sandbox is None:
                if owner not in self._intent.containers:
                    raise _removed(owner)
                return await self._bring_up(self._intent.containers[owner], frozenset({container.id}))
            sandbox = msgspec.structs.replace(sandbox, members=sandbox.members | {container.id})
            self._intent.commit(put=[sandbox])
            return sandbox

    async def leave(self, container_id: str) -> None:
        """The container runs no longer. The last one takes the sandbox with it."""
        sandbox = self._intent.sandbox_of(container_id)
        if sandbox is None:
            return
        async with self._locked(sandbox.owner):
            sandbox = self._intent.sandbox_of(container_id)
            if sandbox is None:
                return
            members = sandbox.members - {container_id}
            if members:
                self._intent.commit(put=[msgspec.structs.replace(sandbox, members=members)])
                return
            await self._take_down(sandbox)

    async def connect(self, network: Network, container_id: str, request: EndpointRequest) -> Endpoint | None:
        """Adds an endpoint to the sandbox of a running container and to its definition; None when it is stopped.

        Forbidden when the container is on that network already.
        """
        async with self._locked(container_id):
            network, container = self._intent.network(network.id), self._intent.container(container_id)
            if any(item.network == network.id for item in container.spec.endpoints):
                raise Forbidden(
                    f"container {container.name} is already connected to network {network.name}", whose=container.id
                )
            changed = _with_endpoint(container, request)
            with self._claims.reserving(network, container, request):
                sandbox = self._intent.sandbox_owned_by(container.id)
                if sandbox is None:
                    self._intent.commit(put=[changed])
                    return None
                present = self._intent.endpoints_in(sandbox.id)
                endpoint = self._claims.claim(container.id, sandbox.id, network, request, present)
                joined = [*present, endpoint]
                await self._establish(changed, sandbox, joined, [endpoint], put=[changed], back=[container, sandbox])
            return endpoint

    async def disconnect(self, network_id: str, container_id: str) -> Endpoint | None:
        """Takes the container off the network, in its definition and, at once, in the kernel."""
        async with self._locked(container_id):
            container = self._intent.containers.get(container_id)
            before = [container] if container else []
            changed = [_without_endpoint(item, network_id) for item in before]
            sandbox = self._intent.sandbox_owned_by(container_id)
            present = self._intent.endpoints_in(sandbox.id) if sandbox else []
            endpoint = next((item for item in present if item.network_id == network_id), None)
            if sandbox is None or endpoint is None:
                self._intent.commit(put=changed)
            else:
                rest = [item for item in present if item.id != endpoint.id]
                dissolved: dict[Scope, State] = {("endpoint", endpoint.id): {}}
                with self._departure([endpoint]):
                    self._intent.commit(put=changed, drop=[endpoint])
                    try:
                        self._files.write(sandbox)
                        await self._services.withdraw(sandbox, [endpoint])
                        await self._worker.converge(dissolved | self._wants.sandbox(sandbox, rest), eager=True)
                    except BaseException:
                        self._intent.commit(put=[*before, endpoint])
                        await self._services.come_back(sandbox, [endpoint])
                        raise
                self._claims.release([endpoint], container_id)
                await self._services.come_back(sandbox)
            self._claims.unreserve_on(network_id, container_id)
            return endpoint

    async def rename(self, container_id: str, name: str) -> Container:
        """Gives a container another name, and all who know it by name hear of it. Conflict when it is taken.

        Nobody enters, leaves, connects or disconnects meanwhile: what they take back would bring the old name back.
        """
        async with self._locked(container_id):
            container = self._intent.container(container_id)
            self._intent.check_container_name(name)
            renamed = msgspec.structs.replace(container, name=name)
            sandbox = self._intent.sandbox_owned_by(container_id)
            if sandbox is None:
                self._intent.commit(put=[renamed])
                return renamed
            shaped = msgspec.structs.replace(sandbox, owner_name=name)
            self._intent.commit(put=[renamed, shaped])
            try:
                await self._services.renamed(shaped, container.name)
            except BaseException:
                self._intent.commit(put=[container, sandbox])
                with contextlib.suppress(LinkspanError):  # a keeper that is away is told all when it comes
                    await self._services.renamed(sandbox, name)
                raise
            return renamed

    def reserve(self, container: Container) -> tuple[str, ...]:
        """See ``Claims.reserve``."""
        return self._claims.reserve(container)

    def unreserve(self, container: Container) -> None:
        """See ``Claims.unreserve``."""
        self._claims.unreserve(container)

    def restore(self) -> None:
        """See ``Claims.restore``."""
        self._claims.restore()

    async def adopt(self) -> None:
        """After a restart of the daemon: names and ports of those who live on. Some may end just now."""
        held = await self._services.restore()
        for sandbox in tuple(self._intent.sandboxes.values()):
            async with self._locked(sandbox.owner):
                if sandbox.id in self._intent.sandboxes:
                    await self._services.adopt(self._intent.sandboxes[sandbox.id], held)

    async def _bring_up(self, owner: Container, members: frozenset[str]) -> Sandbox:
        sandbox, endpoints = self.design(owner, members)
        try:
            sandbox = await self._establish(owner, sandbox, endpoints, endpoints, drop=[sandbox])
        except BaseException:
            self._files.remove(sandbox)
            raise
        self._publish("connect", owner.id, endpoints)
        return sandbox

    async def _establish(
        self,
        owner: Container,
        sandbox: Sandbox,
        endpoints: Sequence[Endpoint],
        fresh: Sequence[Endpoint],
        *,
        put: Sequence[Record] = (),
        back: Sequence[Record] = (),
        drop: Sequence[Record] = (),
    ) -> Sandbox:
        """Writes the intent, then makes the kernel and the keeper follow; the sandbox as it is then.

        On failure ``back`` and ``drop`` undo the intent's part. ``endpoints`` are all of the sandbox, ``fresh`` those
        that are new; their addresses and what was published for them are free after a failure.
        """
        networks = [self._intent.networks[item.network_id] for item in fresh]
        known = self._intent.sandboxes.get(sandbox.id)
        shaped = sandbox
        try:
            shaped = self._services.prepare(owner, sandbox, endpoints)
            self._intent.commit(put=[*put, shaped, *fresh], cursors=self._claims.cursors(networks))
            try:
                for network in networks:
                    self._wants.note_need(network)
                self._files.write(shaped)
                await self._raise(shaped, known, endpoints, fresh)
            except BaseException:
                self._intent.commit(put=back, drop=[*drop, *fresh])
                await self._services.come_back(known or shaped)
                raise
        except BaseException:
            self._claims.release([item for item in fresh if item.id not in self._intent.endpoints], sandbox.owner)
            if known is None or not known.publications:
                self._services.forget(shaped)
            raise
        return shaped

    async def _raise(
        self, sandbox: Sandbox, known: Sandbox | None, endpoints: Sequence[Endpoint], fresh: Sequence[Endpoint]
    ) -> None:
        """First the kernel, then what the keeper does for the sandbox; when that fails, both as they were."""
        scopes = self.all_scopes(sandbox, endpoints, fresh)
        before = {scope: self._worker.applied(scope) for scope in scopes if scope[0] in ("endpoint", "sandbox")}
        await self._worker.converge(scopes)
        for endpoint in fresh:
            self._wants.mark_raised(self._intent.networks[endpoint.network_id])
        try:
            await self._services.bring_up(sandbox, fresh)
        except BaseException:
            await self._services.recede(sandbox, known, fresh)
            await self._worker.converge(before)
            raise

    def design(self, owner: Container, members: frozenset[str]) -> tuple[Sandbox, list[Endpoint]]:
        """A new sandbox for this definition with its addresses claimed. On failure nothing stays claimed."""
        host = owner.spec.network_mode.kind == "host"
        sandbox = Sandbox(
            id=secrets.token_hex(32),
            owner=owner.id,
            owner_name=owner.name,
            hostname=owner.spec.hostname or (_host_name() if host else owner.id[:12]),
            members=members,
            host=host,
        )
        endpoints: list[Endpoint] = []
        try:
            for request in owner.spec.endpoints:
                network = self.network_of(owner, request)
                endpoints.append(self._claims.claim(owner.id, sandbox.id, network, request, endpoints))
        except BaseException:
            self._claims.release(endpoints, owner.id)
            raise
        return sandbox, endpoints

    def network_of(self, container: Container, request: EndpointRequest) -> Network:
        """The network that a definition names. NotFound when it was removed while the container was stopped."""
        network = self._intent.networks.get(request.network)
        if network is None:
            raise NotFound(
                f"network {request.network[:12]} of container {container.name} not found",
                remedy="it was removed; disconnect the container from it or create the container again",
            )
        return network

    def all_scopes(
        self, sandbox: Sandbox, endpoints: Sequence[Endpoint], fresh: Sequence[Endpoint]
    ) -> dict[Scope, State]:
        scopes: dict[Scope, State] = {}
        for endpoint in fresh:
            network = self._intent.networks[endpoint.network_id]
            scopes |= self._wants.raising(network)
            scopes |= self._wants.endpoint(sandbox, network, endpoint)
        return scopes | self._wants.sandbox(sandbox, endpoints)

    async def _take_down(self, sandbox: Sandbox) -> None:
        endpoints = self._intent.endpoints_in(sandbox.id)
        scopes: dict[Scope, State] = {("endpoint", item.id): {} for item in endpoints}
        scopes[("sandbox", sandbox.id)] = {}
        with self._departure(endpoints):
            self._intent.commit(drop=[sandbox, *endpoints])
            try:
                await self._services.withdraw(sandbox, endpoints)
                await self._services.take_down(sandbox)
                # A name on the host that a person chose is free again at once.
                chosen = any(item.options.host_interface for item in endpoints)
                await self._worker.converge(scopes, eager=chosen)
            except BaseException:
                self._intent.commit(put=[sandbox, *endpoints])
                await self._services.come_back(sandbox, endpoints)
                raise
        self._claims.release(endpoints, sandbox.owner)
        await self._services.gone(sandbox, endpoints)
        self._files.remove(sandbox)
        self._publish("disconnect", sandbox.owner, endpoints)

    def _publish(self, action: str, container_id: str, endpoints: Sequence[Endpoint]) -> None:
        """Starting connects and stopping disconnects, for those who listen as with Docker."""
        for endpoint in endpoints:
            network = self._intent.networks.get(endpoint.network_id)
            if network is not None:
                attributes = {"name": network.name, "type": network.driver, "container": container_id}
                self._events.publish("network", action, network.id, attributes)


def _removed(owner: str) -> Conflict:
    return Conflict(
        f"cannot join network of a container that was removed: {owner[:12]}",
        remedy="create this container again with the network of one that exists",
    )


def _with_endpoint(container: Container, request: EndpointRequest) -> Container:
    spec = msgspec.structs.replace(container.spec, endpoints=(*container.spec.endpoints, request))
    return msgspec.structs.replace(container, spec=spec)


def _without_endpoint(container: Container, network_id: str) -> Container:
    rest = tuple(item for item in container.spec.endpoints if item.network != network_id)
    return msgspec.structs.replace(container, spec=msgspec.structs.replace(container.spec, endpoints=rest))


def _host_name() -> str:
    return text_of(Path("/proc/sys/kernel/hostname")).strip()
