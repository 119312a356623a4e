"""What a sandbox has besides its kernel objects: its resolver, its names on networks, its published host ports.

They live in the keeper, so that they outlive the daemon. Everything here can be said again: ``bring_up`` makes the
keeper hold what the intent says, whether it knew that already or not.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import ExitStack

import msgspec

from linkspan.engine.config import DaemonConfig
from linkspan.engine.depths import Depths, Flows
from linkspan.engine.intent import Intent
from linkspan.engine.naming import Naming, has_names
from linkspan.engine.ports import Ports, Reserved
from linkspan.engine.publishing import unanswered, wishes_of
from linkspan.engine.sandbox_folders import SandboxFolders
from linkspan.errors import KeeperFailure, KernelFailure, LinkspanError
from linkspan.keeper.face import Keeper, Relay
from linkspan.kernel.state import Facts
from linkspan.model.container import Container, ContainerSpec
from linkspan.model.endpoint import Endpoint
from linkspan.model.image import ImageConfig
from linkspan.model.network import Network
from linkspan.model.port import Publication, Transport
from linkspan.model.publishing import reservation_key
from linkspan.model.sandbox import Sandbox
from linkspan.plan import ports as port_plan
from linkspan.plan import resolver
from linkspan.plan.bridge import announcements_of
from linkspan.plan.gateways import by_priority
from linkspan.plan.sandbox import namespace_of

log = logging.getLogger(__name__)

MOST_WARNINGS = 6
"""Sentences about one container's ports in the log."""


