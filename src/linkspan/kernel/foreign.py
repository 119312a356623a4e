"""Other people's firewalls: whose chain drops what we let pass, and the command that lifts it.

A packet passes every base chain of every table, and one drop is enough; accepting it in our own table helps nothing.
So a foreign drop in our path cannot be overridden, only named. ``read`` takes all foreign tables without the elements
of their sets, once at the start and once after each foreign change; everything else here is pure.

Rules of the old iptables (xtables) are not in nftables' sight: of them the tables and the policies are told, no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, cast

import msgspec

from linkspan.kernel import xtables
from linkspan.kernel.nft import Nft
from linkspan.kernel.passage import Chain, Expression, Packet, Rule, Ruleset, Stop, names, stops
from linkspan.kernel.tables import TABLE_NAME

Owner = Literal["ufw", "firewalld", "docker", "iptables", "nftables"]

FAMILIES = ("inet", "ip", "ip6")
IPTABLES = ("filter", "nat", "mangle", "raw", "security")
"""Tables of iptables-nft in the families ip and ip6."""
OLD = "filter (legacy)"
"""What we call the table filter of the old iptables."""
INTERFACE_SETS = ("ifname", "iface_index")


STATE_EXTENSIONS = ("conntrack", "state")
STATES = re.compile(r"\bct state ([a-z,]+)")

Listing = Sequence[tuple[str, dict[str, object]]]


Direction = Literal["in", "out", "host"]
"""``in``: new connections from outside to containers; ``out``: from them; ``host``: from the host itself to them."""
DIRECTIONS: tuple[Direction, ...] = ("in", "out", "host")


class Obstacle(msgspec.Struct, frozen=True, kw_only=True):
    """A foreign chain that certainly ends traffic of one bridge."""

    owner: Owner
    where: str
    """``table ip filter, chain FORWARD (hook forward)``."""
    what: str
    """``policy drop``, or the rule."""
    bridge: str
    directions: tuple[Direction, ...]
    versions: tuple[int, ...]
    remedy: str
    """A command line for a root shell."""


def read(nft: Nft) -> Ruleset:
    """All chains that are not ours, of the namespace in which ``nft`` was made. NftError, OSError."""
    chains: list[Chain] = []
    interfaces: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for family, table in filtering_tables(nft):
        listing = nft.table(family, table, elements=False)
        chains += with_rules(listing, states_in(nft, family, table) if has_states(listing) else {})
        for kind, part in listing:
            if kind == "set" and part.get("type") in INTERFACE_SETS:
                name = str(part["name"])
                interfaces[(family, table, name)] = names_in(nft.set(family, table, name))
    return Ruleset(chains=(*chains, *old_chains()), interfaces=interfaces)


def filtering_tables(nft: Nft) -> list[tuple[str, str]]:
    """Foreign tables that filter IP packets at all: those that only translate may hold thousands of rules."""
    found = {
        (str(part["family"]), str(part["table"])): None
        for part in nft.chains()
        if part.get("type") == "filter" and part["family"] in FAMILIES and part["table"] != TABLE_NAME
    }
    return list(found)


def with_rules(listing: Listing, states: Mapping[int, list[str]]) -> list[Chain]:
    """The chains of one table as listed, with their rules."""
    rules: dict[str, list[Rule]] = {}
    for kind, part in listing:
        if kind == "rule":
            rules.setdefault(str(part["chain"]), []).append(rule_of(part, states))
    chains = [chain_of(part) for kind, part in listing if kind == "chain"]
    return [msgspec.structs.replace(item, rules=tuple(rules.get(item.name, ()))) for item in chains]


def has_states(listing: Listing) -> bool:
    """Whether a rule asks for a connection's state by an extension of iptables, which JSON tells only by name."""
    return any(is_state(each) for kind, part in listing if kind == "rule" for each in expressions_of(part))


