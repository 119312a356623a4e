"""What a ruleset of somebody else does to a packet of ours, as far as it can be told. Pure.

Rules are walked as the kernel would, with three answers to each condition: it holds, it does not, or nobody can tell
(a limit, a mark, the other end's address). What cannot be told decides nothing, with one exception: a rule that
accepts and certainly names our bridge or our address was written for us, whatever else it asks.

So a drop that is reported is certain, and one that hangs on unknown conditions is not reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal, cast

import msgspec

from linkspan.kernel.rule_text import XT_REFUSING, rule_text

Address = IPv4Address | IPv6Address
Expression = Mapping[str, object]
Hook = Literal["prerouting", "input", "forward", "output", "postrouting"]

DEPTH = 16
"""NFT_JUMP_STACK_SIZE in net/netfilter/nf_tables.h: how deep chains may jump."""
TERMINAL = ("accept", "drop")
REFUSING = ("drop", "reject")
PROTOCOLS = {"tcp": "tcp", "udp": "udp", "6": "tcp", "17": "udp"}


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """The first packet of a connection, or of the answers to it. What is empty, 0 or None is not known."""

    hook: Hook
    version: int
    incoming: str = ""
    outgoing: str = ""
    protocol: str = ""
    """``tcp`` or ``udp``."""
    port: int = 0
    """The destination's; the source's when it answers."""
    source: Address | None = None
    destination: Address | None = None
    translated: bool = False
    """Its destination was translated (ct status dnat)."""
    answering: bool = False
    """It answers: its connection is established (ct state), and its destination is the client's port."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule as libnftables lists it."""

    handle: int
    expressions: tuple[Expression, ...]


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """One chain; a base chain has a hook, and its policy is what happens at its end."""

    family: str
    table: str
    name: str
    rules: tuple[Rule, ...] = ()
    hook: str = ""
    kind: str = ""
    priority: int = 0
    policy: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """The table that it belongs to."""
        return (self.family, self.table)


class Ruleset(msgspec.Struct, frozen=True, kw_only=True):
    """Chains of other owners, and the interface names in their named sets, by family, table and set."""

    chains: tuple[Chain, ...] = ()
    interfaces: dict[tuple[str, str, str], tuple[str, ...]] = {}

    def base_chains(self, packet: Packet) -> list[Chain]:
        """Those that filter such a packet, in the order of their priority."""
        families = ("inet", "ip" if packet.version == 4 else "ip6")
        found = [
            chain
            for chain in self.chains
            if chain.hook == packet.hook and chain.kind == "filter" and chain.family in families
        ]
        return sorted(found, key=lambda chain: chain.priority)

    def table(self, place: tuple[str, str]) -> dict[str, Chain]:
        """The chains of a table by name."""
        return {item.name: item for item in self.chains if item.place == place}

    def interface_names(self) -> frozenset[str]:
        """Everything in the rules that could be an interface's name or the beginning of one (``eth*``)."""
        words = {word for chain in self.chains for rule in chain.rules for word in strings_in(rule.expressions)}
        return frozenset(words.union(*self.interfaces.values()))


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """Where a packet certainly ends: the base chain, the chain of the rule, and the rule in nft's words."""

    base: Chain
    chain: Chain
    what: str


class Decision(msgspec.Struct, frozen=True):
    """What a chain did: accept, drop, or nothing (empty); and by which rule of which chain."""

    verdict: str = ""
    chain: Chain | None = None
    rule: Rule | None = None


NOTHING = Decision()


def stops(ruleset: Ruleset, packet: Packet) -> tuple[Stop, ...]:
    """Every base chain in which the packet certainly ends, in the order of their priority."""
    found = []
    for base in ruleset.base_chains(packet):
        decision = Walk(ruleset, packet, base.place).through(base)
        if decision.verdict == "drop" and decision.chain is not None and decision.rule is not None:
            found.append(Stop(base=base, chain=decision.chain, what=rule_text(parts(decision.rule))))
        elif not decision.verdict and base.policy == "drop":
            found.append(Stop(base=base, chain=base, what="policy drop"))
    return tuple(found)


