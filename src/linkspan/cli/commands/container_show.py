"""``linkspan top``, ``port`` and ``diff``."""

from __future__ import annotations

from linkspan.cli.client import segment
from linkspan.cli.documents import mapping, number, sequence, text, texts
from linkspan.cli.failure import Failure
from linkspan.cli.grammar import Command
from linkspan.cli.tables import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

CHANGES = "CAD"
"""Letters of the API's kinds 0, 1 and 2: changed, added, deleted."""


def top(call: Call) -> int:
    arguments = " ".join(call.words[1:])
    answer = call.client.get(f"/containers/{segment(call.words[0])}/top", {"ps_args": arguments})
    rows = [texts(answer, "Titles")]
    rows += [
        [cell for cell in row if isinstance(cell, str)]
        for row in sequence(answer, "Processes")
        if isinstance(row, list)
    ]
    print(table(rows), end="")
    return 0


def port(call: Call) -> int:
    document = call.client.get(f"/containers/{segment(call.words[0])}/json")
    ports = mapping(document, "NetworkSettings", "Ports")
    wanted = ""
    if len(call.words) > 1:
        wanted = call.words[1] if "/" in call.words[1] else f"{call.words[1]}/tcp"
        if not sequence(ports, wanted):
            raise Failure(f"Error: No public port '{wanted}' published for {call.words[0]}")
    for name in sorted(ports, key=lambda name: (int(name.partition("/")[0] or 0), name)):
        if wanted not in ("", name):
            continue
        for binding in sequence(ports, name):
            address, host_port = text(binding, "HostIp") or "0.0.0.0", text(binding, "HostPort")
            shown = f"[{address}]:{host_port}" if ":" in address else f"{address}:{host_port}"
            print(shown if wanted else f"{name} -> {shown}")
    return 0


def diff(call: Call) -> int:
    for change in sequence(call.client.get(f"/containers/{segment(call.words[0])}/changes")):
        kind = number(change, "Kind")
        print(f"{CHANGES[kind] if kind < len(CHANGES) else '?'} {text(change, 'Path')}")
    return 0


COMMANDS = {
    "container top": Command(
        top,
        arguments="CONTAINER [ps OPTIONS]",
        least=1,
        most=None,
        nouns=("running", ""),
        interspersed=False,
    ),
    "container port": Command(port, arguments="CONTAINER [PORT[/PROTOCOL]]", least=1, most=2, nouns=("container", "")),
    "container diff": Command(diff, arguments="CONTAINER", least=1, most=1, nouns=("container",)),
}
