"""Codecs of what the kernel tells unasked, on bytes that were captured from Linux 6.18."""

from __future__ import annotations

import struct

import pytest

from linkspan.kernel.observe import name_in
from linkspan.kernel.wire import netconf, nftables, port
from linkspan.kernel.wire.link import IFINFO, IFLA_ADDRESS, IFLA_BRPORT_ISOLATED, IFLA_BRPORT_MODE, IFLA_IFNAME
from linkspan.kernel.wire.message import AF_INET, AF_INET6, Message, attribute, nested, octet, text
from linkspan.kernel.wire.nftables import Generation, TableChange

GENERATION = bytes.fromhex("00000002 08000100 00000002 08000200 000013e7 08000300 6e667400")
NEW_ELEMENT = bytes.fromhex("01000002 07000100 7a7a0000 06000200 61000000")


def test_the_end_of_a_transaction_tells_who_made_it() -> None:
    assert nftables.decode(Message(0xA0F, 0, 0, GENERATION)) == Generation(5095, "nft")


@pytest.mark.parametrize(("kind", "deleted"), [(0x00, False), (0x02, True), (0x08, False), (0x0C, False)])
def test_every_other_message_tells_its_table(kind: int, deleted: bool) -> None:
    assert nftables.decode(Message(0xA00 | kind, 0, 0, NEW_ELEMENT)) == TableChange("inet", "zz", deleted)


def test_other_subsystems_are_not_understood() -> None:
    assert nftables.decode(Message(0x100, 0, 0, GENERATION)) is None


def test_forwarding_of_all_interfaces_is_told() -> None:
    body = bytes.fromhex("02000000 08000100 ffffffff 08000200 01000000")
    assert netconf.decode(body) == netconf.NetConf(family=AF_INET, index=netconf.ALL, forwarding=1)


def test_a_setting_that_is_not_told_is_none() -> None:
    body = bytes.fromhex("0a000000 08000100 03000000")
    assert netconf.decode(body) == netconf.NetConf(family=AF_INET6, index=3)
    with pytest.raises(ValueError, match="without an interface"):
        netconf.decode(bytes.fromhex("0a000000"))


def test_a_port_tells_its_flags() -> None:
    header = IFINFO.pack(port.AF_BRIDGE, 0, 4, 0, 0) + text(IFLA_IFNAME, "ls-1")
    flags = nested(port.IFLA_PROTINFO, octet(IFLA_BRPORT_MODE, 0) + octet(IFLA_BRPORT_ISOLATED, 1))
    assert port.decode(header + flags) == port.Port(index=4, name="ls-1", hairpin=False, isolated=True)
    assert port.decode(header) is None


def test_the_name_of_a_link_is_found_wherever_it_stands() -> None:
    header = IFINFO.pack(0, 0, 4, 0, 0)
    assert name_in(header + text(IFLA_IFNAME, "ls-1") + attribute(IFLA_ADDRESS, bytes(6))) == "ls-1"
    assert name_in(header + attribute(IFLA_ADDRESS, bytes(6)) + text(IFLA_IFNAME, "ls-1")) == "ls-1"
    assert name_in(header) == ""
    with pytest.raises(ValueError, match="attribute of"):
        name_in(header + struct.pack("=HH", 99, IFLA_ADDRESS))
