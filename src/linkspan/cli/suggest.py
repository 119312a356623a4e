"""Names that a person may have meant."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def near_misses(word: str, known: Iterable[str]) -> list[str]:
    """Known names at most two edits away (one for short words), or that begin with the word; nearest first."""
    limit = 2 if len(word) > 3 else 1
    scored = []
    for name in known:
        edits = distance(word.lower(), name)
        if edits <= limit or (len(word) > 1 and name.startswith(word.lower())):
            scored.append((edits, name))
    return [name for _, name in sorted(scored)]


def distance(left: str, right: str) -> int:
    """Edits between two words: insert, delete, replace, or swap two neighbours (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, first in enumerate(left, 1):
        line = [i]
        for j, second in enumerate(right, 1):
            cost = min(row[j] + 1, line[j - 1] + 1, row[j - 1] + (first != second))
            if i > 1 and j > 1 and first == right[j - 2] and left[i - 2] == second:
                cost = min(cost, before[j - 2] + 1)
            line.append(cost)
        before, row = row, line
    return row[-1]
