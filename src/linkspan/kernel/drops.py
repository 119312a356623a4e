"""What the ports of our bridges refused, as the packets counted it themselves (``plan.spoofing``).

The counts live in sets named ``refused_REASON`` with an element for each port. An element goes a day after the last
frame that it counted, and with the table; a deleted endpoint's counts fade away by that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from linkspan.kernel.nft import Nft
from linkspan.kernel.tables import TABLE_NAME

FAMILY = "bridge"
COUNTING = "refused_"


def drops(nft: Nft) -> dict[str, dict[str, int]]:
    """Frames refused, by host's end of the veth pair and by reason. Empty without the table. NftError."""
    found: dict[str, dict[str, int]] = {}
    for name in counting_sets(nft):
        for port, frames in counts(nft.set(FAMILY, TABLE_NAME, name)):
            found.setdefault(port, {})[name.removeprefix(COUNTING)] = frames
    return found


def counting_sets(nft: Nft) -> list[str]:
    """Names of the sets that count, without reading their elements or any other's."""
    listing = nft.table(FAMILY, TABLE_NAME, elements=False)
    names = [str(part["name"]) for kind, part in listing if kind == "set"]
    return [name for name in names if name.startswith(COUNTING)]


def counts(elements: Iterable[object]) -> Iterator[tuple[str, int]]:
    """Port and frames of each element of a counting set's listing."""
    for entry in elements:
        if isinstance(entry, dict):
            element = entry["elem"]
            yield str(element["val"]), int(element["counter"]["packets"])