class Walk:
    """One packet on its way through the chains of one table."""

    def __init__(self, ruleset: Ruleset, packet: Packet, place: tuple[str, str]) -> None:
        self._interfaces = ruleset.interfaces
        self._chains = ruleset.table(place)
        self._packet = packet
        self._place = place
        self._depth = 0

    def through(self, chain: Chain) -> Decision:
        """What a chain decides. A drop behind a return that may have happened is no certain one."""
        certain = True
        for rule in chain.rules:
            for matches, verdict, target in self._outcomes(rule):
                decision = self._decision(chain, rule, verdict, target)
                if matches and verdict == "return":
                    return NOTHING
                if matches is None and verdict == "return":
                    certain = False
                if decision.verdict == "accept" and (matches or self._written_for_us(rule)):
                    return decision
                if decision.verdict == "drop" and matches and certain:
                    return decision
                if matches and verdict == "goto":
                    return NOTHING
        return NOTHING

    def _decision(self, chain: Chain, rule: Rule, verdict: str, target: str) -> Decision:
        if verdict in TERMINAL:
            return Decision(verdict, chain, rule)
        if verdict in ("jump", "goto"):
            inner = self._chains.get(target)
            if inner is not None and self._depth < DEPTH:
                self._depth += 1
                try:
                    return self.through(inner)
                finally:
                    self._depth -= 1
        return NOTHING

    def _outcomes(self, rule: Rule) -> Iterator[tuple[bool | None, str, str]]:
        """Whether the rule matches, its verdict, and the chain that it jumps to. A verdict map has several."""
        matches: bool | None = True
        for kind, value in parts(rule):
            if kind == "vmap" and isinstance(value, dict):
                for answer, verdict, target in self._map_outcomes(value):
                    yield both(matches, answer), verdict, target
                return
            verdict, target = verdict_of(kind, value)
            if verdict:
                yield matches, verdict, target
                return
            matches = both(matches, self._holds(kind, value))
            if matches is False:
                return

    def _map_outcomes(self, value: Mapping[str, object]) -> Iterator[tuple[bool | None, str, str]]:
        data = value.get("data")
        entries = data.get("set") if isinstance(data, dict) else None
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], dict):
                answer = self._compare(value.get("key"), entry[0])
                if answer is not False:
                    ((kind, inner),) = cast("Mapping[str, object]", entry[1]).items()
                    yield answer, *verdict_of(kind, inner)

    def _holds(self, kind: str, value: object) -> bool | None:
        """Whether one condition holds. Counters, logs and the like are none."""
        if kind == "match" and isinstance(value, dict):
            answer = self._compare(value.get("left"), value.get("right"))
            return negated(answer) if value.get("op") == "!=" else answer
        if kind == "xt" and isinstance(value, dict):
            return self._extension(str(value.get("type")), str(value.get("name")))
        return None if kind in ("limit", "quota", "connlimit", "ct count") else True

    def _extension(self, kind: str, name: str) -> bool | None:
        """An extension of iptables, of which only the name is listed.

        One that looks at a connection's state, where nft could not tell which (``foreign.states_in``), is taken for
        the usual RELATED,ESTABLISHED: ours is new, or answers.
        """
        if kind == "target":
            return True
        if name in ("conntrack", "state"):
            return self._packet.answering
        return True if name == "comment" else None

    def _compare(self, left: object, right: object) -> bool | None:
        if not isinstance(left, dict) or len(left) != 1:
            return None
        ((kind, what),) = cast("Mapping[str, object]", left).items()
        if kind == "concat" and isinstance(what, list):
            return any_of([self._compare_all(what, each) for each in alternatives(right)])
        if not isinstance(what, dict):
            return None
        answers = [self._compare_one(kind, what, each) for each in alternatives(right)]
        return any_of(answers)

    def _compare_all(self, left: Sequence[object], right: object) -> bool | None:
        """The parts of a concatenation, of which all must hold."""
        values = right.get("concat") if isinstance(right, dict) else None
        if not isinstance(values, list) or len(values) != len(left):
            return None
        answer: bool | None = True
        for one, other in zip(left, values, strict=True):
            answer = both(answer, self._compare(one, other))
        return answer

    def _compare_one(self, kind: str, what: Mapping[str, object], right: object) -> bool | None:
        packet = self._packet
        key = str(what.get("key") or what.get("field") or what.get("result"))
        match kind, key:
            case "meta", "iifname" | "iif":
                return self._interface(packet.incoming, right)
            case "meta", "oifname" | "oif":
                return self._interface(packet.outgoing, right)
            case "meta", "nfproto" | "protocol":
                return str(right) in (("ipv4", "ip") if packet.version == 4 else ("ipv6", "ip6"))
            case ("meta", "l4proto") | ("payload", "protocol" | "nexthdr"):
                if not packet.protocol:
                    return False if str(right) in ("icmp", "ipv6-icmp", "icmpv6", "1", "58") else None
                return PROTOCOLS.get(str(right), str(right)) == packet.protocol
            case "payload", _:
                return self._payload(str(what.get("protocol")), key, right)
            case "ct", "state":
                return right == ("established" if packet.answering else "new")
            case "ct", "status":
                return packet.translated if right == "dnat" else False if right == "snat" else None
            case "fib", "type" if what.get("flags") == ["daddr"] and right == "local":
                return packet.hook == "input" if packet.hook != "prerouting" else None
        return None

    def _payload(self, protocol: str, field: str, right: object) -> bool | None:
        packet = self._packet
        if protocol in ("tcp", "udp", "th"):
            if protocol != "th" and packet.protocol and protocol != packet.protocol:
                return False
            ours = "sport" if packet.answering else "dport"
            if field != ours or not packet.port or (protocol != "th" and not packet.protocol):
                return None
            return covers_port(right, packet.port)
        if protocol in ("ip", "ip6"):
            if (protocol == "ip") != (packet.version == 4):
                return False
            if field in ("saddr", "daddr"):
                return covers_address(right, packet.source if field == "saddr" else packet.destination)
            return None
        return False if protocol in ("icmp", "icmpv6", "arp") else None

    def _interface(self, name: str, right: object) -> bool | None:
        pattern = str(right)
        if pattern.startswith("@"):
            named = self._interfaces.get((*self._place, pattern[1:]))
            return None if named is None else any_of([self._interface(name, each) for each in named])
        if name:
            return names(pattern, name)
        return False if pattern == "lo" else None

    def _written_for_us(self, rule: Rule) -> bool:
        """Whether a condition on an interface or an address certainly holds, and none certainly fails."""
        named = False
        for kind, value in parts(rule):
            if kind != "match" or not isinstance(value, dict) or value.get("op") == "!=":
                continue
            left = value.get("left")
            place = str(left)
            if any(word in place for word in ("iif", "oif", "saddr", "daddr")) and self._holds(kind, value):
                named = True
        return named


