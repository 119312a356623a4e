"""Rows of a listing, as a table, as JSON lines, or through a template: what ``--format`` and ``--quiet`` choose."""

from __future__ import annotations

import sys

from linkspan.cli.grammar import Option
from linkspan.cli.jsontext import encode
from linkspan.cli.tables import table
from linkspan.cli.template.value import Row

FORMAT = Option(
    "format",
    "string",
    "table, json, 'table TEMPLATE' or TEMPLATE: a Go template on the fields of each line",
    words=("table", "json"),
)
QUIET = Option("quiet", "flag", "Print ids only", short="q")
NO_TRUNC = Option("no-trunc", "flag", "Do not shorten long values")
FILTER = Option("filter", "filter", "Show only what matches (key=value); may be repeated", short="f")

Columns = tuple[tuple[str, str], ...]
"""(head, field) of each column."""


def labelled(kind: str, fields: dict[str, str], labels: dict[str, str]) -> Row:
    """A row of an object with labels: all of them in ``.Labels``, one in ``.Label "key"``."""
    shown = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return Row(kind, {**fields, "Labels": shown, "Label": lambda key: labels.get(key, "")})


def by_number(name: str) -> list[tuple[int, str]]:
    """A sort key that counts as people do: web2 before web10."""
    parts = [""]
    for letter in name:
        if letter.isdecimal() != parts[-1][-1:].isdecimal():
            parts.append("")
        parts[-1] += letter
    return [(int(part) if part.isdecimal() else 0, part) for part in parts]


def show(
    rows: list[Row], columns: Columns, layout: str, heads: dict[str, str] | None = None, *, quiet: str = ""
) -> None:
    """Prints rows. ``layout`` is --format's text, empty for the table of ``columns``; ``heads`` names other fields.

    ``quiet`` is the one field that ``-q`` leaves; a layout wins over it.
    """
    if quiet and not layout:
        sys.stdout.writelines(f"{cell(row, quiet)}\n" for row in rows)
    else:
        sys.stdout.write(rendered(rows, columns, layout, heads))


def rendered(rows: list[Row], columns: Columns, layout: str, heads: dict[str, str] | None = None) -> str:
    """The text that ``show`` prints."""
    if layout in ("", "table"):
        lines = [[head for head, _ in columns]]
        lines += [[cell(row, field) for _, field in columns] for row in rows]
        return table(lines)
    if layout in ("json", "{{json .}}"):
        return "".join(f"{encode(row.plain())}\n" for row in rows)
    return _templated(rows, layout, {**{field: head for head, field in columns}, **(heads or {})})


def cell(row: Row, field: str) -> str:
    """The field's text; empty for one that takes a parameter."""
    value = row.fields[field]
    return value if isinstance(value, str) else ""


def _templated(rows: list[Row], layout: str, heads: dict[str, str]) -> str:
    from linkspan.cli.template.run import Template

    tabular = layout.startswith(("table ", "table\t"))
    source = layout[6:].strip() if tabular else layout
    # people write \t and \n in shells that do not turn them into the real thing
    template = Template(source.replace("\\t", "\t").replace("\\n", "\n"))
    lines = [template.render(row) for row in rows]
    if not tabular:
        return "".join(f"{line}\n" for line in lines)
    kind = rows[0].kind if rows else ""
    head = template.render(_head_row(kind, rows, heads))
    return table([line.split("\t") for line in (head, *lines)])


def _head_row(kind: str, rows: list[Row], heads: dict[str, str]) -> Row:
    known = dict.fromkeys(rows[0].fields, "") if rows else {}
    names = {field: heads.get(field, spaced_upper(field)) for field in (*heads, *known)}
    return Row(kind, {**names, "Label": lambda key: key.rpartition(".")[2].replace("-", " ").replace("_", " ")})


def spaced_upper(field: str) -> str:
    """``CreatedAt`` -> ``CREATED AT``; an abbreviation stays whole."""
    parts = [
        f" {letter}" if position and letter.isupper() and field[position - 1].islower() else letter
        for position, letter in enumerate(field)
    ]
    return "".join(parts).upper()
