"""RTM_*LINK: interfaces (linux/rtnetlink.h, linux/if_link.h, rtnetlink(7))."""

from __future__ import annotations

import struct

import msgspec

from linkspan.kernel.wire.message import (
    AF_INET,
    AF_INET6,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    Request,
    attribute,
    attributes,
    nested,
    number,
    number_of,
    octet,
    text,
    text_of,
)

RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18

IFF_UP = 0x1

IFLA_ADDRESS = 1
IFLA_IFNAME = 3
IFLA_MTU = 4
IFLA_LINK = 5
IFLA_MASTER = 10
IFLA_LINKINFO = 18
IFLA_IFALIAS = 20
IFLA_STATS64 = 23
IFLA_AF_SPEC = 26
IFLA_GROUP = 27
IFLA_NET_NS_FD = 28
IFLA_EXT_MASK = 29
IFLA_LINK_NETNSID = 37
IFLA_GSO_MAX_SIZE = 41
IFLA_TARGET_NETNSID = 46
IFLA_GRO_MAX_SIZE = 58
IFLA_GSO_IPV4_MAX_SIZE = 63
IFLA_GRO_IPV4_MAX_SIZE = 64
"""The last two since Linux 6.3; older kernels ignore them."""

IFLA_INFO_KIND = 1
IFLA_INFO_DATA = 2
IFLA_INFO_SLAVE_KIND = 4
IFLA_INFO_SLAVE_DATA = 5
IFLA_BR_FORWARD_DELAY = 1
IFLA_BR_STP_STATE = 5
IFLA_BR_MULTI_BOOLOPT = 46
BR_BOOLOPT_NO_LL_LEARN = 0
"""A bit of the one before, since Linux 5.0 (linux/if_bridge.h)."""
IFLA_BRPORT_MODE = 4
"""Hairpin."""
IFLA_BRPORT_ISOLATED = 33
VETH_INFO_PEER = 1
IFLA_INET_CONF = 1
IPV4_DEVCONF_PROMOTE_SECONDARIES = 20
"""linux/ip.h."""
IFLA_INET6_ADDR_GEN_MODE = 8
IN6_ADDR_GEN_MODE_NONE = 1

RTEXT_FILTER_SKIP_STATS = 1 << 3

ETH_DATA_LEN = 1500
LEGACY_GSO = 65536
"""Sizes above need the attributes of BIG TCP."""

IFINFO = struct.Struct("=BxHiII")
STATS64 = struct.Struct("=8Q")


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """An interface as the kernel tells it. ``group`` is unsigned; ``peer_nsid`` -1: same namespace."""

    index: int
    name: str
    up: bool
    mtu: int = 0
    mac: str = ""
    alias: str = ""
    group: int = 0
    kind: str = ""
    master: int = 0
    peer: int = 0
    peer_nsid: int = -1
    gso_max_size: int = LEGACY_GSO
    gso_ipv4_max_size: int = LEGACY_GSO
    hairpin: bool = False
    isolated: bool = False


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """The head of rtnl_link_stats64, seen from the interface's own namespace."""

    rx_packets: int = 0
    tx_packets: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0
    rx_errors: int = 0
    tx_errors: int = 0
    rx_dropped: int = 0
    tx_dropped: int = 0


