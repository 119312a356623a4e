"""The bridge mode: a Linux bridge with the gateway's addresses, and a veth pair for each endpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface

from linkspan.kernel.state import Address, Bridge, Facts, Object, Sysctl, Veth
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import BridgeOptions, Network
from linkspan.plan import firewall, spoofing

BIG_TCP_SIZE = 262144
"""Bytes; 256 KiB was the fastest of the sizes tried (docs/adr)."""
ORDINARY_SIZE = 65536
"""GSO_LEGACY_MAX_SIZE in linux/netdevice.h."""
LINK_LOCAL_PREFIX = {4: 16, 6: 64}
"""RFC 3927 section 2.1, RFC 4291 section 2.5.6."""
JUMBO_HEADER = 8
"""Bytes of the extension header that the kernel puts before IPv6 pieces of more than 64 KiB (``hop_jumbo_hdr`` in
include/net/ipv6.h; it goes again when they are cut into frames)."""
SMALLEST_MTU6 = 1280
"""RFC 8200 section 5."""
PLACEHOLDER = "IFNAME"
"""Stands for the interface in the sandbox, in the paths of an endpoint's sysctls."""


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
        gso_max_size=_segment_size(options, facts),
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
    would refuse; there the firewall sees bridged packets, and its map ``pair`` keeps containers apart. What is not IP
    it does not see: that is refused at the ports.
    """
    options = options_of(network)
    link = endpoint.interface
    if facts.bridge_filter and spoofing.guarded(options, endpoint):
        yield from spoofing.endpoint(endpoint, [each.ip for each in addresses_of(network, endpoint)], facts)
    if facts.bridge_filter and facts.bridge_netfilter and not options.inter_container:
        yield spoofing.apart(endpoint)
    yield Veth(
        name=endpoint.host_interface,
        master=options.bridge_name,
        mtu=options.mtu or facts.default_mtu,
        alias=mark(facts, "endpoint", endpoint.id),
        group=facts.group,
        hairpin=facts.bridge_netfilter,
        isolated=not options.inter_container and not facts.bridge_netfilter,
        gso_max_size=_segment_size(options, facts),
        peer_namespace=namespace,
        peer_name=link,
        peer_mac=endpoint.mac,
    )
    asked = [
        Sysctl(namespace=namespace, link=link, path=path.replace(PLACEHOLDER, link), value=value)
        for path, value in endpoint.options.sysctls
    ]
    paths = {item.path for item in asked}
    switches = (*_ipv6_switches(namespace, link, network, facts), *_room_for_jumbo(namespace, link, network, facts))
    yield from (item for item in switches if item.path not in paths)
    yield from asked
    for each in addresses_of(network, endpoint):
        yield Address(namespace=namespace, link=link, address=str(each))


def addresses_of(network: Network, endpoint: Endpoint) -> list[IPv4Interface | IPv6Interface]:
    """All addresses of an endpoint with their prefix lengths; those that were claimed come first, IPv4 before IPv6."""
    found = [
        ip_interface((address, pool.subnet.prefixlen))
        for pool in network.pools
        if (address := endpoint.ipv4 if pool.subnet.version == 4 else endpoint.ipv6) is not None
    ]
    own = [link_local(endpoint.mac)] if endpoint.ipv6 is not None else []
    asked = map(ip_address, endpoint.request.link_local)
    return found + [ip_interface((each, LINK_LOCAL_PREFIX[each.version])) for each in dict.fromkeys((*own, *asked))]


def announcements_of(network: Network, endpoint: Endpoint) -> tuple[int, float]:
    """How many times a new endpoint tells its neighbours where it is, and the seconds between: its own say first."""
    network_options, own = options_of(network), endpoint.options
    count = network_options.announcements if own.announcements is None else own.announcements
    interval = network_options.announcement_interval
    return count, interval if own.announcement_interval is None else own.announcement_interval


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


def _room_for_jumbo(namespace: str, link: str, network: Network, facts: Facts) -> Iterator[Sysctl]:
    """Frames that leave the bridge need room for a header that they will not have.

    Where the kernel forwards a large piece it adds the jumbo header to the size of each frame that it will be cut
    into, and refuses them when that exceeds the MTU (``ip6_forward``, ``skb_gso_network_seglen``; Linux 5.19 to 6.18).
    Full frames then leave at 20 Mbit/s. So containers that reach out make theirs smaller, in IPv6 alone.
    """
    options = options_of(network)
    mtu = (options.mtu or facts.default_mtu) - JUMBO_HEADER
    large = _segment_size(options, facts) > ORDINARY_SIZE
    if network.enable_ipv6 and facts.ipv6 and large and not network.internal and mtu >= SMALLEST_MTU6:
        yield Sysctl(namespace=namespace, link=link, path=f"net/ipv6/conf/{link}/mtu", value=str(mtu))


def _segment_size(options: BridgeOptions, facts: Facts) -> int:
    return BIG_TCP_SIZE if facts.big_tcp and options.big_tcp else ORDINARY_SIZE
