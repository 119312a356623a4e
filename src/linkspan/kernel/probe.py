"""What this kernel and host can do, found by trying in a namespace that is thrown away.

``facts`` feeds the planner; two of them change as the host's network does, ``default_mtu`` and ``advertised_links``:
they cost 1 ms and may be asked again whenever an ``Observer`` tells of a route or an uplink. ``missing`` says the same
to people, ``settings`` is what a doctor looks at; ``on_link_routes`` is what the address pools must keep clear of.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_interface
from pathlib import Path

import msgspec

from linkspan.kernel import netns, sysctls
from linkspan.kernel.links import Mark
from linkspan.kernel.netlink import Netlink, NetlinkError
from linkspan.kernel.nft import Nft, NftError
from linkspan.kernel.state import Facts
from linkspan.kernel.wire import address, link, route
from linkspan.kernel.wire.message import AF_INET6, Request, attributes

BIG = 262144
"""GSO and GRO size in bytes that measured best (64 KiB: 1, 256 KiB: 1.35 for IPv4 and 1.61 for IPv6, 512: no more)."""

RTPROT_RA = 9
"""linux/rtnetlink.h."""

NAT = """add table inet probe {
 map target { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }
 map ways { type ifname : verdict; }
 chain before { type nat hook prerouting priority dstnat; policy accept;
  fib daddr type local dnat ip to meta l4proto . ip daddr . th dport map @target
 }
 chain after { type nat hook postrouting priority srcnat; policy accept; ip saddr 192.0.2.0/24 masquerade; }
 chain through { type filter hook forward priority filter; policy accept;
  ct state established accept
  iifname vmap @ways
 }
}"""
SPOOF = """add table bridge probe {
 set ports { type ifname . ether_addr; }
 set targets { typeof iifname . @th,64,128; }
 set refused { type ifname; size 16; flags dynamic, timeout; timeout 1d; }
 chain before { type filter hook prerouting priority -300; policy accept;
  iifname . ether saddr @ports accept
  icmpv6 type nd-neighbor-advert iifname . @th,64,128 @targets accept
  update @refused { iifname counter }
 }
}"""

NAMES = """add table inet names { set protocols { type inet_proto; }
}
add element inet names protocols { "tcp" }"""


class Abilities(msgspec.Struct, frozen=True, kw_only=True):
    """What was tried, and whether it works; a text holds the kernel's refusal, empty for success."""

    namespace: str = ""
    bridge: str = ""
    veth: str = ""
    port_isolation: str = ""
    big_tcp6: str = ""
    big_tcp4: str = ""
    nat: str = ""
    bridge_filter: str = ""
    protocol_names: str = ""
    ipv6: str = ""


BRIDGE_CALLS = ("iptables", "ip6tables")
"""What bridged IP frames may be passed to (br_netfilter)."""


def facts(found: Abilities, instance: str, group: int) -> Facts:
    """The planner's facts. NetlinkError."""
    with_ipv6 = not found.ipv6
    return Facts(
        instance=instance,
        group=group,
        big_tcp=not found.big_tcp6,
        bridge_netfilter=bridge_netfilter(),
        bridge_filter=not found.bridge_filter,
        ipv6=with_ipv6,
        advertised_links=advertised_links() if with_ipv6 else (),
        default_mtu=default_mtu(),
    )


def missing(found: Abilities) -> tuple[str, ...]:
    """One sentence for each ability that this kernel lacks, with what follows from it."""
    sentences = (
        (found.namespace, "this kernel makes no network namespaces, so only network mode host works"),
        (found.bridge, "this kernel has no bridges (CONFIG_BRIDGE), so bridge networks cannot be made"),
        (found.veth, "this kernel has no veth pairs (CONFIG_VETH), so containers cannot be connected"),
        (found.port_isolation, "bridge ports cannot be isolated, so ICC off is kept by the firewall alone"),
        (found.nat, "nftables cannot translate addresses here, so there are no published ports and no masquerading"),
        (found.bridge_filter, "nftables has no bridge family here, so containers can forge addresses"),
        (found.protocol_names, "nft knows no protocol by name: install Debian's netbase for /etc/protocols"),
        (found.ipv6, "this kernel has no IPv6, so networks are IPv4 only"),
        (found.big_tcp6, "this kernel takes no GSO size of 256 KiB, so container traffic has the usual speed"),
    )
    told = [f"{sentence} ({reason})" for reason, sentence in sentences if reason]
    if found.big_tcp4 and not found.big_tcp6:
        told.append("this kernel takes a GSO size of 256 KiB for IPv6 only (IPv4 since Linux 6.3)")
    return tuple(told)