def decode(body: bytes) -> Link:
    """An RTM_NEWLINK message."""
    _, _, index, flags, _ = IFINFO.unpack_from(body)
    found = attributes(body[16:])
    info = attributes(found[IFLA_LINKINFO]) if IFLA_LINKINFO in found else {}
    port: dict[int, bytes] = {}
    if text_of(info.get(IFLA_INFO_SLAVE_KIND, b"")) == "bridge" and IFLA_INFO_SLAVE_DATA in info:
        port = attributes(info[IFLA_INFO_SLAVE_DATA])
    gso = _number(found, IFLA_GSO_MAX_SIZE, LEGACY_GSO)
    return Link(
        index=index,
        name=text_of(found.get(IFLA_IFNAME, b"")),
        up=bool(flags & IFF_UP),
        mtu=_number(found, IFLA_MTU, 0),
        mac=found.get(IFLA_ADDRESS, b"").hex(":"),
        alias=text_of(found.get(IFLA_IFALIAS, b"")),
        group=_number(found, IFLA_GROUP, 0),
        kind=text_of(info.get(IFLA_INFO_KIND, b"")),
        master=_number(found, IFLA_MASTER, 0),
        peer=_number(found, IFLA_LINK, 0),
        peer_nsid=struct.unpack("=i", found[IFLA_LINK_NETNSID])[0] if IFLA_LINK_NETNSID in found else -1,
        gso_max_size=gso,
        gso_ipv4_max_size=_number(found, IFLA_GSO_IPV4_MAX_SIZE, gso),
        hairpin=port.get(IFLA_BRPORT_MODE, b"\0") != b"\0",
        isolated=port.get(IFLA_BRPORT_ISOLATED, b"\0") != b"\0",
    )


def decode_counters(body: bytes) -> tuple[str, Counters]:
    """Name and counters of an RTM_NEWLINK message that was asked for with statistics."""
    found = attributes(body[16:])
    values = STATS64.unpack_from(found[IFLA_STATS64])
    names = ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped")
    return text_of(found[IFLA_IFNAME]), Counters(**dict(zip(names, values, strict=True)))


def _number(found: dict[int, bytes], kind: int, default: int) -> int:
    value = found.get(kind)
    return default if value is None else number_of(value)


def get_by_name(name: str) -> Request:
    """Asks for one interface. ENODEV when it does not exist."""
    return Request(RTM_GETLINK, 0, IFINFO.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name))


def get_by_index(index: int) -> Request:
    """Asks for one interface by its number. ENODEV when it does not exist."""
    return Request(RTM_GETLINK, 0, IFINFO.pack(0, 0, index, 0, 0))


def get_in_namespace(index: int, nsid: int) -> Request:
    """Asks for an interface of another namespace, by its number there. EINVAL when that namespace is gone."""
    return Request(
        RTM_GETLINK, 0, IFINFO.pack(0, 0, index, 0, 0) + attribute(IFLA_TARGET_NETNSID, struct.pack("=i", nsid))
    )


def dump(*, counters: bool = False) -> Request:
    """Asks for all interfaces, without statistics unless told."""
    mask = b"" if counters else number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    return Request(RTM_GETLINK, NLM_F_DUMP, IFINFO.pack(0, 0, 0, 0, 0) + mask)


def create_bridge(*, name: str, mac: str, mtu: int, group: int) -> Request:
    """A bridge, still down, without spanning tree and forward delay. EEXIST when the name is taken.

    Frames to 01:80:c2:00:00:00 to 0f, LLDP's for one, come by no netfilter hook, so nobody can judge them: the bridge
    shall not learn from them at which port a MAC is, or any container could draw its sibling's traffic to itself.
    It is born one byte off its MTU, so that setting that is a change: only then the kernel does not let the MTU
    follow the ports'. Its offload sizes come later too: a bridge takes large ones only after it had a port that does.
    """
    learning = struct.pack("=II", 1 << BR_BOOLOPT_NO_LL_LEARN, 1 << BR_BOOLOPT_NO_LL_LEARN)
    settings = (
        number(IFLA_BR_FORWARD_DELAY, 0) + number(IFLA_BR_STP_STATE, 0) + attribute(IFLA_BR_MULTI_BOOLOPT, learning)
    )
    body = (
        IFINFO.pack(0, 0, 0, 0, 0)
        + text(IFLA_IFNAME, name)
        + attribute(IFLA_ADDRESS, mac_bytes(mac))
        + number(IFLA_MTU, mtu + 1 if mtu < ETH_DATA_LEN else mtu - 1)
        + number(IFLA_GROUP, group)
        + nested(IFLA_LINKINFO, text(IFLA_INFO_KIND, "bridge") + nested(IFLA_INFO_DATA, settings))
    )
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)


