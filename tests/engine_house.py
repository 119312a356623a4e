"""The engine's networks and sandboxes over a real store, the real book and the kernel on dictionaries.

What people ask for lives in one folder, so a house can be closed and opened again as after a restart of the daemon;
the kernel lives on in between, as the real one does.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TypeVar

import msgspec

from fake_host_ports import FakeHost
from fake_keeper import NO_DEPTHS, FakeKeeper
from linkspan.engine.config import DaemonConfig
from linkspan.engine.intent import Intent
from linkspan.engine.networking import Networking
from linkspan.engine.ports import Ports
from linkspan.kernel.applied import merged
from linkspan.kernel.fake import FakeKernel
from linkspan.kernel.state import Facts, Namespace, State
from linkspan.kernel.worker import Worker
from linkspan.model.address import IPAddress, IPNetwork
from linkspan.model.container import Container, ContainerSpec, ContainerState, NetworkMode, PortBinding
from linkspan.model.endpoint import EndpointRequest
from linkspan.model.network import Network, NetworkRequest, PoolRequest
from linkspan.model.publishing import reservation_key
from linkspan.plan.sandbox import namespace_of
from linkspan.store import Store

T = TypeVar("T")
FACTS = Facts(instance="cafe0123", group=7)


class House:
    """``run`` lets a story happen on the house's own event loop; ``reopen`` is a restart of the daemon."""

    def __init__(self, folder: Path, *, facts: Facts = FACTS, config: DaemonConfig | None = None) -> None:
        paths = {"data_root": folder / "data", "exec_root": folder / "run"}
        self.config = msgspec.structs.replace(config or DaemonConfig(), **paths)
        self.facts = facts
        self.kernel = FakeKernel()
        self.keeper = FakeKeeper()
        self.sockets = FakeHost()
        self.routes: list[tuple[IPNetwork, str]] = []
        self.servers: list[IPAddress] = []
        self._runner = asyncio.Runner()
        self.run(self._open())

    def run(self, story: Coroutine[object, object, T]) -> T:
        """Runs a coroutine to its end."""
        return self._runner.run(story)

    def reopen(self) -> None:
        """A new daemon over the same folder and the same kernel."""
        self.run(self._close())
        self.run(self._open())

    def close(self) -> None:
        self.run(self._close())
        self._runner.close()

    def __enter__(self) -> House:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _open(self) -> None:
        self.store = Store.open(self.config.data_root)
        self.worker = Worker(self.kernel)
        self.worker.start()
        ports = Ports(self.sockets, lambda *_: (), lambda *_: (), most_sockets=4096)
        networking = Networking(
            self.config,
            self.store,
            self.worker,
            self.facts,
            self.keeper,
            ports,
            NO_DEPTHS,
            lambda: (self.routes, self.servers),
        )
        self.networking = networking
        self.intent = networking.intent
        self.book = networking.book
        self.wants = networking.wants
        self.events = networking.events
        self.files = networking.files
        self.sandboxes = networking.sandboxes
        self.networks = networking.networks
        networking.restore()
        self.wants.raise_stored()
        await self.worker.resync(self.wants.everything(), self.pins())
        await networking.resume()

    async def _close(self) -> None:
        await self.networking.services.close(end=False)
        await self.worker.drain()
        await self.worker.stop()
        self.store.close()

    # --- what people do -----------------------------------------------------------------------------------------

    def network(
        self, name: str, subnet: str = "", *, ipv6: bool = False, ipv4: bool = True, internal: bool = False
    ) -> Network:
        """``network create``."""
        pools = (PoolRequest(subnet=subnet),) if subnet else ()
        request = NetworkRequest(name=name, pools=pools, enable_ipv6=ipv6, enable_ipv4=ipv4, internal=internal)
        return self.intent.networks[self.run(self.networks.create(request)).id]

    def container(
        self,
        name: str,
        *places: EndpointRequest | str,
        mode: NetworkMode | None = None,
        publish: Sequence[PortBinding] = (),
        links: Sequence[str] = (),
    ) -> Container:
        """A definition on these networks, or with the mode of ``container:`` or ``host``; not started."""
        requests = [EndpointRequest(network=item) if isinstance(item, str) else item for item in places]
        settled = [self.networks.checked_request(self.intent.network(item.network), item) for item in requests]
        container = Container(
            id=secrets.token_hex(32),
            name=name,
            created=0.0,
            image_id="sha256:0",
            spec=ContainerSpec(
                image="busybox",
                network_mode=mode or NetworkMode(),
                endpoints=tuple(settled),
                port_bindings=tuple(publish),
                links=tuple(links),
            ),
        )
        self.sandboxes.reserve(container)
        self.intent.commit(put=[container], states={container.id: ContainerState()})
        return container

    def partner(self, name: str, owner: Container) -> Container:
        """``create --network container:OWNER``."""
        mode = NetworkMode(kind="container", raw=f"container:{owner.name}", container=owner.id)
        return self.container(name, mode=mode)

    def remove(self, container: Container) -> None:
        """``rm`` of a stopped container."""
        container = self.intent.containers[container.id]
        self.run(self.sandboxes.leave(container.id))
        self.sandboxes.unreserve(container)
        self.intent.commit(drop=[container])

    def enter(self, container: Container) -> None:
        """The container starts."""
        self.run(self.sandboxes.enter(self.intent.containers[container.id]))

    def leave(self, container: Container) -> None:
        """The container has ended."""
        self.run(self.sandboxes.leave(container.id))

    def connect(self, network: str, container: Container, request: EndpointRequest | None = None) -> None:
        """``network connect``."""
        self.run(self.networks.connect(network, container.id, request or EndpointRequest(network=network)))

    def disconnect(self, network: str, container: Container) -> None:
        """``network disconnect``."""
        self.run(self.networks.disconnect(network, container.id, force=False))

    # --- what can be seen ---------------------------------------------------------------------------------------

    def pins(self) -> set[str]:
        """Every namespace that the kernel has."""
        return {key[1] for key, item in self.kernel._objects.items() if isinstance(item, Namespace)}

    def live(self) -> State:
        """Everything in the kernel."""
        return self.kernel.read(self.pins())

    def addresses(self, container: Container) -> list[IPv4Address | IPv6Address]:
        """All addresses of the sandbox that the container owns."""
        sandbox = self.intent.sandbox_owned_by(container.id)
        endpoints = self.intent.endpoints_in(sandbox.id) if sandbox else []
        return [item for endpoint in endpoints for item in (endpoint.ipv4, endpoint.ipv6) if item is not None]

    def default_routes(self, container: Container) -> dict[str, str]:
        """Interface by destination of the default routes in the container's sandbox, as the kernel has them."""
        sandbox = self.intent.sandbox_of(container.id)
        if sandbox is None:
            return {}
        routes = [key for key in self.live() if key[0] == "route" and key[1] == namespace_of(sandbox)]
        live = self.live()
        return {key[3]: str(getattr(live[key], "link", "")) for key in routes}

    def check(self, *, wanted_alone: bool = True) -> None:
        """What must hold whenever nothing is going on. AssertionError."""
        check_kernel(self, wanted_alone=wanted_alone)
        check_store(self)
        check_book(self)
        check_keeper(self)


