"""Our netlink codecs against pyroute2's: each reads what the other wrote."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import nlmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.nsidmsg import nsidmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from linkspan.kernel.wire import address, frame, link, message, nsid, route
from linkspan.kernel.wire.message import Message, Request


def decoded(kind: type, request: Request) -> object:
    """A request of ours as pyroute2 reads it."""
    read = kind(request.encode(7))
    read.decode()
    return read


def encoded(written: nlmsg) -> bytes:
    """The body of a message that pyroute2 wrote."""
    written.encode()
    return bytes(written.data)[16:]


def test_a_veth_pair_is_asked_for_with_its_peer_in_another_namespace() -> None:
    read = decoded(
        ifinfmsg,
        link.create_veth(
            name="ls-one",
            master=12,
            mtu=1400,
            group=0x4BADCAFE,
            gso_max_size=262144,
            peer_name="eth0",
            peer_mac="02:42:0a:00:00:02",
            peer_namespace=9,
        ),
    )
    assert (read["header"]["type"], read["header"]["sequence_number"]) == (16, 7)
    assert read["header"]["flags"] == 0x001 | 0x200 | 0x400
    assert (read["flags"], read["change"]) == (1, 1)
    wanted = {"IFLA_IFNAME": "ls-one", "IFLA_MASTER": 12, "IFLA_MTU": 1400, "IFLA_GROUP": 0x4BADCAFE}
    wanted |= {"IFLA_GSO_MAX_SIZE": 262144, "IFLA_GRO_MAX_SIZE": 262144}
    assert {name: read.get_attr(name) for name in wanted} == wanted
    info = read.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "veth"
    peer = info.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert peer["flags"] == 0
    assert peer.get_attr("IFLA_IFNAME") == "eth0"
    assert peer.get_attr("IFLA_ADDRESS") == "02:42:0a:00:00:02"
    assert peer.get_attr("IFLA_NET_NS_FD") == 9
    assert peer.get_attr("IFLA_MTU") == 1400


def test_a_bridge_is_asked_for_without_spanning_tree_and_delay() -> None:
    read = decoded(ifinfmsg, link.create_bridge(name="br-one", mac="02:42:00:00:00:01", mtu=1500, group=5))
    info = read.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "bridge"
    assert info.get_attr("IFLA_INFO_DATA").get_attr("IFLA_BR_STP_STATE") == 0
    assert info.get_attr("IFLA_INFO_DATA").get_attr("IFLA_BR_FORWARD_DELAY") == 0
    assert read.get_attr("IFLA_ADDRESS") == "02:42:00:00:00:01"
    assert read["flags"] == 0


def test_port_settings_and_the_address_policy_are_nested_as_the_kernel_wants_them() -> None:
    parts = (link.port_settings(hairpin=True, isolated=False), link.address_policy(ipv6=True))
    read = decoded(ifinfmsg, link.change(4, *parts, up=False))
    port = read.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_SLAVE_DATA")
    assert port.get_attr("IFLA_BRPORT_MODE") == 1
    assert port.get_attr("IFLA_BRPORT_ISOLATED") == 0
    assert read.get_attr("IFLA_AF_SPEC").get_attr("AF_INET6").get_attr("IFLA_INET6_ADDR_GEN_MODE") == 1
    assert (read["index"], read["flags"], read["change"]) == (4, 0, 1)


def test_a_link_that_pyroute2_wrote_is_read() -> None:
    written = ifinfmsg()
    written["index"] = 42
    written["flags"] = 1
    written["attrs"] = [
        ("IFLA_IFNAME", "ls-one"),
        ("IFLA_MTU", 1400),
        ("IFLA_ADDRESS", "02:42:0a:00:00:02"),
        ("IFLA_IFALIAS", "linkspan:0badcafe:endpoint:one"),
        ("IFLA_GROUP", 77),
        ("IFLA_MASTER", 12),
        ("IFLA_LINK", 3),
        ("IFLA_LINK_NETNSID", 5),
        ("IFLA_GSO_MAX_SIZE", 262144),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "veth")]}),
    ]
    assert link.decode(encoded(written)) == link.Link(
        index=42,
        name="ls-one",
        up=True,
        mtu=1400,
        mac="02:42:0a:00:00:02",
        alias="linkspan:0badcafe:endpoint:one",
        group=77,
        kind="veth",
        master=12,
        peer=3,
        peer_nsid=5,
        gso_max_size=262144,
        gso_ipv4_max_size=262144,
    )


@pytest.mark.parametrize(
    ("text", "family", "broadcast"),
    [
        ("10.9.0.2/24", 2, "10.9.0.255"),
        ("10.9.0.2/31", 2, None),
        ("10.9.0.2/32", 2, None),
        ("fd00::2/64", 10, None),
    ],
)
def test_an_address_is_asked_for(text: str, family: int, broadcast: str | None) -> None:
    read = decoded(ifaddrmsg, address.add(6, ip_interface(text)))
    assert (read["family"], read["index"]) == (family, 6)
    assert f"{read.get_attr('IFA_LOCAL')}/{read['prefixlen']}" == text
    assert f"{read.get_attr('IFA_ADDRESS')}/{read['prefixlen']}" == text
    assert read.get_attr("IFA_BROADCAST") == broadcast
    assert (read.get_attr("IFA_FLAGS") or 0) & 0x02 == (0x02 if family == 10 else 0)


def test_an_address_that_pyroute2_wrote_is_read() -> None:
    written = ifaddrmsg()
    written["family"] = 10
    written["prefixlen"] = 64
    written["index"] = 6
    written["attrs"] = [("IFA_ADDRESS", "fd00::2")]
    assert address.decode(encoded(written)) == address.LinkAddress(index=6, address="fd00::2/64", protocol=0)


def test_a_default_route_is_asked_for() -> None:
    wanted = route.RouteEntry(destination=ip_network("0.0.0.0/0"), index=2, gateway="10.9.0.1", protocol=0x4C)
    read = decoded(rtmsg, route.add(wanted))
    assert (read["family"], read["dst_len"], read["table"], read["proto"]) == (2, 0, 254, 0x4C)
    assert (read["scope"], read["type"]) == (0, 1)
    assert read.get_attr("RTA_DST") is None
    assert (read.get_attr("RTA_GATEWAY"), read.get_attr("RTA_OIF")) == ("10.9.0.1", 2)
    assert route.decode(route.add(wanted).body) == wanted


@pytest.mark.parametrize(
    "wanted",
    [
        route.RouteEntry(destination=ip_network("10.0.0.0/8"), index=2, source="10.9.0.2", metric=50, protocol=0x4C),
        route.RouteEntry(destination=ip_network("fd00:1::/64"), index=3, gateway="fd00::1", protocol=0x4C),
        route.RouteEntry(destination=ip_network("192.0.2.0/24"), index=3, table=1000, protocol=0x4C),
    ],
)
def test_a_route_is_read_as_it_was_written(wanted: route.RouteEntry) -> None:
    read = decoded(rtmsg, route.add(wanted))
    assert f"{read.get_attr('RTA_DST')}/{read['dst_len']}" == str(wanted.destination)
    assert read.get_attr("RTA_TABLE") == wanted.table
    assert read["table"] == (wanted.table if wanted.table < 256 else 0)
    assert (read.get_attr("RTA_PREFSRC") or "") == wanted.source
    assert route.decode(route.add(wanted).body) == wanted


def test_a_namespace_is_asked_for_by_descriptor() -> None:
    assert decoded(nsidmsg, nsid.get(9)).get_attr("NETNSA_FD") == 9


def test_an_acknowledgement_carries_the_kernels_words() -> None:
    words = message.text(message.NLMSGERR_ATTR_MSG, "too big gso_max_size")
    body = struct.pack("=i", -22) + bytes(16) + words
    flags = message.NLM_F_CAPPED | message.NLM_F_ACK_TLVS
    read = message.acknowledgement(Message(message.NLMSG_ERROR, flags, 1, body))
    assert (read.code, read.text) == (22, "too big gso_max_size")
    assert message.acknowledgement(Message(message.NLMSG_ERROR, 0, 1, bytes(20))).code == 0


@given(st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40)), unique_by=lambda pair: pair[0]))
def test_attributes_are_read_as_they_were_written(pairs: list[tuple[int, bytes]]) -> None:
    data = b"".join(message.attribute(kind, value) for kind, value in pairs)
    assert message.attributes(data) == dict(pairs)


@given(st.binary(max_size=200))
def test_random_bytes_never_do_more_than_raise_value_error(data: bytes) -> None:
    for read in (message.attributes, lambda given: list(message.messages(given))):
        try:
            read(data)
        except ValueError:
            continue


def test_a_zero_byte_in_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="zero byte"):
        message.text(3, "eth0\0evil")


@pytest.mark.parametrize("mac", ["", "02:42", "02:42:00:00:00:00:01", "zz:42:00:00:00:01"])
def test_what_is_no_mac_is_refused(mac: str) -> None:
    with pytest.raises(ValueError, match=r"MAC|hexadecimal"):
        link.mac_bytes(mac)


def test_a_gratuitous_arp_asks_for_its_own_address() -> None:
    sent = frame.announcement(IPv4Address("10.9.0.2"), "02:42:0a:00:00:02")
    assert sent[:6] == b"\xff" * 6
    assert sent[12:14] == b"\x08\x06"
    assert sent[28:32] == sent[38:42] == IPv4Address("10.9.0.2").packed
    assert len(sent) == 42


def test_an_unsolicited_advertisement_has_a_right_checksum() -> None:
    sent = frame.announcement(IPv6Address("fd00::2"), "02:42:0a:00:00:02")
    payload = sent[54:]
    pseudo = sent[22:54] + struct.pack("!II", len(payload), 58)
    assert frame.checksum(pseudo + payload) == 0
    assert (payload[0], sent[21]) == (136, 255)
    assert payload[8:24] == IPv6Address("fd00::2").packed