def create_veth(
    *,
    name: str,
    master: int,
    mtu: int,
    group: int,
    gso_max_size: int,
    peer_name: str,
    peer_mac: str,
    peer_namespace: int | None,
    up: bool = True,
) -> Request:
    """A veth pair, this end up unless told, its peer down inside the namespace of a file descriptor (None: this one).

    IFF_UP on the peer would fail with ENOTCONN. ``master`` 0: no port of a bridge. An empty ``peer_mac`` leaves the
    choice to the kernel.
    """
    sizes = number(IFLA_MTU, mtu) + offload_sizes(gso_max_size)
    peer = IFINFO.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, peer_name) + sizes
    if peer_mac:
        peer += attribute(IFLA_ADDRESS, mac_bytes(peer_mac))
    if peer_namespace is not None:
        peer += number(IFLA_NET_NS_FD, peer_namespace)
    flags = IFF_UP if up else 0
    body = IFINFO.pack(0, 0, 0, flags, flags) + text(IFLA_IFNAME, name) + number(IFLA_GROUP, group) + sizes
    if master:
        body += number(IFLA_MASTER, master)
    body += nested(IFLA_LINKINFO, text(IFLA_INFO_KIND, "veth") + nested(IFLA_INFO_DATA, nested(VETH_INFO_PEER, peer)))
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)


def change(index: int, *parts: bytes, up: bool | None = None) -> Request:
    """Changes an interface: ``parts`` are attributes, ``up`` None leaves the state."""
    header = IFINFO.pack(0, 0, index, IFF_UP if up else 0, 0 if up is None else IFF_UP)
    return Request(RTM_NEWLINK, 0, header + b"".join(parts))


def port_settings(*, hairpin: bool, isolated: bool) -> bytes:
    """Attributes for ``change`` of a bridge port. The link must be a port already, else EOPNOTSUPP or EINVAL."""
    settings = octet(IFLA_BRPORT_MODE, hairpin) + octet(IFLA_BRPORT_ISOLATED, isolated)
    return nested(IFLA_LINKINFO, text(IFLA_INFO_SLAVE_KIND, "bridge") + nested(IFLA_INFO_SLAVE_DATA, settings))


def address_policy(*, ipv6: bool) -> bytes:
    """Attribute for ``change``: addresses come and go by our word alone.

    IPv4: removing an address leaves the others of its subnet (promote_secondaries). IPv6: the kernel makes no
    link-local address (addrgenmode none); EAFNOSUPPORT where there is no IPv6.
    """
    keep = nested(AF_INET, nested(IFLA_INET_CONF, number(IPV4_DEVCONF_PROMOTE_SECONDARIES, 1)))
    none = nested(AF_INET6, octet(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE)) if ipv6 else b""
    return nested(IFLA_AF_SPEC, keep + none)


def offload_sizes(size: int) -> bytes:
    """GSO and GRO sizes in bytes for IPv6 and IPv4; nothing for the kernel's default."""
    if size <= LEGACY_GSO:
        return b""
    return all_offload_sizes(size)


def all_offload_sizes(size: int) -> bytes:
    """The same, the default too: for a change back."""
    kinds = (IFLA_GSO_MAX_SIZE, IFLA_GRO_MAX_SIZE, IFLA_GSO_IPV4_MAX_SIZE, IFLA_GRO_IPV4_MAX_SIZE)
    return b"".join(number(kind, size) for kind in kinds)


def delete(index: int) -> Request:
    """Removes one interface; with a veth its peer. Holds the kernel's network lock for 14 to 22 ms."""
    return Request(RTM_DELLINK, 0, IFINFO.pack(0, 0, index, 0, 0))


def delete_group(group: int) -> Request:
    """Removes all interfaces of a group (of this namespace) at once. ENODEV when there are none."""
    return Request(RTM_DELLINK, 0, IFINFO.pack(0, 0, 0, 0, 0) + number(IFLA_GROUP, group))


def mac_bytes(mac: str) -> bytes:
    """``02:42:ac:11:00:02`` as six bytes. ValueError otherwise."""
    value = bytes.fromhex(mac.replace(":", ""))
    if len(value) != 6:
        raise ValueError(f"{mac!r} is no MAC address")
    return value
