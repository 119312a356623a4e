"""Random states of a kernel that a plan could want: every needed place is there, and nothing claims a name twice."""

from __future__ import annotations

from hypothesis import strategies as st

from linkspan.kernel.state import (
    HOST,
    Address,
    Bridge,
    Element,
    Namespace,
    Object,
    Route,
    Scope,
    State,
    Sysctl,
    Table,
    Veth,
    state_of,
)

ALIAS = "linkspan:cafe0123:network:"
GROUP = 0x4C53
NAMESPACES = ("lsp-s1", "lsp-s2", "lsp-s3")
BRIDGES = ("lspbr-a", "lspbr-b")
VETHS = ("lspv1", "lspv2", "lspv3")
RULESET = """
map pair { type ifname . ifname : verdict; }
set ports { type inet_proto . inet_service; }
map published { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }
chain forward {
  type filter hook forward priority filter; policy accept;
  iifname . oifname vmap @pair
}
"""
BRIDGE_RULESET = """
set ports { type ifname . ether_addr; }
set targets { typeof iifname . @th,64,128; }
set options { typeof iifname . @th,192,64; }
set refused { type ifname; size 16; flags dynamic, timeout; timeout 1d; }
chain prerouting {
  type filter hook prerouting priority -300; policy accept;
  iifname . ether saddr @ports accept
  icmpv6 type nd-neighbor-advert iifname . @th,64,128 @targets accept
  icmpv6 type nd-neighbor-advert iifname . @th,192,64 @options accept
  update @refused { iifname counter }
}
"""
"""What packets write into ``refused`` is nobody's wish, and no state."""
RULESETS = (RULESET, f"{RULESET}set more {{ type ipv4_addr; flags interval; }}\n")
ELEMENTS = (
    Element(family="inet", table="linkspan", set="pair", item=("lspbr-a", "lspbr-a"), value=("accept",)),
    Element(family="inet", table="linkspan", set="pair", item=("lspbr-a", "lspbr-a"), value=("drop",)),
    Element(family="inet", table="linkspan", set="pair", item=("lspbr-b", "lspbr-b"), value=("goto forward2",)),
    Element(family="inet", table="linkspan", set="ports", item=("6", "80")),
    Element(family="inet", table="linkspan", set="ports", item=("17", "53")),
    Element(
        family="inet",
        table="linkspan",
        set="published",
        item=("6", "192.0.2.1", "80"),
        value=("10.1.0.1", "8080"),
        publishes=True,
    ),
    Element(
        family="inet",
        table="linkspan",
        set="published",
        item=("6", "192.0.2.1", "80"),
        value=("10.1.0.2", "8080"),
        publishes=True,
    ),
)


BRIDGE_ELEMENTS = (
    Element(family="bridge", table="linkspan", set="ports", item=("lspv1", "02:00:00:00:02:01")),
    Element(family="bridge", table="linkspan", set="ports", item=("lspv2", "02:00:00:00:02:02")),
    Element(family="bridge", table="linkspan", set="targets", item=("lspv1", "0xfd000001000000000000000000000002")),
    Element(family="bridge", table="linkspan", set="targets", item=("lspv1", "0x2")),
    Element(family="bridge", table="linkspan", set="options", item=("lspv1", "0x201020000000201")),
)


@st.composite
def states(draw: st.DrawFn) -> State:
    """One valid state."""
    namespaces = draw(st.lists(st.sampled_from(NAMESPACES), unique=True))
    items: list[Object] = [Namespace(name=name) for name in namespaces]
    for namespace in (HOST, *namespaces):
        items += draw(tables(namespace))
        items += draw(switches(namespace))
    items += draw(bridge_tables())
    bridges = draw(st.lists(st.sampled_from(BRIDGES), unique=True))
    links = [(HOST, name) for name in bridges]
    mtus = {name: draw(st.sampled_from([1500, 1400])) for name in bridges}
    items += [draw(bridge(name, mtu)) for name, mtu in mtus.items()]
    for name in VETHS if namespaces else ():
        if draw(st.booleans()):
            inside = draw(st.sampled_from([(n, p) for n in namespaces for p in ("eth0", "eth1", "eth2", "eth3")]))
            if inside not in links:
                links.append(inside)
                items.append(draw(veth(name, mtus, inside)))
    for number, (namespace, link) in enumerate(links, start=1):
        items += draw(network_layer(number, namespace, link))
    return state_of(items)


