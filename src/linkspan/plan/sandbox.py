"""What belongs to a sandbox as a whole: its namespace, and the default routes that its endpoints compete for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from linkspan.kernel.state import Namespace, Object, Route
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network
from linkspan.model.sandbox import Sandbox

EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


def namespace_of(sandbox: Sandbox) -> str:
    """The name of the sandbox's pin; the host's own sandbox has the empty one."""
    return "" if sandbox.host else sandbox.id[:12]


def sandbox(sandbox: Sandbox, endpoints: Sequence[tuple[Network, Endpoint]]) -> Iterator[Object]:
    """The sandbox scope. The host's own sandbox wants nothing."""
    if sandbox.host:
        return
    namespace = namespace_of(sandbox)
    yield Namespace(name=namespace)
    for version, destination in EVERYWHERE.items():
        for network, endpoint in by_priority(endpoints):
            gateway = gateway_of(network, version)
            if gateway and _has(endpoint, version):
                yield Route(namespace=namespace, destination=destination, gateway=gateway, link=endpoint.interface)
                break


def by_priority(endpoints: Sequence[tuple[Network, Endpoint]]) -> list[tuple[Network, Endpoint]]:
    """Who gets the default route: the highest gateway priority, then the network's name (Docker's order)."""
    return sorted(endpoints, key=lambda pair: (-pair[1].request.gateway_priority, pair[0].name))


def gateway_of(network: Network, version: int) -> str:
    """The gateway that a default route of this family may use; internal networks offer none."""
    if network.internal:
        return ""
    for pool in network.pools:
        if pool.subnet.version == version and pool.gateway is not None:
            return str(pool.gateway)
    return ""


def _has(endpoint: Endpoint, version: int) -> bool:
    return (endpoint.ipv4 if version == 4 else endpoint.ipv6) is not None
