"""Ethernet frames that announce an address: gratuitous ARP (RFC 5227, 826) and unsolicited neighbour
advertisement (RFC 4861, 7.2.6)."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from linkspan.kernel.wire.link import mac_bytes

BROADCAST = b"\xff" * 6
ALL_NODES_MAC = bytes.fromhex("333300000001")
ALL_NODES = IPv6Address("ff02::1")
ETHERTYPE_ARP = 0x0806
ETHERTYPE_IPV6 = 0x86DD
NEXT_HEADER_ICMPV6 = 58
NEIGHBOUR_ADVERTISEMENT = 136
OVERRIDE = 0x20000000


def announcement(address: IPv4Address | IPv6Address, mac: str) -> bytes:
    """The frame that tells neighbours where ``address`` is now. ValueError when the MAC is none."""
    sender = mac_bytes(mac)
    if isinstance(address, IPv4Address):
        return gratuitous_arp(address, sender)
    return neighbour_advertisement(address, sender)


def gratuitous_arp(address: IPv4Address, sender: bytes) -> bytes:
    """An ARP request for the sender's own address: every stack that knows it updates its entry."""
    ethernet = BROADCAST + sender + struct.pack("!H", ETHERTYPE_ARP)
    arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + sender + address.packed + bytes(6) + address.packed
    return ethernet + arp


def neighbour_advertisement(address: IPv6Address, sender: bytes) -> bytes:
    """An advertisement to all nodes with the override flag and the target's link-layer address."""
    target = struct.pack("!BB", 2, 1) + sender
    payload = struct.pack("!BBHI", NEIGHBOUR_ADVERTISEMENT, 0, 0, OVERRIDE) + address.packed + target
    pseudo = address.packed + ALL_NODES.packed + struct.pack("!II", len(payload), NEXT_HEADER_ICMPV6)
    payload = payload[:2] + struct.pack("!H", checksum(pseudo + payload)) + payload[4:]
    ip6 = struct.pack("!IHBB", 6 << 28, len(payload), NEXT_HEADER_ICMPV6, 255) + address.packed + ALL_NODES.packed
    return ALL_NODES_MAC + sender + struct.pack("!H", ETHERTYPE_IPV6) + ip6 + payload


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
