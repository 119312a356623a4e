"""Steps as a person reads them."""

from __future__ import annotations

import pytest

from linkspan.kernel.diff import Create, Delete, Update
from linkspan.kernel.render import commands, describe
from linkspan.kernel.state import Address, Bridge, Element, Namespace, Object, Route, Sysctl, Table, Veth

SANDBOX = "4f5e6d7c8b9a0123"
BRIDGE = Bridge(name="br-web", mac="02:42:00:00:00:01", alias="linkspan:cafe0123:network:web", group=7)
PORT = Veth(
    name="ls-1",
    master="br-web",
    alias="linkspan:cafe0123:endpoint:e1",
    group=7,
    isolated=True,
    peer_namespace="abc",
    peer_name="eth0",
    peer_mac="02:42:00:00:00:02",
)
PUBLISHED = Element(
    family="inet", table="linkspan", set="pub4", item=("tcp", "192.0.2.1", "80-90"), value=("10.0.0.2", "8080")
)


def test_a_veth_is_born_with_its_peer_inside_and_comes_up_last() -> None:
    assert commands(Create(PORT)) == (
        "ip link add name ls-1 mtu 1500 group 7 type veth peer name eth0 netns abc address 02:42:00:00:00:02 mtu 1500",
        "ip link set dev ls-1 addrgenmode none",
        "ip -n abc link set dev eth0 addrgenmode none",
        "ip link set dev ls-1 alias linkspan:cafe0123:endpoint:e1",
        "ip link set dev ls-1 master br-web",
        "bridge link set dev ls-1 hairpin off isolated on",
        "ip -n abc link set dev eth0 up",
        "ip link set dev ls-1 up",
    )


def test_an_update_names_only_what_differs() -> None:
    assert commands(Update(BRIDGE, Bridge(name="br-web", mac=BRIDGE.mac, mtu=1400, alias=BRIDGE.alias, group=7))) == (
        "ip link set dev br-web mtu 1400",
    )


def test_an_update_without_a_difference_asserts_the_port_again() -> None:
    assert "ip link set dev ls-1 master br-web" in commands(Update(PORT, PORT))


def test_elements_quote_interfaces_and_leave_literals_bare() -> None:
    pair = Element(family="inet", table="linkspan", set="pair", item=("br-web", "lo"), value=("goto same",))
    assert commands(Create(pair)) == ("""nft 'add element inet linkspan pair { "br-web" . "lo" : goto same }'""",)
    assert commands(Delete(PUBLISHED)) == ("nft 'delete element inet linkspan pub4 { tcp . 192.0.2.1 . 80-90 }'",)


def test_a_table_is_fed_to_nft_as_it_is() -> None:
    table = Table(family="ip", name="names", ruleset="\nset a { type ifname; }\n", namespace="abc")
    assert commands(Create(table)) == (
        "ip netns exec abc nft -f - <<'EOF'\ntable ip names {\nset a { type ifname; }\n}\nEOF",
    )


def test_what_the_kernel_does_by_itself_needs_no_command() -> None:
    assert commands(Delete(Address(link="br-web", address="10.0.0.1/24"), implied=True)) == ()
    assert commands(Delete(Sysctl(path="net/ipv4/ip_forward", value="1"))) == ()


def test_what_a_shell_would_split_is_quoted() -> None:
    value = Sysctl(path="net/ipv4/tcp_rmem", value="4096 131072 6291456")
    assert commands(Create(value)) == ("sysctl -w 'net/ipv4/tcp_rmem=4096 131072 6291456'",)


@pytest.mark.parametrize(
    ("item", "name"),
    [
        (Namespace(name=SANDBOX), "namespace 4f5e6d7c8b9a"),
        (BRIDGE, "bridge br-web"),
        (PORT, "veth ls-1 with peer eth0 in sandbox abc"),
        (
            Address(namespace=SANDBOX, link="eth0", address="10.0.0.2/24"),
            "address 10.0.0.2/24 on eth0 in sandbox 4f5e6d7c8b9a",
        ),
        (
            Route(namespace="abc", link="eth0", destination="0.0.0.0/0", gateway="10.0.0.1"),
            "route 0.0.0.0/0 via 10.0.0.1 on eth0 in sandbox abc",
        ),
        (PUBLISHED, "element tcp . 192.0.2.1 . 80-90 : 10.0.0.2 . 8080 of inet linkspan pub4"),
        (Sysctl(path="net/ipv4/ip_forward", value="1"), "sysctl net/ipv4/ip_forward = 1"),
    ],
)
def test_objects_have_names_for_people(item: Object, name: str) -> None:
    assert describe(item) == name
