"""Anti-spoofing: a port of a bridge takes frames only with the addresses that its endpoint was given.

One table of the bridge family whose chains never change; an endpoint adds elements that are keyed by the host's end
of its veth pair. It stands before everything else that looks at a frame (priority -300, before br_netfilter), and its
elements are there before the link is (ranks in ``kernel.state``): we fail closed.

``prerouting`` is the fast way: honest data passes by one look-up of interface, MAC and source address together,
however many endpoints there are. What could be an answer of a DHCP server or neighbour discovery, and what the
look-up does not know, goes to ``judge``:

* frames of ports that are not ``guarded`` pass: uplinks, other people's bridges, endpoints with the switch off;
* the source MAC must be the endpoint's own;
* IPv4: an own source, or a DHCP client (RFC 2131) or IGMP without an address yet;
* ARP: own MAC and address as the sender, or a probe from 0.0.0.0 (RFC 5227);
* IPv6: an own source, MLD from ``::`` (RFC 3590), duplicate address detection of an own address (RFC 4862);
* neighbour discovery: an own target, and a link-layer address option that tells the own MAC and nothing behind it;
  extension headers are refused there, since no stack sends them and they hide what follows (RFC 7113);
* router advertisements, redirects and DHCP servers' answers: never. So nobody but the gateway can be the gateway;
* anything else (spanning tree, LLDP, VLAN tags, RARP): not forwarded to others.

Frames to 01:80:c2:00:00:0e (LLDP) and their like come by no hook. A bridge forwards none of them, and ours do not learn
from them at which port a MAC is (``no_linklocal_learn``).

``forward`` is there under br_netfilter alone. There the firewall keeps apart the containers of a network that wants
them apart (``plan.firewall``, map ``pair``), and it sees IP only: ARP and all else are refused here.

Addresses that a container adds by itself do not pass: whoever needs that (VPN routers, keepalived) turns the switch
off, for a network or an endpoint.

Refusals are counted by port and reason in sets that the frames themselves fill; an entry goes a day after its last
frame. ``drop`` is a rule of its own behind the counting one: a full set must not let frames pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from linkspan.kernel.state import Element, Facts, Table
from linkspan.model.address import IPAddress
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import BridgeOptions

FAMILY: Final = "bridge"
TABLE = "linkspan"

REASONS = ("mac", "ipv4", "ipv6", "arp", "neighbour", "router", "dhcp", "ethertype")
"""Why a frame is refused: its source MAC, its source address, its ARP sender, its neighbour discovery, a router's
message, a DHCP server's answer, or something that is neither IP nor ARP."""

_CHECKS = """
set guarded { type ifname; }
set stations { type ifname . ether_addr; }
set senders4 { type ifname . ether_addr . ipv4_addr; }
set senders6 { type ifname . ether_addr . ipv6_addr; }
set targets6 { typeof iifname . @th,64,128; }
set options6 { typeof iifname . @th,192,64; }
"""

_COUNTED = """
set refused_{reason} {{ type ifname; size 4096; flags dynamic, timeout; timeout 1d; }}
chain refuse_{reason} {{
  update @refused_{reason} {{ iifname counter }}
  drop
}}
"""

