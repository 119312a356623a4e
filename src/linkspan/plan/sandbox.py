"""What belongs to a sandbox as a whole: its namespace, its default routes, its resolver and its published ports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from linkspan.kernel.state import Namespace, Object, Route
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network
from linkspan.model.sandbox import Sandbox
from linkspan.plan import ports, resolver
from linkspan.plan.gateways import EVERYWHERE, by_priority, gateway_of

__all__ = ["EVERYWHERE", "by_priority", "gateway_of", "namespace_of", "sandbox"]


def namespace_of(sandbox: Sandbox) -> str:
    """The name of the sandbox's pin; the host's own sandbox has the empty one."""
    return "" if sandbox.host else sandbox.id[:12]


def sandbox(sandbox: Sandbox, endpoints: Sequence[tuple[Network, Endpoint]]) -> Iterator[Object]:
    """The sandbox scope. The host's own sandbox wants nothing."""
    if sandbox.host:
        return
    namespace = namespace_of(sandbox)
    yield Namespace(name=namespace)
    if sandbox.resolver_port:
        yield resolver.table(namespace, sandbox.resolver_port)
    for version, destination in EVERYWHERE.items():
        for network, endpoint in by_priority(endpoints):
            gateway = gateway_of(network, version)
            if gateway and _has(endpoint, version):
                yield Route(namespace=namespace, destination=destination, gateway=gateway, link=endpoint.interface)
                break
    yield from ports.publications(sandbox, endpoints)


def _has(endpoint: Endpoint, version: int) -> bool:
    return (endpoint.ipv4 if version == 4 else endpoint.ipv6) is not None