def is_state(expression: Expression) -> bool:
    """Whether an expression is that extension."""
    extension = expression.get("xt")
    return isinstance(extension, dict) and extension.get("name") in STATE_EXTENSIONS


def states_in(nft: Nft, family: str, table: str) -> dict[int, list[str]]:
    """The states that rules ask for, by handle, where nft can tell. NftError."""
    found = {handle: STATES.search(text) for handle, text in nft.rules_as_text(family, table).items()}
    return {handle: match[1].split(",") for handle, match in found.items() if match}


def old_chains() -> list[Chain]:
    """Chains of the old iptables with a policy that drops. What their rules accept before is not known. OSError."""
    return [
        Chain(
            family="ip" if item.version == 4 else "ip6",
            table=OLD,
            name=item.hook.upper(),
            hook=item.hook,
            kind="filter",
            policy="drop",
        )
        for item in xtables.policies()
        if item.drops
    ]


def chain_of(part: dict[str, object]) -> Chain:
    """A chain as listed, still without its rules."""
    priority = part.get("prio", 0)
    return Chain(
        family=str(part["family"]),
        table=str(part["table"]),
        name=str(part["name"]),
        hook=str(part.get("hook", "")),
        kind=str(part.get("type", "")),
        priority=priority if isinstance(priority, int) else 0,
        policy=str(part.get("policy", "")),
    )


def rule_of(part: dict[str, object], states: Mapping[int, list[str]]) -> Rule:
    """A rule as listed, with a connection's state as nftables itself would ask for it."""
    number = part.get("handle", 0)
    handle = number if isinstance(number, int) else 0
    wanted = states.get(handle)
    native: Expression = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": wanted}}
    expressions = (native if wanted and is_state(each) else each for each in expressions_of(part))
    return Rule(handle=handle, expressions=tuple(expressions))


def expressions_of(part: dict[str, object]) -> tuple[Expression, ...]:
    """The expressions of a rule as listed."""
    return tuple(cast("Iterable[Expression]", part.get("expr", ())))


def names_in(elements: Iterable[object]) -> tuple[str, ...]:
    """The elements of a set of interfaces."""
    return tuple(str(item["elem"]["val"]) if isinstance(item, dict) else str(item) for item in elements)


def obstacles(ruleset: Ruleset, bridges: Sequence[str], *, versions: Sequence[int] = (4, 6)) -> tuple[Obstacle, ...]:
    """What ends the traffic of these bridges with the outside. Give those that may reach it: no internal ones."""
    words = ruleset.interface_names()
    beginnings = [word for word in words if word.endswith("*")]
    alike: dict[frozenset[str], list[tuple[int, Stop]]] = {}
    found: list[Obstacle] = []
    for bridge in bridges:
        # Bridges that no rule tells apart end in the same places: only the first of them walks through the rules.
        named = frozenset((words & {bridge}) | {word for word in beginnings if names(word, bridge)})
        packets = ways(bridge, versions)
        if named not in alike:
            alike[named] = [(number, stop) for number, each in enumerate(packets) for stop in stops(ruleset, each)]
        by_chain: dict[tuple[str, str, str, str], list[tuple[Stop, Packet]]] = {}
        for number, stop in alike[named]:
            place = (*stop.base.place, stop.base.name, stop.what)
            by_chain.setdefault(place, []).append((stop, packets[number]))
        found += [obstacle(ruleset, bridge, stopped) for stopped in by_chain.values()]
    return tuple(found)


def ways(bridge: str, versions: Sequence[int]) -> list[Packet]:
    """New connections to and from the containers of a bridge; the interface outside has no name here."""
    return [
        packet
        for version in versions
        for packet in (
            Packet(hook="forward", version=version, outgoing=bridge, translated=True),
            Packet(hook="forward", version=version, incoming=bridge),
            Packet(hook="prerouting", version=version, incoming=bridge),
            Packet(hook="output", version=version, outgoing=bridge),
        )
    ]


