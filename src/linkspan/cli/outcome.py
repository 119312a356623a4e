"""Doing one thing to each of several objects: go on after an error, print what worked, fail in the end."""

from __future__ import annotations

import sys

from linkspan.cli.failure import DaemonError, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def each(words: Iterable[str], act: Callable[[str], object], *, echo: bool = True) -> int:
    """Calls ``act`` for each word and prints the word when it worked. Returns 1 when any of them failed."""
    status = 0
    for word in words:
        try:
            act(word)
        except DaemonError as failure:
            sys.stdout.flush()
            print(failure.message, file=sys.stderr)
            status = 1
        else:
            if echo:
                print(word)
    return status


def confirmed(question: str, force: bool) -> bool:
    """Asks before something is destroyed, unless ``force``. End of input means no."""
    if force:
        return True
    print(f"WARNING! {question}\nAre you sure you want to continue? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def read_lines(path: str) -> list[str]:
    """Lines of a text file. Raises Failure with the exit status of a bad flag."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read().splitlines()
    except (OSError, UnicodeDecodeError) as reason:
        said = reason.strerror if isinstance(reason, OSError) else "not UTF-8 text"
        raise Failure(f"linkspan: open {path}: {said}", 125) from reason
