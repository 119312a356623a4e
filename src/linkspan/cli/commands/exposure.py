"""``linkspan exposure``: who can reach what from where."""

from __future__ import annotations

from linkspan.cli.documents import Json, flag, number, sequence, text, texts
from linkspan.cli.grammar import Command
from linkspan.cli.listing import FORMAT, by_number, show
from linkspan.cli.template.value import Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

COLUMNS = (
    ("CONTAINER", "Container"),
    ("NETWORK", "Network"),
    ("PROTOCOL", "Protocol"),
    ("REACHED AT", "Address"),
    ("PORT", "Port"),
    ("WHO", "Who"),
    ("WAY", "Way"),
    ("NOTES", "Notes"),
)
WHO = {"everywhere": "everybody", "host": "this host"}


def exposure(call: Call) -> int:
    query = {"container": call.words[0] if call.words else ""}
    ways = sequence(call.client.get("/linkspan/exposure", {**query}), "Exposures")
    ways.sort(key=lambda way: (by_number(text(way, "Container")), number(way, "Port"), text(way, "Address")))
    show([_row(way) for way in ways], COLUMNS, call.parsed.text("format"))
    return 0


def _row(way: Json) -> Row:
    count, port, host_port = number(way, "Count") or 1, number(way, "Port"), number(way, "HostPort")
    reach = text(way, "Reach")
    notes = ["the host does not have the address yet"] if flag(way, "Pending") else []
    notes += [text(way, "Contradiction")] if text(way, "Contradiction") else []
    fields = {
        "Container": text(way, "Container"),
        "Network": text(way, "Network"),
        "Protocol": text(way, "Protocol"),
        "Address": f"{_host(text(way, 'Address'))}:{_span(host_port or port, count)}",
        "Port": _span(port, count),
        "Who": WHO.get(reach) or ", ".join(texts(way, "Sources")) or "nobody",
        "Way": text(way, "Way"),
        "Notes": "; ".join(notes),
    }
    return Row("way in", fields)


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _span(first: int, count: int) -> str:
    return f"{first}-{first + count - 1}" if count > 1 else str(first)


COMMANDS = {
    "exposure": Command(exposure, arguments="[CONTAINER]", most=1, nouns=("container",), options=(FORMAT,)),
}
