"""Descriptors that the keeper holds: reserved ports by key with their relays, and sandboxes that it answers."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping, Sequence

from linkspan.keeper import allowance
from linkspan.keeper.face import Relay
from linkspan.keeper.relay import Relaying

log = logging.getLogger(__name__)


class Holdings:
    """Reserved host ports."""

    def __init__(self) -> None:
        self._allowance = allowance.of_process()
        self._held: dict[str, tuple[list[socket.socket], Relay | None, Relaying | None]] = {}

    def hold(self, key: str, descriptors: Sequence[int], relay: Relay | None) -> None:
        """Takes over sockets; what was held under the key goes. A relay that cannot start is logged: the port stays."""
        self.release(key)
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        relaying = None
        try:
            relaying = Relaying(relay, sockets, self._allowance)
        except OSError as error:
            log.error("what is held as %s cannot be relayed to %s: %s", key, relay.target if relay else "nobody", error)
        self._held[key] = (sockets, relay, relaying)

    def release(self, key: str) -> None:
        """Closes what is held under a key; absence is success."""
        sockets, _, relaying = self._held.pop(key, ([], None, None))
        if relaying is not None:
            relaying.close()
        for each in sockets:
            each.close()

    def close(self) -> None:
        """Releases everything."""
        for key in list(self._held):
            self.release(key)

    def content(self) -> Mapping[str, tuple[tuple[int, ...], Relay | None]]:
        """Descriptors and relay by key."""
        return {
            key: (tuple(each.fileno() for each in sockets), relay) for key, (sockets, relay, _) in self._held.items()
        }


def close_all(descriptors: Sequence[int]) -> None:
    """Closes descriptors that nobody wants."""
    for descriptor in descriptors:
        os.close(descriptor)
