"""``--network`` of a container, its endpoints, and Docker's rules about what goes with which mode."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import msgspec

from linkspan.api.wire.container_types import ContainerCreate, EndpointSettings
from linkspan.errors import InvalidRequest
from linkspan.model.container import NetworkMode, NetworkModeKind
from linkspan.model.endpoint import EndpointRequest
from linkspan.model.mac import parse_mac


def network_mode(text: str) -> NetworkMode:
    """``default``, ``bridge``, ``host``, ``none``, ``container:NAME`` or a network's name or id."""
    raw = text or "default"
    if raw == "container" or raw.startswith("container:"):
        target = raw.partition(":")[2]
        if not target:
            raise InvalidRequest("invalid network mode: it must look like container:<name|id>")
        return NetworkMode(kind="container", raw=raw, container=target)
    kind: NetworkModeKind = "host" if raw == "host" else "none" if raw == "none" else "bridge"
    return NetworkMode(kind=kind, raw=raw)


def endpoint_request(network: str, settings: EndpointSettings) -> EndpointRequest:
    """One entry of ``EndpointsConfig``, or the body of ``network connect``."""
    addresses = settings.ipam_config
    return EndpointRequest(
        network=network,
        ipv4=_ipv4(addresses.ipv4_address),
        ipv6=_ipv6(addresses.ipv6_address),
        mac=_mac(settings.mac_address),
        aliases=tuple(settings.aliases),
        links=tuple(settings.links),
        link_local=tuple(addresses.link_local_ips),
        driver_options=settings.driver_opts,
        gateway_priority=settings.gw_priority,
    )


def endpoints(create: ContainerCreate, mode: NetworkMode) -> tuple[EndpointRequest, ...]:
    """The endpoints that a create asks for, the one of the network mode first; none without a bridge network."""
    configured = dict(create.networking_config.endpoints_config)
    if mode.kind != "bridge":
        _refuse_endpoints(configured, mode)
        return ()
    main = "bridge" if mode.raw == "default" else mode.raw
    if main == "bridge" and "default" in configured:
        configured.setdefault("bridge", configured.pop("default"))
    first = endpoint_request(main, configured.pop(main, EndpointSettings()))
    wide = _mac(create.mac_address)
    if wide and first.mac and wide != first.mac:
        raise InvalidRequest(
            f"conflicting MAC addresses: {create.mac_address} for the container and {first.mac} for its "
            f"endpoint on {main}"
        )
    if wide:
        first = msgspec.structs.replace(first, mac=wide)
    return (first, *(endpoint_request(name, settings) for name, settings in configured.items()))


def check_mode(create: ContainerCreate, mode: NetworkMode) -> None:
    """Docker's conflicts (moby, ``runconfig/hostconfig_unix.go``), in its words, which clients know."""
    host = create.host_config
    if mode.kind == "container":
        _conflict(bool(create.hostname), "hostname and the network mode")
        _conflict(bool(host.links), "container type network can't be used with links")
        _conflict(bool(host.dns), "dns and the network mode")
        _conflict(bool(host.extra_hosts), "custom host-to-IP mapping and the network mode")
        _conflict(
            bool(host.port_bindings) or host.publish_all_ports,
            "port publishing and the container type network mode",
        )
        _conflict(bool(create.exposed_ports), "port exposing and the container type network mode")
    if mode.kind in ("container", "host"):
        _conflict(bool(create.mac_address), "mac-address and the network mode")
    if mode.kind == "host":
        _conflict(bool(host.links), "host type networking can't be used with links")
    _conflict(host.uts_mode == "host" and bool(create.hostname), "hostname and the UTS mode")


def _mac(text: str) -> str:
    return parse_mac(text) if text else ""


def _conflict(found: bool, what: str) -> None:
    if found:
        raise InvalidRequest(f"conflicting options: {what}")


def _refuse_endpoints(configured: dict[str, EndpointSettings], mode: NetworkMode) -> None:
    for name, settings in configured.items():
        if name not in (mode.raw, mode.kind, "default"):
            raise InvalidRequest(f"conflicting options: network {name} and the network mode {mode.raw}")
        request = endpoint_request(name, settings)
        if request.ipv4 or request.ipv6:
            raise InvalidRequest("user specified IP address is supported on user defined networks only")
        if request.aliases or request.links:
            raise InvalidRequest("network-scoped alias is supported only for containers in user defined networks")
        _conflict(bool(request.mac), "mac-address and the network mode")


def _ipv4(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text) if text else None
    except ValueError:
        raise InvalidRequest(f"invalid IPv4 address: {text}") from None


def _ipv6(text: str) -> IPv6Address | None:
    try:
        return IPv6Address(text.replace("%", " ")) if text else None  # without a zone, which may hold anything
    except ValueError:
        raise InvalidRequest(f"invalid IPv6 address: {text}") from None
