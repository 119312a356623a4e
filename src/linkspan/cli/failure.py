"""What ends a command: a sentence for the person and an exit status for the shell."""

from __future__ import annotations


class Failure(Exception):
    """A command cannot go on. ``message`` goes to stderr as it is; an empty one is not printed."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class UsageError(Failure):
    """The command line itself is wrong. Docker's exit status is 125 for a bad flag and 1 for the rest."""


class DaemonError(Failure):
    """The daemon answered with an error; ``code`` is the HTTP status, ``reason`` its own sentence."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"Error response from daemon: {reason}")
        self.code = code
        self.reason = reason


class Unreachable(Failure):
    """Nobody answers on the socket."""
