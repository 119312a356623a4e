"""An endpoint: one sandbox's place on one network."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import msgspec


class EndpointRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a container's definition asks of one network; part of the definition, so it outlives every stop.

    A static address belongs to the definition: dynamic picks avoid it even while the container is stopped.
    """

    network: str
    """Network name or id as asked at create time; the engine stores the network's id."""
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    mac: str = ""
    """``aa:bb:cc:dd:ee:ff``, or empty: choose one."""
    aliases: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    link_local: tuple[str, ...] = ()
    driver_options: dict[str, str] = {}
    gateway_priority: int = 0
    """The endpoint with the highest one gets the sandbox's default route (Docker 28's ``gw-priority``)."""


class EndpointOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Driver options of one endpoint, parsed. Built by ``linkspan.model.endpoint_options.endpoint_options``."""

    interface: str = ""
    """Name inside the sandbox (``com.docker.network.endpoint.ifname``); empty: the next free one."""
    host_interface: str = ""
    """Name of the veth's end on the host (``linkspan.endpoint.host_ifname``); empty: made up."""
    sysctls: tuple[tuple[str, str], ...] = ()
    """Path below /proc/sys, slash-separated, with ``IFNAME`` for the interface, and value."""
    anti_spoofing: bool | None = None
    """None: as the network says."""
    announcements: int | None = None
    announcement_interval: float | None = None
    """Seconds; None: as the network says."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A live endpoint: names and addresses that were claimed for it. It belongs to a sandbox.

    It exists from the sandbox's start (or ``network connect``) to the sandbox's end (or ``disconnect``).
    """

    id: str
    network_id: str
    sandbox_id: str
    request: EndpointRequest
    interface: str
    """Name inside the sandbox, ``eth0``."""
    host_interface: str
    """Name of the veth's end on the host; at most 15 bytes."""
    mac: str
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    options: EndpointOptions = EndpointOptions()
