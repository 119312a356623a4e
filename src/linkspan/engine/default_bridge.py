"""The network ``bridge`` as the daemon's settings want it (``--bip``, ``--mtu``, ``--icc`` and their like). No I/O."""

from __future__ import annotations

import ipaddress

from linkspan.engine.config import DaemonConfig
from linkspan.model.address import IPAddress, IPNetwork
from linkspan.model.network import Network, NetworkRequest, PoolRequest

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
    asked = []
    if config.bridge_address:
        asked.append(_pool_of(config.bridge_address, config.fixed_range, config.default_gateway))
    if config.bridge_address6:
        asked.append(_pool_of(config.bridge_address6, config.fixed_range6, None))
    return NetworkRequest(
        name=NAME, pools=tuple(asked), enable_ipv6=config.ipv6 or bool(config.bridge_address6), options=options
    )


def agrees(network: Network, request: NetworkRequest) -> bool:
    """Whether the stored network is what the settings ask for; a chosen subnet agrees with no wish for one."""
    present = {(str(pool.subnet), str(pool.ip_range or ""), str(pool.gateway or "")) for pool in network.pools}
    asked = {(pool.subnet, pool.ip_range, pool.gateway) for pool in request.pools}
    same_family = network.enable_ipv6 == request.enable_ipv6
    return asked <= present and same_family and dict(network.options) == dict(request.options)


def _pool_of(address: str, ip_range: IPNetwork | None, gateway: IPAddress | None) -> PoolRequest:
    """``--bip 172.17.0.1/16``: the gateway and, with the host bits cleared, the subnet."""
    interface = ipaddress.ip_interface(address)
    return PoolRequest(
        subnet=str(interface.network),
        ip_range=str(ip_range) if ip_range else "",
        gateway=str(gateway or interface.ip),
    )
