"""One run of a command: its parsed line and the way to the daemon."""

from __future__ import annotations

from linkspan.cli.client import Client, chosen_socket
from linkspan.cli.grammar import Command, Parsed


class Call:
    """What a command's function gets. The connection is made when it is first needed."""

    __slots__ = ("_client", "command", "host", "parsed", "path")

    def __init__(self, command: Command, path: str, parsed: Parsed, host: str = "") -> None:
        self.command = command
        self.path = path
        """The command as it was typed: ``ps`` or ``container ls``."""
        self.parsed = parsed
        self.host = host
        self._client: Client | None = None

    @property
    def words(self) -> list[str]:
        return self.parsed.words

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = Client(chosen_socket(self.host))
        return self._client
