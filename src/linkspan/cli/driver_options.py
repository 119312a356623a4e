"""Names of driver options, for completion; docs/reference.md explains them. A test compares them with the model."""

from __future__ import annotations

_BOTH = (
    "com.docker.network.advertise_addr_ival_ms",
    "com.docker.network.advertise_addr_ms",
    "com.docker.network.advertise_addr_nmsgs",
    "linkspan.anti_spoofing",
)

NETWORK = (
    "com.docker.network.bridge.default_bridge",
    "com.docker.network.bridge.enable_icc",
    "com.docker.network.bridge.enable_ip_masquerade",
    "com.docker.network.bridge.gateway_mode_ipv4",
    "com.docker.network.bridge.gateway_mode_ipv6",
    "com.docker.network.bridge.host_binding_ipv4",
    "com.docker.network.bridge.inhibit_ipv4",
    "com.docker.network.bridge.name",
    "com.docker.network.bridge.trusted_host_interfaces",
    "com.docker.network.container_iface_prefix",
    "com.docker.network.driver.mtu",
    "com.docker.network.host_ipv4",
    "com.docker.network.host_ipv6",
    "linkspan.big_tcp",
    "linkspan.dns",
    "linkspan.dns_options",
    "linkspan.dns_search",
    *_BOTH,
)
"""``network create --opt``"""

ENDPOINT = (
    "com.docker.network.endpoint.ifname",
    "com.docker.network.endpoint.sysctls",
    "linkspan.endpoint.host_ifname",
    *_BOTH,
)
"""``network connect --driver-opt``"""


def words(names: tuple[str, ...]) -> tuple[str, ...]:
    """Completions: each name with the sign that a value follows."""
    return tuple(f"{name}=" for name in sorted(names))
