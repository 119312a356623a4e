"""What every bridge network rests on: forwarding, and the table of the firewall."""

from __future__ import annotations

from collections.abc import Iterator

from linkspan.kernel.state import Facts, Object, Sysctl
from linkspan.plan import firewall, spoofing

BEFORE_FORWARDING = 19


def base(facts: Facts, *, ipv6: bool) -> Iterator[Object]:
    """The host scope. ``ipv6`` says whether any network has IPv6.

    A host that forwards IPv6 ignores router advertisements unless told otherwise (ip-sysctl, ``accept_ra``), so
    uplinks that live on them are told first, or the host would lose its default route.

    Where bridged packets pass the firewall, it is the firewall that keeps containers apart: then they shall go on
    passing it. Where they do not, the ports of the bridge are isolated.
    """
    yield firewall.table()
    if facts.bridge_filter:
        yield spoofing.table(bridge_netfilter=facts.bridge_netfilter)
    yield Sysctl(path="net/ipv4/ip_forward", value="1")
    if facts.bridge_netfilter:
        yield Sysctl(path="net/bridge/bridge-nf-call-iptables", value="1")
        yield Sysctl(path="net/bridge/bridge-nf-call-ip6tables", value="1")
    if ipv6 and facts.ipv6:
        for link in facts.advertised_links:
            yield Sysctl(path=f"net/ipv6/conf/{link}/accept_ra", value="2", order=BEFORE_FORWARDING)
        yield Sysctl(path="net/ipv6/conf/all/forwarding", value="1")