@st.composite
def tables(draw: st.DrawFn, namespace: str) -> list[Object]:
    """At most one table in a namespace, with some elements."""
    if not draw(st.booleans()):
        return []
    ruleset = draw(st.sampled_from(RULESETS)).replace("chain forward {", "chain forward2 { }\nchain forward {")
    chosen = draw(st.lists(st.sampled_from(ELEMENTS), unique_by=lambda item: item.key))
    copies = [
        Element(
            namespace=namespace,
            family=item.family,
            table=item.table,
            set=item.set,
            item=item.item,
            value=item.value,
            publishes=item.publishes,
        )
        for item in chosen
    ]
    return [Table(family="inet", name="linkspan", ruleset=ruleset, namespace=namespace), *copies]


@st.composite
def bridge_tables(draw: st.DrawFn) -> list[Object]:
    """Perhaps a table of the bridge family on the host, with some elements."""
    if not draw(st.booleans()):
        return []
    return [
        Table(family="bridge", name="linkspan", ruleset=BRIDGE_RULESET),
        *draw(st.lists(st.sampled_from(BRIDGE_ELEMENTS), unique_by=lambda item: item.key)),
    ]


@st.composite
def switches(draw: st.DrawFn, namespace: str) -> list[Object]:
    """Perhaps a value of the namespace as a whole."""
    value = draw(st.sampled_from(["", "0", "1"]))
    return [Sysctl(namespace=namespace, path="net/ipv4/ip_forward", value=value)] if value else []


@st.composite
def bridge(draw: st.DrawFn, name: str, mtu: int) -> Bridge:
    """A bridge. Its sizes go by its name: a bridge that has no ports refuses larger ones than it was born with."""
    return Bridge(
        name=name,
        mac=draw(st.sampled_from(["02:00:00:00:01:01", "02:00:00:00:01:02"])),
        mtu=mtu,
        alias=ALIAS + draw(st.sampled_from(["one", "two"])),
        group=GROUP,
        gso_max_size=131072 if name == "lspbr-b" else 65536,
    )


@st.composite
def veth(draw: st.DrawFn, name: str, mtus: dict[str, int], inside: tuple[str, str]) -> Veth:
    """A pair; as a port it has its bridge's MTU, which would else follow the port's."""
    master = draw(st.sampled_from(["", *mtus]))
    return Veth(
        name=name,
        master=master,
        mtu=mtus[master] if master else draw(st.sampled_from([1500, 1400, 9000])),
        alias=ALIAS + draw(st.sampled_from(["one", "two"])),
        group=GROUP,
        hairpin=bool(master) and draw(st.booleans()),
        isolated=bool(master) and draw(st.booleans()),
        gso_max_size=draw(st.sampled_from([65536, 131072])),
        peer_namespace=inside[0],
        peer_name=inside[1],
        peer_mac=draw(st.sampled_from(["02:00:00:00:02:01", "02:00:00:00:02:02"])),
    )


@st.composite
def network_layer(draw: st.DrawFn, number: int, namespace: str, link: str) -> list[Object]:
    """Addresses, routes and values of one link; ``number`` keeps subnets and metrics of links apart."""
    items: list[Object] = []
    host = draw(st.sampled_from([0, 2, 3]))
    if host:
        address = f"10.{number}.0.{host}"
        items.append(Address(namespace=namespace, link=link, address=f"{address}/{draw(st.sampled_from([24, 16]))}"))
        if draw(st.booleans()):
            items.append(
                Route(
                    namespace=namespace,
                    link=link,
                    destination="0.0.0.0/0",
                    gateway=f"10.{number}.0.{draw(st.sampled_from([1, 9]))}",
                    metric=100 + number,
                )
            )
        if draw(st.booleans()):
            source = draw(st.sampled_from(["", address]))
            items.append(Route(namespace=namespace, link=link, destination=f"192.168.{number}.0/24", source=source))
    host = draw(st.sampled_from([0, 2, 3]))
    if host:
        items.append(Address(namespace=namespace, link=link, address=f"fd00:{number}::{host}/64"))
        if draw(st.booleans()):
            items.append(
                Route(
                    namespace=namespace,
                    link=link,
                    destination="::/0",
                    gateway=f"fd00:{number}::1",
                    metric=100 + number,
                )
            )
    if draw(st.booleans()):
        value = draw(st.sampled_from(["0", "1"]))
        items.append(Sysctl(namespace=namespace, link=link, path=f"net/ipv6/conf/{link}/accept_ra", value=value))
    return items


def in_scopes(state: State) -> dict[Scope, State]:
    """The objects of a state shared out among scopes by type, so that some calls dissolve some of them."""
    scopes: dict[Scope, State] = {("test", kind.__name__): {} for kind in (Bridge, Veth, Namespace, Table, Element)}
    scopes["test", "Rest"] = {}
    for key, item in state.items():
        scope = ("test", type(item).__name__)
        scopes[scope if scope in scopes else ("test", "Rest")][key] = item
    return scopes