def abilities() -> Abilities:
    """Tries everything in a namespace of its own, in about 40 ms. Never raises for what is missing."""
    try:
        aside = netns.create()
    except OSError as error:
        reason = reason_of(error)
        return Abilities(namespace=reason, bridge=reason, veth=reason, nat=reason, bridge_filter=reason)
    try:
        return Abilities(
            bridge=tried(lambda: aside.request(bridge_request())),
            veth=tried(lambda: aside.request(veth_request(aside))),
            port_isolation=tried(lambda: change(aside, link.port_settings(hairpin=True, isolated=True))),
            big_tcp6=tried(lambda: change(aside, link.offload_sizes(BIG))),
            big_tcp4=tried(lambda: check_ipv4_size(aside)),
            ipv6=tried(lambda: add_ipv6(aside)),
            nat=tried(lambda: load(aside, NAT)),
            bridge_filter=tried(lambda: load(aside, SPOOF)),
            protocol_names=tried(lambda: load(aside, NAMES)),
        )
    finally:
        aside.close()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Values of the host that decide whether packets get through, for ``doctor``; None where the kernel has none.

    Sources: ip-sysctl and nf_conntrack-sysctl of the kernel's documentation, br_netfilter.
    """

    forward4: bool | None
    """``net.ipv4.ip_forward``."""
    forward6: bool | None
    """``net.ipv6.conf.all.forwarding``."""
    rp_filter: dict[str, int]
    """By interface, with ``all`` and ``default``: 0 off, 1 strict, 2 loose; the larger of ``all`` and its own holds."""
    bridge_calls: dict[str, bool]
    """``iptables``, ``ip6tables`` and ``arptables``: whether bridged frames go through them; empty: no br_netfilter."""
    conntrack_count: int | None
    conntrack_max: int | None
    port_range: tuple[int, int] | None
    """``net.ipv4.ip_local_port_range``, both ends included: ports that the kernel gives to programs."""
    reserved_ports: str
    """``net.ipv4.ip_local_reserved_ports`` as the kernel writes it: ``8080,9000-9010``."""


def settings() -> Settings:
    """The values now, of the namespace of the calling thread. OSError."""
    ends = (sysctls.read("net/ipv4/ip_local_port_range") or "").split()
    folders = sorted(Path("/proc/sys/net/ipv4/conf").glob("*"))
    calls = {name: number_at(f"net/bridge/bridge-nf-call-{name}") for name in ("iptables", "ip6tables", "arptables")}
    filters = {folder.name: number_of_file(folder / "rp_filter") for folder in folders}
    return Settings(
        forward4=switch_at("net/ipv4/ip_forward"),
        forward6=switch_at("net/ipv6/conf/all/forwarding"),
        rp_filter={name: value for name, value in filters.items() if value is not None},
        bridge_calls={name: value != 0 for name, value in calls.items() if value is not None},
        conntrack_count=number_at("net/netfilter/nf_conntrack_count"),
        conntrack_max=number_at("net/netfilter/nf_conntrack_max"),
        port_range=(int(ends[0]), int(ends[1])) if len(ends) == 2 else None,
        reserved_ports=sysctls.read("net/ipv4/ip_local_reserved_ports") or "",
    )


def number_at(path: str) -> int | None:
    """A number below /proc/sys, None when there is no such value. OSError."""
    return number_of_file(sysctls.located(path))


def number_of_file(file: Path) -> int | None:
    """A number in a file, None when it is gone. OSError."""
    try:
        return int(file.read_text())
    except FileNotFoundError:
        return None


def switch_at(path: str) -> bool | None:
    """A switch below /proc/sys, None when there is no such value. OSError."""
    value = number_at(path)
    return None if value is None else value != 0


def tried(attempt: Callable[[], None]) -> str:
    """The refusal, or nothing."""
    try:
        attempt()
    except (OSError, NftError) as error:
        return reason_of(error)
    return ""


def reason_of(error: Exception) -> str:
    """The kernel's own words."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def bridge_request() -> Request:
    return link.create_bridge(name="probe0", mac="02:00:00:00:00:01", mtu=1500, group=0)


