"""RTM_NEWNETCONF: what the kernel tells about a few settings of interfaces when they change (linux/netconf.h)."""

from __future__ import annotations

import struct

import msgspec

from linkspan.kernel.wire.message import attributes, number_of

RTM_NEWNETCONF = 80
RTM_DELNETCONF = 81

NETCONFA_IFINDEX = 1
NETCONFA_FORWARDING = 2
NETCONFA_RP_FILTER = 3
ALL = -1
DEFAULT = -2


class NetConf(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one interface, or of ``ALL`` or the ``DEFAULT``; None for what the message does not tell."""

    family: int
    index: int
    forwarding: int | None = None
    rp_filter: int | None = None


def decode(body: bytes) -> NetConf:
    """An RTM_NEWNETCONF message. ValueError when it is malformed."""
    found = attributes(body[4:])
    if NETCONFA_IFINDEX not in found:
        raise ValueError("a netconf message without an interface")
    return NetConf(
        family=body[0],
        index=struct.unpack("=i", found[NETCONFA_IFINDEX])[0],
        forwarding=number_of(found[NETCONFA_FORWARDING]) if NETCONFA_FORWARDING in found else None,
        rp_filter=number_of(found[NETCONFA_RP_FILTER]) if NETCONFA_RP_FILTER in found else None,
    )
