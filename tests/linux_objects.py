"""Objects to try the real kernel with, and a place to try them in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from linkspan import libc
from linkspan.kernel import netns
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.state import Address, Bridge, Element, Namespace, Object, Route, Sysctl, Table, Veth

INSTANCE = "0badcafe"
GROUP = 0x4BADCAFE
BOX = Namespace(name="box")

RULESET = """
 set bridges { type ifname; }
 set subnet4 { type ipv4_addr; flags interval; }
 set subnet6 { type ipv6_addr; flags interval; }
 map pub4 { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }
 map pub6 { type inet_proto . ipv6_addr . inet_service : ipv6_addr . inet_service; }
 map pair { type ifname . ifname : verdict; }
 map range4 { type inet_service . ipv4_addr . inet_proto : ipv4_addr; flags interval; }
 set mac { type ifname . ether_addr; }
 set own { type inet_service; elements = { 22, 80 } }
 chain same { counter drop; }
 chain forward { type filter hook forward priority filter; policy accept;
  iifname @bridges counter accept
  iifname . oifname vmap @pair
 }
 chain pre { type nat hook prerouting priority dstnat; policy accept;
  dnat ip to meta l4proto . ip daddr . th dport map @pub4
  dnat ip6 to meta l4proto . ip6 daddr . th dport map @pub6
  dnat ip to th dport . ip daddr . meta l4proto map @range4
 }
"""
OTHER_RULESET = "set bridges { type ifname; }\nchain other { accept; }"

BRIDGE = Bridge(name="br-one", mac="02:42:00:00:00:01", alias=f"linkspan:{INSTANCE}:network:one", group=GROUP)
VETH = Veth(
    name="ls-one",
    master="br-one",
    alias=f"linkspan:{INSTANCE}:endpoint:one",
    group=GROUP,
    peer_namespace="box",
    peer_name="eth0",
    peer_mac="02:42:0a:00:00:02",
)
TABLE = Table(family="inet", name="linkspan", ruleset=RULESET)


def element(set_name: str, *item: str, value: tuple[str, ...] = (), publishes: bool = False) -> Element:
    return Element(family="inet", table="linkspan", set=set_name, item=item, value=value, publishes=publishes)


def link_sysctl(link: str, namespace: str = "") -> Sysctl:
    return Sysctl(path=f"net/ipv6/conf/{link}/accept_ra", value="0", link=link, namespace=namespace)


EVERYTHING: tuple[Object, ...] = (
    BOX,
    TABLE,
    Table(family="bridge", name="linkspan", ruleset="set ports { type ifname . ether_addr; }\nchain c { drop; }"),
    Table(family="ip", name="linkspan", ruleset="chain c { accept; }", namespace="box"),
    Sysctl(path="net/ipv4/ip_forward", value="1"),
    Sysctl(path="net/ipv4/ping_group_range", value="0 2147483647", namespace="box"),
    element("bridges", "br-one"),
    element("bridges", "tcp"),
    element("subnet4", "10.9.0.0/24"),
    element("subnet4", "10.9.1.0/24"),
    element("subnet4", "10.9.2.1"),
    element("subnet6", "fd00:9::/64"),
    element("pair", "br-one", "br-one", value=("accept",)),
    element("pair", "br-one", "br-two", value=("goto same",)),
    element("mac", "ls-one", "02:42:0a:00:00:02"),
    msgspec.structs.replace(BRIDGE, gso_max_size=262144),
    msgspec.structs.replace(VETH, gso_max_size=262144, isolated=True, hairpin=True),
    link_sysctl("br-one"),
    link_sysctl("eth0", "box"),
    Address(link="br-one", address="10.9.0.1/24"),
    Address(link="br-one", address="fd00:9::1/64"),
    Address(link="br-one", address="fe80::1/64"),
    Address(namespace="box", link="eth0", address="10.9.0.2/24"),
    Address(namespace="box", link="eth0", address="10.9.0.3/24"),
    Address(namespace="box", link="eth0", address="fd00:9::2/64"),
    Address(namespace="box", link="eth0", address="fe80::42:aff:fe00:2/64"),
    Route(namespace="box", destination="0.0.0.0/0", gateway="10.9.0.1", link="eth0"),
    Route(namespace="box", destination="::/0", gateway="fd00:9::1", link="eth0"),
    Route(namespace="box", destination="10.77.0.0/16", link="eth0", source="10.9.0.2", metric=50),
    Route(namespace="box", destination="10.78.0.0/16", link="eth0", table=1000),
    Route(destination="10.79.0.0/16", gateway="10.9.0.2", link="br-one"),
    element("pub4", "6", "192.0.2.1", "8080", value=("10.9.0.2", "80"), publishes=True),
    element("pub6", "17", "2001:db8::1", "53", value=("fd00:9::2", "5353"), publishes=True),
    element("range4", "9000-9010", "192.0.2.0/24", "17", value=("10.9.0.2",), publishes=True),
)
"""One of everything, in the order of ranks."""


@contextmanager
def private_kernel(exec_root: Path) -> Iterator[LinuxKernel]:
    """A kernel whose host is a namespace of the calling thread's own; nothing is left of it."""
    home = netns.own()
    try:
        libc.unshare(libc.CLONE_NEWNET)
        netns.prepare(exec_root)
        try:
            kernel = LinuxKernel(exec_root, INSTANCE, GROUP)
            try:
                yield kernel
            finally:
                kernel.close()
        finally:
            netns.release(exec_root)
    finally:
        libc.setns(home, libc.CLONE_NEWNET)
        os.close(home)
