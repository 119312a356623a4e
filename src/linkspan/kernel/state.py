"""The vocabulary of kernel objects: plain frozen values that a plan wants, that we applied, or that we read back.

Pure. Each type declares its identity (``key``), what is fixed at creation (``FIXED``: a difference there means
replace), where it stands in the order of work (``rank``), and its ties to other objects:

* ``provides``: the places that come and go with it: a link provides its name in its namespace.
* ``needs``: places that it cannot exist without. When one goes, the kernel removes this object by itself.
* ``follows``: places whose re-creation makes the kernel forget an attribute of this object (a bridge's ports).

Order is data. Lower ranks are created first and deleted last, so protection (filter elements) comes before
connectivity (links, addresses, published ports) and goes after it: we fail closed.

``HOST`` (the empty string) is the namespace that the daemon runs in; other namespaces are called by sandbox id.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Interface, IPv6Interface
from typing import ClassVar, Literal

import msgspec

HOST = ""

Key = tuple[str, ...]
Place = tuple[str, ...]
"""``("namespace", ns)``, ``("link", ns, name)``, ``("table", ns, family, name)`` or ``("address", ns, link, "4")``."""


class KernelObject(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all kernel objects."""

    FIXED: ClassVar[frozenset[str]] = frozenset()

    @property
    def key(self) -> Key:
        """Identity: two objects with one key are the same object in two states."""
        raise NotImplementedError

    @property
    def rank(self) -> int:
        """Place in the order of creation; deletion goes the other way."""
        raise NotImplementedError

    def provides(self) -> tuple[Place, ...]:
        """Places that exist because of this object."""
        return ()

    def needs(self) -> tuple[Place, ...]:
        """Places without which the kernel removes this object by itself."""
        return ()

    def softly_needs(self) -> tuple[Place, ...]:
        """Places whose loss may or may not remove this object: it is deleted and made again."""
        return ()

    def follows(self) -> tuple[Place, ...]:
        """Places whose re-creation loses an attribute of this object."""
        return ()


def _inside(namespace: str) -> tuple[Place, ...]:
    return (("namespace", namespace),) if namespace != HOST else ()


class Namespace(KernelObject, frozen=True, kw_only=True):
    """A network namespace of ours, pinned under the exec-root, loopback up."""

    name: str

    @property
    def key(self) -> Key:
        return ("namespace", self.name)

    @property
    def rank(self) -> int:
        return 0

    def provides(self) -> tuple[Place, ...]:
        return (("namespace", self.name),)


class Table(KernelObject, frozen=True, kw_only=True):
    """One nftables table of ours with its constant chains, sets and maps. Elements are objects of their own.

    ``ruleset`` is the text of the table's body in nft(8) syntax: a constant of ours, never made from input.
    """

    FIXED: ClassVar[frozenset[str]] = frozenset({"ruleset"})

    family: Literal["inet", "ip", "ip6", "bridge"]
    name: str
    ruleset: str
    namespace: str = HOST

    @property
    def key(self) -> Key:
        return ("table", self.namespace, self.family, self.name)

    @property
    def rank(self) -> int:
        return 10

    def provides(self) -> tuple[Place, ...]:
        return (("table", self.namespace, self.family, self.name),)

    def needs(self) -> tuple[Place, ...]:
        return _inside(self.namespace)


class Element(KernelObject, frozen=True, kw_only=True):
    """One element of a set or map in a table of ours.

    ``item`` and ``value`` are the parts of a concatenation; a part is an interface name, an address, a prefix
    (``10.0.0.0/8``), a port or range (``80``, ``80-90``), a protocol, a MAC, or (values only) a verdict:
    ``accept``, ``drop``, ``goto CHAIN``, ``jump CHAIN``. An element without ``value`` belongs to a set.
    ``publishes`` marks elements that let traffic in: they are added last and removed first.
    """

    family: Literal["inet", "ip", "ip6", "bridge"]
    table: str
    set: str
    item: tuple[str, ...]
    value: tuple[str, ...] = ()
    publishes: bool = False
    namespace: str = HOST

    @property
    def key(self) -> Key:
        return ("element", self.namespace, self.family, self.table, self.set, *self.item)

    @property
    def rank(self) -> int:
        return 90 if self.publishes else 30

    def needs(self) -> tuple[Place, ...]:
        return (("table", self.namespace, self.family, self.table), *_inside(self.namespace))


class Sysctl(KernelObject, frozen=True, kw_only=True):
    """A value below /proc/sys. Deleting it leaves the value as it is (we know no better one).

    ``link`` is set for values that come and go with an interface (``net/ipv6/conf/LINK/…``).
    """

    namespace: str = HOST
    path: str
    """Slash-separated below /proc/sys: ``net/ipv4/ip_forward``."""
    value: str
    link: str = ""
    order: int = 20
    """Rank of a value without a link: one that must stand before another has a lower number."""

    @property
    def key(self) -> Key:
        return ("sysctl", self.namespace, self.path)

    @property
    def rank(self) -> int:
        return 58 if self.link else self.order

    def needs(self) -> tuple[Place, ...]:
        tied = (("link", self.namespace, self.link),) if self.link else ()
        return (*tied, *_inside(self.namespace))


