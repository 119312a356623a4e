"""Removing all that is unused: the question before it, and what it gave back."""

from __future__ import annotations

import sys

from linkspan.cli.documents import Json, text
from linkspan.cli.grammar import Option
from linkspan.cli.human import decimal_size

FILTER = Option("filter", "filter", "Only what matches (label=…, until=…)")
FORCE = Option("force", "flag", "Do not ask", short="f")


def confirmed(question: str, force: bool) -> bool:
    """Asks before something is destroyed, unless ``force``. End of input means no."""
    if force:
        return True
    print(f"WARNING! {question}\nAre you sure you want to continue? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def show_deleted(title: str, lines: list[str]) -> None:
    """A headline and what was removed; nothing when nothing was."""
    if lines:
        print("\n".join([title, *lines, ""]))


def show_reclaimed(size: int) -> None:
    """``size`` in bytes."""
    print(f"Total reclaimed space: {decimal_size(size)}")


def removed_images(items: list[Json]) -> list[str]:
    """The lines of a removal of images: ``Untagged: nginx:latest``, ``Deleted: sha256:…``."""
    return [f"{deed}: {text(item, deed)}" for item in items for deed in ("Untagged", "Deleted") if text(item, deed)]
