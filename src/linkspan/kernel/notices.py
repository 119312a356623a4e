"""What happened to the host's network, judged against what we want of it: an event is news, or our own echo.

The kernel's events carry no sender, and each of our own changes makes about ten. So an event counts by what it says:
one that agrees with what is wanted, or with a deviation that is known, is no news, whoever caused it. Only nftables
tells who made a change.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_interface
from typing import Literal

import msgspec

from linkspan.kernel.links import Mark, outer_end
from linkspan.kernel.memory import Memory
from linkspan.kernel.state import HOST, Bridge, Key, Object, Route, Sysctl, Veth
from linkspan.kernel.wire.address import LinkAddress
from linkspan.kernel.wire.link import Link
from linkspan.kernel.wire.message import AF_INET
from linkspan.kernel.wire.netconf import ALL, NetConf
from linkspan.kernel.wire.port import Port
from linkspan.kernel.wire.route import RT_TABLE_MAIN, RouteEntry

RTPROT_RA = 9
"""linux/rtnetlink.h: learned from a router's advertisement."""
SOMEBODY = "somebody"


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something on the host is not as it was."""

    kind: Literal["link", "address", "route", "firewall", "setting", "overrun"]
    """``overrun``: events were lost, so anything may have happened."""
    name: str
    """The object's name: ``br-web``, ``10.0.0.1/24``, ``default``, ``inet linkspan``, ``net/ipv4/ip_forward``."""
    deleted: bool = False
    ours: bool = True
    """It is wanted by us and deviates: time for ``heal``. False: news of the host, for facts and doctor."""
    cause: str = SOMEBODY
    """``nft (pid 123)`` where the kernel tells."""
    link: str = ""
    """For addresses and routes: the interface."""
    advertised: bool = False
    """A route that was learned from a router's advertisement."""


Judgement = tuple[Key, Notice] | None
"""The object that deviates, and what to tell. None: no news."""


def judge_link(
    name: str, found: Link | None, memory: Memory, mark: Mark, names: Mapping[int, str], foreign: Mapping[str, Link]
) -> Judgement:
    """The last word about an interface, None when it went. ``foreign`` are those of others as they were last told."""
    key = ("link", HOST, name)
    want = memory.intended(key)
    if want is None:
        return _judge_foreign_link(key, found, mark, foreign.get(name))
    held = memory.held(key)
    if found is None or not mark.ours(found):
        known = found is not None and held is None
        return None if known else (key, Notice(kind="link", name=name, deleted=True))
    agrees = is_like(found, want, names) or (held is not None and is_like(found, held, names))
    return None if agrees else (key, Notice(kind="link", name=name))


def is_like(found: Link, want: Object, names: Mapping[int, str]) -> bool:
    """Whether a link, seen from the host, is as this object says."""
    if isinstance(want, Veth):
        return found.kind == "veth" and outer_end(found, names, want) == want
    if not isinstance(want, Bridge) or found.kind != "bridge":
        return False
    live = (found.mac, found.mtu, found.alias, found.group, found.gso_max_size, found.up)
    return live == (want.mac, want.mtu, want.alias, want.group, want.gso_max_size, want.up)


def _judge_foreign_link(key: Key, found: Link | None, mark: Mark, before: Link | None) -> Judgement:
    """An uplink that goes, goes down or changes its MTU is news; the kernel tells nothing of the IPv4 routes then."""
    if before is None or (found is not None and is_uninteresting(found, mark)):
        return None
    if found is not None and (before.mtu, before.up) == (found.mtu, found.up):
        return None
    return key, Notice(kind="link", name=before.name, ours=False, deleted=found is None)


def is_uninteresting(found: Link, mark: Mark) -> bool:
    """Whether a link cannot be an uplink: one of ours, or a port of somebody's bridge."""
    return mark.ours(found) or mark.discarded(found) or found.master != 0


def judge_port(port: Port, memory: Memory) -> Judgement:
    """Flags of a port, which the kernel tells by themselves."""
    key = ("link", HOST, port.name)
    settled = [item for item in (memory.intended(key), memory.held(key)) if isinstance(item, Veth)]
    if not settled or any((port.hairpin, port.isolated) == (item.hairpin, item.isolated) for item in settled):
        return None
    return key, Notice(kind="link", name=port.name)


def judge_address(link_name: str, found: LinkAddress, deleted: bool, memory: Memory) -> Judgement:
    """An address that came or went. What others do with our links is their affair."""
    key = ("address", HOST, link_name, found.address)
    if memory.intended(key) is not None:
        lost = deleted and memory.held(key) is not None
        return (key, Notice(kind="address", name=found.address, link=link_name, deleted=True)) if lost else None
    address = ip_interface(found.address).ip
    if address.is_link_local or address.is_loopback or memory.intended(("link", HOST, link_name)) is not None:
        return None
    return key, Notice(kind="address", name=found.address, link=link_name, deleted=deleted, ours=False)


def judge_route(link_name: str, found: RouteEntry, deleted: bool, memory: Memory) -> Judgement:
    """A route of ours that went; a default route, one that was advertised, or one across a subnet of ours."""
    metric, table = str(found.metric), str(found.table)
    key = ("route", HOST, table, str(found.destination), metric)
    if found.protocol == Route.PROTOCOL:
        lost = deleted and memory.intended(key) is not None and memory.held(key) is not None
        return (key, Notice(kind="route", name=key[3], link=link_name, deleted=True)) if lost else None
    if memory.intended(("link", HOST, link_name)) is not None:
        return None
    advertised = found.protocol == RTPROT_RA
    default = found.destination.prefixlen == 0 and found.table == RT_TABLE_MAIN
    if not (advertised or default or (not found.gateway and crosses(found.destination, memory.subnets()))):
        return None
    name = "default" if default else key[3]
    notice = Notice(kind="route", name=name, link=link_name, deleted=deleted, ours=False, advertised=advertised)
    return (*key, link_name), notice


def crosses(prefix: IPv4Network | IPv6Network, subnets: list[IPv4Network | IPv6Network]) -> bool:
    """Whether a prefix has addresses in common with one of these."""
    if prefix.prefixlen == 0 or prefix.is_link_local:
        return False
    return any(prefix.version == other.version and prefix.overlaps(other) for other in subnets)


def settings_of(found: NetConf, names: Mapping[int, str]) -> dict[str, str]:
    """What a message tells about values below /proc/sys, by path."""
    where = "all" if found.index == ALL else names.get(found.index, "")
    if not where:
        return {}
    version = "ipv4" if found.family == AF_INET else "ipv6"
    told = {}
    if found.forwarding is not None:
        told[f"net/{version}/conf/{where}/forwarding"] = str(found.forwarding)
        if where == "all" and version == "ipv4":
            told["net/ipv4/ip_forward"] = str(found.forwarding)
    if found.rp_filter is not None and version == "ipv4":
        told[f"net/ipv4/conf/{where}/rp_filter"] = str(found.rp_filter)
    return told


def judge_setting(path: str, value: str, memory: Memory) -> Judgement:
    """A value that we set."""
    key = ("sysctl", HOST, path)
    settled = [item for item in (memory.intended(key), memory.held(key)) if isinstance(item, Sysctl)]
    if not settled or any(item.value == value for item in settled):
        return None
    return key, Notice(kind="setting", name=path)


def judge_table(family: str, table: str, deleted: bool, cause: str, memory: Memory) -> Judgement:
    """A table that somebody else changed."""
    key = ("table", HOST, family, table)
    ours = memory.intended(key) is not None
    return key, Notice(kind="firewall", name=f"{family} {table}", deleted=deleted, ours=ours, cause=cause)