# Protocols by number: nft 1.0.6 looks their names up in /etc/protocols, which a small system lacks.
_CHAINS = """
chain detection {
  iifname . @th,64,128 != @targets6 goto refuse_neighbour
  ip6 length 24 accept
  ip6 length 32 @th,192,8 14 accept
  goto refuse_neighbour
}
chain solicitation {
  ip6 nexthdr != 58 goto refuse_neighbour
  ip6 saddr :: goto detection
  iifname . ether saddr . ip6 saddr != @senders6 goto refuse_ipv6
  ip6 length 24 accept
  ip6 length 32 iifname . @th,192,64 @options6 accept
  goto refuse_neighbour
}
chain advertisement {
  ip6 nexthdr != 58 goto refuse_neighbour
  iifname . ether saddr . ip6 saddr != @senders6 goto refuse_ipv6
  iifname . @th,64,128 != @targets6 goto refuse_neighbour
  ip6 length 24 accept
  ip6 length 32 iifname . @th,192,64 @options6 accept
  goto refuse_neighbour
}
chain router_solicitation {
  ip6 nexthdr != 58 goto refuse_neighbour
  ip6 length 8 ip6 saddr :: accept
  iifname . ether saddr . ip6 saddr != @senders6 goto refuse_ipv6
  ip6 length 8 accept
  ip6 length 16 iifname . @th,64,64 @options6 accept
  goto refuse_neighbour
}
chain judge4 {
  ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept
  ip saddr 0.0.0.0 ip protocol 2 accept
  goto refuse_ipv4
}
chain judge_arp {
  arp htype != 1 goto refuse_arp
  arp ptype != ip goto refuse_arp
  arp hlen != 6 goto refuse_arp
  arp plen != 4 goto refuse_arp
  iifname . arp saddr ether != @stations goto refuse_arp
  iifname . ether saddr . arp saddr ip @senders4 accept
  arp operation request arp saddr ip 0.0.0.0 accept
  goto refuse_arp
}
chain judge6 {
  icmpv6 type nd-neighbor-solicit goto solicitation
  icmpv6 type nd-neighbor-advert goto advertisement
  icmpv6 type nd-router-solicit goto router_solicitation
  icmpv6 type { nd-router-advert, nd-redirect } goto refuse_router
  ip6 saddr :: icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } accept
  goto refuse_ipv6
}
chain judge {
  iifname != @guarded accept
  iifname . ether saddr != @stations goto refuse_mac
  udp sport { 67, 547 } goto refuse_dhcp
  udp dport { 68, 546 } goto refuse_dhcp
  ether type arp goto judge_arp
  ether type ip goto judge4
  ether type ip6 goto judge6
  goto refuse_ethertype
}
chain prerouting {
  type filter hook prerouting priority -300; policy accept;
  udp sport { 67, 547 } goto judge
  udp dport { 68, 546 } goto judge
  ether type ip iifname . ether saddr . ip saddr @senders4 accept
  icmpv6 type 133-137 goto judge
  ether type ip6 iifname . ether saddr . ip6 saddr @senders6 accept
  goto judge
}
"""

_APART = """
set apart { type ifname; }
chain forward {
  type filter hook forward priority -300; policy accept;
  ether type != { ip, ip6 } iifname @apart oifname @apart drop
}
"""

RULESET = _CHECKS + "".join(_COUNTED.format(reason=reason).lstrip() for reason in REASONS) + _CHAINS.lstrip()

_LINK_LAYER_OPTIONS = (1, 2)
"""Of the source and of the target (RFC 4861, 4.6.1), each one unit of eight bytes long."""


def table(*, bridge_netfilter: bool = False) -> Table:
    """The table itself, which belongs to the host scope."""
    return Table(family=FAMILY, name=TABLE, ruleset=RULESET + (_APART.lstrip() if bridge_netfilter else ""))


def apart(endpoint: Endpoint) -> Element:
    """Keeps a port from others of its kind, where ports cannot be isolated: under br_netfilter."""
    return _element("apart", endpoint.host_interface)


def guarded(options: BridgeOptions, endpoint: Endpoint) -> bool:
    """Whether the endpoint's port is guarded: as it says itself, else as its network says."""
    own = endpoint.options.anti_spoofing
    return options.anti_spoofing if own is None else own


def endpoint(endpoint: Endpoint, addresses: Iterable[IPAddress], facts: Facts) -> Iterator[Element]:
    """What one guarded endpoint adds. ``addresses`` are all that it may use, link-local ones too."""
    port, mac = endpoint.host_interface, endpoint.mac.lower()
    yield _element("guarded", port)
    yield _element("stations", port, mac)
    own = [address for address in addresses if address.version == 4 or facts.ipv6]
    for address in own:
        yield _element(f"senders{address.version}", port, mac, str(address))
        if address.version == 6:
            yield _element("targets6", port, hex(int(address)))
    if any(address.version == 6 for address in own):
        for kind in _LINK_LAYER_OPTIONS:
            option = bytes((kind, 1)) + bytes.fromhex(mac.replace(":", ""))
            yield _element("options6", port, hex(int.from_bytes(option, "big")))


def _element(name: str, *item: str) -> Element:
    return Element(family=FAMILY, table=TABLE, set=name, item=item)
