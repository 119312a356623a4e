"""One run of a command: its parsed line and the way to the daemon."""

from __future__ import annotations

import sys

from linkspan.cli.client import Client, chosen_socket
from linkspan.cli.failure import DaemonError
from linkspan.cli.grammar import Parsed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Call:
    """What a command's function gets. The connection is made when it is first needed."""

    __slots__ = ("_client", "host", "parsed")

    def __init__(self, parsed: Parsed, host: str) -> None:
        self.parsed = parsed
        self.host = host
        """The text of ``--host``, or empty."""
        self._client: Client | None = None

    @property
    def words(self) -> list[str]:
        """The positional words."""
        return self.parsed.words

    @property
    def client(self) -> Client:
        """The daemon. Raises Failure for a socket that cannot be one."""
        if self._client is None:
            self._client = Client(chosen_socket(self.host))
        return self._client

    def each(self, act: Callable[[str], object], *, echo: bool = True) -> int:
        """Calls ``act`` for each word, and prints the word when it worked; goes on after an error.

        Returns 1 when the daemon refused any of them.
        """
        status = 0
        for word in self.words:
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
