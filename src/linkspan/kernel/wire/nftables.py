"""What nftables tells its listeners: which table a change is about, and who made it (linux/netfilter/nf_tables.h).

Every message about a table, chain, rule, set or element names the table in its first attribute, whatever its kind. A
transaction ends with NEWGEN, which tells the thread that made it.
"""

from __future__ import annotations

import struct

import msgspec

from linkspan.kernel.wire.message import Message, attributes, text_of

SUBSYSTEM = 10
"""NFNL_SUBSYS_NFTABLES (linux/netfilter/nfnetlink.h): the upper octet of a message's type."""
GROUP = 7
"""NFNLGRP_NFTABLES."""
NEWGEN = 15
DELTABLE = 2
TABLE_ATTRIBUTE = 1
"""NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE, NFTA_SET_ELEM_LIST_TABLE, NFTA_OBJ_TABLE."""
NFTA_GEN_PROC_PID = 2
NFTA_GEN_PROC_NAME = 3

FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
"""NFPROTO_* (linux/netfilter.h) as nft(8) calls them."""


class Generation(msgspec.Struct, frozen=True):
    """The end of a transaction. ``thread`` is the id of the thread that made it, ``name`` that thread's name."""

    thread: int
    name: str


class TableChange(msgspec.Struct, frozen=True):
    """Something in a table changed; ``deleted``: the table itself went."""

    family: str
    table: str
    deleted: bool


def decode(message: Message) -> Generation | TableChange | None:
    """A message of the group; None for other subsystems. ValueError when it is malformed."""
    if message.type >> 8 != SUBSYSTEM or len(message.body) < 4:
        return None
    found = attributes(message.body[4:])
    kind = message.type & 0xFF
    if kind == NEWGEN:
        thread: int = struct.unpack("!I", found[NFTA_GEN_PROC_PID])[0] if NFTA_GEN_PROC_PID in found else 0
        return Generation(thread, text_of(found.get(NFTA_GEN_PROC_NAME, b"")))
    family = FAMILIES.get(message.body[0], str(message.body[0]))
    return TableChange(family, text_of(found.get(TABLE_ATTRIBUTE, b"")), kind == DELTABLE)
