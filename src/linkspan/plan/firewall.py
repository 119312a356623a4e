"""The firewall: one table whose chains never change; networks and endpoints only add elements to its sets and maps.

So the cost of a packet and the cost of a change do not grow with the number of networks. How a packet goes:

* ``raw`` (before connection tracking): nobody but the host itself reaches 127.0.0.0/8, and from outside nothing
  goes straight to a container's address that hides behind masquerading.
* ``forward``: only traffic from or to our bridges is judged at all. Known connections pass. Between two interfaces
  the map ``pair`` decides: a bridge to itself, never one bridge to another. What leaves for elsewhere needs its
  bridge in ``egress``; internal networks are not in it. What comes from elsewhere is dropped.
* ``postrouting``: what leaves a masquerading network for elsewhere gets the host's address.

We never touch a foreign table or a foreign policy. The table is ours whole, so nobody parses its rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from linkspan.kernel.state import Element, Table
from linkspan.model.network import BridgeOptions, Network

FAMILY: Final = "inet"
TABLE = "linkspan"

RULESET = """
set bridges { type ifname; }
set internal { type ifname; }
set hidden4 { type ipv4_addr; flags interval; }
set hidden6 { type ipv6_addr; flags interval; }
set masquerade4 { type ipv4_addr; flags interval; }
set masquerade6 { type ipv6_addr; flags interval; }
map pair { type ifname . ifname : verdict; }
map egress { type ifname : verdict; }
chain raw {
  type filter hook prerouting priority raw; policy accept;
  iifname "lo" accept
  ip daddr 127.0.0.0/8 drop
  iifname @bridges accept
  ip daddr @hidden4 drop
  ip6 daddr @hidden6 drop
}
chain forward {
  type filter hook forward priority filter; policy accept;
  iifname @bridges goto judge
  oifname @bridges goto judge
}
chain judge {
  ct state established,related accept
  ct state invalid drop
  iifname @internal goto same
  iifname . oifname vmap @pair
  oifname @bridges drop
  iifname vmap @egress
  drop
}
chain same {
  iifname . oifname vmap @pair
  drop
}
chain postrouting {
  type nat hook postrouting priority srcnat; policy accept;
  oifname "lo" accept
  oifname @bridges accept
  ip saddr @masquerade4 masquerade
  ip6 saddr @masquerade6 masquerade
}
"""


def table() -> Table:
    """The table itself, which belongs to the host scope."""
    return Table(family=FAMILY, name=TABLE, ruleset=RULESET)


def network(network: Network, options: BridgeOptions) -> Iterator[Element]:
    """What one bridge network adds. The bridge is known before it exists: we fail closed."""
    bridge = options.bridge_name
    yield _element("bridges", bridge)
    yield _element("pair", bridge, bridge, value="accept" if options.inter_container else "drop")
    if network.internal:
        yield _element("internal", bridge)
        return
    yield _element("egress", bridge, value="accept")
    for pool in network.pools:
        version = pool.subnet.version
        if options.masquerade:
            yield _element(f"hidden{version}", str(pool.subnet))
            yield _element(f"masquerade{version}", str(pool.subnet))


def _element(name: str, *item: str, value: str = "") -> Element:
    return Element(family=FAMILY, table=TABLE, set=name, item=item, value=(value,) if value else ())