class Services:
    """Called by ``Sandboxes``, which holds the sandbox's lock. Raises KeeperFailure, KernelFailure and Conflict."""

    def __init__(
        self,
        config: DaemonConfig,
        intent: Intent,
        naming: Naming,
        ports: Ports,
        keeper: Keeper,
        files: SandboxFolders,
        depths: Depths,
        facts: Facts,
    ) -> None:
        self._config = config
        self._intent = intent
        self._naming = naming
        self._ports = ports
        self._keeper = keeper
        self._files = files
        self._depths = depths
        self._ipv6 = facts.ipv6
        self._resolver_port = resolver.port_of(facts.instance)
        self._background: set[asyncio.Task[None]] = set()
        self._fresh: dict[str, Reserved] = {}
        """By sandbox: what was reserved for it and the keeper does not hold yet."""

    # --- before the kernel is asked ------------------------------------------------------------------------------

    def prepare(self, owner: Container, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> Sandbox:
        """The sandbox with host ports reserved and a resolver's port chosen, where its networks give them."""
        networks = [self._intent.networks[item.network_id] for item in endpoints]
        if sandbox.host:
            return sandbox
        port = sandbox.resolver_port
        if not port and any(has_names(item) for item in networks):
            port = self._resolver_port
        publications = sandbox.publications
        if not publications:
            publications = self._reserved(owner, sandbox, endpoints)
        return msgspec.structs.replace(sandbox, resolver_port=port, publications=publications)

    def _reserved(self, owner: Container, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> tuple[Publication, ...]:
        """Reserves what the definition publishes; nothing where no network of the sandbox reaches out."""
        pairs = self._intent.placed(endpoints)
        image = self._intent.image_configs.get(owner.id, ImageConfig())
        wanted = wishes_of(
            owner.spec, image, [network for network, _ in by_priority(pairs)], self._config, ipv6=self._ipv6
        )
        if not wanted:
            return ()
        reserved = self._ports.reserve(
            sandbox.id,
            owner.name,
            wanted,
            relayed=lambda publication: port_plan.relay_target(publication, pairs) is not None,
        )
        self._fresh[sandbox.id] = reserved
        _warn(owner.name, reserved.warnings)
        return reserved.publications

    def check(self, spec: ContainerSpec, image: ImageConfig) -> tuple[str, ...]:
        """What a definition publishes, before it is stored: warnings. InvalidRequest, NotSupported."""
        networks = [self._intent.networks[item.network] for item in spec.endpoints]
        wanted = wishes_of(spec, image, networks, self._config, ipv6=self._ipv6)
        if spec.port_bindings and spec.network_mode.kind == "bridge" and not wanted:
            names = ", ".join(item.name for item in networks)
            return (f"nothing is published while the container is on no other network than {names}: none reaches out",)
        absent = self._ports.absent(address for item in wanted if not item.routed for address in item.addresses)
        return (*(item.warning for item in wanted if item.warning), *absent, *unanswered(wanted, networks))

    def forget(self, sandbox: Sandbox) -> None:
        """Gives the host ports back that were reserved for it, and of which the keeper was not told."""
        self._let_go(sandbox)
        self._ports.release(sandbox.id)

    def _let_go(self, sandbox: Sandbox) -> None:
        reserved = self._fresh.pop(sandbox.id, None)
        if reserved is not None:
            reserved.close()

    # --- after the kernel has followed ---------------------------------------------------------------------------

    async def bring_up(self, sandbox: Sandbox, fresh: Sequence[Endpoint]) -> None:
        """Ports, resolver and names as the intent has them; the ``fresh`` endpoints are announced."""
        endpoints = self._intent.endpoints_in(sandbox.id)
        await self._tell_keeper(sandbox, endpoints, fresh)
        self._announce(sandbox, fresh)
        self._purge(sandbox, endpoints, gone=False)

    async def _tell_keeper(self, sandbox: Sandbox, endpoints: Sequence[Endpoint], fresh: Sequence[Endpoint]) -> None:
        await self._hold(sandbox, endpoints)
        if sandbox.resolver_port:
            await self._serve(sandbox)
        hosts = self._naming.hosts(sandbox, fresh)
        if hosts:
            await self._keeper.put_hosts(hosts)
        await self._tell_linked(sandbox)

    async def _hold(self, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> None:
        """The keeper holds the host ports; what it relays goes to where the endpoints are now."""
        pairs = self._intent.placed(endpoints)
        reserved = self._fresh.get(sandbox.id)
        fresh = reserved.sockets if reserved else {}
        for publication in sandbox.publications:
            key = reservation_key(sandbox.id, publication)
            relay = _relay_of(publication, pairs)
            sockets = fresh.get(key, ())
            if not sockets and self._keeper.relay(key) != relay:
                # Only now: this is a copy of all that the keeper holds, for whomever.
                sockets = self._keeper.held().get(key, ())
            if sockets:
                await self._keeper.hold(key, sockets, relay)
        self._let_go(sandbox)

    async def _serve(self, sandbox: Sandbox) -> None:
        client = self._naming.client(sandbox)
        if sandbox.id in self._keeper.served():
            await self._keeper.put_client(client)
            return
        with ExitStack() as stack:
            try:
                name = namespace_of(sandbox)
                udp, tcp, namespace = await self._depths.open_resolver(name, sandbox.resolver_port)
                for descriptor in (udp, tcp, namespace):
                    stack.callback(os.close, descriptor)
            except OSError as error:
                raise KernelFailure(
                    f"the resolver of container {sandbox.owner_name} cannot listen on 127.0.0.11 port "
                    f"{sandbox.resolver_port}: {error.strerror}",
                    whose=sandbox.owner,
                    remedy="restart the container",
                ) from error
            await self._keeper.serve(client, udp, tcp, namespace)

    async def _tell_linked(self, sandbox: Sandbox) -> None:
        """Sandboxes that have a link to this one's owner learn where it is now. Their trouble is their own."""
        await self._tell(self._naming.linking_to(sandbox.owner_name))

    async def _tell(self, others: Sequence[Sandbox]) -> None:
        """What these sandboxes are told of names is as the intent has it now."""
        for other in others:
            if other.id not in self._intent.sandboxes:
                continue
            try:
                self._files.write(other)
                await self._put_client(other)
            except LinkspanError as error:
                log.error("container %s does not learn what others are called now: %s", other.owner_name, error)

    async def _put_client(self, sandbox: Sandbox) -> None:
        """What the resolver of a sandbox knows of it; nothing where it has none."""
        if sandbox.resolver_port and sandbox.id in self._keeper.served():
            await self._keeper.put_client(self._naming.client(sandbox))

    def _announce(self, sandbox: Sandbox, endpoints: Iterable[Endpoint]) -> None:
        for endpoint in endpoints:
            network = self._intent.networks[endpoint.network_id]
            if network.driver == "bridge":
                self._in_background(self._announced(sandbox, network, endpoint))

    def _in_background(self, deed: Coroutine[object, object, None]) -> None:
        """For what nobody waits for: it takes long, or may fail."""
        task = asyncio.create_task(deed)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _announced(self, sandbox: Sandbox, network: Network, endpoint: Endpoint) -> None:
        count, interval = announcements_of(network, endpoint)
        addresses = [str(item) for item in (endpoint.ipv4, endpoint.ipv6) if item is not None]
        for turn in range(count):
            if turn:
                await asyncio.sleep(interval)
            if endpoint.id not in self._intent.endpoints:
                return
            try:
                await self._depths.announce(namespace_of(sandbox), endpoint.interface, addresses, endpoint.mac)
            except (OSError, LinkspanError) as error:
                log.debug("addresses of %s cannot be announced: %s", sandbox.owner_name, error)
                return

    def _purge(self, sandbox: Sandbox, endpoints: Sequence[Endpoint], *, gone: bool) -> None:
        """Datagrams that never pause keep their old way otherwise (moby#8795, moby#53384).

        One walk through a large table of connections takes 12 ms and more, so nobody waits for it.
        """
        flows = self._flows(sandbox, endpoints, ("udp",), gone=gone)
        if flows:
            self._in_background(self._depths.purge(flows))

    def _flows(
        self, sandbox: Sandbox, endpoints: Sequence[Endpoint], protocols: Sequence[Transport], *, gone: bool
    ) -> list[Flows]:
        pairs = self._intent.placed(endpoints)
        flows = []
        for publication in sandbox.publications:
            if publication.protocol in protocols and publication.host_port:
                found = port_plan.target(publication, pairs)
                flows.append(Flows(publication, found[2] if found else None, gone))
        return flows

    def translate_anew(self) -> None:
        """The firewall was away: what began meanwhile stays untranslated until its connection is forgotten."""
        flows = []
        for sandbox in self._intent.sandboxes.values():
            endpoints = self._intent.endpoints_in(sandbox.id)
            flows += self._flows(sandbox, endpoints, ("tcp", "udp"), gone=False)
        if flows:
            self._in_background(self._depths.purge(flows))

    # --- before and after it goes --------------------------------------------------------------------------------

    async def withdraw(self, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> None:
        """These endpoints are found by no name any more."""
        await self._keeper.drop_hosts([(item.network_id, item.id) for item in endpoints])
        await self._tell_linked(sandbox)

    async def take_down(self, sandbox: Sandbox) -> None:
        """The sandbox goes: nobody answers in it any more. Its host ports are let go when it is ``gone``."""
        if sandbox.id in self._keeper.served():
            await self._keeper.stop_serving(sandbox.id)

    async def gone(self, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> None:
        """The kernel has let go of it: now its host ports are free, whatever the keeper says to that."""
        try:
            await self._release(sandbox.publications, sandbox)
        finally:
            if sandbox.publications:
                self._purge(sandbox, endpoints, gone=True)
            self.forget(sandbox)

    async def _release(self, publications: Iterable[Publication], sandbox: Sandbox) -> None:
        try:
            await self._keeper.release([reservation_key(sandbox.id, item) for item in publications])
        except KeeperFailure as failure:
            log.error("host ports of container %s may stay taken: %s", sandbox.owner_name, failure)

    # --- when something failed -----------------------------------------------------------------------------------

    async def recede(self, sandbox: Sandbox, known: Sandbox | None, fresh: Sequence[Endpoint]) -> None:
        """Takes back what ``bring_up`` began, before the kernel does; ``known`` is the sandbox as it was, if it was.

        Nothing that fails on the way keeps the rest from being taken back.
        """
        await self._keeper.drop_hosts([(item.network_id, item.id) for item in fresh])
        if known is None or not known.resolver_port:
            try:
                await self.take_down(sandbox)
            except KeeperFailure as failure:
                log.error("%s", failure)
        before = known.publications if known else ()
        await self._release([item for item in sandbox.publications if item not in before], sandbox)

    async def come_back(self, sandbox: Sandbox, endpoints: Sequence[Endpoint] = ()) -> None:
        """All as the intent has it again, after a change that failed or was made in part: as far as that can be."""
        try:
            if sandbox.id in self._intent.sandboxes:
                self._files.write(sandbox)
                await self.bring_up(sandbox, endpoints)
            else:
                await self._tell_linked(sandbox)
        except LinkspanError as error:
            log.error("names and ports of container %s are not as they were: %s", sandbox.owner_name, error)

    # --- the daemon's own life -----------------------------------------------------------------------------------

    async def restore(self) -> Mapping[str, tuple[int, ...]]:
        """After a restart of the daemon: the keeper knows all names and lets go of what nobody wants.

        Returns what it holds, for ``adopt``.
        """
        sandboxes = self._intent.sandboxes
        held = self._keeper.held()
        for zone in tuple(self._naming.zones()):
            await self._keeper.put_zone(zone)
        for stale in self._keeper.zones() - self._intent.networks.keys():
            await self._keeper.drop_zone(stale)
        wanted = {reservation_key(key, item) for key, sandbox in sandboxes.items() for item in sandbox.publications}
        await self._keeper.release([key for key in held if key not in wanted])
        for stale in self._keeper.served() - {key for key, sandbox in sandboxes.items() if sandbox.resolver_port}:
            await self._keeper.stop_serving(stale)
        return held

    async def adopt(self, sandbox: Sandbox, held: Mapping[str, tuple[int, ...]]) -> None:
        """After ``restore``: what a live sandbox has is as the intent says, as far as that can be."""
        try:
            await self._adopt(sandbox, held)
        except LinkspanError as error:
            self._let_go(sandbox)
            log.error("%s", error)

    async def _adopt(self, sandbox: Sandbox, held: Mapping[str, tuple[int, ...]]) -> None:
        endpoints = self._intent.endpoints_in(sandbox.id)
        pairs = self._intent.placed(endpoints)
        adopted = self._ports.adopt(
            sandbox.id,
            sandbox.owner_name,
            sandbox.publications,
            held,
            relayed=lambda publication: port_plan.relay_target(publication, pairs) is not None,
        )
        self._fresh[sandbox.id] = adopted
        _warn(sandbox.owner_name, adopted.warnings)
        await self._tell_keeper(sandbox, endpoints, ())

    async def renamed(self, sandbox: Sandbox, before: str) -> None:
        """Its owner has another name now."""
        self._ports.rename(sandbox.id, sandbox.owner_name)
        await self._keeper.put_hosts(self._naming.hosts(sandbox, self._intent.endpoints_in(sandbox.id)))
        await self._put_client(sandbox)
        await self._tell_linked(sandbox)
        await self._tell(self._naming.linking_to(before))

    async def network_came(self, network: Network) -> None:
        """Its names can be asked for."""
        if has_names(network):
            await self._keeper.put_zone(self._naming.zone(network))

    async def network_went(self, network: Network) -> None:
        """Nobody is on it any more."""
        await self._keeper.drop_zone(network.id)

    async def servers_changed(self) -> None:
        """The host's name servers are others now. One sandbox's trouble is its own."""
        for sandbox_id in tuple(self._intent.sandboxes):
            await asyncio.sleep(0)  # a thousand of them take half a second, in which others have their turn
            sandbox = self._intent.sandboxes.get(sandbox_id)
            if sandbox is None:
                continue
            try:
                self._files.write(sandbox)
                await self._put_client(sandbox)
            except LinkspanError as error:
                log.error("container %s does not follow the host's name servers: %s", sandbox.owner_name, error)

    async def close(self, *, end: bool) -> None:
        """Lets go of the keeper, which lives on while anything runs."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._keeper.close(end=end)


def _warn(name: str, warnings: Sequence[str]) -> None:
    """Thousands of ports may have the same to say."""
    for warning in warnings[:MOST_WARNINGS]:
        log.warning("container %s: %s", name, warning)
    if len(warnings) > MOST_WARNINGS:
        log.warning("container %s: %d more warnings of this kind", name, len(warnings) - MOST_WARNINGS)


def _relay_of(publication: Publication, pairs: Sequence[tuple[Network, Endpoint]]) -> Relay | None:
    target = port_plan.relay_target(publication, pairs)
    if target is None:
        return None
    return Relay(target=str(target), port=publication.port, limited=publication.limited, sources=publication.sources)