def obstacle(ruleset: Ruleset, bridge: str, stopped: Sequence[tuple[Stop, Packet]]) -> Obstacle:
    """One chain's stops of one bridge, put together."""
    stop, _ = stopped[0]
    met = {direction_of(packet) for _, packet in stopped}
    directions = tuple(each for each in DIRECTIONS if each in met)
    owner = owner_of(ruleset, stop)
    lines = [lifting(ruleset, owner, stop.base, bridge, direction) for direction in directions]
    return Obstacle(
        owner=owner,
        where=where(stop.base),
        what=stop.what,
        bridge=bridge,
        directions=directions,
        versions=tuple(sorted({packet.version for _, packet in stopped})),
        remedy=" && ".join(dict.fromkeys(lines)),
    )


def direction_of(packet: Packet) -> Direction:
    """Where one of the ``ways`` leads."""
    if packet.hook == "output":
        return "host"
    return "out" if packet.incoming else "in"


def where(chain: Chain) -> str:
    """A chain in words."""
    return f"table {chain.family} {chain.table}, chain {chain.name} (hook {chain.hook})"


def owner_of(ruleset: Ruleset, stop: Stop) -> Owner:
    """Whose chain it is, by its names."""
    if stop.base.table == "firewalld":
        return "firewalld"
    if stop.base.table.startswith("docker-"):
        return "docker"
    if not of_iptables(stop.base):
        return "nftables"
    if stop.chain.name.startswith("ufw"):
        return "ufw"
    if stop.chain.name.startswith("DOCKER"):
        return "docker"
    chains = ruleset.table(stop.base.place)
    if any(name.startswith("ufw") for name in chains):
        return "ufw"
    return "docker" if any(name.startswith("DOCKER") for name in chains) else "iptables"


def of_iptables(chain: Chain) -> bool:
    """Whether a chain belongs to iptables, on nftables or on its own."""
    return chain.family in ("ip", "ip6") and chain.table in (*IPTABLES, OLD) and chain.name == chain.hook.upper()


def lifting(ruleset: Ruleset, owner: Owner, base: Chain, bridge: str, direction: Direction) -> str:
    """The command that lets a bridge's traffic pass a chain."""
    outwards = direction == "out"
    if owner == "firewalld":
        return f"firewall-cmd --zone=trusted --add-interface={bridge}"
    if owner == "ufw" and base.hook == "output":
        return f"ufw allow out on {bridge}"
    if owner == "ufw" and base.hook == "forward":
        return f"ufw route allow {'in' if outwards else 'out'} on {bridge}"
    if of_iptables(base):
        chain = base.name
        if owner == "docker" and "DOCKER-USER" in ruleset.table(base.place) and base.hook == "forward":
            chain = "DOCKER-USER"
        return f"{program(base)} -I {chain} {'-i' if outwards else '-o'} {bridge} -j ACCEPT"
    name = "iifname" if outwards else "oifname"
    return f"nft 'insert rule {base.family} {base.table} {base.name} {name} \"{bridge}\" accept'"


def opening(ruleset: Ruleset, stop: Stop, protocol: str, port: int) -> str:
    """The command that opens a port of the host itself in a chain that it comes by."""
    owner = owner_of(ruleset, stop)
    if owner == "ufw" and stop.base.hook == "input":
        return f"ufw allow {port}/{protocol}"
    if owner == "firewalld":
        return f"firewall-cmd --add-port={port}/{protocol}"
    if of_iptables(stop.base):
        return f"{program(stop.base)} -I {stop.base.name} -p {protocol} --dport {port} -j ACCEPT"
    base = stop.base
    return f"nft 'insert rule {base.family} {base.table} {base.name} {protocol} dport {port} accept'"


def program(chain: Chain) -> str:
    """The program that writes to a chain of iptables, with its table."""
    name = "iptables" if chain.family == "ip" else "ip6tables"
    if chain.table == OLD:
        return f"{name}-legacy"
    return name if chain.table == "filter" else f"{name} -t {chain.table}"
