"""The bridge mode: a Linux bridge with the gateway's addresses, and a veth pair for each endpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from ipaddress import IPv6Address

from linkspan.kernel.state import Address, Bridge, Facts, Object, Sysctl, Veth
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import BridgeOptions, Network
from linkspan.plan import firewall

BIG_TCP_SIZE = 262144
"""Bytes; 256 KiB was the fastest of the sizes tried (docs/adr)."""
ORDINARY_SIZE = 65536
"""GSO_LEGACY_MAX_SIZE in linux/netdevice.h."""


def network(network: Network, facts: Facts) -> Iterator[Object]:
    """The network scope: firewall elements first, then the bridge and the gateway's addresses."""
    options = options_of(network)
    name = options.bridge_name
    yield from firewall.network(network, options)
    mac = stable_mac(network.id)
    yield Bridge(
        name=name,
        mac=mac,
        mtu=options.mtu or facts.default_mtu,
        alias=mark(facts, "network", network.id),
        group=facts.group,
        gso_max_size=_segment_size(facts),
    )
    yield from _ipv6_switches("", name, network, facts)
    for pool in network.pools:
        if pool.gateway is not None and _has_address(options, pool.subnet.version):
            yield Address(link=name, address=f"{pool.gateway}/{pool.subnet.prefixlen}")
    if network.enable_ipv6 and facts.ipv6 and _has_address(options, 6):
        yield Address(link=name, address=f"{link_local(mac)}/64")


def endpoint(network: Network, endpoint: Endpoint, namespace: str, facts: Facts) -> Iterator[Object]:
    """The endpoint scope: the veth pair and the endpoint's addresses inside ``namespace``.

    Under br_netfilter a port that is published by a neighbour is translated inside the bridge, which an isolated port
    would refuse; there the firewall sees bridged packets, and its map ``pair`` keeps containers apart.
    """
    options = options_of(network)
    yield Veth(
        name=endpoint.host_interface,
        master=options.bridge_name,
        mtu=options.mtu or facts.default_mtu,
        alias=mark(facts, "endpoint", endpoint.id),
        group=facts.group,
        hairpin=facts.bridge_netfilter,
        isolated=not options.inter_container and not facts.bridge_netfilter,
        gso_max_size=_segment_size(facts),
        peer_namespace=namespace,
        peer_name=endpoint.interface,
        peer_mac=endpoint.mac,
    )
    yield from _ipv6_switches(namespace, endpoint.interface, network, facts)
    for pool in network.pools:
        address = endpoint.ipv4 if pool.subnet.version == 4 else endpoint.ipv6
        if address is not None:
            prefix = pool.subnet.prefixlen
            yield Address(namespace=namespace, link=endpoint.interface, address=f"{address}/{prefix}")
    if endpoint.ipv6 is not None:
        local = f"{link_local(endpoint.mac)}/64"
        yield Address(namespace=namespace, link=endpoint.interface, address=local)


def options_of(network: Network) -> BridgeOptions:
    """The typed options of a bridge network. ValueError for a network of another driver."""
    if network.bridge is None:
        raise ValueError(f"network {network.name} is not a bridge network")
    return network.bridge


def _has_address(options: BridgeOptions, version: int) -> bool:
    """Whether the host has an address of this family on the bridge."""
    return options.gateway_mode(version) != "isolated" and not (version == 4 and options.inhibit_ipv4)


def mark(facts: Facts, kind: str, identity: str) -> str:
    """The mark of ownership that a link of ours carries as its alias."""
    return f"linkspan:{facts.instance}:{kind}:{identity[:12]}"


def stable_mac(identity: str) -> str:
    """A locally administered unicast MAC that always belongs to this identity (IEEE 802, U/L and I/G bits)."""
    digest = bytearray(hashlib.sha256(identity.encode()).digest()[:6])
    digest[0] = digest[0] & 0xFC | 0x02
    return digest.hex(":")


def link_local(mac: str) -> IPv6Address:
    """The link-local address of a MAC by modified EUI-64 (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    interface = bytes([octets[0] ^ 2, octets[1], octets[2], 0xFF, 0xFE, octets[3], octets[4], octets[5]])
    return IPv6Address(b"\xfe\x80" + bytes(6) + interface)


def _ipv6_switches(namespace: str, link: str, network: Network, facts: Facts) -> Iterator[Sysctl]:
    """Without IPv6 the kernel shall not make a link-local address; with it, no neighbour may advertise routes."""
    if not facts.ipv6:
        return
    base = f"net/ipv6/conf/{link}"
    if network.enable_ipv6:
        yield Sysctl(namespace=namespace, link=link, path=f"{base}/accept_ra", value="0")
    else:
        yield Sysctl(namespace=namespace, link=link, path=f"{base}/disable_ipv6", value="1")


def _segment_size(facts: Facts) -> int:
    return BIG_TCP_SIZE if facts.big_tcp else ORDINARY_SIZE
