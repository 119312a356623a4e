"""Sandboxes and their endpoints: who enters, who leaves, what they claim, and what the kernel is told.

A sandbox is shaped by its owner's definition and lives as long as any member runs (or somebody holds it over a
restart). Partners (``container:OWNER``) enter the same one, whoever comes first; when its owner is removed it goes
on for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec

from linkspan.engine import files
from linkspan.engine.config import DaemonConfig
from linkspan.engine.intent import Cursor, Intent
from linkspan.engine.wants import Wants
from linkspan.errors import Conflict, NotFound
from linkspan.ipam.book import Book
from linkspan.ipam.mac import random_mac
from linkspan.ipam.notation import family_of
from linkspan.kernel.state import Scope, State
from linkspan.kernel.worker import Worker
from linkspan.model.address import IPAddress
from linkspan.model.container import Container
from linkspan.model.endpoint import Endpoint, EndpointRequest
from linkspan.model.network import Network
from linkspan.model.sandbox import Sandbox
from linkspan.plan.sandbox import by_priority, gateway_of, namespace_of

MOST_PORTS = 1023
"""Ports of one Linux bridge (BR_MAX_PORTS in net/bridge/br_private.h)."""


class Sandboxes:
    """The use cases of sandboxes and endpoints."""

    def __init__(self, config: DaemonConfig, intent: Intent, book: Book, wants: Wants, worker: Worker) -> None:
        self._config = config
        self._intent = intent
        self._book = book
        self._wants = wants
        self._worker = worker
        self._folder = config.exec_root / "sandboxes"
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def folder(self, sandbox: Sandbox) -> Path:
        """Where the sandbox's three files lie."""
        return self._folder / sandbox.id[:12]

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
                raise Conflict(
                    f"cannot join network of a container that was removed: {owner[:12]}",
                    remedy="create this container again with the network of one that exists",
                )
            if owner in seen:
                raise Conflict(f"container {container.name} joins the network of itself")
            seen.add(owner)
            container = self._intent.containers[owner]
        return container.id

    @contextlib.asynccontextmanager
    async def _locked(self, owner: str) -> AsyncIterator[None]:
        lock = self._locks[owner]
        async with lock:
            yield
        if owner not in self._intent.containers and not lock.locked():
            self._locks.pop(owner, None)

    async def enter(self, container: Container) -> Sandbox:
        """Makes ``container`` a member of its sandbox, which is brought up when nobody is in it yet.

        Raises what claiming and the kernel raise; then nothing is left behind.
        """
        owner = self.owner_of(container)
        async with self._locked(owner):
            sandbox = self._intent.sandbox_owned_by(owner)
            if sandbox is None:
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
            sandbox = self._intent.sandboxes[sandbox.id]
            members = sandbox.members - {container_id}
            if members:
                self._intent.commit(put=[msgspec.structs.replace(sandbox, members=members)])
                return
            await self._take_down(sandbox)

    async def connect(self, network: Network, container: Container, request: EndpointRequest) -> Endpoint | None:
        """Adds an endpoint to the sandbox of a running container and to its definition; None when it is stopped."""
        async with self._locked(container.id):
            container = self._intent.containers[container.id]
            changed = _with_endpoint(container, request)
            sandbox = self._intent.sandbox_owned_by(container.id)
            if sandbox is None:
                self._reserve(network, container, request)
                self._intent.commit(put=[changed])
                return None
            present = self._intent.endpoints_in(sandbox.id)
            self._reserve(network, container, request)
            try:
                endpoint = self._claim(container.id, sandbox.id, network, request, present)
            except BaseException:
                self._book.unreserve(container.id, network.id)
                raise
            try:
                self._intent.commit(put=[changed, endpoint], cursors=self._cursors([endpoint]))
                await self._converge(sandbox, [*present, endpoint], [endpoint])
            except BaseException:
                self._intent.commit(put=[container], drop=[endpoint])
                self._release(endpoint, container.id)
                self._book.unreserve(container.id, network.id)
                raise
            self.write_files(sandbox)
            return endpoint

    async def disconnect(self, network: Network, container_id: str) -> Endpoint | None:
        """Takes the container off the network, in its definition and, at once, in the kernel."""
        async with self._locked(container_id):
            container = self._intent.containers.get(container_id)
            changed = [_without_endpoint(container, network.id)] if container else []
            sandbox = self._intent.sandbox_owned_by(container_id)
            present = self._intent.endpoints_in(sandbox.id) if sandbox else []
            endpoint = next((item for item in present if item.network_id == network.id), None)
            if sandbox is not None and endpoint is not None:
                rest = [item for item in present if item.id != endpoint.id]
                dissolved: dict[Scope, State] = {("endpoint", endpoint.id): {}}
                await self._worker.converge(dissolved | self._wants.sandbox(sandbox, rest), eager=True)
                self._intent.commit(put=changed, drop=[endpoint])
                self._release(endpoint, container_id)
                self.write_files(sandbox)
            else:
                self._intent.commit(put=changed)
            self._book.unreserve(container_id, network.id)
            return endpoint

    def preview(self, container: Container) -> tuple[dict[Scope, State], dict[str, str]]:
        """The scopes that a start of ``container`` would add, and what to call their ids.

        Addresses are claimed to see which they would be, and given back.
        """
        owner = container.id if container.spec.network_mode.kind != "container" else self.owner_of(container)
        if self._intent.sandbox_owned_by(owner) is not None:
            return {}, {}
        shape = container if owner == container.id else self._intent.containers[owner]
        networks = [self._intent.networks[item.network] for item in shape.spec.endpoints]
        cursors = [
            (item.id, pool.subnet, self._book.cursor(item.id, pool.subnet)) for item in networks for pool in item.pools
        ]
        sandbox, endpoints = self._design(shape, frozenset())
        names = {sandbox.id: f"sandbox of {shape.name}"}
        for endpoint in endpoints:
            network = self._intent.networks[endpoint.network_id]
            names |= {network.id: f"network {network.name}", endpoint.id: f"endpoint of {shape.name} on {network.name}"}
        try:
            return self._all_scopes(sandbox, endpoints, endpoints), names
        finally:
            for endpoint in endpoints:
                self._release(endpoint, sandbox.owner)
            for cursor in cursors:
                self._book.restore_cursor(*cursor)

    def reserve(self, container: Container) -> tuple[str, ...]:
        """Books the static addresses of a new definition. Returns warnings that name earlier holders."""
        warnings: list[str] = []
        try:
            for request in container.spec.endpoints:
                network = self._intent.networks.get(request.network)
                if network is not None:
                    warnings += self._reserve(network, container, request)
        except BaseException:
            self.unreserve(container)
            raise
        return tuple(warnings)

    def unreserve(self, container: Container) -> None:
        """Gives the static addresses of a removed definition back."""
        for request in container.spec.endpoints:
            self._book.unreserve(container.id, request.network)

    def restore(self) -> None:
        """Books what the stored definitions and live endpoints hold, at the start of the daemon."""
        for container in self._intent.containers.values():
            self.reserve(container)
        for endpoint in self._intent.endpoints.values():
            sandbox = self._intent.sandboxes[endpoint.sandbox_id]
            for address in _addresses(endpoint):
                self._book.claim(endpoint.network_id, family_of(address), sandbox.owner, address)

    def write_files(self, sandbox: Sandbox) -> None:
        """Writes /etc/hosts, /etc/hostname and /etc/resolv.conf of the sandbox, in place."""
        folder = self.folder(sandbox)
        host_resolver = files.parse_resolver(_text_of(Path("/etc/resolv.conf")))
        owner = self._intent.containers.get(sandbox.owner)
        if owner is None and folder.exists():
            return
        spec = owner.spec if owner else None
        endpoints = self._intent.endpoints_in(sandbox.id)
        gateways = self._gateways(endpoints)
        extra = files.extra_entries(spec.extra_hosts if spec else (), gateways)
        if sandbox.host:
            own_lines = _text_of(Path("/etc/hosts"))
            hosts = own_lines + "".join(f"{item.address}\t{' '.join(item.names)}\n" for item in extra)
        else:
            names = _own_names(sandbox.hostname, spec.domainname if spec else "")
            addresses = [address for endpoint in endpoints for address in _addresses(endpoint)]
            hosts = files.hosts_text(extra, [files.HostsEntry(str(address), names) for address in addresses])
        wanted = files.Resolver(
            servers=(spec.dns if spec else ()) or self._config.dns,
            search=(spec.dns_search if spec else ()) or self._config.dns_search,
            options=(spec.dns_options if spec else ()) or self._config.dns_options,
        )
        files.write_in_place(folder / "hosts", hosts)
        files.write_in_place(folder / "hostname", sandbox.hostname + "\n")
        text = files.resolver_text(host_resolver, wanted, own_namespace=not sandbox.host)
        files.write_in_place(folder / "resolv.conf", text)

    async def _bring_up(self, owner: Container, members: frozenset[str]) -> Sandbox:
        sandbox, endpoints = self._design(owner, members)
        try:
            self._intent.commit(put=[sandbox, *endpoints], cursors=self._cursors(endpoints))
            self.write_files(sandbox)
            await self._converge(sandbox, endpoints, endpoints)
        except BaseException:
            self._intent.commit(drop=[sandbox, *endpoints])
            for endpoint in endpoints:
                self._release(endpoint, sandbox.owner)
            shutil.rmtree(self.folder(sandbox), ignore_errors=True)
            raise
        return sandbox

    def _design(self, owner: Container, members: frozenset[str]) -> tuple[Sandbox, list[Endpoint]]:
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
                network = self._intent.networks.get(request.network)
                if network is None:
                    raise NotFound(
                        f"network {request.network[:12]} of container {owner.name} not found",
                        remedy="it was removed; disconnect the container from it or create the container again",
                    )
                endpoints.append(self._claim(owner.id, sandbox.id, network, request, endpoints))
        except BaseException:
            for endpoint in endpoints:
                self._release(endpoint, owner.id)
            raise
        return sandbox, endpoints

    def _claim(
        self, owner: str, sandbox_id: str, network: Network, request: EndpointRequest, present: Sequence[Endpoint]
    ) -> Endpoint:
        identity = secrets.token_hex(32)
        if network.driver != "bridge" or network.bridge is None:
            return Endpoint(
                id=identity,
                network_id=network.id,
                sandbox_id=sandbox_id,
                request=request,
                interface="",
                host_interface="",
                mac="",
            )
        if len(self._intent.endpoints_on(network.id)) >= MOST_PORTS:
            raise Conflict(
                f"network {network.name} has {MOST_PORTS} endpoints, as many as a Linux bridge takes",
                whose=network.id,
                remedy="put the container on another network",
            )
        claimed: dict[int, IPAddress] = {}
        try:
            for pool in network.pools:
                version = family_of(pool.subnet)
                wanted = request.ipv4 if version == 4 else request.ipv6
                claimed[version] = self._book.claim(network.id, version, owner, wanted)
        except BaseException:
            for address in claimed.values():
                self._book.release(network.id, address, owner)
            raise
        taken = {item.interface for item in present}
        prefix = network.bridge.interface_prefix
        interface = next(name for index in range(len(taken) + 1) if (name := f"{prefix}{index}") not in taken)
        ipv4, ipv6 = claimed.get(4), claimed.get(6)
        return Endpoint(
            id=identity,
            network_id=network.id,
            sandbox_id=sandbox_id,
            request=request,
            interface=interface,
            host_interface=f"veth{identity[:11]}",
            mac=request.mac or random_mac(secrets.token_bytes),
            ipv4=ipv4 if ipv4 is not None and ipv4.version == 4 else None,
            ipv6=ipv6 if ipv6 is not None and ipv6.version == 6 else None,
        )

    def _release(self, endpoint: Endpoint, owner: str) -> None:
        for address in _addresses(endpoint):
            self._book.release(endpoint.network_id, address, owner)

    def _reserve(self, network: Network, container: Container, request: EndpointRequest) -> list[str]:
        warnings: list[str] = []
        for address in (request.ipv4, request.ipv6):
            if address is None:
                continue
            warnings += [
                f"address {address} on network {network.name} is already named by container "
                f"{self._intent.name_of(earlier)}: only one of them can run at a time"
                for earlier in self._book.reserve(network.id, address, container.id)
            ]
        return warnings

    async def _converge(self, sandbox: Sandbox, endpoints: Sequence[Endpoint], fresh: Sequence[Endpoint]) -> None:
        await self._worker.converge(self._all_scopes(sandbox, endpoints, fresh))
        for endpoint in fresh:
            self._wants.mark_raised(self._intent.networks[endpoint.network_id])

    def _all_scopes(
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
        await self._worker.converge(scopes)
        self._intent.commit(drop=[sandbox, *endpoints])
        for endpoint in endpoints:
            self._release(endpoint, sandbox.owner)
        shutil.rmtree(self.folder(sandbox), ignore_errors=True)

    def _cursors(self, endpoints: Sequence[Endpoint]) -> list[Cursor]:
        cursors: list[Cursor] = []
        for endpoint in endpoints:
            for pool in self._intent.networks[endpoint.network_id].pools:
                last = self._book.cursor(endpoint.network_id, pool.subnet)
                if last is not None:
                    cursors.append((endpoint.network_id, pool.subnet, last))
        return cursors

    def _gateways(self, endpoints: Sequence[Endpoint]) -> tuple[str, ...]:
        pairs = [(self._intent.networks[item.network_id], item) for item in endpoints]
        for network, _ in by_priority(pairs):
            found = [gateway for version in (4, 6) if (gateway := gateway_of(network, version))]
            if found:
                return tuple(found)
        return ()

    def namespace_path(self, sandbox: Sandbox) -> str:
        """The pin of the sandbox's namespace; empty for the host's own."""
        return "" if sandbox.host else str(self._config.exec_root / "netns" / namespace_of(sandbox))


def _addresses(endpoint: Endpoint) -> list[IPAddress]:
    return [address for address in (endpoint.ipv4, endpoint.ipv6) if address is not None]


def _own_names(hostname: str, domainname: str) -> tuple[str, ...]:
    return (f"{hostname}.{domainname}", hostname) if domainname else (hostname,)


def _with_endpoint(container: Container, request: EndpointRequest) -> Container:
    spec = msgspec.structs.replace(container.spec, endpoints=(*container.spec.endpoints, request))
    return msgspec.structs.replace(container, spec=spec)


def _without_endpoint(container: Container, network_id: str) -> Container:
    rest = tuple(item for item in container.spec.endpoints if item.network != network_id)
    return msgspec.structs.replace(container, spec=msgspec.structs.replace(container.spec, endpoints=rest))


def _host_name() -> str:
    return _text_of(Path("/proc/sys/kernel/hostname")).strip()


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
