"""Progress of pull, push and load: lines that change in place on a terminal, plain lines elsewhere."""

from __future__ import annotations

from linkspan.cli.documents import Json, number, text
from linkspan.cli.failure import Failure
from linkspan.cli.human import decimal_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

BAR = 50


def show_progress(messages: Iterable[Json], output: TextIO, *, quiet: bool = False) -> list[Json]:
    """Prints Docker's progress messages as they come and returns their ``aux`` parts. Raises Failure."""
    screen = _Screen(output) if output.isatty() else None
    found: list[Json] = []
    for message in messages:
        error = text(message, "errorDetail", "message") or text(message, "error")
        if error:
            raise Failure(f"Error response from daemon: {error}")
        if isinstance(message, dict) and "aux" in message:
            found.append(message["aux"])
        if quiet:
            continue
        if screen:
            screen.show(message)
        else:
            _plain(message, output)
    return found


def _plain(message: Json, output: TextIO) -> None:
    """One line a message, without the many that only count bytes."""
    if text(message, "stream"):
        output.write(text(message, "stream"))
    elif text(message, "status") and not number(message, "progressDetail", "current"):
        output.write(line(message) + "\n")
    output.flush()


def line(message: Json) -> str:
    """``id: status [bar] current/total``."""
    name, status = text(message, "id"), text(message, "status")
    current, total = number(message, "progressDetail", "current"), number(message, "progressDetail", "total")
    shown = f"{name}: {status}" if name else status
    if total:
        done = min(BAR, BAR * current // total)
        bar = ("=" * done + ">")[:BAR]
        shown += f" [{bar:{BAR}}] {decimal_size(current):>8}/{decimal_size(total)}"
    elif current:
        shown += f" {decimal_size(current)}"
    return shown


class _Screen:
    """One terminal line for each id, moved to and rewritten."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._rows: dict[str, int] = {}

    def show(self, message: Json) -> None:
        name = text(message, "id")
        if text(message, "stream") or not name or not text(message, "status"):
            self._output.write(text(message, "stream") or line(message) + "\n")
            self._rows.clear()
            self._output.flush()
            return
        if name not in self._rows:
            self._rows[name] = len(self._rows)
            self._output.write("\n")
        up = len(self._rows) - self._rows[name]
        self._output.write(f"\x1b[{up}A\r\x1b[2K{line(message)}\x1b[{up}B\r")
        self._output.flush()
