"""What is found out about the host, and effects that are no state."""

from __future__ import annotations

import errno
import socket
import subprocess
from ipaddress import ip_network

import pytest

from linkspan.kernel import netns, probe
from linkspan.kernel.diff import Create
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.netlink import Netlink, NetlinkError
from linkspan.kernel.nft import Nft, NftError
from linkspan.kernel.state import Address
from linkspan.kernel.wire import link
from linux_objects import BOX, BRIDGE, GROUP, INSTANCE, VETH

pytestmark = pytest.mark.kernel


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def test_the_facts_of_this_kernel_name_instance_and_group(linux: LinuxKernel) -> None:
    facts = probe.facts(probe.abilities(), INSTANCE, GROUP)
    assert (facts.instance, facts.group, facts.default_mtu) == (INSTANCE, GROUP, 1500)


def test_what_every_kernel_needs_is_there() -> None:
    found = probe.abilities()
    assert (found.namespace, found.bridge, found.veth, found.nat) == ("", "", "", "")


def test_each_missing_ability_is_told_in_one_sentence() -> None:
    nothing = probe.Abilities(**dict.fromkeys(probe.Abilities.__struct_fields__, "Operation not supported"))
    told = probe.missing(nothing)
    assert len(told) == len(probe.Abilities.__struct_fields__) - 1
    assert all("Operation not supported" in sentence for sentence in told)
    assert probe.missing(probe.Abilities()) == ()
    assert "IPv6 only" in probe.missing(probe.Abilities(big_tcp4="Operation not supported"))[0]


def test_the_mtu_of_the_default_route_counts(linux: LinuxKernel) -> None:
    run("ip", "link", "add", "up0", "mtu", "1400", "type", "bridge")
    run("ip", "address", "add", "192.0.2.1/24", "dev", "up0")
    run("ip", "link", "set", "up0", "up")
    run("ip", "route", "add", "default", "via", "192.0.2.2")
    assert probe.default_mtu() == 1400


def test_on_link_routes_are_foreign_prefixes_without_a_gateway(linux: LinuxKernel) -> None:
    linux.apply([Create(BRIDGE), Create(Address(link="br-one", address="10.9.0.1/24"))])
    run("ip", "link", "add", "up0", "type", "bridge")
    run("ip", "address", "add", "192.0.2.1/24", "dev", "up0")
    run("ip", "address", "add", "2001:db8::1/64", "dev", "up0")
    run("ip", "address", "add", "198.51.100.1/24", "dev", "up0", "noprefixroute")
    run("ip", "link", "set", "up0", "up")
    run("ip", "route", "add", "10.50.0.0/16", "dev", "up0", "table", "77")
    run("ip", "route", "add", "10.60.0.0/16", "via", "192.0.2.2")
    run("ip", "route", "add", "default", "via", "192.0.2.2")
    found = probe.on_link_routes(linux.mark)
    assert set(found) == {
        (ip_network("192.0.2.0/24"), "up0"),
        (ip_network("2001:db8::/64"), "up0"),
        (ip_network("198.51.100.0/24"), "up0"),
        (ip_network("10.50.0.0/16"), "up0"),
    }
    assert len(found) == 4


def test_uplinks_with_routes_from_router_advertisements_are_found(linux: LinuxKernel) -> None:
    run("ip", "link", "add", "up0", "type", "bridge")
    run("ip", "link", "set", "up0", "up")
    run("ip", "-6", "address", "add", "2001:db8::1/64", "dev", "up0", "nodad")
    assert probe.advertised_links() == ()
    run("ip", "-6", "route", "add", "2001:db8:1::/64", "via", "2001:db8::2", "proto", "ra")
    assert probe.advertised_links() == ("up0",)
    run("sysctl", "-w", "net.ipv6.conf.up0.accept_ra=0")
    assert probe.advertised_links() == (), "somebody else listens to the routers"


