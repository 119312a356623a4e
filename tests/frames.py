"""Ethernet frames as an attacker makes them, byte by byte: every address may be a lie."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from linkspan.kernel.wire.frame import checksum

BROADCAST = "ff:ff:ff:ff:ff:ff"
ALL_NODES_MAC = "33:33:00:00:00:01"
IPV4, ARP, RARP, VLAN, IPV6, LLDP = 0x0800, 0x0806, 0x8035, 0x8100, 0x86DD, 0x88CC
UDP, ICMPV6 = 17, 58
DATA = b"more than the smallest frame holds"
"""br_netfilter cuts the padding of short frames off."""
ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT = 133, 134
SOLICITATION, ADVERTISEMENT, REDIRECT = 135, 136, 137
LISTENER_REPORT = 143
SOURCE_OPTION, TARGET_OPTION, NONCE_OPTION = 1, 2, 14


def octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def ethernet(source: str, destination: str, kind: int, payload: bytes) -> bytes:
    return octets(destination) + octets(source) + struct.pack("!H", kind) + payload.ljust(46, b"\0")


def tagged(frame: bytes, vlan: int) -> bytes:
    return frame[:12] + struct.pack("!HH", VLAN, vlan) + frame[12:]


def arp(sender_mac: str, sender: str, target: str, *, operation: int = 1) -> bytes:
    head = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation)
    return head + octets(sender_mac) + IPv4Address(sender).packed + bytes(6) + IPv4Address(target).packed


def udp4(source: str, destination: str, ports: tuple[int, int], data: bytes = DATA) -> bytes:
    datagram = struct.pack("!4H", *ports, 8 + len(data), 0) + data
    return ipv4(source, destination, UDP, datagram)


def ipv4(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    addresses = IPv4Address(source).packed + IPv4Address(destination).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0) + addresses
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(source: str, destination: str, header: int, payload: bytes) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(payload), header, 255)
    return head + IPv6Address(source).packed + IPv6Address(destination).packed + payload


def summed(source: str, destination: str, protocol: int, payload: bytes, place: int) -> bytes:
    """The payload with its checksum over the IPv6 pseudo header (RFC 8200 section 8.1) written at ``place``."""
    pseudo = IPv6Address(source).packed + IPv6Address(destination).packed + struct.pack("!II", len(payload), protocol)
    total = checksum(pseudo + payload + bytes(len(payload) % 2))
    return payload[:place] + struct.pack("!H", total) + payload[place + 2 :]


def udp6(source: str, destination: str, ports: tuple[int, int], data: bytes = DATA) -> bytes:
    datagram = struct.pack("!4H", *ports, 8 + len(data), 0) + data
    return ipv6(source, destination, UDP, summed(source, destination, UDP, datagram, 6))


def icmp6(source: str, destination: str, kind: int, body: bytes) -> bytes:
    message = struct.pack("!BBH", kind, 0, 0) + body
    return ipv6(source, destination, ICMPV6, summed(source, destination, ICMPV6, message, 2))


def hidden_icmp6(source: str, destination: str, kind: int, body: bytes) -> bytes:
    """The same behind an extension header of padding: how guards that look at fixed places are passed (RFC 7113)."""
    plain = icmp6(source, destination, kind, body)[40:]
    padding = struct.pack("!BB", ICMPV6, 0) + bytes((1, 4, 0, 0, 0, 0))
    return ipv6(source, destination, 60, padding + plain)


def option(kind: int, mac: str) -> bytes:
    return bytes((kind, 1)) + octets(mac)


def neighbour(target: str, *options: bytes, flags: int = 0) -> bytes:
    """Body of a solicitation or an advertisement (RFC 4861, 4.3 and 4.4)."""
    return struct.pack("!I", flags) + IPv6Address(target).packed + b"".join(options)
