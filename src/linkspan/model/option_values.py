"""Values of options as people write them, and what a misspelt key is told."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from linkspan.errors import InvalidRequest

OURS = ("com.docker.network.", "linkspan.")
"""Namespaces in which an unknown key is a typo."""


def check_known(key: str, what: str, known: tuple[str, ...]) -> None:
    """InvalidRequest for a key in Docker's namespace or ours that is none of the known ones, naming near ones."""
    if key.startswith(OURS) and key not in known:
        raise InvalidRequest(f"{what} {key} is unknown" + did_you_mean(key, known), remedy="correct it or leave it out")


def did_you_mean(key: str, known: tuple[str, ...]) -> str:
    """`` (did you mean X or Y?)`` or nothing. A key with the same last part wins (``linkspan.mtu``)."""
    tail = key.rpartition(".")[2]
    tails = {each.rpartition(".")[2]: each for each in known}
    near = [tails[tail]] if tail in tails else difflib.get_close_matches(key, known, n=2, cutoff=0.85)
    near = near or [tails[each] for each in difflib.get_close_matches(tail, tails, n=2, cutoff=0.75)]
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def boolean(key: str, options: Mapping[str, str], default: bool) -> bool:
    """Go's ``strconv.ParseBool``, which Docker uses. An empty text is the default. InvalidRequest."""
    text = options.get(key, "")
    if not text:
        return default
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise InvalidRequest(f'option {key}: "{text}" is neither true nor false')


def number(key: str, options: Mapping[str, str], default: int, smallest: int, largest: int) -> int:
    """A whole number within bounds. An empty text is the default. InvalidRequest."""
    text = options.get(key, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and smallest <= int(text) <= largest):
        raise InvalidRequest(
            f'option {key}: "{text}" will not do', remedy=f"give a number from {smallest} to {largest}"
        )
    return int(text)
