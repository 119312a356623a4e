"""Plain tables: columns as wide as their widest cell and three spaces, at least ten, the last one ragged."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

GAP = 3
NARROWEST = 10


def table(rows: Sequence[Sequence[str]]) -> str:
    """Lines of a table; the first row is the head. Rows may be of different lengths."""
    columns = max(map(len, rows), default=0)
    widths = [
        max(NARROWEST, GAP + max((len(row[column]) for row in rows if column < len(row) - 1), default=0))
        for column in range(columns)
    ]
    lines = []
    for row in rows:
        cells = [f"{one_line(cell):{width}}" for cell, width in zip(row[:-1], widths, strict=False)]
        lines.append("".join(cells) + (one_line(row[-1]) if row else ""))
    return "".join(f"{line}\n" for line in lines)


def one_line(cell: str) -> str:
    """A cell without line breaks or control characters, which would let a name repaint the terminal."""
    if cell.isprintable():
        return cell
    return "".join(letter if letter.isprintable() else " " for letter in cell)


def shortened(value: str, length: int) -> str:
    """At most ``length`` characters, the last of them an ellipsis when something was cut."""
    return value if len(value) <= length else value[: length - 1] + "…"


def short_id(identifier: str) -> str:
    """The twelve digits that people read; a ``sha256:`` in front is left out."""
    return identifier.removeprefix("sha256:")[:12]
