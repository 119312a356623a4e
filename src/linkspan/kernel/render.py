"""A step as the ``ip``, ``bridge``, ``nft`` and ``sysctl`` commands that a person would type. Pure.

For reading and for pasting into a root shell (iproute2 6.1, nft 1.0.6); the product itself never runs them. They do
what the kernel package does, with these differences that the tools force: namespaces are pinned by ``ip netns``,
deleting what is absent is an error, and iproute2 before 6.3 cannot set the IPv4 half of the GSO and GRO sizes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from linkspan.kernel.diff import Create, Delete, Step, Update
from linkspan.kernel.state import (
    HOST,
    Address,
    Bridge,
    Element,
    Namespace,
    Object,
    Route,
    Sysctl,
    Table,
    Veth,
)

ORDINARY_SIZE = 65536
"""GSO_LEGACY_MAX_SIZE in linux/netdevice.h: the size that every link is born with, bytes."""
PASSING = "lsgso0"
"""A port for a moment: a bridge takes large sizes only after it had a port that can."""
MAIN_TABLE = 254
SHORT = 12
"""Digits of an id that are shown."""
LITERAL = re.compile(r"[0-9.]+(/[0-9]+)?(-[0-9.]+)?|.*:.*|icmp|icmpv6|sctp|tcp|udp")
"""Numbers, ranges, addresses, prefixes, MACs and protocols stand bare in nft(8); interface names are quoted."""


def commands(step: Step) -> tuple[str, ...]:
    """The commands of one step, in order. Empty for what the kernel does by itself or what is left as it is."""
    match step:
        case Create(object=item):
            return tuple(_create(item))
        case Update(before=before, object=item):
            return tuple(_update(before, item))
        case Delete(implied=True):
            return ()
        case Delete(object=item):
            return tuple(_delete(item))


def describe(item: Object) -> str:
    """A short name for people: ``bridge br-0a1b2c``, ``address 10.0.0.2/24 on eth0 in sandbox 4f5e6d``."""
    match item:
        case Namespace():
            return f"namespace {item.name[:SHORT]}"
        case Table():
            return f"table {item.family} {item.name}{_where(item.namespace)}"
        case Element():
            return f"element {_element_text(item)} of {item.family} {item.table} {item.set}{_where(item.namespace)}"
        case Sysctl():
            return f"sysctl {item.path} = {item.value}{_where(item.namespace)}"
        case Bridge():
            return f"bridge {item.name}{_where(item.namespace)}"
        case Veth():
            return f"veth {item.name} with peer {item.peer_name}{_where(item.peer_namespace)}"
        case Address():
            return f"address {item.address} on {item.link}{_where(item.namespace)}"
        case Route():
            via = f" via {item.gateway}" if item.gateway else ""
            return f"route {item.destination}{via} on {item.link}{_where(item.namespace)}"


def _create(item: Object) -> Iterator[str]:
    match item:
        case Namespace():
            yield f"ip netns add {_word(item.name)}"
            yield f"{_ip(item.name)} link set dev lo up"
        case Table():
            body = item.ruleset.strip("\n")
            yield f"{_in(item.namespace)}nft -f - <<'EOF'\ntable {item.family} {item.name} {{\n{body}\n}}\nEOF"
        case Element():
            yield _element("add", item)
        case Sysctl():
            yield f"{_in(item.namespace)}sysctl -w {shlex.quote(f'{item.path}={item.value}')}"
        case Bridge():
            yield from _create_bridge(item)
        case Veth():
            yield from _create_veth(item)
        case Address():
            skip_detection = " nodad" if ":" in item.address else ""
            yield f"{_ip(item.namespace)} addr add {item.address} dev {_word(item.link)}{skip_detection}"
        case Route():
            yield _route("add", item)


def _delete(item: Object) -> Iterator[str]:
    match item:
        case Namespace():
            yield f"ip netns del {_word(item.name)}"
        case Table():
            yield f"{_in(item.namespace)}nft delete table {item.family} {item.name}"
        case Element():
            yield _element("delete", item)
        case Bridge():
            yield f"{_ip(item.namespace)} link del dev {_word(item.name)}"
        case Veth():
            yield f"ip link del dev {_word(item.name)}"
        case Address():
            yield f"{_ip(item.namespace)} addr del {item.address} dev {_word(item.link)}"
        case Route():
            yield _route("del", item)
        case Sysctl():
            return


def _update(before: Object, item: Object) -> Iterator[str]:
    match before, item:
        case Bridge(), Bridge():
            yield from _set_bridge(item, None if before == item else before)
        case Veth(), Veth():
            yield from _set_veth(item, None if before == item else before)
        case Element(), Element():
            if before.value == item.value:
                yield _element("add", item)
            else:
                old, new = _element_command("delete", before), _element_command("add", item)
                yield f"{_in(item.namespace)}nft -f - <<'EOF'\n{old}\n{new}\nEOF"
        case _:
            yield from _create(item)


def _create_bridge(item: Bridge) -> Iterator[str]:
    ip, name = _ip(item.namespace), _word(item.name)
    kind = "type bridge stp_state 0 forward_delay 0 no_linklocal_learn 1"
    yield f"{ip} link add name {name} address {item.mac} group {item.group} {kind}"
    yield f"{ip} link set dev {name} addrgenmode none"
    yield from _set_bridge(item, None)
    if item.gso_max_size != ORDINARY_SIZE:
        yield from _let_sizes_grow(item)
        yield _set_sizes(item.namespace, item.name, item.gso_max_size)
    yield f"{ip} link set dev {name} up"


def _set_bridge(item: Bridge, before: Bridge | None) -> Iterator[str]:
    """What differs."""
    settings = [
        ("address", item.mac, before is not None and before.mac != item.mac),
        ("mtu", str(item.mtu), before is None or before.mtu != item.mtu),
        ("alias", item.alias, before is None or before.alias != item.alias),
        ("group", str(item.group), before is not None and before.group != item.group),
    ]
    changed = [f"{word} {shlex.quote(value)}" for word, value, differs in settings if differs]
    if changed:
        yield f"{_ip(item.namespace)} link set dev {_word(item.name)} {' '.join(changed)}"
    if before is not None and before.gso_max_size != item.gso_max_size:
        if item.gso_max_size > max(before.gso_max_size, ORDINARY_SIZE):
            yield from _let_sizes_grow(item)
        yield _set_sizes(item.namespace, item.name, item.gso_max_size)


def _let_sizes_grow(item: Bridge) -> Iterator[str]:
    yield f"{_ip(item.namespace)} link add name {PASSING} master {_word(item.name)} type veth"
    yield f"{_ip(item.namespace)} link del dev {PASSING}"


def _create_veth(item: Veth) -> Iterator[str]:
    name, peer = _word(item.name), _word(item.peer_name)
    inside = f"netns {_word(item.peer_namespace)} " if item.peer_namespace != HOST else ""
    born = f"mtu {item.mtu}{_born(item.gso_max_size)}"
    yield (
        f"ip link add name {name} {born} group {item.group} "
        f"type veth peer name {peer} {inside}address {item.peer_mac} {born}"
    )
    yield f"ip link set dev {name} addrgenmode none"
    yield f"{_ip(item.peer_namespace)} link set dev {peer} addrgenmode none"
    yield f"ip link set dev {name} alias {shlex.quote(item.alias)}"
    yield from _port(item)
    yield f"{_ip(item.peer_namespace)} link set dev {peer} up"
    yield f"ip link set dev {name} up"


def _set_veth(item: Veth, before: Veth | None) -> Iterator[str]:
    name = _word(item.name)
    if before is None or before.mtu != item.mtu:
        yield f"ip link set dev {name} mtu {item.mtu}"
        yield f"{_ip(item.peer_namespace)} link set dev {_word(item.peer_name)} mtu {item.mtu}"
    if before is None or (before.alias, before.group) != (item.alias, item.group):
        yield f"ip link set dev {name} alias {shlex.quote(item.alias)} group {item.group}"
    if before is not None and before.master and not item.master:
        yield f"ip link set dev {name} nomaster"
    if before is None or _port_settings(before) != _port_settings(item):
        yield from _port(item)
    if before is None or before.gso_max_size != item.gso_max_size:
        yield _set_sizes(HOST, item.name, item.gso_max_size)
        yield _set_sizes(item.peer_namespace, item.peer_name, item.gso_max_size)


def _port_settings(item: Veth) -> tuple[str, bool, bool]:
    return (item.master, item.hairpin, item.isolated)


def _port(item: Veth) -> Iterator[str]:
    if item.master:
        name = _word(item.name)
        yield f"ip link set dev {name} master {_word(item.master)}"
        yield f"bridge link set dev {name} hairpin {_switch(item.hairpin)} isolated {_switch(item.isolated)}"


def _born(size: int) -> str:
    return f" {_sizes(size)}" if size != ORDINARY_SIZE else ""


def _set_sizes(namespace: str, link: str, size: int) -> str:
    return f"{_ip(namespace)} link set dev {_word(link)} {_sizes(size)}"


def _sizes(size: int) -> str:
    return f"gso_max_size {size} gro_max_size {size}"


def _route(verb: str, item: Route) -> str:
    words = [_ip(item.namespace), "-6" if ":" in item.destination else "-4", "route", verb, item.destination]
    if item.gateway and verb == "add":
        words += ["via", item.gateway]
    words += ["dev", _word(item.link), "proto", str(item.PROTOCOL)]
    if item.source and verb == "add":
        words += ["src", item.source]
    if item.metric:
        words += ["metric", str(item.metric)]
    if item.table != MAIN_TABLE:
        words += ["table", str(item.table)]
    return " ".join(words)


def _element(verb: str, item: Element) -> str:
    return f"{_in(item.namespace)}nft {shlex.quote(_element_command(verb, item))}"


def _element_command(verb: str, item: Element) -> str:
    body = _element_text(item) if verb == "add" else _parts(item.item)
    return f"{verb} element {item.family} {item.table} {item.set} {{ {body} }}"


def _element_text(item: Element) -> str:
    if not item.value:
        return _parts(item.item)
    value = item.value[0] if _is_verdict(item.value) else _parts(item.value)
    return f"{_parts(item.item)} : {value}"


def _is_verdict(value: tuple[str, ...]) -> bool:
    return len(value) == 1 and (value[0] in ("accept", "drop") or value[0].startswith(("goto ", "jump ")))


def _parts(parts: tuple[str, ...]) -> str:
    return " . ".join(part if LITERAL.fullmatch(part) else f'"{part}"' for part in parts)


def _ip(namespace: str) -> str:
    return f"ip -n {_word(namespace)}" if namespace != HOST else "ip"


def _in(namespace: str) -> str:
    return f"ip netns exec {_word(namespace)} " if namespace != HOST else ""


def _where(namespace: str) -> str:
    return f" in sandbox {namespace[:SHORT]}" if namespace != HOST else ""


def _switch(on: bool) -> str:
    return "on" if on else "off"


def _word(text: str) -> str:
    return shlex.quote(text)
