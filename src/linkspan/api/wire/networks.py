"""Networks: ``POST /networks/create`` and its companions -> the model, views -> inspect."""

from __future__ import annotations

import msgspec

from linkspan.api.versions import Version
from linkspan.api.wire import times
from linkspan.api.wire.container_types import EndpointSettings
from linkspan.api.wire.decoding import Json
from linkspan.api.wire.endpoints import pool_of
from linkspan.engine.views import NetworkMember, NetworkView
from linkspan.errors import InvalidRequest, NotSupported
from linkspan.model.network import AddressPool, Network, NetworkRequest, PoolRequest


class PoolConfig(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    subnet: str = ""
    ip_range: str = msgspec.field(default="", name="IPRange")
    gateway: str = ""
    auxiliary_addresses: dict[str, str] = {}


class Ipam(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    driver: str = ""
    config: list[PoolConfig] = []
    options: dict[str, str] = {}


class ConfigFrom(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    network: str = ""


class NetworkCreate(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The body of ``POST /networks/create``."""

    name: str = ""
    driver: str = ""
    scope: str = ""
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: ConfigFrom = ConfigFrom()
    ipam: Ipam = msgspec.field(default=Ipam(), name="IPAM")
    enable_ipv4: bool = msgspec.field(default=True, name="EnableIPv4")
    enable_ipv6: bool = msgspec.field(default=False, name="EnableIPv6")
    options: dict[str, str] = {}
    labels: dict[str, str] = {}


class NetworkConnect(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The body of ``POST /networks/{id}/connect``."""

    container: str = ""
    endpoint_config: EndpointSettings = EndpointSettings()


class NetworkDisconnect(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The body of ``POST /networks/{id}/disconnect``."""

    container: str = ""
    force: bool = False


def network_request(create: NetworkCreate) -> NetworkRequest:
    """What a create asks for. NotSupported for what belongs to a swarm."""
    if not create.name:
        raise InvalidRequest("the network's name is empty")
    if create.scope not in ("", "local"):
        raise NotSupported(f"network scope {create.scope!r} is not supported; use local")
    if create.ingress:
        raise NotSupported("ingress networks are not supported: they belong to a swarm")
    if create.config_only or create.config_from.network:
        raise NotSupported("configuration-only networks are not supported")
    return NetworkRequest(
        name=create.name,
        driver=create.driver or "bridge",
        pools=tuple(
            PoolRequest(
                subnet=pool.subnet,
                ip_range=pool.ip_range,
                gateway=pool.gateway,
                auxiliary=pool.auxiliary_addresses,
            )
            for pool in create.ipam.config
        ),
        enable_ipv4=create.enable_ipv4,
        enable_ipv6=create.enable_ipv6,
        internal=create.internal,
        attachable=create.attachable,
        ipam_driver=create.ipam.driver or "default",
        ipam_options=create.ipam.options,
        options=create.options,
        labels=create.labels,
    )


def container_reference(text: str) -> str:
    """The container of a connect or disconnect."""
    if not text:
        raise InvalidRequest("the member Container is empty: it names the container")
    return text


def inspect(view: NetworkView, *, version: Version, members: bool = True) -> Json:
    """One network; the list leaves its members out."""
    network = view.network
    shown: Json = {
        "Name": network.name,
        "Id": network.id,
        "Created": times.rfc3339(network.created),
        "Scope": "local",
        "Driver": network.driver,
    }
    if version >= (1, 48):
        shown["EnableIPv4"] = network.enable_ipv4
    shown |= {
        "EnableIPv6": network.enable_ipv6,
        "IPAM": {
            "Driver": network.ipam_driver,
            "Options": network.ipam_options or None,
            "Config": [_pool(pool) for pool in network.pools],
        },
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {each.container_id: _member(each, network) for each in view.members} if members else {},
        "Options": network.options,
        "Labels": network.labels,
    }
    if members and view.usage:
        shown["Status"] = {
            "IPAM": {
                "Subnets": {
                    each.subnet: {"IPsInUse": each.in_use, "DynamicIPsAvailable": max(each.capacity - each.in_use, 0)}
                    for each in view.usage
                }
            }
        }
    return shown


def _pool(pool: AddressPool) -> Json:
    shown: Json = {"Subnet": str(pool.subnet)}
    if pool.ip_range is not None:
        shown["IPRange"] = str(pool.ip_range)
    if pool.gateway is not None:
        shown["Gateway"] = str(pool.gateway)
    if pool.auxiliary:
        shown["AuxiliaryAddresses"] = {name: str(address) for name, address in pool.auxiliary.items()}
    return shown


def _member(member: NetworkMember, network: Network) -> Json:
    endpoint = member.endpoint
    return {
        "Name": member.name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac,
        "IPv4Address": _with_prefix(endpoint.ipv4, pool_of(network, 4)),
        "IPv6Address": _with_prefix(endpoint.ipv6, pool_of(network, 6)),
    }


def _with_prefix(address: object, pool: AddressPool | None) -> str:
    """``172.30.5.2/16``"""
    return f"{address}/{pool.subnet.prefixlen}" if address is not None and pool is not None else ""
