"""The firewall: one table whose chains never change; networks and sandboxes only add elements to its sets and maps.

So the cost of a packet and the cost of a change do not grow with the number of networks, nor with that of published
ports. How a packet goes:

* ``raw`` (before connection tracking): nobody but the host itself reaches 127.0.0.0/8 or claims to come from it, and
  from outside nothing goes straight to the addresses of a network that hides behind the host's, unless it comes in by
  an interface that the network trusts.
* ``prerouting`` and ``output``: who asks an address of the host for a published port is led to the container
  (``publish``). Whether an address is the host's is asked of the routing table, so an address that appears later works
  when it appears. Where a port is limited to some sources, all others are dropped before (``arrive``); what the host
  itself sends does not come by there. ``[::1]`` and link-local IPv6 cannot be translated: the kernel would not route
  them to a bridge, so a listener answers those.
* ``forward``: only traffic from or to our bridges is judged at all. Known connections pass. Internal networks keep to
  themselves (``same``), also where a listener on the host would carry them out (``enclosed``). What was translated
  goes to its network (``ingress``). Between two interfaces the map ``pair`` decides: a bridge to itself, never one
  bridge to another. Networks that can be reached at their own addresses are in ``direct4`` and ``direct6`` with the
  chain that judges. What leaves for elsewhere needs its bridge in ``egress``. What comes from elsewhere is dropped.
* ``postrouting``: what leaves a masquerading network for elsewhere gets the host's address, or a fixed one. What comes
  in to a container keeps its source, with three exceptions whose answers would else never pass the host: a container
  that reaches its own network by a published port (``hairpin``), one that shares another network with the container
  that publishes (``shortcut``), and the host under 127.0.0.1.

Single ports stand in maps that are looked up whole. Ranges under the same numbers stand in small interval maps, whose
keys have the port first: other orders make a look-up walk all elements. A port of one address and a port of all
addresses are kept apart, since nftables takes a specific interval inside a wider one only in one order.

Protocols are numbers, here and in elements: nft reads their names from a file that not every host has.

We never touch a foreign table or a foreign policy. The table is ours whole, so nobody parses its rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from linkspan.kernel.state import Element, Object, Sysctl, Table
from linkspan.model.network import AddressPool, BridgeOptions, Network

FAMILY: Final = "inet"
TABLE = "linkspan"

RULESET = """
counter martians { }
counter outsiders { }
counter strangers { }
counter invalid { }
counter apart { }
set bridges { type ifname; }
set internal { type ifname; }
set hidden4 { type ipv4_addr; flags interval; }
set hidden6 { type ipv6_addr; flags interval; }
set trusted4 { type ifname . ipv4_addr; flags interval; }
set trusted6 { type ifname . ipv6_addr; flags interval; }
set masquerade4 { type ipv4_addr; flags interval; }
set masquerade6 { type ipv6_addr; flags interval; }
map source4 { type ipv4_addr : ipv4_addr; flags interval; }
map source6 { type ipv6_addr : ipv6_addr; flags interval; }
set hairpin4 { type ipv4_addr . ifname; flags interval; }
set hairpin6 { type ipv6_addr . ifname; flags interval; }
set shortcut4 { type ipv4_addr . ipv4_addr; flags interval; }
set shortcut6 { type ipv6_addr . ipv6_addr; flags interval; }
map pair { type ifname . ifname : verdict; }
map egress { type ifname : verdict; }
map ingress { type ifname : verdict; }
map direct4 { type ifname : verdict; }
map direct6 { type ifname : verdict; }
map port4 { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }
map port6 { type inet_proto . ipv6_addr . inet_service : ipv6_addr . inet_service; }
map anyport4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
map anyport6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
map range4 { type inet_service . ipv4_addr . inet_proto : ipv4_addr; flags interval; }
map range6 { type inet_service . ipv6_addr . inet_proto : ipv6_addr; flags interval; }
map anyrange4 { type inet_service . inet_proto : ipv4_addr; flags interval; }
map anyrange6 { type inet_service . inet_proto : ipv6_addr; flags interval; }
set limited4 { type inet_service . ipv4_addr . inet_proto; flags interval; }
set limited6 { type inet_service . ipv6_addr . inet_proto; flags interval; }
set allowed4 { type inet_service . ipv4_addr . inet_proto . ipv4_addr; flags interval; }
set allowed6 { type inet_service . ipv6_addr . inet_proto . ipv6_addr; flags interval; }
set open4 { type inet_proto . ipv4_addr . inet_service; }
set open6 { type inet_proto . ipv6_addr . inet_service; }
set openrange4 { type inet_service . ipv4_addr . inet_proto; flags interval; }
set openrange6 { type inet_service . ipv6_addr . inet_proto; flags interval; }
set openfrom4 { type inet_service . ipv4_addr . inet_proto . ipv4_addr; flags interval; }
set openfrom6 { type inet_service . ipv6_addr . inet_proto . ipv6_addr; flags interval; }
set anyrelay { type inet_proto . inet_service; }
set relay { type inet_proto . ipv6_addr . inet_service; }
set relayrange { type inet_service . ipv6_addr . inet_proto; flags interval; }
chain raw {
  type filter hook prerouting priority raw; policy accept;
  iifname "lo" accept
  ip daddr 127.0.0.0/8 counter name "martians" drop
  ip saddr 127.0.0.0/8 counter name "martians" drop
  iifname @bridges accept
  ip daddr @hidden4 goto covered
  ip6 daddr @hidden6 goto covered
}
chain covered {
  iifname . ip daddr @trusted4 accept
  iifname . ip6 daddr @trusted6 accept
  counter name "outsiders" drop
}
chain prerouting {
  type nat hook prerouting priority dstnat; policy accept;
  iifname != "lo" fib daddr type local goto arrive
}
chain output {
  type nat hook output priority -100; policy accept;
  fib daddr type local goto publish
}
chain arrive {
  iifname @internal meta nfproto ipv6 jump enclosed
  th dport . ip daddr . meta l4proto @limited4 th dport . ip daddr . meta l4proto . ip saddr != @allowed4 \
counter name "strangers" drop
  th dport . ip6 daddr . meta l4proto @limited6 th dport . ip6 daddr . meta l4proto . ip6 saddr != @allowed6 \
counter name "strangers" drop
  goto publish
}
chain enclosed {
  meta l4proto . th dport @anyrelay counter name "apart" drop
  meta l4proto . ip6 daddr . th dport @relay counter name "apart" drop
  th dport . ip6 daddr . meta l4proto @relayrange counter name "apart" drop
}
chain publish {
  dnat ip to meta l4proto . ip daddr . th dport map @port4
  dnat ip to meta l4proto . th dport map @anyport4
  dnat ip to th dport . ip daddr . meta l4proto map @range4
  dnat ip to th dport . meta l4proto map @anyrange4
  ip6 daddr ::1 return
  ip6 saddr fe80::/10 return
  ip6 daddr fe80::/10 return
  dnat ip6 to meta l4proto . ip6 daddr . th dport map @port6
  dnat ip6 to meta l4proto . th dport map @anyport6
  dnat ip6 to th dport . ip6 daddr . meta l4proto map @range6
  dnat ip6 to th dport . meta l4proto map @anyrange6
}
chain forward {
  type filter hook forward priority filter; policy accept;
  iifname @bridges goto judge
  oifname @bridges goto judge
}
chain judge {
  ct state established,related accept
  ct state invalid counter name "invalid" drop
  iifname @internal goto same
  ct status dnat oifname vmap @ingress
  iifname . oifname vmap @pair
  meta nfproto ipv4 oifname vmap @direct4
  meta nfproto ipv6 oifname vmap @direct6
  oifname @bridges counter name "apart" drop
  iifname vmap @egress
  counter name "apart" drop
}
chain same {
  iifname . oifname vmap @pair
  counter name "apart" drop
}
chain routed {
  meta l4proto { 1, 58 } accept
  goto opened
}
chain unprotected {
  iifname @bridges counter name "apart" drop
  accept
}
chain trusting {
  iifname . ip daddr @trusted4 goto opened
  iifname . ip6 daddr @trusted6 goto opened
  counter name "apart" drop
}
chain opened {
  meta l4proto . ip daddr . th dport @open4 accept
  meta l4proto . ip6 daddr . th dport @open6 accept
  th dport . ip daddr . meta l4proto @openrange4 accept
  th dport . ip6 daddr . meta l4proto @openrange6 accept
  th dport . ip daddr . meta l4proto . ip saddr @openfrom4 accept
  th dport . ip6 daddr . meta l4proto . ip6 saddr @openfrom6 accept
  counter name "apart" drop
}
chain postrouting {
  type nat hook postrouting priority srcnat; policy accept;
  oifname "lo" accept
  oifname @bridges goto inward
  snat ip to ip saddr map @source4
  snat ip6 to ip6 saddr map @source6
  ip saddr @masquerade4 masquerade
  ip6 saddr @masquerade6 masquerade
}
chain inward {
  ip saddr 127.0.0.0/8 masquerade
  ct status dnat ip saddr . oifname @hairpin4 masquerade
  ct status dnat ip6 saddr . oifname @hairpin6 masquerade
  ct status dnat ip saddr . ip daddr @shortcut4 masquerade
  ct status dnat ip6 saddr . ip6 daddr @shortcut6 masquerade
}
"""
"""Counters: ``martians`` claim the host's loopback; ``outsiders`` try a hidden address directly; ``strangers`` are not
on the list of a published port; ``invalid`` belongs to no connection; ``apart`` is what networks keep from each other
and from outside."""


def table() -> Table:
    """The table itself, which belongs to the host scope."""
    return Table(family=FAMILY, name=TABLE, ruleset=RULESET)


def network(network: Network, options: BridgeOptions) -> Iterator[Object]:
    """What one bridge network adds. The bridge is known before it exists: we fail closed.

    The kernel may route 127.0.0.0/8 to the bridge where ports are published (ip-sysctl, ``route_localnet``): the
    table that drops strangers who use that is older than any network.
    """
    bridge = options.bridge_name
    yield element("bridges", bridge)
    yield element("pair", bridge, bridge, value=("accept" if options.inter_container else "drop",))
    if network.internal:
        yield element("internal", bridge)
        return
    yield element("egress", bridge, value=("accept",))
    if any(options.gateway_mode(pool.subnet.version) in TRANSLATED for pool in network.pools):
        yield element("ingress", bridge, value=("accept",))
    for pool in network.pools:
        yield from _family(pool, options)


TRANSLATED = ("nat", "nat-unprotected")
"""Gateway modes in which ports are published on the host."""


def _family(pool: AddressPool, options: BridgeOptions) -> Iterator[Object]:
    version, subnet, bridge = pool.subnet.version, str(pool.subnet), options.bridge_name
    mode = options.gateway_mode(version)
    if mode == "routed":
        yield element(f"direct{version}", bridge, value=("goto routed",))
        return
    yield element(f"hairpin{version}", subnet, bridge)
    if version == 4:
        yield Sysctl(path=f"net/ipv4/conf/{bridge}/route_localnet", value="1", link=bridge)
    if options.masquerade:
        source = options.source(version)
        if source is None:
            yield element(f"masquerade{version}", subnet)
        else:
            yield element(f"source{version}", subnet, value=(str(source),))
    if mode == "nat-unprotected":
        yield element(f"direct{version}", bridge, value=("goto unprotected",))
        return
    if options.masquerade:
        # Without it answers come back to the containers' own addresses, and this set knows no connections.
        yield element(f"hidden{version}", subnet)
    if options.trusted_interfaces:
        yield element(f"direct{version}", bridge, value=("goto trusting",))
    for interface in options.trusted_interfaces:
        yield element(f"trusted{version}", interface, subnet)


def element(name: str, *item: str, value: tuple[str, ...] = (), publishes: bool = False) -> Element:
    """One element of a set or map of the table."""
    return Element(family=FAMILY, table=TABLE, set=name, item=item, value=value, publishes=publishes)
