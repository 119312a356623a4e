"""Addresses and routes on rtnetlink. They carry no mark: they are ours because their link is, or by protocol."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network

from linkspan.kernel.netlink import Netlink, NetlinkError
from linkspan.kernel.state import Address, Route
from linkspan.kernel.wire import address, route
from linkspan.kernel.wire.route import RouteEntry

NOBODY_SAID = 0
"""IFA_PROTO of addresses that the kernel did not make by itself."""


def add_address(socket: Netlink, item: Address) -> None:
    """Adds an address; success when the interface has it. NetlinkError."""
    index = socket.index(item.link)
    try:
        socket.request(address.add(index, item.interface))
    except NetlinkError as error:
        if error.errno != errno.EEXIST or item not in read_addresses(socket, item.namespace, {index: item.link}):
            raise


def delete_address(socket: Netlink, item: Address) -> None:
    """Removes an address; absence of it or of the interface is success. NetlinkError."""
    try:
        socket.request(address.delete(socket.index(item.link), item.interface))
    except NetlinkError as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.ENODEV):
            raise


def read_addresses(socket: Netlink, namespace: str, links: Mapping[int, str]) -> Iterator[Address]:
    """Addresses on the given interfaces (name by number) that the kernel did not make by itself. NetlinkError."""
    for body in socket.dump(address.dump()):
        found = address.decode(body)
        if found.index in links and found.protocol == NOBODY_SAID:
            yield Address(namespace=namespace, link=links[found.index], address=found.address)


def add_route(socket: Netlink, item: Route) -> None:
    """Adds a route; success when the same one of ours is there. NetlinkError."""
    wanted = entry_of(socket, item)
    try:
        socket.request(route.add(wanted))
    except NetlinkError as error:
        if error.errno != errno.EEXIST or wanted not in entries(socket):
            raise


def delete_route(socket: Netlink, item: Route) -> None:
    """Removes a route of ours; absence of it or of the interface is success. NetlinkError."""
    try:
        socket.request(route.delete(entry_of(socket, item)))
    except NetlinkError as error:
        if error.errno not in (errno.ESRCH, errno.ENODEV):
            raise


def read_routes(socket: Netlink, namespace: str, links: Mapping[int, str]) -> Iterator[Route]:
    """Routes of our protocol on the given interfaces (name by number). NetlinkError."""
    for found in entries(socket):
        if found.index in links:
            yield Route(
                namespace=namespace,
                destination=str(found.destination),
                gateway=found.gateway,
                link=links[found.index],
                source=found.source,
                metric=found.metric,
                table=found.table,
            )


def entries(socket: Netlink) -> Iterator[RouteEntry]:
    """All routes of our protocol."""
    for body in socket.dump(route.dump(protocol=Route.PROTOCOL)):
        found = route.decode(body)
        if found.protocol == Route.PROTOCOL:
            yield found


def entry_of(socket: Netlink, item: Route) -> RouteEntry:
    """A route as the wire has it. NetlinkError (ENODEV: no such interface)."""
    return RouteEntry(
        destination=ip_network(item.destination),
        index=socket.index(item.link),
        gateway=item.gateway,
        source=item.source,
        metric=item.metric,
        table=item.table,
        protocol=Route.PROTOCOL,
    )


def held_by_host() -> frozenset[IPv4Address | IPv6Address]:
    """Every address of every interface of the calling thread's namespace. NetlinkError."""
    socket = Netlink()
    try:
        return frozenset(ip_interface(address.decode(body).address).ip for body in socket.dump(address.dump()))
    finally:
        socket.close()
