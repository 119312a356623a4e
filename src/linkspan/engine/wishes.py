"""What a container's definition may ask of one network: refused here is what would fail, or do nothing, later."""

from __future__ import annotations

from collections.abc import Sequence

from linkspan.errors import InvalidRequest, NotSupported
from linkspan.model.endpoint import EndpointRequest
from linkspan.model.names import alias
from linkspan.model.network import Network
from linkspan.model.options import check_endpoint_options


def check_wishes(network: Network, request: EndpointRequest) -> None:
    """InvalidRequest for what that network never gives, NotSupported for what is not built yet.

    Whether its addresses can be had is for the address book to say.
    """
    check_endpoint_options(request.driver_options)
    for name in request.aliases:
        alias(name)
    refuse_links(request.links)
    if request.link_local:
        raise NotSupported(
            f"link-local address {request.link_local[0]} cannot be chosen in this version",
            remedy="leave out --link-local-ip",
        )
    has_address = request.ipv4 is not None or request.ipv6 is not None
    if network.driver != "bridge" and (has_address or request.mac):
        raise InvalidRequest(
            f"network {network.name} gives no addresses", remedy="leave out --ip, --ip6 and --mac-address"
        )
    if network.predefined and has_address:
        raise InvalidRequest(
            "user specified IP address is supported on user defined networks only",
            remedy="create a network and use that",
        )
    if network.predefined and request.aliases and network.driver == "bridge":
        raise InvalidRequest(
            "network-scoped alias is supported only for containers in user defined networks",
            remedy="create a network and use that",
        )


def refuse_links(links: Sequence[str]) -> None:
    """Links between containers are not built yet: refused rather than silently left out."""
    if links:
        raise NotSupported(
            f"a link to {links[0].partition(':')[0]} is not possible in this version",
            remedy="leave out --link and reach the container by its address",
        )