def names(pattern: str, interface: str) -> bool:
    """Whether an interface's name, or the beginning of one with an asterisk, means this interface."""
    return interface.startswith(pattern[:-1]) if pattern.endswith("*") else interface == pattern


def strings_in(value: object) -> Iterator[str]:
    """All texts in a listing, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from strings_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from strings_in(each)


def parts(rule: Rule) -> Iterator[tuple[str, object]]:
    """The expressions of a rule as kind and value."""
    for expression in rule.expressions:
        yield from expression.items()


def verdict_of(kind: str, value: object) -> tuple[str, str]:
    """``accept``, ``drop``, ``return``, ``jump`` or ``goto`` with the chain; empty for what decides nothing."""
    if kind in REFUSING or (kind == "xt" and isinstance(value, dict) and value.get("name") in XT_REFUSING):
        return "drop", ""
    if kind in ("jump", "goto") and isinstance(value, dict):
        return kind, str(value.get("target"))
    return (kind, "") if kind in ("accept", "return") else ("", "")


def alternatives(right: object) -> list[object]:
    """The values of which one must hold."""
    if isinstance(right, dict) and isinstance(right.get("set"), list):
        return list(right["set"])
    return list(right) if isinstance(right, list) else [right]


def covers_port(right: object, port: int) -> bool | None:
    """Whether a port or a range has the port."""
    if isinstance(right, int):
        return right == port
    ends = right.get("range") if isinstance(right, dict) else None
    if isinstance(ends, list) and all(isinstance(end, int) for end in ends):
        return bool(ends[0] <= port <= ends[1])
    return None


def covers_address(right: object, address: Address | None) -> bool | None:
    """Whether an address, a prefix or a range has the address."""
    if address is None:
        return None
    try:
        if isinstance(right, str):
            return ip_address(right) == address
        if isinstance(right, dict) and isinstance(right.get("prefix"), dict):
            return address in ip_network(f"{right['prefix']['addr']}/{right['prefix']['len']}")
        if isinstance(right, dict) and isinstance(right.get("range"), list):
            first, last = (ip_address(end) for end in right["range"])
            return first.version == address.version and int(first) <= int(address) <= int(last)
    except ValueError:
        return None
    return None


def both(one: bool | None, other: bool | None) -> bool | None:
    """And, with unknown."""
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def any_of(answers: Sequence[bool | None]) -> bool | None:
    """Or, with unknown."""
    if any(answers):
        return True
    return None if None in answers else False


def negated(answer: bool | None) -> bool | None:
    """Not, with unknown."""
    return None if answer is None else not answer
