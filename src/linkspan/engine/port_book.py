"""Who publishes which ports of the host: looked up by port, at any number of them in the same time. Memory only."""

from __future__ import annotations

import msgspec

from linkspan.model.address import IPAddress
from linkspan.model.port import Publication, Transport
from linkspan.model.publishing import overlap


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One publication and the sandbox that has it."""

    sandbox_id: str
    publication: Publication


class PortBook:
    """Publications without a host port (gateway mode routed) take nothing, so they are not kept."""

    def __init__(self) -> None:
        self._single: dict[tuple[Transport, int], list[Entry]] = {}
        self._runs: list[Entry] = []
        """Few, so that they are just gone through."""

    def holder(self, protocol: Transport, address: IPAddress, first: int, last: int) -> tuple[int, Entry] | None:
        """The lowest of these ports that somebody publishes where it would meet ``address``, and who."""
        found = [
            (max(first, entry.publication.host_port), entry)
            for entry in self._runs
            if entry.publication.protocol == protocol
            and entry.publication.host_port <= last
            and entry.publication.host_ports[-1] >= first
            and overlap(address, entry.publication.address)
        ]
        found += [
            (port, entry)
            for port in range(first, last + 1)
            for entry in self._single.get((protocol, port), ())
            if overlap(address, entry.publication.address)
        ]
        return min(found, key=lambda pair: pair[0]) if found else None

    def add(self, entry: Entry) -> None:
        """Enters it, whatever it meets."""
        publication = entry.publication
        if publication.host_port and publication.count == 1:
            self._single.setdefault((publication.protocol, publication.host_port), []).append(entry)
        elif publication.host_port:
            self._runs.append(entry)

    def remove(self, entry: Entry) -> None:
        """Strikes this very entry out. Absence is success."""
        publication = entry.publication
        if publication.count > 1:
            self._runs = [item for item in self._runs if item is not entry]
            return
        key = (publication.protocol, publication.host_port)
        rest = [item for item in self._single.pop(key, ()) if item is not entry]
        if rest:
            self._single[key] = rest
