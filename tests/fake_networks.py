"""Networks in memory; every plan of theirs is one made-up step."""

from __future__ import annotations

import time
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Literal

from linkspan.engine.face import Filters
from linkspan.engine.views import Created, NetworkMember, NetworkView, PlannedStep, PoolUsage, Pruned
from linkspan.errors import Conflict, Forbidden, NotFound
from linkspan.model.endpoint import EndpointRequest
from linkspan.model.network import AddressPool, Network, NetworkRequest

if TYPE_CHECKING:
    from fake_engine import FakeEngine


class FakeNetworks:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.known: dict[str, Network] = {}
        self._add(Network(id="0" * 64, name="bridge", driver="bridge", created=1.5, pools=(_pool(17),)))
        self._add(Network(id="1" * 64, name="host", driver="host", created=1.5))
        self._add(Network(id="2" * 64, name="none", driver="null", created=1.5))
        self.connected: list[tuple[str, str, EndpointRequest]] = []
        self.requests: list[NetworkRequest] = []

    def _add(self, network: Network) -> None:
        self.known[network.name] = network

    async def create(self, request: NetworkRequest) -> Created:
        self.requests.append(request)
        if request.name in self.known:
            raise Conflict(f"network with name {request.name} already exists")
        number = len(self.known) + 17
        network = Network(
            id=f"{number:064x}", name=request.name, driver="bridge", created=time.time(), pools=(_pool(number),),
            labels=request.labels, options=request.options,
        )  # fmt: skip
        self._add(network)
        return Created(id=network.id)

    def list(self, filters: Filters) -> tuple[NetworkView, ...]:
        return tuple(NetworkView(network=each) for each in self.known.values())

    def get(self, reference: str) -> NetworkView:
        network = self.find(reference)
        members = tuple(
            NetworkMember(container_id=each.container.id, name=each.container.name, endpoint=attached.endpoint)
            for each in self.engine.containers.known.values()
            for attached in each.networks
            if attached.network.id == network.id and attached.endpoint is not None
        )
        usage = tuple(PoolUsage(subnet=str(pool.subnet), capacity=65533, in_use=len(members)) for pool in network.pools)
        return NetworkView(network=network, members=members, usage=usage)

    def find(self, reference: str) -> Network:
        for network in self.known.values():
            if reference in (network.name, network.id):
                return network
        raise NotFound(f"network {reference} not found")

    async def remove(self, reference: str) -> None:
        network = self.find(reference)
        if network.predefined:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        del self.known[network.name]

    async def prune(self, filters: Filters) -> Pruned:
        return Pruned()

    async def connect(self, reference: str, container: str, request: EndpointRequest) -> None:
        self.connected.append((self.find(reference).name, container, request))

    async def disconnect(self, reference: str, container: str, *, force: bool) -> None:
        self.find(reference)

    def plan_create(self, request: NetworkRequest) -> tuple[PlannedStep, ...]:
        return (_step("create", "ip link add br-1 type bridge"),)

    def plan_remove(self, reference: str) -> tuple[PlannedStep, ...]:
        return (_step("delete", f"ip link del br-{self.find(reference).name}"),)

    def plan_connect(self, reference: str, container: str, request: EndpointRequest) -> tuple[PlannedStep, ...]:
        network, found = self.find(reference), self.engine.containers.find(container)
        return (_step("create", f"ip link set {found.container.name}-{request.ipv4} master {network.name}"),)

    def plan_disconnect(self, reference: str, container: str) -> tuple[PlannedStep, ...]:
        network, found = self.find(reference), self.engine.containers.find(container)
        return (_step("delete", f"ip link del {found.container.name}-{network.name}"),)


def _step(action: Literal["create", "delete"], command: str) -> PlannedStep:
    return PlannedStep(scope="network", action=action, object="link", commands=(command,))


def _pool(number: int) -> AddressPool:
    return AddressPool(subnet=IPv4Network(f"172.{number}.0.0/16"), gateway=IPv4Address(f"172.{number}.0.1"))
