"""``linkspan network show``: one network as a person wants to see it, or as the commands that would make it."""

from __future__ import annotations

from linkspan.cli.client import segment
from linkspan.cli.commands.names import COLUMNS as NAME_COLUMNS
from linkspan.cli.commands.names import row as name_row
from linkspan.cli.documents import Json, flag, number, sequence, text, text_mapping, texts
from linkspan.cli.failure import DaemonError
from linkspan.cli.grammar import Command, Option
from linkspan.cli.listing import by_number, cell
from linkspan.cli.tables import one_line, short_id, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

LABEL_WIDTH = 12
COUNTLESS = 1 << 32
"""Nobody wants to read how many addresses an IPv6 subnet has."""


def show_network(call: Call) -> int:
    name = segment(call.words[0])
    if call.parsed.flag("commands"):
        print(script(sequence(call.client.get(f"/linkspan/networks/{name}/commands"), "Parts")), end="")
        return 0
    network = call.client.get(f"/networks/{name}")
    more = call.client.get(f"/linkspan/networks/{name}")
    print(summary(network, more, _figures(call) if sequence(more, "Members") else []), end="")
    return 0


def _figures(call: Call) -> list[Json]:
    """Empty where the keeper cannot be asked: the rest is worth showing."""
    try:
        return sequence(call.client.get("/linkspan/names"), "Resolvers")
    except DaemonError:
        return []


def script(parts: list[Json]) -> str:
    """A shell script: headlines as comments, blank lines between the parts."""
    blocks = ["\n".join([one_line(f"# {text(part, 'Headline')}"), *texts(part, "Commands")]) for part in parts]
    return "\n\n".join(blocks) + "\n" if blocks else "# nothing in the kernel belongs to this network\n"


def summary(network: Json, more: Json, figures: list[Json]) -> str:
    """Two columns about the network, then a table of its members, then one of their names' figures."""
    status = "drifted: repairs of it were undone; see linkspan drift" if flag(more, "Drifted") else ""
    pairs = [
        ("network", f"{text(network, 'Name')} ({short_id(text(network, 'Id'))})"),
        ("driver", text(network, "Driver")),
        ("status", status),
        ("bridge", text(more, "Interface")),
        *(("subnet", _pool(pool, sequence(more, "Usage"))) for pool in sequence(network, "IPAM", "Config")),
        ("internal", "yes" if flag(network, "Internal") else ""),
        *(("option", f"{key}={value}") for key, value in sorted(text_mapping(network, "Options").items())),
        *(("label", f"{key}={value}") for key, value in sorted(text_mapping(network, "Labels").items())),
    ]
    parts = ["".join(f"{label:{LABEL_WIDTH}}{one_line(value)}\n" for label, value in pairs if value)]
    members = sorted(sequence(more, "Members"), key=lambda member: by_number(text(member, "Name")))
    parts.append(_members(members) if members else "no running members\n")
    asked = {text(each, "Name"): each for each in figures}
    known = [asked[text(member, "Name")] for member in members if text(member, "Name") in asked]
    if known:
        rows = [[cell(shown, field) for _, field in NAME_COLUMNS] for shown in map(name_row, known)]
        parts.append(table([[head for head, _ in NAME_COLUMNS], *rows]))
    return "\n".join(parts)


def _pool(pool: Json, usage: list[Json]) -> str:
    shown = text(pool, "Subnet")
    if text(pool, "Gateway"):
        shown += f", gateway {text(pool, 'Gateway')}"
    if text(pool, "IPRange"):
        shown += f", range {text(pool, 'IPRange')}"
    for each in usage:
        if text(each, "Subnet") == text(pool, "Subnet"):
            capacity = number(each, "Capacity")
            shown += f", {number(each, 'InUse')}{f' of {capacity}' if capacity < COUNTLESS else ''} in use"
    return shown


def _members(members: list[Json]) -> str:
    heads = ["MEMBER", "INTERFACE", "ON THE HOST", "MAC", "ADDRESSES"]
    return table(
        [heads]
        + [
            [
                text(member, "Name"),
                text(member, "Interface"),
                text(member, "HostInterface"),
                text(member, "MacAddress"),
                ", ".join(texts(member, "Addresses")),
            ]
            for member in members
        ]
    )


COMMANDS = {
    "network show": Command(
        show_network,
        arguments="NETWORK",
        least=1,
        most=1,
        nouns=("network",),
        options=(Option("commands", "flag", "The ip and nft commands that would make it, as a script"),),
    ),
}
