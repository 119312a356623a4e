"""A container's place on a network, as inspect and ps show it."""

from __future__ import annotations

from linkspan.api.versions import Version
from linkspan.api.wire.decoding import Json
from linkspan.engine.views import AttachedNetwork
from linkspan.model.container import Container
from linkspan.model.network import AddressPool, Network


def endpoint_settings(
    attached: AttachedNetwork | None, container: Container, *, running: bool, version: Version
) -> Json:
    """``EndpointSettings``; with no network (modes host and none) or no endpoint yet, empty ones."""
    network = attached.network if attached else None
    request = attached.request if attached else None
    endpoint = attached.endpoint if attached else None
    ipv4, ipv6 = (pool_of(network, 4), pool_of(network, 6)) if network else (None, None)
    addresses: Json = {}
    if request and request.ipv4:
        addresses["IPv4Address"] = str(request.ipv4)
    if request and request.ipv6:
        addresses["IPv6Address"] = str(request.ipv6)
    if request and request.link_local:
        addresses["LinkLocalIPs"] = list(request.link_local)
    live4 = ipv4 if endpoint and endpoint.ipv4 else None
    live6 = ipv6 if endpoint and endpoint.ipv6 else None
    shown: Json = {
        "IPAMConfig": addresses or None,
        "Links": list(request.links) or None if request else None,
        "Aliases": _aliases(attached, container, version),
        "MacAddress": endpoint.mac if endpoint else "",
        "DriverOpts": request.driver_options or None if request else None,
        "NetworkID": network.id if network else "",
        "EndpointID": endpoint.id if endpoint else "",
        "Gateway": str(live4.gateway or "") if live4 else "",
        "IPAddress": str(endpoint.ipv4) if endpoint and endpoint.ipv4 else "",
        "IPPrefixLen": live4.subnet.prefixlen if live4 else 0,
        "IPv6Gateway": str(live6.gateway or "") if live6 else "",
        "GlobalIPv6Address": str(endpoint.ipv6) if endpoint and endpoint.ipv6 else "",
        "GlobalIPv6PrefixLen": live6.subnet.prefixlen if live6 else 0,
    }
    if version >= (1, 44):
        shown["DNSNames"] = list(attached.names) or None if attached else None
    if version >= (1, 48):
        shown["GwPriority"] = request.gateway_priority if request else 0
    return shown


def pool_of(network: Network, family: int) -> AddressPool | None:
    """The network's pool of one family, 4 or 6."""
    return next((pool for pool in network.pools if pool.subnet.version == family), None)


def _aliases(attached: AttachedNetwork | None, container: Container, version: Version) -> list[str] | None:
    """Before API 1.45 the short id was among them, and clients relied on it."""
    if attached is None:
        return None
    aliases = list(attached.request.aliases)
    if version < (1, 45) and attached.network.name != "bridge":
        aliases.append(container.id[:12])
    return aliases or None
