"""Sockets that keep a port of the host from everybody else, and what the kernel says about ports.

A UDP reservation is a bound socket **without** SO_REUSEADDR and SO_REUSEPORT: every other bind of the port then fails
with EADDRINUSE, whatever options it sets.

A TCP reservation listens, and is deaf (``deafness``) unless the keeper relays from it. A listening socket is exclusive
even with SO_REUSEADDR (inet_csk_get_port in net/ipv4/inet_connection_sock.c), and with that option connections in
TIME_WAIT, which keep a plain bind out for a minute after the program that had them is gone, do not stand in its way;
nor do idle sockets with it, which can then no longer listen. One that merely binds would answer what the firewall does
not translate with a reset, also in the moment after somebody flushed it, and end the connections of clients.

Not taken: TCP_REPAIR, which makes bind ignore every conflict, a listening program's too.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Literal, Protocol

import msgspec

from linkspan.kernel import deafness, holders, sysctls

Transport = Literal["tcp", "udp"]

IP_FREEBIND = 15  # linux/in.h
IPV6_FREEBIND = 78  # linux/in6.h


class DynamicPorts(msgspec.Struct, frozen=True, kw_only=True):
    """The ports that the kernel gives away itself (ip-sysctl, ``ip_local_port_range``), and those kept out of it."""

    first: int
    last: int
    reserved: frozenset[int] = frozenset()
    """``ip_local_reserved_ports``: for programs that come later; only who names one gets it."""


class HostSockets(Protocol):
    """What choosing host ports needs of the host."""

    def bind(self, protocol: Transport, address: IPv4Address | IPv6Address, port: int, *, listening: bool) -> int:
        """A descriptor that reserves the port; TCP with ``listening`` accepts into its queue. OSError, EADDRINUSE.

        Without, connections that get there wait for an answer in vain.
        """
        ...

    def close(self, descriptors: Iterable[int]) -> None: ...

    def has_address(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether the host has this address now."""
        ...

    def dynamic_ports(self) -> DynamicPorts: ...


class LinuxSockets:
    """Those of the network namespace that the calling thread is in."""

    def bind(self, protocol: Transport, address: IPv4Address | IPv6Address, port: int, *, listening: bool) -> int:
        """See ``HostSockets``. An address that the host does not have is taken too: it may come."""
        with _socket(protocol, address) as bound:
            if protocol == "tcp":
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if not listening:
                    deafness.hear_nothing(bound)
            bound.bind((str(address), port))
            if protocol == "tcp":
                bound.listen()
            return bound.detach()

    def close(self, descriptors: Iterable[int]) -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    def has_address(self, address: IPv4Address | IPv6Address) -> bool:
        """Asked by binding any port there: the kernel knows best what is its own (whole 127.0.0.0/8, AnyIP routes)."""
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
            try:
                probe.bind((str(address), 0))
            except OSError as error:
                if error.errno in (errno.EADDRNOTAVAIL, errno.EINVAL):
                    return False
                raise
            return True

    def dynamic_ports(self) -> DynamicPorts:
        """Read anew each time: an administrator may change them."""
        first, last = holders.ephemeral_range()
        reserved = sysctls.read("net/ipv4/ip_local_reserved_ports") or ""
        return DynamicPorts(first=first, last=last, reserved=port_set(reserved))


def port_set(text: str) -> frozenset[int]:
    """``8080,30000-30010`` as the kernel writes sets of ports (proc_do_large_bitmap in kernel/sysctl.c)."""
    found: set[int] = set()
    for item in filter(None, text.strip().split(",")):
        low, _, high = item.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return frozenset(found)


def _socket(protocol: Transport, address: IPv4Address | IPv6Address) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    fresh = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        if address.version == 6:
            fresh.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            fresh.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        else:
            fresh.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    except BaseException:
        fresh.close()
        raise
    return fresh
