"""Networks: create, list, inspect, remove, prune, connect, disconnect."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Sequence

import msgspec

from linkspan.engine import default_bridge, filters
from linkspan.engine.claims import cursors_of
from linkspan.engine.config import DaemonConfig
from linkspan.engine.events import Events
from linkspan.engine.filters import Filters
from linkspan.engine.firewalls import Firewalls
from linkspan.engine.intent import Intent
from linkspan.engine.planned import planned
from linkspan.engine.previews import Previews
from linkspan.engine.sandboxes import Sandboxes
from linkspan.engine.services import Services
from linkspan.engine.views import Created, NetworkMember, NetworkView, PlannedStep, PoolUsage, Pruned
from linkspan.engine.wants import Wants
from linkspan.engine.wishes import check_wishes
from linkspan.errors import Conflict, Forbidden, InvalidRequest, NotFound, NotSupported
from linkspan.ipam import pools
from linkspan.ipam.book import Book
from linkspan.kernel.worker import Worker
from linkspan.model.address import IPAddress, IPNetwork
from linkspan.model.container import Container
from linkspan.model.endpoint import EndpointRequest
from linkspan.model.names import network_name
from linkspan.model.network import Network, NetworkRequest
from linkspan.model.options import bridge_options, check_labels, option_warnings

log = logging.getLogger(__name__)

DRIVERS = ("bridge", "host", "null")
FILTERS = ("dangling", "driver", "id", "label", "name", "scope", "type")
PRUNE_FILTERS = ("label", "label!", "until")
TYPES = ("builtin", "custom")

Surroundings = Callable[[], tuple[Sequence[tuple[IPNetwork, str]], Sequence[IPAddress]]]
"""Asks the host for its on-link routes (with a word on each) and its name servers."""


class Networks:
    """The use cases of networks."""

    def __init__(
        self,
        config: DaemonConfig,
        intent: Intent,
        book: Book,
        wants: Wants,
        worker: Worker,
        sandboxes: Sandboxes,
        events: Events,
        surroundings: Surroundings,
        instance: str,
        services: Services,
        previews: Previews,
        firewalls: Firewalls,
    ) -> None:
        self._config = config
        self._intent = intent
        self._book = book
        self._wants = wants
        self._worker = worker
        self._sandboxes = sandboxes
        self._events = events
        self._surroundings = surroundings
        self._instance = instance
        self._services = services
        self._previews = previews
        self._firewalls = firewalls
        self.is_drifted: Callable[[Network], bool] = lambda network: False
        """Whether anything of a network was given up: told by who watches the kernel."""
        self._changing = asyncio.Lock()
        """One network comes or goes at a time: what is taken back after a failure must still have its place."""
        self._coming = ""
        """Id of the network that is being created: nobody may join what may be taken back."""

    def ensure_predefined(self) -> None:
        """Writes ``bridge``, ``host`` and ``none`` into the intent at the first start."""
        known = {network.name for network in self._intent.networks.values()}
        if default_bridge.NAME not in known:
            network, _ = self._design(default_bridge.request_of(self._config), predefined=True)
            self._add(network)
        for name, driver in (("host", "host"), ("none", "null")):
            if name not in known:
                network = Network(
                    id=secrets.token_hex(32),
                    name=name,
                    driver="host" if driver == "host" else "null",
                    created=time.time(),
                )
                self._add(network)

    def follow_settings(self) -> None:
        """The default bridge follows ``--bip``, ``--mtu`` and their like when they changed, unless it is in use."""
        present = self._intent.network(default_bridge.NAME)
        request = default_bridge.request_of(self._config)
        if default_bridge.agrees(present, request):
            return
        if self._intent.endpoints_on(present.id):
            log.warning("the network bridge keeps its settings: containers run on it; restart the daemon without them")
            return
        self._book.remove_network(present.id)
        wanted, _ = self._design(request, predefined=True, instead_of=present)
        self._add(msgspec.structs.replace(wanted, id=present.id, created=present.created))

    def restore(self) -> None:
        """Books the pools of the stored networks, at the start of the daemon."""
        for network in self._intent.networks.values():
            self._book.add_network(network.id, network.pools, name=network.name)
        for network_id, subnet, last in self._intent.store.cursors.all():
            self._book.restore_cursor(network_id, subnet, last)

    async def create(self, request: NetworkRequest) -> Created:
        """Chooses subnets, writes the intent, brings the bridge up. All or nothing."""
        async with self._changing:
            network, warnings = self._design(request, predefined=False)
            self._add(network)
            self._coming = network.id
            try:
                await self._services.network_came(network)
                await self._worker.converge(self._wants.raising(network))
            except BaseException:
                self._forget(network)
                await self._services.network_went(network)
                raise
            finally:
                self._coming = ""
            self._wants.mark_raised(network)
        self._publish(network, "create")
        return Created(id=network.id, warnings=(*warnings, *self._firewalls.warnings([network])))

    def plan_create(self, request: NetworkRequest) -> tuple[PlannedStep, ...]:
        """The steps that ``create`` would take."""
        network, _ = self._design(request, predefined=False)
        return planned(self._worker, self._wants.raising(network), {network.id: f"network {network.name}"})

    def plan_remove(self, reference: str) -> tuple[PlannedStep, ...]:
        """The steps that ``remove`` would take. Refused as that would be."""
        network = self._removable(reference)
        names = {network.id: f"network {network.name}"}
        return planned(self._worker, {("network", network.id): {}}, names)

    def plan_connect(
        self, reference: str, container_reference: str, request: EndpointRequest
    ) -> tuple[PlannedStep, ...]:
        """The steps that ``connect`` would take; none for a container that does not run."""
        network = self._intent.network(reference)
        container = self._intent.container(container_reference)
        request = self.checked_request(network, request)
        self._check_joinable(network, container)
        return planned(self._worker, *self._previews.connect(network, container, request))

    def plan_disconnect(self, reference: str, container_reference: str) -> tuple[PlannedStep, ...]:
        """The steps that ``disconnect`` would take."""
        network = self._intent.network(reference)
        container = self._intent.container(container_reference)
        if not any(item.network == network.id for item in container.spec.endpoints):
            raise Forbidden(f"container {container.name} is not connected to network {network.name}")
        return planned(self._worker, *self._previews.disconnect(network, container))

    def list(self, wanted: Filters) -> tuple[NetworkView, ...]:
        """All networks that match, by name."""
        filters.check_keys(wanted, FILTERS)
        dangling = filters.boolean(wanted, "dangling")
        for kind in wanted.get("type", ()):
            if kind not in TYPES:
                raise InvalidRequest(f"invalid filter 'type={kind}'", remedy=f"use one of {', '.join(TYPES)}")
        found = [item for item in self._intent.networks.values() if self._matches(item, wanted, dangling)]
        return tuple(self._view(item) for item in sorted(found, key=lambda item: (item.name, item.id)))

    def get(self, reference: str) -> NetworkView:
        """One network. NotFound."""
        return self._view(self._intent.network(reference))

    async def remove(self, reference: str) -> None:
        """Refused for predefined networks and while anything runs on it, naming who."""
        async with self._changing:
            await self._sandboxes.departed(self._intent.network(reference).id)
            network = self._removable(reference)
            cursors = cursors_of(self._book, [network])
            self._intent.commit(drop=[network])
            try:
                await self._worker.converge(self._wants.lowering(network))
            except BaseException:
                self._intent.commit(put=[network], cursors=cursors)
                raise
            self._wants.unmark_raised(network.id)
            self._book.remove_network(network.id)
            await self._services.network_went(network)
        self._publish(network, "destroy")

    async def prune(self, wanted: Filters) -> Pruned:
        """Removes every network that no container's definition names."""
        filters.check_keys(wanted, PRUNE_FILTERS)
        before = filters.until(wanted, time.time())
        named = {request.network for item in self._intent.containers.values() for request in item.spec.endpoints}
        deleted = []
        for network in list(self._intent.networks.values()):
            unused = not network.predefined and network.id not in named and not self._intent.endpoints_on(network.id)
            old_enough = before is None or network.created < before
            if unused and old_enough and filters.matches_labels(network.labels, wanted):
                with contextlib.suppress(Forbidden, NotFound):  # it was joined or removed meanwhile
                    await self.remove(network.id)
                    deleted.append(network.name)
        return Pruned(deleted=tuple(deleted))

    async def connect(self, reference: str, container_reference: str, request: EndpointRequest) -> None:
        """Adds an endpoint to a container, running or stopped."""
        network = self._intent.network(reference)
        container = self._intent.container(container_reference)
        request = self.checked_request(network, request)
        self._check_joinable(network, container)
        await self._sandboxes.connect(network, container.id, request)
        self._publish(network, "connect", container=container.id)

    async def disconnect(self, reference: str, container_reference: str, *, force: bool) -> None:
        """Takes a container off a network. ``force`` also works for one that was removed while partners run."""
        try:
            container_id = self._intent.container(container_reference).id
        except NotFound:
            owners = [item for item in self._intent.sandboxes.values() if item.owner_name == container_reference]
            if not (force and owners):
                raise
            container_id = owners[0].owner
        container = self._intent.containers.get(container_id)
        if container is not None and (removed := self._removed_network(container, reference)):
            await self._sandboxes.disconnect(removed, container_id)
            return
        network = self._intent.network(reference)
        named = container is not None and any(item.network == network.id for item in container.spec.endpoints)
        if network.driver == "host":
            raise Forbidden("container cannot be disconnected from host network", remedy="create it again on another")
        if not named and container is not None:
            raise Forbidden(f"container {container.name} is not connected to network {network.name}")
        await self._sandboxes.disconnect(network.id, container_id)
        self._publish(network, "disconnect", container=container_id)

    def checked_request(self, network: Network, request: EndpointRequest) -> EndpointRequest:
        """What a definition asks of this network, checked and with the network's id in it."""
        if network.id == self._coming:
            raise NotFound(f"network {network.name} not found: it is being created", remedy="try again")
        check_wishes(network, request)
        links = tuple(self._intent.settled_link(text) for text in request.links)
        return msgspec.structs.replace(request, network=network.id, links=links)

    def _check_joinable(self, network: Network, container: Container) -> None:
        mode = container.spec.network_mode.kind
        if mode == "container":
            raise Forbidden(
                "container sharing network namespace with another container or host cannot be connected to any "
                "other network",
                remedy=f"connect {self._intent.name_of(container.spec.network_mode.container)} instead",
            )
        if mode == "host" or network.driver == "host":
            raise Forbidden(
                "container cannot be disconnected from or connected to host network",
                remedy="create the container with --network host",
            )
        present = [self._intent.networks.get(item.network) for item in container.spec.endpoints]
        if (network.driver == "null" and present) or any(item and item.driver == "null" for item in present):
            raise Forbidden(
                "container cannot be connected to multiple networks with one of the networks in private (none) mode",
                remedy="disconnect it from the network none first",
            )

    def _removed_network(self, container: Container, reference: str) -> str:
        """The id of a network that was removed while the stopped container still names it; empty: no such one.

        The refusal of the container's start has told the first digits of that id.
        """
        found = (item.network for item in container.spec.endpoints if item.network not in self._intent.networks)
        return next((identity for identity in found if reference and identity.startswith(reference)), "")

    def _design(
        self, request: NetworkRequest, *, predefined: bool, instead_of: Network | None = None
    ) -> tuple[Network, tuple[str, ...]]:
        """The network that a request means, with its subnets chosen; nothing is written yet."""
        others = [item for item in self._intent.networks.values() if item is not instead_of]
        if not predefined:
            self._check_name(request.name)
        if request.driver not in DRIVERS:
            raise NotFound(
                f"could not find a network driver named {request.driver}",
                remedy="the drivers are bridge, host and null",
            )
        if request.driver != "bridge":
            raise Forbidden(
                f'only one instance of "{request.driver}" network is allowed',
                remedy=f"use the predefined network {'host' if request.driver == 'host' else 'none'}",
            )
        if request.enable_ipv6 and not self._wants.facts.ipv6:
            raise NotSupported("this kernel has no IPv6", remedy="leave out --ipv6, or boot without ipv6.disable=1")
        if request.ipam_driver not in ("default", "null", ""):
            raise InvalidRequest(f"unknown IPAM driver {request.ipam_driver}", remedy="use the driver default")
        identity = secrets.token_hex(32)
        if not predefined:
            defaults = self._config.default_network_options.get(request.driver, {})
            request = msgspec.structs.replace(request, options={**defaults, **request.options})
        options = bridge_options(
            request.name,
            identity,
            request.options,
            enable_ipv6=request.enable_ipv6,
            internal=request.internal,
        )
        warnings = (
            *check_labels(request.labels),
            *option_warnings(request.options),
            *(f"IPAM option {key} is kept and has no effect" for key in request.ipam_options),
        )
        if any(item.bridge and item.bridge.bridge_name == options.bridge_name for item in others):
            raise Conflict(
                f"the bridge name {options.bridge_name} is in use by another network", remedy="choose another"
            )
        in_use = [(pool.subnet, item.name) for item in others for pool in item.pools]
        on_link, nameservers = self._surroundings()
        chosen = pools.resolve(
            request,
            default_pools=self._config.default_address_pools,
            in_use=in_use,
            on_link=on_link,
            nameservers=nameservers,
            instance=self._instance,
        )
        network = Network(
            id=identity,
            name=request.name,
            driver="bridge",
            created=time.time(),
            pools=chosen,
            enable_ipv4=request.enable_ipv4,
            enable_ipv6=any(pool.subnet.version == 6 for pool in chosen),
            internal=request.internal,
            attachable=request.attachable,
            ipam_driver=request.ipam_driver or "default",
            ipam_options=request.ipam_options,
            options=request.options,
            labels=request.labels,
            bridge=options,
        )
        return network, (*warnings, *pools.overlap_warnings(chosen, on_link, nameservers))

    def _check_name(self, name: str) -> None:
        network_name(name)
        for network in self._intent.networks.values():
            if network.name == name:
                raise Conflict(f"network with name {name} already exists", whose=network.id, remedy="remove it first")

    def _removable(self, reference: str) -> Network:
        """Forbidden for predefined networks and while anything runs on it."""
        network = self._intent.network(reference)
        if network.predefined:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        self._refuse_in_use(network)
        return network

    def _refuse_in_use(self, network: Network) -> None:
        endpoints = self._intent.endpoints_on(network.id)
        if not endpoints:
            return
        users = sorted({name for item in endpoints for name in self._users(item.sandbox_id)})
        raise Forbidden(
            f"error while removing network: network {network.name} id {network.id} has active endpoints "
            f"({', '.join(users)})",
            whose=self._intent.sandboxes[endpoints[0].sandbox_id].owner,
            remedy="stop or disconnect them first",
        )

    def _users(self, sandbox_id: str) -> Sequence[str]:
        """The members of a sandbox by name; its owner when it has none (held over a restart)."""
        sandbox = self._intent.sandboxes[sandbox_id]
        return [self._intent.name_of(item) for item in sandbox.members] or [sandbox.owner_name]

    def _view(self, network: Network) -> NetworkView:
        members = []
        for endpoint in self._intent.endpoints_on(network.id):
            owner = self._intent.sandboxes[endpoint.sandbox_id].owner
            members.append(NetworkMember(container_id=owner, name=self._intent.name_of(owner), endpoint=endpoint))
        usage = tuple(
            PoolUsage(subnet=str(item.subnet), capacity=item.capacity, in_use=item.in_use)
            for item in self._book.usage(network.id)
        )
        drifted = self.is_drifted(network)
        return NetworkView(network=network, members=tuple(members), drifted=drifted, usage=usage)

    def _matches(self, network: Network, wanted: Filters, dangling: bool | None) -> bool:
        kind = "builtin" if network.predefined else "custom"
        in_use = bool(self._intent.endpoints_on(network.id)) or network.predefined
        return (
            (not wanted.get("driver") or network.driver in wanted["driver"])
            and filters.matches_text([network.name], wanted.get("name", ()))
            and (not wanted.get("id") or any(network.id.startswith(item) for item in wanted["id"]))
            and (not wanted.get("scope") or "local" in wanted["scope"])
            and (not wanted.get("type") or kind in wanted["type"])
            and (dangling is None or dangling == (not in_use))
            and filters.matches_labels(network.labels, wanted)
        )

    def _add(self, network: Network) -> None:
        self._intent.commit(put=[network])
        self._book.add_network(network.id, network.pools, name=network.name)

    def _forget(self, network: Network) -> None:
        self._intent.commit(drop=[network])
        self._book.remove_network(network.id)

    def _publish(self, network: Network, action: str, **attributes: str) -> None:
        self._events.publish(
            "network", action, network.id, {"name": network.name, "type": network.driver, **attributes}
        )
