"""What a container's definition may ask of one network: refused here is what would fail, or do nothing, later."""

from __future__ import annotations

from collections.abc import Sequence

from linkspan.errors import InvalidRequest
from linkspan.model.endpoint import EndpointOptions, EndpointRequest
from linkspan.model.endpoint_options import INTERFACE, SYSCTLS, endpoint_options
from linkspan.model.link_local import link_local_address
from linkspan.model.names import alias
from linkspan.model.network import Network

DISABLING_IPV6 = "net/ipv6/conf/IFNAME/disable_ipv6"


def check_wishes(network: Network, request: EndpointRequest) -> None:
    """InvalidRequest for what that network never gives.

    Whether its addresses can be had is for the address book to say.
    """
    options = endpoint_options(request.driver_options)
    for name in request.aliases:
        alias(name)
    _check_link_local(network, request.link_local)
    _check_options(network, options)
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


def refuse_same_names(requests: Sequence[EndpointRequest]) -> None:
    """InvalidRequest when two endpoints of one container ask for the same interface name."""
    names = [name for item in requests if (name := endpoint_options(item.driver_options).interface)]
    for name in names:
        if names.count(name) > 1:
            raise InvalidRequest(
                f"option {INTERFACE}: two endpoints of the container ask for the name {name}",
                remedy="choose another name for one of them",
            )


def _check_link_local(network: Network, asked: Sequence[str]) -> None:
    for text in asked:
        address = link_local_address(text)
        if network.driver != "bridge":
            raise InvalidRequest(f"network {network.name} gives no addresses", remedy="leave out --link-local-ip")
        if address.version == 6 and not network.enable_ipv6:
            raise InvalidRequest(
                f"network {network.name} has no IPv6, so it cannot give {address}",
                remedy="create the network with --ipv6 or leave the address out",
            )


def _check_options(network: Network, options: EndpointOptions) -> None:
    if network.driver != "bridge" and options != EndpointOptions():
        raise InvalidRequest(
            f"network {network.name} has no interface that driver options could shape", remedy="leave out driver-opt"
        )
    if network.enable_ipv6 and dict(options.sysctls).get(DISABLING_IPV6, "0") != "0":
        raise InvalidRequest(
            f"option {SYSCTLS}: disable_ipv6 contradicts network {network.name}, which gives IPv6 addresses",
            remedy="leave it out, or use a network without IPv6",
        )
