"""A network as a person defined it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Literal

import msgspec

from linkspan.model.address import IPAddress, IPNetwork

Driver = Literal["bridge", "host", "null"]

GatewayMode = Literal["nat", "nat-unprotected", "routed", "isolated"]
"""How a bridge network reaches the outside in one family (Docker 28's ``gateway_mode_ipv4`` and ``_ipv6``).

``nat``: addresses hide behind the host's, and only published ports can be reached from outside. ``nat-unprotected``:
the same, but all ports of the containers' own addresses are open to who has a route. ``routed``: no translation;
published ports are open at the containers' own addresses. ``isolated``: the host has no address on the bridge.
"""

PREDEFINED = ("bridge", "host", "none")
"""Networks that exist from the first start and cannot be removed."""


class AddressPool(msgspec.Struct, frozen=True, kw_only=True):
    """One subnet of a network and how addresses are drawn from it.

    ``ip_range`` limits dynamic addresses only; a static address may lie anywhere in ``subnet``. ``auxiliary``
    maps a name to an address that is never handed out.
    """

    subnet: IPNetwork
    ip_range: IPNetwork | None = None
    gateway: IPAddress | None = None
    auxiliary: dict[str, IPAddress] = {}


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """A network's definition: everything that planning needs, nothing that the kernel reports.

    ``options`` and ``labels`` are kept as they came, for ``inspect``; ``bridge`` holds the typed reading of
    ``options`` for the bridge driver. ``pools`` has at most one pool a family on bridge networks and none on
    host and null networks.
    """

    id: str
    name: str
    driver: Driver
    created: float
    """Unix time in seconds."""
    pools: tuple[AddressPool, ...] = ()
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    ipam_driver: str = "default"
    ipam_options: dict[str, str] = {}
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    bridge: BridgeOptions | None = None

    @property
    def predefined(self) -> bool:
        """Whether this is one of ``bridge``, ``host`` and ``none``."""
        return self.name in PREDEFINED


class BridgeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The bridge driver's options, parsed. Built by ``linkspan.model.options.bridge_options``."""

    bridge_name: str
    """Interface name on the host, at most 15 bytes (IFNAMSIZ in linux/if.h)."""
    mtu: int = 0
    """Bytes; 0 means the kernel's default."""
    masquerade: bool = True
    inter_container: bool = True
    """False refuses traffic between containers of this network (Docker's ICC)."""
    interface_prefix: str = "eth"
    """Interfaces inside sandboxes are called prefix + number."""
    gateway_mode4: GatewayMode = "nat"
    gateway_mode6: GatewayMode = "nat"
    host_binding: IPAddress | None = None
    """Where ports are published that name no host address; None: on all addresses."""
    source4: IPv4Address | None = None
    """Address of the host that outgoing traffic gets instead of masquerading; None: the kernel chooses."""
    source6: IPv6Address | None = None
    inhibit_ipv4: bool = False
    """The bridge gets no IPv4 address: somebody else gives it one, or is the gateway (Docker's ``inhibit_ipv4``)."""
    trusted_interfaces: tuple[str, ...] = ()
    """Interfaces of the host from which neighbours may reach published ports at the containers' own addresses."""
    anti_spoofing: bool = True
    """Ports take frames only with the addresses that their endpoints were given."""
    big_tcp: bool = True
    """Pieces of TCP above 64 KiB, where the kernel has them: faster between containers; a device of the host with
    ordinary sizes cuts them by software."""
    announcements: int = 3
    """How many gratuitous ARPs and unsolicited NAs tell of a new endpoint; 0: none (Docker's default is 3)."""
    announcement_interval: float = 1.0
    """Seconds between them, 0.1 to 2.0."""
    dns: tuple[str, ...] = ()
    """Servers that unknown names of this network go to (option ``linkspan.dns``); empty: the host's."""
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()

    def gateway_mode(self, version: int) -> GatewayMode:
        """The gateway mode of a family, 4 or 6."""
        return self.gateway_mode4 if version == 4 else self.gateway_mode6

    def source(self, version: int) -> IPAddress | None:
        """The fixed source address of a family, 4 or 6."""
        return self.source4 if version == 4 else self.source6


class NetworkRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What ``network create`` asks for, before subnets are chosen. ``None`` means: choose for me."""

    name: str
    driver: str = "bridge"
    pools: tuple[PoolRequest, ...] = ()
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    ipam_driver: str = "default"
    ipam_options: dict[str, str] = {}
    options: dict[str, str] = {}
    labels: dict[str, str] = {}


class PoolRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One ``--subnet`` with its companions, as text: the engine parses, so that it can name a bad value.

    ``subnet`` may be ``0.0.0.0/24`` or ``::/64``: any free subnet of that size (Docker 29). With an empty
    ``subnet``, a subnet is chosen from the default pools.
    """

    subnet: str = ""
    ip_range: str = ""
    gateway: str = ""
    auxiliary: dict[str, str] = {}
