"""Which of a sandbox's endpoints gives the way out in a family: its default route, and where its ports lead."""

from __future__ import annotations

from collections.abc import Sequence

from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network

EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
"""All addresses, by family."""


def by_priority(endpoints: Sequence[tuple[Network, Endpoint]]) -> list[tuple[Network, Endpoint]]:
    """Who gets the default route: the highest gateway priority, then the network's name (Docker's order)."""
    return sorted(endpoints, key=lambda pair: (-pair[1].request.gateway_priority, pair[0].name))


def gateway_of(network: Network, version: int) -> str:
    """The gateway that a default route of this family may use; internal networks offer none."""
    if network.internal:
        return ""
    for pool in network.pools:
        if pool.subnet.version == version and pool.gateway is not None:
            return str(pool.gateway)
    return ""