def test_an_announcement_arrives_on_the_bridge(linux: LinuxKernel) -> None:
    linux.apply([Create(BOX), Create(BRIDGE), Create(VETH)])
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as listener:
        listener.bind(("br-one", 3))
        listener.settimeout(5)
        linux.announce("box", "eth0", ["10.9.0.2/24", "fd00:9::2/64"], VETH.peer_mac)
        seen = set()
        while len(seen) < 2:
            frame = listener.recv(2048)
            if frame[6:12].hex(":") == VETH.peer_mac and frame[12:14] in (b"\x08\x06", b"\x86\xdd"):
                seen.add(frame[12:14])


def test_counters_tell_each_interface(linux: LinuxKernel) -> None:
    linux.apply([Create(BOX), Create(BRIDGE), Create(VETH)])
    linux.announce("box", "eth0", ["10.9.0.2/24"], VETH.peer_mac)
    found = linux.counters("box")
    assert found.keys() == {"lo", "eth0"}
    assert found["eth0"].tx_packets >= 1
    assert found["eth0"].tx_bytes >= 42
    with pytest.raises(FileNotFoundError):
        linux.counters("nosuch")


def test_a_refusal_carries_the_kernels_own_words(linux: LinuxKernel) -> None:
    linux.apply([Create(BRIDGE)])
    with pytest.raises(NetlinkError) as caught:
        linux.host.request(link.change(linux.host.index("br-one"), link.all_offload_sizes(262144)))
    assert caught.value.errno == errno.EINVAL
    assert "gso_max_size" in str(caught.value)


def test_a_batch_tells_the_outcome_of_each_request() -> None:
    inside = netns.create()
    try:
        outcomes = inside.batch([link.change(1, up=True), link.change(99, up=True)] * 300)
        assert [None if error is None else error.errno for error in outcomes] == [None, errno.ENODEV] * 300
        assert link.decode(inside.get(link.get_by_name("lo"))).name == "lo"
    finally:
        inside.close()


def test_a_dump_of_many_links_is_whole() -> None:
    inside = netns.create()
    try:
        names = {f"br-{number}" for number in range(150)}
        for name in names:
            inside.request(link.create_bridge(name=name, mac="02:00:00:00:00:01", mtu=1500, group=0))
        assert {link.decode(body).name for body in inside.dump(link.dump())} == {"lo", *names}
    finally:
        inside.close()


def test_a_question_cut_short_does_not_disturb_the_next(linux: LinuxKernel) -> None:
    socket_ = Netlink()
    try:
        answers = socket_._answers(link.dump())
        next(answers)
        answers.close()
        assert link.decode(socket_.get(link.get_by_name("lo"))).name == "lo"
        with pytest.raises(NetlinkError):
            socket_.request(link.change(99, up=True))
    finally:
        socket_.close()


def test_an_nft_context_belongs_to_the_namespace_where_it_was_made(linux: LinuxKernel) -> None:
    linux.apply([Create(BOX)])
    with linux.namespaces.opened("box") as descriptor, netns.entered(descriptor):
        inside = Nft()
    try:
        inside.run(["add table inet linkspan"])
        assert inside.tables() == [("inet", "linkspan")]
        assert linux.read([]) == {}
        with pytest.raises(NftError) as caught:
            inside.run(["add table inet other", "delete table inet nosuch"])
        assert [(item.command, item.code) for item in caught.value.problems] == [(1, errno.ENOENT)]
        assert inside.tables() == [("inet", "linkspan")]
    finally:
        inside.close()


def test_settings_are_those_of_the_namespace_and_change_with_it(linux: LinuxKernel) -> None:
    run("sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv4.ip_local_reserved_ports=8080,9000-9010")
    before = probe.settings()
    run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.lo.rp_filter=2")
    after = probe.settings()
    assert (before.forward4, after.forward4, after.forward6) == (False, True, True)
    assert after.rp_filter["lo"] == 2
    assert after.rp_filter.keys() >= {"all", "default"}
    assert after.reserved_ports == "8080,9000-9010"
    assert after.port_range == (32768, 60999)
    assert after.conntrack_max is not None
    assert after.bridge_calls.keys() <= {"iptables", "ip6tables", "arptables"}
