"""What is wrong with this host, or will be: facts in, findings out. Pure; ``examination`` reads the facts.

Each check gives at least one finding, so that a person sees what was looked at: what is well is ``ok``, what is worth
knowing a ``note``, what will bite a ``warning``, and what does bite a ``failure``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import msgspec

from linkspan.insight.firewalls import sentence
from linkspan.insight.views import Finding
from linkspan.kernel.foreign import Obstacle
from linkspan.model.address import IPAddress, IPNetwork

Level = Literal["ok", "note", "warning", "failure"]

BRIDGE_PORTS = 1023
"""BR_MAX_PORTS - 1 in the kernel's net/bridge/br_private.h."""
NEARLY_FULL = 0.8
STRICT = 1
"""rp_filter: the way back must lead through the interface of arrival (ip-sysctl)."""


class NameServer(msgspec.Struct, frozen=True, kw_only=True):
    """A name server of the host, and whether it answered."""

    address: str
    loopback: bool = False
    answers: bool | None = None
    """None: not tried."""


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is looked at. Names of networks are those that people gave."""

    missing: tuple[str, ...] = ()
    """Sentences of ``kernel.probe.missing``."""
    obstacles: tuple[Obstacle, ...] = ()
    legacy_tables: tuple[str, ...] = ()
    """Tables of the old iptables that are in use."""
    bridge_calls: dict[int, bool] = {}
    """By IP version: br_netfilter passes bridged frames to the IP hooks (bridge-nf-call-*); empty: it is not there."""
    forwarding: dict[int, bool] = {}
    """By IP version: the host forwards."""
    ipv6_used: bool = False
    """Some network has IPv6."""
    networks: int = 0
    """How many bridge networks there are."""
    reverse_path: dict[str, int] = {}
    """rp_filter in force by uplink (the larger one of ``all`` and its own)."""
    routes: tuple[tuple[IPNetwork, str], ...] = ()
    """Prefixes that the host reaches by interfaces that are not ours (``kernel.probe.on_link_routes``)."""
    subnets: tuple[tuple[str, IPNetwork], ...] = ()
    """Network and subnet of each pool."""
    uplink_mtu: int = 0
    """Bytes; 0: there is no default route."""
    mtus: tuple[tuple[str, int], ...] = ()
    """Network and MTU of its bridge, without internal networks."""
    tracked: int = 0
    tracked_limit: int = 0
    name_servers: tuple[NameServer, ...] = ()
    host_addresses: frozenset[IPAddress] = frozenset()
    published: tuple[tuple[str, IPAddress], ...] = ()
    """Container and host address of each publication that names one."""
    ports: tuple[tuple[str, int], ...] = ()
    """Network and number of ports of its bridge."""
    managers: tuple[str, ...] = ()
    """``NetworkManager``, ``systemd-networkd``: those that run."""
    unmanaged: frozenset[str] = frozenset()
    """Those of them that were told to leave our interfaces alone."""


def diagnose(seen: Examination) -> tuple[Finding, ...]:
    """All findings, check by check."""
    return tuple(finding for check in CHECKS for finding in check(seen))


def kernel(seen: Examination) -> Iterator[Finding]:
    """What this kernel can do."""
    for sentence_ in seen.missing:
        yield finding("kernel", "warning", sentence_, "run a kernel that has it, or do without")
    if not seen.missing:
        yield finding("kernel", "ok", "the kernel has everything that Linkspan uses")


def firewalls(seen: Examination) -> Iterator[Finding]:
    """Other people's chains in our path."""
    for item in seen.obstacles:
        yield finding("other firewalls", "failure", sentence(item), item.remedy)
    if seen.legacy_tables:
        tables = ", ".join(seen.legacy_tables)
        yield finding(
            "other firewalls",
            "note",
            f"the old iptables is in use beside nftables (tables {tables}); of its rules only the policies are read",
            "look with iptables-legacy -S, and move its rules to iptables-nft or nftables",
        )
    elif not seen.obstacles:
        yield finding("other firewalls", "ok", "no other firewall stops the containers' traffic")


