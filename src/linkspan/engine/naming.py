"""Who is called what: from intent to the zones, hosts and clients that the keeper answers with.

Every user-defined bridge network is a zone. A sandbox on one of them has a resolver; it sees the zones of its
networks, the one with its gateway first.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence, Set

from linkspan.dns.names import Client, Host, Server, Zone
from linkspan.engine.claims import addresses_of
from linkspan.engine.config import DaemonConfig
from linkspan.engine.files import Resolver, most_dots
from linkspan.engine.intent import Intent
from linkspan.engine.surroundings import host_resolver
from linkspan.errors import InvalidRequest, NotFound
from linkspan.model.container import Container, ContainerSpec
from linkspan.model.endpoint import Endpoint, EndpointRequest
from linkspan.model.names import split_link
from linkspan.model.network import BridgeOptions, Network
from linkspan.model.sandbox import Sandbox
from linkspan.plan.gateways import by_priority
from linkspan.plan.resolver import ADDRESS

SHORT_ID = 12


class Naming:
    """Reading only: what the keeper should know."""

    def __init__(self, config: DaemonConfig, intent: Intent) -> None:
        self._config = config
        self._intent = intent

    def zones(self) -> Iterator[Zone]:
        """All zones with the hosts that run."""
        for network in self._intent.networks.values():
            if has_names(network):
                yield self.zone(network)

    def zone(self, network: Network) -> Zone:
        """One network's names."""
        sandboxes = self._intent.sandboxes
        hosts = [self.host(sandboxes[item.sandbox_id], item) for item in self._intent.endpoints_on(network.id)]
        return Zone(id=network.id, name=network.name, hosts=tuple(hosts))

    def hosts(self, sandbox: Sandbox, endpoints: Iterable[Endpoint]) -> list[tuple[str, Host]]:
        """What these endpoints add to their zones."""
        return [
            (item.network_id, self.host(sandbox, item))
            for item in endpoints
            if has_names(self._intent.networks[item.network_id])
        ]

    def host(self, sandbox: Sandbox, endpoint: Endpoint) -> Host:
        """One endpoint as a host of its zone."""
        owner = self._intent.containers.get(sandbox.owner)
        ports = owner.spec.exposed_ports if owner else ()
        image = self._intent.image_configs.get(sandbox.owner)
        offered = dict.fromkeys((*ports, *(image.exposed_ports if image else ())))
        return Host(
            id=endpoint.id,
            names=names_of(sandbox.owner_name, sandbox.owner, sandbox.hostname, endpoint.request),
            addresses=tuple(str(address) for address in addresses_of(endpoint)),
            ports=tuple(offered),
        )

    def client(self, sandbox: Sandbox) -> Client:
        """A sandbox as the resolver should see it."""
        pairs = self._intent.placed(self._intent.endpoints_in(sandbox.id))
        ordered = by_priority(pairs)
        owner = self._intent.containers.get(sandbox.owner)
        bridges = [network.bridge for network, _ in ordered]
        wanted = wanted_resolver(owner.spec if owner else None, bridges, self._config)
        host = host_resolver()
        servers = servers_of(wanted, host, {address.version for _, item in ordered for address in addresses_of(item)})
        if not any(reaches_out(network) for network, _ in ordered):
            servers = tuple(server for server in servers if within(server, [network for network, _ in ordered]))
        return Client(
            id=sandbox.id,
            name=sandbox.owner_name,
            zones=tuple(network.id for network, _ in ordered if has_names(network)),
            extra=tuple(self._links(ordered)),
            servers=servers,
            forward=bool(servers) or any(reaches_out(network) for network, _ in ordered),
            ndots=most_dots(wanted.options or host.options) > 0,
        )

    def linking_to(self, name: str) -> list[Sandbox]:
        """Sandboxes whose definitions have a link to this container: their names change with it."""
        owned = (self._intent.sandbox_owned_by(container.id) for container in self._intent.linking_to(name))
        return [sandbox for sandbox in owned if sandbox is not None]

    def _links(self, pairs: Sequence[tuple[Network, Endpoint]]) -> Iterator[Host]:
        for network, endpoint in pairs:
            for text in endpoint.request.links:
                other, alias = linked(self._intent, text)
                sandbox = self._intent.sandbox_owned_by(other.id) if other else None
                if sandbox is None:
                    continue
                for item in self._intent.endpoints_in(sandbox.id):
                    if item.network_id == network.id:
                        addresses = tuple(str(address) for address in addresses_of(item))
                        yield Host(id=item.id, names=(alias,), addresses=addresses)