def veth_request(aside: Netlink) -> Request:
    try:
        master = aside.index("probe0")
    except NetlinkError:
        master = 0
    return link.create_veth(
        name="probe1",
        master=master,
        mtu=1500,
        group=0,
        gso_max_size=link.LEGACY_GSO,
        peer_name="probe2",
        peer_mac="02:00:00:00:00:02",
        peer_namespace=None,
    )


def change(aside: Netlink, part: bytes) -> None:
    aside.request(link.change(aside.index("probe1"), part))


def check_ipv4_size(aside: Netlink) -> None:
    """Reads back what the kernel took: one that does not know the IPv4 attributes ignores them."""
    body = aside.get(link.get_by_name("probe1"))
    if link.IFLA_GSO_IPV4_MAX_SIZE not in attributes(body[16:]) or link.decode(body).gso_ipv4_max_size != BIG:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def add_ipv6(aside: Netlink) -> None:
    aside.request(address.add(netns.LOOPBACK, ip_interface("fd00::1/128")))


def load(aside: Netlink, ruleset: str) -> None:
    descriptor = aside.namespace()
    try:
        with netns.entered(descriptor):
            nft = Nft()
    finally:
        os.close(descriptor)
    try:
        nft.run([ruleset])
    finally:
        nft.close()


def bridge_netfilter() -> bool:
    """Whether frames within a bridge pass the firewall, in either family. OSError."""
    return any(sysctls.read(f"net/bridge/bridge-nf-call-{name}") == "1" for name in BRIDGE_CALLS)


def default_mtu() -> int:
    """MTU in bytes of the interface with the default route (IPv4 first), 1500 without one. NetlinkError."""
    socket = Netlink()
    try:
        routes = [route.decode(body) for body in socket.dump(route.dump())]
        defaults = [item for item in routes if item.destination.prefixlen == 0 and item.index and is_main(item)]
        if not defaults:
            return 1500
        best = min(defaults, key=lambda item: (item.destination.version, item.metric))
        return link.decode(socket.get(link.get_by_index(best.index))).mtu
    finally:
        socket.close()


def advertised_links() -> tuple[str, ...]:
    """Interfaces whose routes the kernel learned from router advertisements, in order. NetlinkError.

    Where a program listens to the routers itself, it has told the kernel not to (``accept_ra`` 0): that is left so.
    """
    socket = Netlink()
    try:
        routes = [route.decode(body) for body in socket.dump(route.dump(family=AF_INET6, protocol=RTPROT_RA))]
        indexes = {item.index for item in routes if item.index and item.protocol == RTPROT_RA}
        names = sorted(link.decode(socket.get(link.get_by_index(index))).name for index in indexes)
        return tuple(name for name in names if sysctls.read(f"net/ipv6/conf/{name}/accept_ra") != "0")
    finally:
        socket.close()


def is_main(item: route.RouteEntry) -> bool:
    return item.kind == route.RTN_UNICAST and item.table == route.RT_TABLE_MAIN


def on_link_routes(mark: Mark) -> list[tuple[IPv4Network | IPv6Network, str]]:
    """Prefixes that are reached without a gateway, with the interface: routes of all tables, and addresses.

    Without our own links, the loopback, link-local and multicast prefixes. For address pools to keep clear of.
    NetlinkError.
    """
    socket = Netlink()
    try:
        links = [link.decode(body) for body in socket.dump(link.dump())]
        foreign = {item.index: item.name for item in links if not mark.ours(item) and item.index != netns.LOOPBACK}
        found: dict[tuple[IPv4Network | IPv6Network, str], None] = {}
        for body in socket.dump(route.dump()):
            entry = route.decode(body)
            if entry.index in foreign and entry.kind == route.RTN_UNICAST and not entry.gateway:
                found[(entry.destination, foreign[entry.index])] = None
        for body in socket.dump(address.dump()):
            held = address.decode(body)
            if held.index in foreign:
                found[(ip_interface(held.address).network, foreign[held.index])] = None
        return [(prefix, name) for prefix, name in found if counts(prefix)]
    finally:
        socket.close()


def counts(prefix: IPv4Network | IPv6Network) -> bool:
    """Whether a prefix can stand in a pool's way."""
    return prefix.prefixlen > 0 and not prefix.is_link_local and not prefix.is_multicast
