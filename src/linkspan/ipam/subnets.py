"""The next free subnet of a base block, and the IPv6 block that is ours alone. PURE."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable

from linkspan.ipam.notation import bounds, overlap
from linkspan.model.address import IPNetwork

ULA_SUBNET_PREFIX = 64
"""SLAAC needs /64 (RFC 4862 section 5.5.3), so that is what an automatic IPv6 network gets."""


def ula_pool(instance: str) -> tuple[IPNetwork, int]:
    """The unique local /48 of a daemon and the prefix of each network in it: (``fdXX:XXXX:XXXX::/48``, 64).

    Stable for one instance id and different for others: the 40 bits of Global ID are a hash of it, in the manner of
    RFC 4193 section 3.2.2. So two hosts that are joined later do not clash.
    """
    global_id = hashlib.sha256(b"linkspan ula " + instance.encode()).digest()[:5]
    base = ipaddress.IPv6Address(b"\xfd" + global_id + bytes(10))
    return ipaddress.IPv6Network((base, 48)), ULA_SUBNET_PREFIX


def free_subnet(base: IPNetwork, prefix: int, taken: Iterable[IPNetwork]) -> IPNetwork | None:
    """The lowest subnet of ``base`` with that prefix length which overlaps nothing in ``taken``; None if none is left.

    Walks the taken blocks, not the candidates, so a /8 or a /48 costs no more than its neighbours do: O(n log n) in
    ``taken``. ``prefix`` shorter than the base's gives None.
    """
    if prefix < base.prefixlen:
        return None
    size = 1 << (base.max_prefixlen - prefix)
    first, last = bounds(base)
    candidate = first
    for low, high in sorted(bounds(block) for block in taken if overlap(block, base)):
        if candidate + size <= low:
            break
        if high >= candidate:
            candidate += -(-(high + 1 - candidate) // size) * size
    if candidate + size - 1 > last:
        return None
    if base.version == 4:
        return ipaddress.IPv4Network((candidate, prefix))
    return ipaddress.IPv6Network((candidate, prefix))