def bridged_frames(seen: Examination) -> Iterator[Finding]:
    """br_netfilter."""
    calling = [f"IPv{version}" for version, on in sorted(seen.bridge_calls.items()) if on]
    if calling:
        yield finding(
            "br_netfilter",
            "note",
            f"frames between containers of one network pass the host's {' and '.join(calling)} firewall rules "
            "(bridge-nf-call), so others' rules for forwarding apply to them too, and each frame costs more",
            "unless Kubernetes or another program needs it, stop the daemon (it keeps what it found at its start), "
            "sysctl -w net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0, and start it again",
        )
    else:
        yield finding("br_netfilter", "ok", "frames between containers of one network stay on their bridge")


def forwarding(seen: Examination) -> Iterator[Finding]:
    """Whether the host forwards."""
    wanted = {4: seen.networks > 0, 6: seen.ipv6_used}
    names = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
    off = [version for version in (4, 6) if wanted[version] and not seen.forwarding.get(version, False)]
    for version in off:
        yield finding(
            "IP forwarding",
            "failure",
            f"the host does not forward IPv{version}, so containers reach nothing outside their networks",
            f"sysctl -w {names[version]}=1, and look in /etc/sysctl.d for what switched it off",
        )
    if not off:
        yield finding("IP forwarding", "ok", "the host forwards what it should")


def reverse_paths(seen: Examination) -> Iterator[Finding]:
    """rp_filter."""
    strict = sorted(name for name, value in seen.reverse_path.items() if value == STRICT)
    if len(seen.reverse_path) > 1 and strict:
        yield finding(
            "reverse path filter",
            "warning",
            f"rp_filter is strict on {', '.join(strict)} and the host has several uplinks, so clients of published "
            "ports that come in by one and would be answered by the other are dropped",
            " && ".join(f"sysctl -w net.ipv4.conf.{name}.rp_filter=2" for name in strict),
        )
    else:
        yield finding("reverse path filter", "ok", "rp_filter drops no clients of published ports")


def overlaps(seen: Examination) -> Iterator[Finding]:
    """Subnets of ours that the host reaches elsewhere by now."""
    found = False
    for name, subnet in seen.subnets:
        for prefix, link in seen.routes:
            if prefix.version == subnet.version and prefix.overlaps(subnet):
                found = True
                yield finding(
                    "overlapping subnets",
                    "failure",
                    f"subnet {subnet} of network {name} overlaps {prefix} on {link}, so one of the two is unreachable",
                    f"make network {name} anew with another --subnet, or change the address of {link}",
                )
    if not found:
        yield finding("overlapping subnets", "ok", "no route of the host overlaps a network's subnet")


def sizes(seen: Examination) -> Iterator[Finding]:
    """MTU of bridges against that of the uplink."""
    larger = [(name, mtu) for name, mtu in seen.mtus if seen.uplink_mtu and mtu > seen.uplink_mtu]
    for name, mtu in larger:
        yield finding(
            "MTU",
            "warning",
            f"network {name} has MTU {mtu} and the uplink {seen.uplink_mtu}, so large packets need path MTU discovery, "
            "which some firewalls on the way break",
            f"make network {name} anew with -o com.docker.network.driver.mtu={seen.uplink_mtu}",
        )
    if not larger:
        yield finding("MTU", "ok", "no network has a larger MTU than the uplink")


def tracking(seen: Examination) -> Iterator[Finding]:
    """How full the table of tracked connections is."""
    if seen.tracked_limit and seen.tracked >= NEARLY_FULL * seen.tracked_limit:
        full = seen.tracked >= seen.tracked_limit
        yield finding(
            "connection tracking",
            "failure" if full else "warning",
            f"{seen.tracked} of {seen.tracked_limit} connections are tracked; beyond that new ones are dropped",
            f"sysctl -w net.netfilter.nf_conntrack_max={2 * seen.tracked_limit}",
        )
    else:
        yield finding("connection tracking", "ok", f"{seen.tracked} of {seen.tracked_limit} connections are tracked")


