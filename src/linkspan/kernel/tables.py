"""Tables and elements as nft commands, and back from nft's listing.

A part of an element is written quoted, whatever it is: nft reads a quoted word by the type of the set, so ``"tcp"``
is a protocol in one set and an interface of that name in another, and never a keyword. The allow-lists below leave
no way out of the quotes.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Literal, cast

import msgspec

from linkspan.kernel.state import Element, Table

Family = Literal["inet", "ip", "ip6", "bridge"]
Part = tuple[str, dict[str, object]]
LiveElement = tuple[str, tuple[str, ...], tuple[str, ...]]
"""(set, item, value)."""

TABLE_NAME = "linkspan"
FAMILIES: tuple[Family, ...] = ("inet", "bridge", "ip", "ip6")
OTHER_RULESET = ""
"""What a live table's ruleset is called when it is none of those that we know."""

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")
_WORD = re.compile(r"[A-Za-z0-9_.:@-]{1,45}")
_PREFIX = re.compile(r"([0-9a-fA-F.:]{2,45})/([0-9]{1,3})")
_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
_VERDICT = re.compile(r"accept|drop|return|(goto|jump) [A-Za-z][A-Za-z0-9_]{0,30}")
_VOLATILE = frozenset({"handle", "elem", "packets", "bytes"})


def create_table(table: Table) -> str:
    """Fails as a whole with EEXIST when the table is there. The body is a constant of ours."""
    name = f"{table.family} {_identifier(table.name)}"
    return f"create table {name}\nadd table {name} {{\n{table.ruleset}\n}}"


def delete_table(table: Table) -> str:
    """ENOENT when the table is not there."""
    return f"delete table {table.family} {_identifier(table.name)}"


def add_element(element: Element) -> str:
    """EEXIST when the element is there with another value. ValueError when a part is malformed."""
    value = f" : {_concatenation(element.value, verdicts=True)}" if element.value else ""
    return f"add element {_set(element)} {{ {_concatenation(element.item)}{value} }}"


def delete_element(element: Element) -> str:
    """ENOENT when the element is not there. ValueError when a part is malformed."""
    return f"delete element {_set(element)} {{ {_concatenation(element.item)} }}"


def _set(element: Element) -> str:
    return f"{element.family} {_identifier(element.table)} {_identifier(element.set)}"


def _identifier(name: str) -> str:
    if not _IDENTIFIER.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a table or a set")
    return name


def _concatenation(parts: tuple[str, ...], *, verdicts: bool = False) -> str:
    if verdicts and len(parts) == 1 and _VERDICT.fullmatch(parts[0]):
        return parts[0]
    return " . ".join(_part(part) for part in parts)


def _part(part: str) -> str:
    if match := _PREFIX.fullmatch(part):
        return f'"{match[1]}"/{match[2]}'
    if match := _RANGE.fullmatch(part):
        return f'"{match[1]}"-"{match[2]}"'
    if not _WORD.fullmatch(part):
        raise ValueError(f"{part!r} cannot be part of an element")
    return f'"{part}"'


def family_of(name: str) -> Family:
    """The family by name. ValueError for one that we make no tables in."""
    for family in FAMILIES:
        if family == name:
            return family
    raise ValueError(f"no tables of ours in family {name!r}")


class LiveTable(msgspec.Struct, frozen=True):
    """A table as listed: its constant parts in one comparable text, and its elements."""

    shape: str
    elements: frozenset[LiveElement]


def live_table(listing: Iterable[Part]) -> LiveTable:
    """Reads what ``Nft.table`` gives. Handles, counters and elements are no part of the shape.

    Elements of sets with a time-out are not read at all: packets make them, nobody wants them.
    """
    shape: list[object] = []
    elements: set[LiveElement] = set()
    for kind, part in listing:
        shape.append((kind, steady(part)))
        if kind in ("set", "map") and "timeout" not in part:
            name = str(part["name"])
            for entry in cast("list[object]", part.get("elem", [])):
                with contextlib.suppress(Unknown):
                    item, value = element_of(entry)
                    elements.add((name, numbers_in_hex(item, part["type"]), value))
    return LiveTable(json.dumps(shape, sort_keys=True), frozenset(elements))


