"""The network ``bridge`` as the daemon's settings want it (``--bip``, ``--mtu``, ``--icc`` and their like). No I/O."""

from __future__ import annotations

import ipaddress

from linkspan.engine.config import DaemonConfig
from linkspan.model.address import IPNetwork
from linkspan.model.network import AddressPool, Network, NetworkRequest, PoolRequest

NAME = "bridge"
INTERFACE = "linkspan0"


def request_of(config: DaemonConfig) -> NetworkRequest:
    """What ``network create`` would have to ask for. Without ``--bip`` the subnet is chosen."""
    options = {
        "com.docker.network.bridge.name": INTERFACE,
        "com.docker.network.bridge.enable_icc": str(config.inter_container).lower(),
        "com.docker.network.bridge.enable_ip_masquerade": str(config.masquerade).lower(),
    }
    if config.mtu:
        options["com.docker.network.driver.mtu"] = str(config.mtu)
    asked = _pools(config.bridge_address, config.fixed_range) + _pools(config.bridge_address6, config.fixed_range6)
    return NetworkRequest(
        name=NAME, pools=asked, enable_ipv6=config.ipv6 or bool(config.bridge_address6), options=options
    )


def agrees(network: Network, request: NetworkRequest) -> bool:
    """Whether the stored network is what the settings ask for; a chosen subnet agrees with no wish for one."""
    same_family = network.enable_ipv6 == request.enable_ipv6
    met = all(any(_meets(pool, wish) for pool in network.pools) for wish in request.pools)
    return met and same_family and dict(network.options) == dict(request.options)


def _meets(pool: AddressPool, wish: PoolRequest) -> bool:
    """Whether the pool is the one that was wished for; a chosen gateway meets no wish for one."""
    ranged = str(pool.ip_range or "")
    return (str(pool.subnet), ranged) == (wish.subnet, wish.ip_range) and wish.gateway in ("", str(pool.gateway))


def _pools(address: str, ip_range: IPNetwork | None) -> tuple[PoolRequest, ...]:
    """``--bip 172.17.0.1/16``: the gateway and, with the host bits cleared, the subnet.

    A ``--fixed-cidr`` alone is the subnet, as with Docker.
    """
    if not address:
        return (PoolRequest(subnet=str(ip_range)),) if ip_range else ()
    interface = ipaddress.ip_interface(address)
    ranged = str(ip_range) if ip_range else ""
    return (PoolRequest(subnet=str(interface.network), ip_range=ranged, gateway=str(interface.ip)),)