def wanted_resolver(
    spec: ContainerSpec | None, bridges: Iterable[BridgeOptions | None], config: DaemonConfig
) -> Resolver:
    """What people asked for, part by part: for the container, else for its networks in their order, else for all."""
    of_networks = [item for item in bridges if item is not None]
    return Resolver(
        servers=first_said(spec.dns if spec else (), *(item.dns for item in of_networks), config.dns),
        search=first_said(
            spec.dns_search if spec else (), *(item.dns_search for item in of_networks), config.dns_search
        ),
        options=first_said(
            spec.dns_options if spec else (), *(item.dns_options for item in of_networks), config.dns_options
        ),
    )


def servers_of(wanted: Resolver, host: Resolver, versions: Set[int]) -> tuple[Server, ...]:
    """Who is asked about unknown names, by a sandbox with addresses of these versions.

    From the sandbox when a person named them. The host's own from there too, but for those that only the host reaches:
    on its loopback, behind a zone (``fe80::1%eth0``), or of a family that the sandbox has not (Docker's rule). The
    resolver's own address, asked from the sandbox, would be itself.
    """
    chosen = [text for text in map(_written, wanted.servers) if text and text != ADDRESS]
    if chosen:
        return tuple(Server(address=text) for text in dict.fromkeys(chosen))
    found = [text for text in map(_written, host.servers) if text]
    return tuple(Server(address=text, from_host=_hosts_own(text, versions)) for text in dict.fromkeys(found))


def _written(server: str) -> str:
    """An address as ``ipaddress`` writes it; nothing for what is none."""
    try:
        return str(ipaddress.ip_address(server))
    except ValueError:
        return ""


def _hosts_own(server: str, versions: Set[int]) -> bool:
    address = ipaddress.ip_address(server)
    return "%" in server or address.is_loopback or address.version not in versions


def has_names(network: Network) -> bool:
    """Whether containers on this network find each other by name: user-defined bridge networks (Docker's rule)."""
    return network.driver == "bridge" and not network.predefined


def reaches_out(network: Network) -> bool:
    """Whether queries may leave: internal networks keep them, or names would be a way out (CVE-2024-29018)."""
    return network.driver == "bridge" and not network.internal


def within(server: Server, networks: Iterable[Network]) -> bool:
    """Whether a server is on one of these networks itself: then asking it is no way out (moby#47822)."""
    if server.from_host:
        return False
    address = ipaddress.ip_address(server.address)
    return any(address in pool.subnet for network in networks for pool in network.pools)


def names_of(name: str, container_id: str, hostname: str, request: EndpointRequest) -> tuple[str, ...]:
    """All that a container is called on one network; its name comes first."""
    return tuple(dict.fromkeys((name, *request.aliases, container_id[:SHORT_ID], hostname)))


def linked(intent: Intent, text: str) -> tuple[Container | None, str]:
    """The container that a link names, as people name containers, and under which name. None: it was removed since."""
    name, alias = split_link(text)
    try:
        return intent.container(name), alias
    except (InvalidRequest, NotFound):
        return None, alias


def first_said(*said: tuple[str, ...]) -> tuple[str, ...]:
    """The first that says anything."""
    return next((value for value in said if value), ())