def numbers_in_hex(item: tuple[str, ...], types: object) -> tuple[str, ...]:
    """Parts of nft's type ``integer`` as ``0x…``: the listing has those beyond 64 bits so, and smaller ones decimal."""
    kinds = types if isinstance(types, list) else [types]
    if "integer" not in kinds or len(kinds) != len(item):
        return item
    return tuple(
        hex(int(part)) if kind == "integer" and part.isdigit() else part for part, kind in zip(item, kinds, strict=True)
    )


def steady(value: object) -> object:
    """A listing without what changes by itself."""
    if isinstance(value, dict):
        return {key: steady(item) for key, item in value.items() if key not in _VOLATILE}
    if isinstance(value, list):
        return [steady(item) for item in value]
    return value


class Unknown(Exception):
    """An element in a form that we never write; somebody else made it. It is not ours, so it is not read."""


def element_of(entry: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Item and value of one entry of a listing."""
    if isinstance(entry, list):
        if len(entry) != 2:
            raise Unknown
        return parts_of(entry[0]), parts_of(entry[1])
    return parts_of(entry), ()


def parts_of(value: object) -> tuple[str, ...]:
    """The parts of a concatenation, or the only one, as ``state.Element`` writes them."""
    if isinstance(value, dict):
        if "elem" in value:
            return parts_of(value["elem"]["val"])
        if "concat" in value:
            return tuple(part_of(part) for part in value["concat"])
    return (part_of(value),)


def part_of(value: object) -> str:
    """One part of an element as ``state.Element`` writes it."""
    if isinstance(value, bool):
        raise Unknown
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return canonical(value)
    if isinstance(value, dict) and len(value) == 1:
        ((kind, inner),) = cast("Mapping[str, object]", value).items()
        if kind == "prefix" and isinstance(inner, dict):
            return canonical(f"{inner['addr']}/{inner['len']}")
        if kind == "range" and isinstance(inner, list):
            return range_of(inner)
        if kind in ("goto", "jump") and isinstance(inner, dict):
            return f"{kind} {inner['target']}"
        if kind in ("accept", "drop", "return"):
            return kind
    raise Unknown


def range_of(ends: list[object]) -> str:
    """``80-90``. A range of one is written as nft was given it: a single value."""
    first, last = (part_of(end) for end in ends)
    return first if first == last else f"{first}-{last}"


def canonical(part: str) -> str:
    """The one spelling of a part: IPv6 shortened, a host without its prefix length, MACs in small letters."""
    if part[:1].isdigit() or ":" in part:
        with contextlib.suppress(ValueError):
            return str(ip_address(part))
        with contextlib.suppress(ValueError):
            network = ip_network(part)
            return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
        if part.count(":") == 5:
            return part.lower()
    return part


class Memory:
    """What a listing cannot tell, remembered from what we were told: ruleset texts, and which sets publish.

    ``load`` puts a table into an empty namespace and lists it: that is how a text becomes comparable.
    """

    def __init__(self, load: Callable[[Table], LiveTable]) -> None:
        self._load = load
        self._told: dict[tuple[str, str], dict[str, LiveTable | None]] = {}
        self._publishing: set[tuple[str, str, str]] = set()

    def learn(self, item: Table | Element) -> None:
        """Remembers a table's text, or that the elements of a set let traffic in."""
        if isinstance(item, Table):
            self._told.setdefault((item.family, item.name), {}).setdefault(item.ruleset, None)
        elif item.publishes:
            self._publishing.add((item.family, item.table, item.set))

    def objects(self, family: Family, name: str, namespace: str, live: LiveTable) -> Iterator[Table | Element]:
        """A live table and its elements, without those that belong to the constant text."""
        constant: frozenset[LiveElement] = frozenset()
        ruleset = OTHER_RULESET
        for text in self._told.get((family, name), {}):
            known = self._known(family, name, text)
            if known.shape == live.shape and known.elements <= live.elements:
                constant, ruleset = known.elements, text
        yield Table(family=family, name=name, ruleset=ruleset, namespace=namespace)
        for set_name, item, value in live.elements - constant:
            publishes = (family, name, set_name) in self._publishing
            yield Element(
                family=family,
                table=name,
                set=set_name,
                item=item,
                value=value,
                publishes=publishes,
                namespace=namespace,
            )

    def _known(self, family: Family, name: str, text: str) -> LiveTable:
        known = self._told[(family, name)][text]
        if known is None:
            known = self._load(Table(family=family, name=name, ruleset=text))
            self._told[(family, name)][text] = known
        return known
