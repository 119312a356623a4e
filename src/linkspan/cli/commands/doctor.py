"""``linkspan doctor``: what the kernel, the host's firewall and the host's settings allow."""

from __future__ import annotations

import os

from linkspan.cli.documents import Json, sequence, text
from linkspan.cli.grammar import Command, Option
from linkspan.cli.jsontext import encode
from linkspan.cli.tables import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

COLOURS = {"ok": "32", "note": "36", "warning": "33", "failure": "31"}
"""Select Graphic Rendition codes (ECMA-48, section 8.3.117) by level."""

WIDTH = 9
"""Of the column of levels; ``failure`` and two spaces."""


def doctor(call: Call) -> int:
    """1 when a finding is a failure."""
    found = call.client.get("/linkspan/doctor")
    findings = sequence(found, "Findings")
    if call.parsed.text("format") == "json":
        print(encode(found, 4))
    else:
        print(rendered(findings, coloured=os.isatty(1) and "NO_COLOR" not in os.environ), end="")
    return 1 if any(text(each, "Level") == "failure" for each in findings) else 0


def rendered(findings: list[Json], *, coloured: bool) -> str:
    """A line for each finding, its remedy below it."""
    lines = []
    for each in findings:
        level = text(each, "Level")
        shown = f"{level:{WIDTH}}"
        if coloured:
            shown = f"\x1b[{COLOURS.get(level, '0')}m{shown}\x1b[0m"
        lines.append(shown + one_line(f"{text(each, 'Check')}: {text(each, 'Text')}"))
        if text(each, "Remedy"):
            lines.append(" " * WIDTH + one_line(f"to do: {text(each, 'Remedy')}"))
    return "".join(f"{line}\n" for line in lines)


COMMANDS = {
    "doctor": Command(
        doctor, options=(Option("format", "string", "json: the findings as a document", words=("json",)),)
    ),
}
