"""What a bridge tells about its ports: RTM_NEWLINK of family AF_BRIDGE (linux/if_link.h, br_netlink.c).

A change of a port's own flags is told this way alone.
"""

from __future__ import annotations

import msgspec

from linkspan.kernel.wire.link import IFINFO, IFLA_BRPORT_ISOLATED, IFLA_BRPORT_MODE, IFLA_IFNAME
from linkspan.kernel.wire.message import attributes, text_of

AF_BRIDGE = 7
IFLA_PROTINFO = 12


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A port of a bridge, with the flags that we set."""

    index: int
    name: str
    hairpin: bool
    isolated: bool


def decode(body: bytes) -> Port | None:
    """The port, or None when the message tells nothing about flags (a bridge about itself)."""
    _, _, index, _, _ = IFINFO.unpack_from(body)
    found = attributes(body[16:])
    if IFLA_PROTINFO not in found:
        return None
    flags = attributes(found[IFLA_PROTINFO])
    return Port(
        index=index,
        name=text_of(found.get(IFLA_IFNAME, b"")),
        hairpin=flags.get(IFLA_BRPORT_MODE, b"\0") != b"\0",
        isolated=flags.get(IFLA_BRPORT_ISOLATED, b"\0") != b"\0",
    )