def name_servers(seen: Examination) -> Iterator[Finding]:
    """Where unknown names go."""
    if not seen.name_servers:
        yield finding(
            "name servers",
            "failure",
            "/etc/resolv.conf names no server, so containers resolve only each other",
            "add a nameserver line, or give containers --dns",
        )
        return
    silent = [item.address for item in seen.name_servers if item.answers is False]
    if len(silent) == len(seen.name_servers):
        yield finding(
            "name servers",
            "failure",
            f"no name server of the host answers ({', '.join(silent)}), so containers resolve only each other",
            "mend /etc/resolv.conf, or give containers --dns",
        )
        return
    for address in silent:
        yield finding(
            "name servers",
            "warning",
            f"name server {address} does not answer, so each look-up that tries it first waits",
            "take it out of /etc/resolv.conf",
        )
    if all(item.loopback for item in seen.name_servers):
        yield finding(
            "name servers",
            "note",
            "all name servers of the host are on its loopback, so containers reach them through Linkspan's resolver "
            "only: on the default bridge they get public ones or --dns",
            "use networks of your own, or set dns in the daemon's configuration",
        )
    elif not silent:
        yield finding("name servers", "ok", "the host's name servers can be reached")


def addresses(seen: Examination) -> Iterator[Finding]:
    """Published addresses that the host does not have."""
    absent = [(container, address) for container, address in seen.published if is_absent(address, seen)]
    for container, address in absent:
        yield finding(
            "published addresses",
            "warning",
            f"container {container} publishes ports on {address}, which the host does not have; "
            "they open as soon as it has",
            f"ip addr add {address}/{address.max_prefixlen} dev INTERFACE, or publish on another address",
        )
    if not absent:
        yield finding("published addresses", "ok", "the host has every address that ports are published on")


def is_absent(address: IPAddress, seen: Examination) -> bool:
    """Whether a published address is one that the host must have and does not."""
    return not (address.is_unspecified or address.is_loopback or address in seen.host_addresses)


def bridges(seen: Examination) -> Iterator[Finding]:
    """How many ports bridges have left."""
    crowded = [(name, count) for name, count in seen.ports if count >= NEARLY_FULL * BRIDGE_PORTS]
    for name, count in crowded:
        yield finding(
            "bridge ports",
            "failure" if count >= BRIDGE_PORTS else "warning",
            f"network {name} has {count} containers of the {BRIDGE_PORTS} that a Linux bridge takes",
            "connect further containers to another network",
        )
    if not crowded:
        yield finding("bridge ports", "ok", f"all bridges are far from their {BRIDGE_PORTS} ports")


UNMANAGED: Mapping[str, str] = {
    "NetworkManager": "copy packaging/networkmanager.conf to /etc/NetworkManager/conf.d/90-linkspan.conf "
    "(scripts/install does) and run nmcli general reload",
    "systemd-networkd": "copy packaging/networkd-*.network to /etc/systemd/network/10-linkspan-*.network "
    "(scripts/install does) and run networkctl reload",
}
"""How to tell each manager to leave our interfaces alone (NetworkManager.conf(5), systemd.network(5))."""


def managers(seen: Examination) -> Iterator[Finding]:
    """Other programs that manage interfaces."""
    meddling = [name for name in seen.managers if name not in seen.unmanaged]
    for name in meddling:
        yield finding(
            "other managers",
            "note",
            f"{name} runs and was not told to leave Linkspan's interfaces alone, so it may take addresses or routes "
            "off them when it reloads; Linkspan puts them back",
            UNMANAGED.get(name, ""),
        )
    if not meddling:
        yield finding("other managers", "ok", "no other program manages Linkspan's interfaces")


CHECKS: tuple[Callable[[Examination], Iterator[Finding]], ...] = (
    kernel,
    forwarding,
    firewalls,
    bridged_frames,
    reverse_paths,
    overlaps,
    sizes,
    addresses,
    name_servers,
    tracking,
    bridges,
    managers,
)


def finding(check: str, level: Level, text: str, remedy: str = "") -> Finding:
    """One finding."""
    return Finding(check=check, level=level, text=text, remedy=remedy)
