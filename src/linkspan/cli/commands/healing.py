"""``linkspan drift``, ``repair`` and ``gc``: what is not as it should be, and putting it right."""

from __future__ import annotations

import sys

from linkspan.cli.documents import Json, sequence, text, texts
from linkspan.cli.grammar import Command, Option
from linkspan.cli.jsontext import encode
from linkspan.cli.tables import one_line, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call


def drift(call: Call) -> int:
    """1 when something of ours is not as it should be. Foreign rules are told and do not count: no repair helps."""
    report = call.client.get("/linkspan/drift")
    entries = sequence(report, "Drift")
    if call.parsed.text("format") == "json":
        print(encode(report, 4))
    elif call.parsed.flag("commands"):
        print(script(entries), end="")
    else:
        _tell(entries, sequence(report, "Foreign"))
    return 1 if entries else 0


def _tell(entries: list[Json], foreign: list[Json]) -> None:
    if entries:
        fields = ("Scope", "Object", "State", "Status", "Detail")
        rows = [[text(entry, field) for field in fields] for entry in entries]
        heads = [field.upper() for field in fields]
        print(table([heads, *rows]), end="")
    else:
        print("No drift: all is as it should be.")
    for rule in foreign:
        said = f"{text(rule, 'Owner')} is in the way: {text(rule, 'Where')}: {text(rule, 'What')}"
        print(one_line(f"{said}; lift it with: {text(rule, 'Remedy')}"))


def script(entries: list[Json]) -> str:
    """What ``repair`` would do, as a shell script with comments."""
    if not entries:
        return "# nothing to do: all is as it should be\n"
    lines: list[str] = []
    scope = None
    for entry in entries:
        if text(entry, "Scope") != scope:
            scope = text(entry, "Scope")
            lines += [""] if lines else []
            lines.append(one_line(f"### {scope}"))
        lines.append(one_line(f"# {text(entry, 'Object')} is {text(entry, 'State')}"))
        lines += texts(entry, "Commands")
    return "\n".join(lines) + "\n"


def repair(call: Call) -> int:
    return _report(call.client.post("/linkspan/repair"), "Nothing to repair: all is as it should be.")


def collect_garbage(call: Call) -> int:
    answer = call.client.post("/linkspan/gc", {"dry": call.parsed.flag("dry-run") or None})
    return _report(answer, "Nothing to remove: all that carries our mark is in use.")


def _report(answer: Json, nothing: str) -> int:
    done, failed = texts(answer, "Done"), texts(answer, "Failed")
    for sentence in done or ([] if failed else [nothing]):
        print(one_line(sentence))
    sys.stdout.flush()
    for sentence in failed:
        print(one_line(f"linkspan: {sentence}"), file=sys.stderr)
    return 1 if failed else 0


COMMANDS = {
    "drift": Command(
        drift,
        options=(
            Option("commands", "flag", "The commands that would put it right, as a script"),
            Option("format", "string", "json: the report as a document", words=("json",)),
        ),
    ),
    "repair": Command(repair),
    "gc": Command(
        collect_garbage, options=(Option("dry-run", "flag", "Tell what would be removed, and remove nothing"),)
    ),
}
