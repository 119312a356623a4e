"""What the ports of our bridges refused, as the frames counted it themselves (``plan.spoofing``).

The counts live in one set for each reason, with an element for each port. An element goes a day after the last frame
that it counted, and with the table; what a deleted endpoint's port counted fades away by that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from linkspan.kernel.nft import Nft
from linkspan.kernel.tables import TABLE_NAME

FAMILY = "bridge"
REASONS = ("mac", "ipv4", "ipv6", "arp", "neighbour", "router", "dhcp", "ethertype")
"""As the table's text has them (``plan.spoofing.REASONS``). Asking for them by name leaves out the sets that grow with
the number of endpoints."""


def drops(nft: Nft) -> dict[str, dict[str, int]]:
    """Frames refused, by host's end of the veth pair and by reason. Empty without the table. NftError."""
    found: dict[str, dict[str, int]] = {}
    for reason in REASONS:
        for port, frames in counts(nft.set(FAMILY, TABLE_NAME, f"refused_{reason}")):
            found.setdefault(port, {})[reason] = frames
    return found


def counts(elements: Iterable[object]) -> Iterator[tuple[str, int]]:
    """Port and frames of each element of a counting set's listing."""
    for entry in elements:
        if isinstance(entry, dict):
            element = entry["elem"]
            yield str(element["val"]), int(element["counter"]["packets"])
