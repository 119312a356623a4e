"""This terminal: raw mode while a container has it, its size, and signals passed on."""

from __future__ import annotations

import os
import signal
import sys
import termios
import tty

from linkspan.cli.client import Client
from linkspan.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

NOT_PROXIED = ("SIGCHLD", "SIGPIPE", "SIGURG", "SIGKILL", "SIGSTOP", "SIGWINCH", "SIGTSTP", "SIGTTIN", "SIGTTOU")
FORCED_AFTER = 3
"""So many interrupts that the process ignored end the client."""


def size() -> tuple[int, int] | None:
    """(rows, columns), None when neither output nor input is a terminal."""
    for descriptor in (1, 0, 2):
        try:
            columns, rows = os.get_terminal_size(descriptor)
        except OSError:
            continue
        return rows, columns
    return None


class RawTerminal:
    """Raw mode on stdin for a ``with`` block, restored whatever happens; nothing when stdin is no terminal."""

    def __init__(self) -> None:
        self._before: list[int | list[bytes | int]] | None = None

    def __enter__(self) -> RawTerminal:
        if os.isatty(0):
            self._before = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSADRAIN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, reason: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._before)


def follow_size(client: Client, path: str) -> None:
    """Tells the daemon the size now and whenever it changes. ``path``: the resize call of a container or exec."""

    def tell() -> None:
        found = size()
        if found:
            try:
                client.post(path, {"h": found[0], "w": found[1]})
            except Failure:
                return  # it ended, or is not there yet; the next change tells again

    tell()
    signal.signal(signal.SIGWINCH, lambda number, frame: tell())


def proxy_signals(client: Client, path: str) -> None:
    """Sends the signals that this process gets to the container. ``path``: its kill call."""
    interrupts: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        if number in (signal.SIGINT, signal.SIGTERM):
            interrupts.append(number)
            if len(interrupts) >= FORCED_AFTER:
                print(f"\ngot {FORCED_AFTER} SIGTERM/SIGINTs, forcefully exiting", file=sys.stderr)
                os._exit(1)
        try:
            client.post(path, {"signal": signal.Signals(number).name})
        except Failure:
            return  # it ended meanwhile

    _handle_all(forward)


def _handle_all(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in signal.Signals:
        if number.name not in NOT_PROXIED and number < signal.SIGRTMIN:
            try:
                signal.signal(number, handler)
            except (OSError, ValueError):
                continue
