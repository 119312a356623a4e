"""Codecs of tracked connections and of sockets: each message against pyroute2's reading, or against known bytes."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from pyroute2.netlink import nlmsg
from pyroute2.netlink.nfnetlink.nfctsocket import nfct_msg

from linkspan.kernel.wire import conntrack, sockets
from linkspan.kernel.wire.conntrack import Flow, Tuple
from linkspan.kernel.wire.message import AF_INET6, Request, attribute, attributes, number_of

FLOW4 = Flow(
    original=Tuple(
        source=ip_address("192.0.2.9"),
        destination=ip_address("192.0.2.1"),
        protocol=17,
        source_port=4000,
        destination_port=5300,
    ),
    reply=Tuple(
        source=ip_address("10.9.0.2"),
        destination=ip_address("192.0.2.9"),
        protocol=17,
        source_port=53,
        destination_port=4000,
    ),
    id=b"\x01\x02\x03\x04",
)
FLOW6 = Flow(
    original=Tuple(
        source=ip_address("2001:db8::9"),
        destination=ip_address("2001:db8::1"),
        protocol=6,
        source_port=4000,
        destination_port=8080,
    ),
    reply=Tuple(
        source=ip_address("fd00:9::2"),
        destination=ip_address("2001:db8::9"),
        protocol=6,
        source_port=80,
        destination_port=4000,
    ),
    id=b"\xff\x02\x03\x04",
    zone=b"\x00\x07",
)


def listed(flow: Flow) -> bytes:
    """A connection as the kernel tells it: our request to delete it, with the reply's tuple."""
    return conntrack.delete(flow).body + conntrack.encoded(conntrack.CTA_TUPLE_REPLY, flow.reply)


def read_by_pyroute2(request: Request) -> nlmsg:
    read = nfct_msg(request.encode(7))
    read.decode()
    return read


@pytest.mark.parametrize("flow", [FLOW4, FLOW6], ids=["v4", "v6"])
def test_a_connection_is_read_as_it_was_written(flow: Flow) -> None:
    assert conntrack.decode(listed(flow)) == flow


@pytest.mark.parametrize("flow", [FLOW4, FLOW6], ids=["v4", "v6"])
def test_the_dialled_port_is_read_without_decoding_and_with(flow: Flow) -> None:
    body = listed(flow)
    assert conntrack.dialled_port(body) == flow.original.destination_port
    moved = body[:4] + attribute(conntrack.CTA_ZONE, b"\0\7") + body[4:]
    assert conntrack.dialled_port(moved) == flow.original.destination_port, "another order of attributes"
    assert conntrack.dialled_port(conntrack.header(4)) == 0


def test_pyroute2_reads_the_tuple_that_we_delete() -> None:
    read = read_by_pyroute2(conntrack.delete(FLOW4))
    assert read["header"]["type"] == 0x102
    original = read.get_attr("CTA_TUPLE_ORIG")
    assert original.get_nested("CTA_TUPLE_IP", "CTA_IP_V4_SRC") == "192.0.2.9"
    assert original.get_nested("CTA_TUPLE_IP", "CTA_IP_V4_DST") == "192.0.2.1"
    assert original.get_nested("CTA_TUPLE_PROTO", "CTA_PROTO_NUM") == 17
    assert original.get_nested("CTA_TUPLE_PROTO", "CTA_PROTO_SRC_PORT") == 4000
    assert original.get_nested("CTA_TUPLE_PROTO", "CTA_PROTO_DST_PORT") == 5300


def test_a_question_names_the_parts_that_must_be_equal() -> None:
    found = attributes(conntrack.dump(version=4, protocol=17, port=53).body[4:])
    flags = attributes(found[conntrack.CTA_FILTER])
    assert number_of(flags[conntrack.CTA_FILTER_ORIG_FLAGS]) == 0b101000
    any_port = conntrack.dump(version=6, protocol=17)
    assert any_port.body[0] == AF_INET6
    flags = attributes(attributes(any_port.body[4:])[conntrack.CTA_FILTER])
    assert number_of(flags[conntrack.CTA_FILTER_ORIG_FLAGS]) == 0b001000


def test_a_connection_of_another_family_or_without_tuples_is_none_of_ours() -> None:
    assert conntrack.decode(b"\x07" + listed(FLOW4)[1:]) is None
    assert conntrack.decode(conntrack.header(4)) is None


def test_icmp_has_no_ports() -> None:
    ping = Tuple(source=ip_address("192.0.2.9"), destination=ip_address("192.0.2.1"), protocol=1)
    read = conntrack.decode(listed(Flow(original=ping, reply=ping)))
    assert read is not None
    assert read.original.destination_port == 0


def socket_message(family: int, state: int, extra: bytes = b"") -> bytes:
    """struct inet_diag_msg: a socket on port 80 of ``::1`` or 127.0.0.1, inode 77, user 1000."""
    own = (b"\x7f\0\0\1" + bytes(12)) if family == 2 else bytes(15) + b"\1"
    identity = struct.pack("!HH", 80, 0) + own + bytes(16) + bytes(12)
    return struct.pack("=BBBB", family, state, 0, 0) + identity + struct.pack("=IIIII", 0, 0, 0, 1000, 77) + extra


def test_sockets_are_read_in_both_families() -> None:
    v4 = sockets.decode(socket_message(2, sockets.LISTEN))
    assert (str(v4.address), v4.port, v4.state, v4.user, v4.inode) == ("127.0.0.1", 80, sockets.LISTEN, 1000, 77)
    v6 = sockets.decode(socket_message(AF_INET6, sockets.CLOSE, struct.pack("=HHB3x", 5, 11, 1)))
    assert (str(v6.address), v6.only_ipv6) == ("::1", True)


def test_a_socket_that_is_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match="20 bytes"):
        sockets.decode(socket_message(2, sockets.LISTEN)[:20])


def test_a_question_for_sockets_carries_the_range_of_ports() -> None:
    body = sockets.dump(version=6, protocol=6, first=9000, last=9010).body
    assert body[:2] == bytes((AF_INET6, 6))
    program = attributes(body[56:])[sockets.INET_DIAG_REQ_BYTECODE]
    assert program == struct.pack("=BBHBBHBBHBBH", 2, 8, 20, 0, 0, 9000, 3, 8, 12, 0, 0, 9010)