class Bridge(KernelObject, frozen=True, kw_only=True):
    """A Linux bridge on the host, spanning tree off, forward delay 0, no learning from link-local frames, up.

    Made with IFLA_INET6_ADDR_GEN_MODE none, as is the peer of a veth pair: the plan names every address.
    """

    FIXED: ClassVar[frozenset[str]] = frozenset({"namespace"})

    name: str
    mac: str
    """Set explicitly: a bridge without one changes its MAC as ports come and go."""
    mtu: int = 1500
    alias: str
    """The mark of ownership (IFLA_IFALIAS)."""
    group: int
    """Interface group (IFLA_GROUP): the daemon's instance, for deleting in bulk."""
    gso_max_size: int = 65536
    """Bytes; also sets the GRO and the IPv4 sizes (BIG TCP)."""
    up: bool = True
    """Always wanted; False is what is read back when somebody took the link down."""
    namespace: str = HOST

    @property
    def key(self) -> Key:
        return ("link", self.namespace, self.name)

    @property
    def rank(self) -> int:
        return 40

    def provides(self) -> tuple[Place, ...]:
        return (("link", self.namespace, self.name),)

    def needs(self) -> tuple[Place, ...]:
        return _inside(self.namespace)


class Veth(KernelObject, frozen=True, kw_only=True):
    """A veth pair: one end a port of a bridge on the host, the peer born inside a namespace under its final name.

    One object, since the kernel makes and removes both ends together. Both ends are up.
    """

    FIXED: ClassVar[frozenset[str]] = frozenset({"peer_namespace", "peer_name", "peer_mac"})

    name: str
    master: str
    """Bridge that the host's end is a port of; empty: none."""
    mtu: int = 1500
    alias: str
    group: int
    hairpin: bool = False
    """Frames may leave by the port they came in (needed under br_netfilter)."""
    isolated: bool = False
    """No frames between two isolated ports of one bridge (ICC off)."""
    gso_max_size: int = 65536
    up: bool = True
    """Both ends. Always wanted; False is what is read back when somebody took one down."""
    peer_namespace: str
    peer_name: str
    peer_mac: str

    @property
    def key(self) -> Key:
        return ("link", HOST, self.name)

    @property
    def rank(self) -> int:
        return 50

    def provides(self) -> tuple[Place, ...]:
        return (("link", HOST, self.name), ("link", self.peer_namespace, self.peer_name))

    def softly_needs(self) -> tuple[Place, ...]:
        """Our pin goes at once, the namespace later (net_namespace.c, cleanup_net), or never while it is used."""
        return _inside(self.peer_namespace)

    def follows(self) -> tuple[Place, ...]:
        return (("link", HOST, self.master),) if self.master else ()


class Address(KernelObject, frozen=True, kw_only=True):
    """An address on a link. IPv6 addresses skip duplicate address detection (IFA_F_NODAD)."""

    namespace: str = HOST
    link: str
    address: str
    """With its prefix length: ``10.0.0.2/24``, ``fd00::2/64``."""

    @property
    def interface(self) -> IPv4Interface | IPv6Interface:
        """The address parsed."""
        return IPv6Interface(self.address) if ":" in self.address else IPv4Interface(self.address)

    @property
    def key(self) -> Key:
        return ("address", self.namespace, self.link, self.address)

    @property
    def rank(self) -> int:
        return 60

    def provides(self) -> tuple[Place, ...]:
        return (("address", self.namespace, self.link, "6" if ":" in self.address else "4"),)

    def needs(self) -> tuple[Place, ...]:
        return (("link", self.namespace, self.link), *_inside(self.namespace))


class Route(KernelObject, frozen=True, kw_only=True):
    """A unicast route of ours (rtm_protocol ``PROTOCOL``). ``destination`` is a prefix, ``0.0.0.0/0`` the default."""

    FIXED: ClassVar[frozenset[str]] = frozenset({"gateway", "link", "source", "table"})
    PROTOCOL: ClassVar[int] = 0x4C
    """Our number in /etc/iproute2/rt_protos' free range; routes with another one are not ours."""

    namespace: str = HOST
    destination: str
    gateway: str = ""
    link: str
    source: str = ""
    metric: int = 0
    """0: the kernel's default (0 for IPv4, 1024 for IPv6)."""
    table: int = 254
    """254 is RT_TABLE_MAIN."""

    @property
    def key(self) -> Key:
        return ("route", self.namespace, str(self.table), self.destination, str(self.metric))

    @property
    def rank(self) -> int:
        return 70

    def needs(self) -> tuple[Place, ...]:
        return (("link", self.namespace, self.link), *_inside(self.namespace))

    def softly_needs(self) -> tuple[Place, ...]:
        return (("address", self.namespace, self.link, "6" if ":" in self.destination else "4"),)


Object = Namespace | Table | Element | Sysctl | Bridge | Veth | Address | Route
"""Every type of kernel object."""

State = dict[Key, Object]
"""Objects by key: a want, what is applied, or what is live."""

Scope = tuple[str, str]
"""The unit of planning and ownership: a kind (host, network, sandbox, endpoint) and an id."""


def state_of(objects: Iterable[Object]) -> State:
    """Objects by key. ValueError when two objects have one key: a plan must not want one thing twice."""
    state: State = {}
    for item in objects:
        if item.key in state:
            raise ValueError(f"wanted twice: {item.key}")
        state[item.key] = item
    return state


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What this kernel and host can do: an input to the planner, so that plans are testable for any kernel."""

    instance: str = "00000000"
    """The daemon's instance id, 8 hex digits; in the alias of every link."""
    group: int = 0
    """Interface group of this instance (IFLA_GROUP)."""
    big_tcp: bool = False
    """The kernel takes GSO and GRO sizes of 256 KiB, IPv4 and IPv6."""
    bridge_netfilter: bool = False
    """br_netfilter passes bridged frames to the IP hooks."""
    bridge_filter: bool = True
    """nftables judges frames at the ports of bridges (CONFIG_NF_TABLES_BRIDGE)."""
    ipv6: bool = True
    advertised_links: tuple[str, ...] = ()
    """Uplinks with routes learned from router advertisements (rtm_protocol RTPROT_RA, 9)."""
    default_mtu: int = 1500
    """MTU of the device that has the default route, bytes; 1500 without one."""
