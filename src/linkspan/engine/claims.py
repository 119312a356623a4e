"""What definitions reserve and endpoints hold: addresses, interface names, places on a bridge."""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import Iterator, Sequence

from linkspan.engine.intent import Cursor, Intent
from linkspan.errors import Conflict
from linkspan.ipam.book import Book
from linkspan.ipam.mac import random_mac
from linkspan.ipam.notation import family_of
from linkspan.model.address import IPAddress
from linkspan.model.container import Container
from linkspan.model.endpoint import Endpoint, EndpointRequest
from linkspan.model.endpoint_options import endpoint_options
from linkspan.model.link_local import link_local_address
from linkspan.model.network import Network

MOST_PORTS = 1023
"""Ports of one Linux bridge (BR_MAX_PORTS in net/bridge/br_private.h)."""


class Claims:
    """The book of addresses as the engine uses it. Everything here is memory: the intent is written by the caller."""

    def __init__(self, intent: Intent, book: Book) -> None:
        self._intent = intent
        self._book = book

    def restore(self) -> None:
        """Books what the stored definitions and live endpoints hold, at the start of the daemon."""
        for container in self._intent.containers.values():
            self.reserve(container)
        for endpoint in self._intent.endpoints.values():
            sandbox = self._intent.sandboxes[endpoint.sandbox_id]
            for address in addresses_of(endpoint):
                self._book.claim(endpoint.network_id, family_of(address), sandbox.owner, address)

    def reserve(self, container: Container) -> tuple[str, ...]:
        """Books the static addresses of a definition. Returns warnings that name earlier holders. All or nothing."""
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

    @contextlib.contextmanager
    def reserving(self, network: Network, container: Container, request: EndpointRequest) -> Iterator[None]:
        """Books the static addresses of one request; they are given back when what is done inside fails."""
        try:
            self._reserve(network, container, request)
            yield
        except BaseException:
            self._book.unreserve(container.id, network.id)
            raise

    def unreserve(self, container: Container) -> None:
        """Gives the static addresses of a removed definition back."""
        for request in container.spec.endpoints:
            self._book.unreserve(container.id, request.network)

    def unreserve_on(self, network_id: str, container_id: str) -> None:
        """Gives back what a definition reserved on one network."""
        self._book.unreserve(container_id, network_id)

    def claim(
        self, owner: str, sandbox_id: str, network: Network, request: EndpointRequest, present: Sequence[Endpoint]
    ) -> Endpoint:
        """A new endpoint beside those that are ``present`` in the sandbox. Conflict when something has run out."""
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
        options = endpoint_options(request.driver_options)
        interface = self._interface(owner, network, request, present)
        host_interface = options.host_interface or f"veth{identity[:11]}"
        self._refuse_taken_on_host(options.host_interface, present)
        self._refuse_taken_link_local(network, request)
        claimed = self._claim_addresses(owner, network, request)
        ipv4, ipv6 = claimed.get(4), claimed.get(6)
        return Endpoint(
            id=identity,
            network_id=network.id,
            sandbox_id=sandbox_id,
            request=request,
            interface=interface,
            host_interface=host_interface,
            mac=request.mac or random_mac(secrets.token_bytes),
            ipv4=ipv4 if ipv4 is not None and ipv4.version == 4 else None,
            ipv6=ipv6 if ipv6 is not None and ipv6.version == 6 else None,
            options=options,
        )

    def release(self, endpoints: Sequence[Endpoint], owner: str) -> None:
        """Gives the addresses of endpoints back."""
        for endpoint in endpoints:
            for address in addresses_of(endpoint):
                self._book.release(endpoint.network_id, address, owner)

    def cursors(self, networks: Sequence[Network]) -> list[Cursor]:
        """See ``cursors_of``."""
        return cursors_of(self._book, networks)

    @contextlib.contextmanager
    def unmoved(self, networks: Sequence[Network]) -> Iterator[None]:
        """The picks that are made inside do not move the cursors: for a dry run."""
        pools = [(network.id, pool.subnet) for network in networks for pool in network.pools]
        before = [(identity, subnet, self._book.cursor(identity, subnet)) for identity, subnet in pools]
        try:
            yield
        finally:
            for cursor in before:
                self._book.restore_cursor(*cursor)

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

    def _interface(self, owner: str, network: Network, request: EndpointRequest, present: Sequence[Endpoint]) -> str:
        """The name inside the sandbox: the one that was chosen, or the next that nobody has or asks for. Conflict."""
        chosen = endpoint_options(request.driver_options).interface
        for item in present:
            if item.interface and item.interface == chosen:
                raise Conflict(
                    f"interface name {chosen} is taken in container {self._intent.name_of(owner)} by its endpoint on "
                    f"network {self._intent.networks[item.network_id].name}",
                    whose=item.id,
                    remedy="choose another name for one of them",
                )
        if chosen:
            return chosen
        container = self._intent.containers.get(owner)
        asked = container.spec.endpoints if container else ()
        taken = {item.interface for item in present}
        taken |= {endpoint_options(item.driver_options).interface for item in asked}
        prefix = network.bridge.interface_prefix if network.bridge else "eth"
        return next(name for index in itertools.count() if (name := f"{prefix}{index}") not in taken)

    def _refuse_taken_on_host(self, chosen: str, present: Sequence[Endpoint]) -> None:
        """Conflict when a name that a person chose for the host's end is another endpoint's or a network's bridge.

        Whether somebody else has it on the host is for the kernel to say.
        """
        if not chosen:
            return
        for item in (*self._intent.endpoints.values(), *present):
            if item.host_interface == chosen:
                sandbox = self._intent.sandboxes.get(item.sandbox_id)
                holder = f"container {sandbox.owner_name}" if sandbox else "this container"
                raise Conflict(
                    f"host interface name {chosen} is taken by {holder} on network "
                    f"{self._intent.networks[item.network_id].name}",
                    whose=item.id,
                    remedy="choose another name",
                )
        for network in self._intent.networks.values():
            if network.bridge is not None and network.bridge.bridge_name == chosen:
                raise Conflict(
                    f"host interface name {chosen} is taken by the bridge of network {network.name}",
                    whose=network.id,
                    remedy="choose another name",
                )

    def _refuse_taken_link_local(self, network: Network, request: EndpointRequest) -> None:
        """Conflict when a link-local address that was chosen is another endpoint's on the same network."""
        wanted = {link_local_address(text) for text in request.link_local}
        for item in self._intent.endpoints_on(network.id) if wanted else ():
            for address in wanted.intersection(link_local_address(text) for text in item.request.link_local):
                sandbox = self._intent.sandboxes[item.sandbox_id]
                raise Conflict(
                    f"link-local address {address} is taken on network {network.name} by container "
                    f"{sandbox.owner_name}",
                    whose=item.id,
                    remedy="choose another address",
                )

    def _claim_addresses(self, owner: str, network: Network, request: EndpointRequest) -> dict[int, IPAddress]:
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
        return claimed


def addresses_of(endpoint: Endpoint) -> list[IPAddress]:
    """The endpoint's addresses, IPv4 first."""
    return [address for address in (endpoint.ipv4, endpoint.ipv6) if address is not None]


def cursors_of(book: Book, networks: Sequence[Network]) -> list[Cursor]:
    """Where dynamic picks stand on these networks, as it is stored."""
    pools = [(network.id, pool.subnet) for network in networks for pool in network.pools]
    found = [(identity, subnet, book.cursor(identity, subnet)) for identity, subnet in pools]
    return [(identity, subnet, last) for identity, subnet, last in found if last is not None]