def check_kernel(house: House, *, wanted_alone: bool) -> None:
    """What is applied is what is wanted, and the kernel holds it."""
    raised = set(house.wants.raised)
    wants = house.wants.everything()
    house.wants.raised = raised
    want = merged(wants, {})
    live = house.live()
    assert want.items() <= live.items(), f"missing: {sorted(want.keys() - live.keys())}"
    if wanted_alone:
        assert live.keys() <= want.keys(), f"left over: {sorted(live.keys() - want.keys())}"
    assert house.worker.preview(wants) == ()


def check_store(house: House) -> None:
    """Memory says what the disk says."""
    disk = Intent(house.store)
    for noun in ("networks", "containers", "states", "sandboxes", "endpoints", "volumes", "image_configs"):
        assert getattr(disk, noun) == getattr(house.intent, noun), noun
    for groups in ("_links", "_owned", "_rooms", "_inside", "_around"):
        on_disk, remembered = getattr(disk, groups)._members, getattr(house.intent, groups)._members
        assert {key: set(item) for key, item in on_disk.items()} == {
            key: set(item) for key, item in remembered.items()
        }, groups


def check_book(house: House) -> None:
    """No address is held twice, and what is held belongs to an endpoint."""
    held: dict[tuple[str, IPAddress], str] = {}
    for endpoint in house.intent.endpoints.values():
        for address in (endpoint.ipv4, endpoint.ipv6):
            if address is not None:
                place = (endpoint.network_id, address)
                assert place not in held, f"{address} is held twice"
                held[place] = house.intent.sandboxes[endpoint.sandbox_id].owner
    for (network_id, address), owner in held.items():
        assert house.book.holder(network_id, address) == owner
    for network in house.intent.networks.values():
        reserved = static_addresses(house, network)
        for usage in house.book.usage(network.id):
            mine = {address for identity, address in held if identity == network.id} | reserved
            of_family = {address for address in mine if address.version == usage.subnet.version}
            assert usage.in_use == len(of_family), (network.name, usage, of_family)


def check_keeper(house: House) -> None:
    """The keeper holds and answers exactly what the intent says, and no port is taken by nobody."""
    keeper, sandboxes = house.keeper, house.intent.sandboxes
    naming, ports = house.networking.naming, house.networking.ports
    published = {identity: item.publications for identity, item in sandboxes.items() if item.publications}
    assert {identity for identity, item in ports._holdings.items() if item.entries} == set(published)
    for identity, publications in published.items():
        assert {entry.publication for entry in ports._holdings[identity].entries} == set(publications)
    keys = {reservation_key(identity, item) for identity, items in published.items() for item in items}
    assert keeper.sockets.keys() == keys
    assert set(house.sockets.open) == set(), "sockets that nobody closed"
    assert keeper.clients == {key: naming.client(item) for key, item in sandboxes.items() if item.resolver_port}
    assert keeper.hosts == {zone.id: {host.id: host for host in zone.hosts} for zone in naming.zones()}


def static_addresses(house: House, network: Network) -> set[IPAddress]:
    """What the definitions reserve on a network."""
    requests: Sequence[EndpointRequest] = [
        request for item in house.intent.containers.values() for request in item.spec.endpoints
    ]
    asked = [(item.ipv4, item.ipv6) for item in requests if item.network == network.id]
    return {address for pair in asked for address in pair if address is not None}
