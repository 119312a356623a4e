"""What ``-p`` and ``-P`` mean, before any port of the host is looked at."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import msgspec
import pytest

from linkspan.errors import InvalidRequest, NotSupported
from linkspan.model.address import IPAddress, IPNetwork
from linkspan.model.container import ContainerSpec, PortBinding
from linkspan.model.image import ImageConfig
from linkspan.model.network import BridgeOptions
from linkspan.model.publishing import Wish, reservation_key, wishes

NAT = BridgeOptions(bridge_name="br-test")
ROUTED = BridgeOptions(bridge_name="br-test", gateway_mode4="routed", gateway_mode6="routed")
MIXED = BridgeOptions(bridge_name="br-test", gateway_mode6="routed")
BOTH = ("0.0.0.0", "::")


def binding(port: int, host_port: str = "", host_ip: str = "", protocol: str = "tcp") -> PortBinding:
    return msgspec.convert(
        {"port": port, "host_port": host_port, "host_ip": host_ip, "protocol": protocol}, PortBinding
    )


def published(
    *bindings: PortBinding,
    options: BridgeOptions = NAT,
    options6: BridgeOptions | None = None,
    default: str = "",
    ipv4: bool = True,
    ipv6: bool = True,
    exposed: tuple[str, ...] | None = None,
    image: tuple[str, ...] = (),
    sources: dict[str, tuple[IPNetwork, ...]] | None = None,
) -> tuple[Wish, ...]:
    spec = ContainerSpec(
        image="busybox",
        port_bindings=bindings,
        publish_all=exposed is not None,
        exposed_ports=exposed or (),
        publish_sources=sources or {},
    )
    address = ip_address(default) if default else None
    config = ImageConfig(exposed_ports=image)
    return wishes(spec, config, options, options6=options6, default=address, ipv4=ipv4, ipv6=ipv6)


def addresses(wish: Wish) -> tuple[str, ...]:
    return tuple(map(str, wish.addresses))


def ports(wish: Wish) -> tuple[int, int, int, int]:
    return wish.first, wish.last, wish.port, wish.count


def test_a_binding_without_an_address_is_published_on_all_of_both_families() -> None:
    (wish,) = published(binding(80, "8080"))
    assert addresses(wish) == BOTH
    assert ports(wish) == (8080, 8080, 80, 1)
    assert wish.fixed


def test_a_host_without_ipv6_publishes_on_ipv4() -> None:
    (wish,) = published(binding(80, "8080"), ipv6=False)
    assert addresses(wish) == ("0.0.0.0",)


def test_a_container_without_ipv4_is_published_on_ipv6() -> None:
    (wish,) = published(binding(80, "8080"), ipv4=False)
    assert addresses(wish) == ("::",)


@pytest.mark.parametrize(
    ("host_binding", "default", "expected"),
    [
        ("127.0.0.1", "", ("127.0.0.1",)),
        ("", "127.0.0.1", ("127.0.0.1",)),
        ("192.0.2.1", "127.0.0.1", ("192.0.2.1",)),
        ("0.0.0.0", "127.0.0.1", BOTH),
        ("::", "", ("::",)),
        ("", "2001:db8::1", ("2001:db8::1",)),
    ],
)
def test_the_networks_address_goes_before_the_daemons(
    host_binding: str, default: str, expected: tuple[str, ...]
) -> None:
    address: IPAddress | None = ip_address(host_binding) if host_binding else None
    options = msgspec.structs.replace(NAT, host_binding=address)
    (wish,) = published(binding(80, "8080"), options=options, default=default)
    assert addresses(wish) == expected


def test_a_named_address_is_the_only_one() -> None:
    (wish,) = published(binding(80, "8080", "127.0.0.1"), default="192.0.2.1")
    assert addresses(wish) == ("127.0.0.1",)


def test_an_ipv4_address_in_ipv6_spelling_is_ipv4() -> None:
    (wish,) = published(binding(80, "8080", "::ffff:127.0.0.1"))
    assert addresses(wish) == ("127.0.0.1",)


@pytest.mark.parametrize("host_port", ["", "0"])
def test_an_empty_host_port_and_0_are_any(host_port: str) -> None:
    (wish,) = published(binding(80, host_port))
    assert (wish.first, wish.last) == (0, 0)
    assert not wish.fixed


def test_a_range_for_one_port_is_any_one_of_it() -> None:
    (wish,) = published(binding(80, "8000-9000"))
    assert ports(wish) == (8000, 9000, 80, 1)
    assert not wish.fixed


def test_a_range_of_one_port_is_that_port() -> None:
    (wish,) = published(binding(80, "8000-8000"))
    assert wish.fixed


def test_a_port_published_on_two_addresses_has_the_same_host_port_on_both() -> None:
    (wish,) = published(binding(80, "", "127.0.0.1"), binding(80, "", "::1"))
    assert addresses(wish) == ("127.0.0.1", "::1")


def test_what_was_said_twice_counts_once_and_a_wildcard_covers_its_family() -> None:
    (wish,) = published(binding(80, "8080"), binding(80, "8080"), binding(80, "8080", "127.0.0.1"))
    assert addresses(wish) == BOTH


def test_ten_thousand_bindings_of_a_range_are_one_wish() -> None:
    as_docker_sends = sorted(range(8000, 18001), key=str)
    (wish,) = published(*(binding(port, str(port)) for port in as_docker_sends))
    assert ports(wish) == (8000, 18000, 8000, 10001)
    assert wish.fixed


def test_a_shifted_range_is_one_wish() -> None:
    (wish,) = published(*(binding(80 + index, str(8000 + index)) for index in range(10)))
    assert ports(wish) == (8000, 8009, 80, 10)


def test_ranges_break_where_numbers_protocol_address_or_sources_change() -> None:
    found = published(
        binding(80, "8080"),
        binding(81, "8081"),
        binding(82, "8082", protocol="udp"),
        binding(83, "8083", "127.0.0.1"),
        binding(84, "8084"),
        binding(85, "9085"),
        binding(86, "8086"),
        binding(87, "8087"),
        sources={"87/tcp": (ip_network("192.0.2.0/24"),)},
    )
    assert [ports(wish) for wish in found] == [
        (8080, 8081, 80, 2),
        (8082, 8082, 82, 1),
        (8083, 8083, 83, 1),
        (8084, 8084, 84, 1),
        (9085, 9085, 85, 1),
        (8086, 8086, 86, 1),
        (8087, 8087, 87, 1),
    ]


def test_random_ports_are_chosen_one_by_one() -> None:
    assert [ports(wish) for wish in published(binding(80), binding(81))] == [(0, 0, 80, 1), (0, 0, 81, 1)]


def test_publishing_all_takes_what_definition_and_image_expose_and_nobody_bound() -> None:
    found = published(binding(80, "8080"), exposed=("80/tcp", "443/tcp"), image=("443", "53/udp", "9000-9001/tcp"))
    assert [(wish.port, wish.protocol, wish.first) for wish in found] == [
        (80, "tcp", 8080),
        (443, "tcp", 0),
        (53, "udp", 0),
        (9000, "tcp", 0),
        (9001, "tcp", 0),
    ]


def test_what_an_image_exposes_is_not_published_unasked() -> None:
    assert published(image=("80/tcp",)) == ()


def test_sources_of_a_port_go_before_those_of_all() -> None:
    everybody, office = ip_network("198.51.100.0/24"), ip_network("192.0.2.0/24")
    found = published(binding(80, "80"), binding(443, "443"), sources={"": (everybody,), "443/tcp": (office,)})
    assert [(wish.limited, wish.sources) for wish in found] == [(True, (everybody,)), (True, (office,))]


def test_no_sources_at_all_is_open_and_an_empty_list_is_closed() -> None:
    assert [wish.limited for wish in published(binding(80))] == [False]
    assert [(wish.limited, wish.sources) for wish in published(binding(80), sources={"80/tcp": ()})] == [(True, ())]


def test_a_routed_network_needs_no_host_port() -> None:
    (wish,) = published(*(binding(port, str(port + 1)) for port in range(80, 90)), options=ROUTED)
    assert addresses(wish) == BOTH
    assert wish.routed
    assert ports(wish) == (0, 0, 80, 10)
    assert [item.host_port for item in wish.publications(0)] == [0, 0]


def test_each_family_goes_its_own_way() -> None:
    translated, routed = published(binding(80, "8080"), options=MIXED)
    assert (addresses(translated), translated.routed) == (("0.0.0.0",), False)
    assert (addresses(routed), routed.routed) == (("::",), True)
    from_two_networks = published(binding(80, "8080"), options=NAT, options6=ROUTED)
    assert from_two_networks == (translated, routed)


def test_loopback_on_a_routed_network_stays_with_the_host() -> None:
    (wish,) = published(binding(80, "8080", "127.0.0.1"), options=ROUTED, sources={"": (ip_network("0.0.0.0/0"),)})
    assert (wish.limited, wish.sources) == (True, ())
    assert "only the host itself reaches the port" in wish.warning


def test_an_address_on_a_routed_network_is_not_used_and_that_is_said() -> None:
    (wish,) = published(binding(80, "8080", "192.0.2.1"), binding(80, "8080", "127.0.0.1"), options=ROUTED)
    assert addresses(wish) == ("0.0.0.0",)
    assert not wish.limited
    assert "192.0.2.1 is not used" in wish.warning


def test_an_isolated_network_publishes_nothing() -> None:
    isolated = BridgeOptions(bridge_name="br-test", gateway_mode4="isolated", gateway_mode6="isolated")
    assert published(binding(80, "8080"), options=isolated) == ()


@pytest.mark.parametrize(
    ("bindings", "words"),
    [
        ((binding(80, "8080"), binding(81, "8080")), "port 8080/tcp on 0.0.0.0 is asked for twice"),
        ((binding(80, "8080", "127.0.0.1"), binding(81, "8080", "0.0.0.0")), "ports 80 and 81"),
        ((binding(80, "8080", "::1"), binding(81, "8080")), "on ::"),
        (
            (*(binding(port, str(port)) for port in range(8000, 8010)), binding(80, "8005")),
            "port 8005/tcp on 0.0.0.0 is asked for twice, for the container's ports 8005 and 80",
        ),
    ],
)
def test_one_host_port_for_two_ports_is_refused(bindings: tuple[PortBinding, ...], words: str) -> None:
    with pytest.raises(InvalidRequest, match="asked for twice") as refusal:
        published(*bindings)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    "bindings",
    [
        (binding(80, "8080"), binding(80, "8080", protocol="udp")),
        (binding(80, "8080", "127.0.0.1"), binding(81, "8080", "192.0.2.1")),
        (binding(80, "8080", "0.0.0.0"), binding(81, "8080", "::")),
        (binding(80, "8000-9000"), binding(81, "8000")),
        (binding(80, "8080"), binding(80, "8081")),
    ],
)
def test_host_ports_that_do_not_meet_are_taken(bindings: tuple[PortBinding, ...]) -> None:
    assert sum(wish.count for wish in published(*bindings)) == 2


@pytest.mark.parametrize(
    ("port", "words"),
    [
        (binding(80, "8080", "localhost"), "localhost"),
        (binding(80, "8080", "224.0.0.1"), "no address of one host"),
        (binding(80, "8080", "255.255.255.255"), "no address of one host"),
        (binding(80, "8080", "fe80::1"), "link-local"),
        (binding(80, "8080", "fe80::1%eth0"), "link-local"),
        (binding(80, "70000"), "70000"),
        (binding(80, "9000-8000"), "9000-8000"),
        (binding(80, "http"), "http"),
        (binding(80, "-1"), "-1"),
    ],
)
def test_a_place_that_cannot_be_is_refused_by_name(port: PortBinding, words: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        published(port)
    assert words in str(refusal.value)
    assert "80/tcp" in str(refusal.value)


def test_a_family_that_is_not_there_is_refused_when_named() -> None:
    with pytest.raises(InvalidRequest, match="no IPv6 leads to the container"):
        published(binding(80, "8080", "::1"), ipv6=False)
    with pytest.raises(InvalidRequest, match="the container has no IPv4"):
        published(binding(80, "8080", "127.0.0.1"), ipv4=False)
    with pytest.raises(InvalidRequest, match=r"default address 127\.0\.0\.1"):
        published(binding(80, "8080"), default="127.0.0.1", ipv4=False)


def test_sources_for_a_port_that_nobody_publishes_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="81/tcp, which is not published"):
        published(binding(80), sources={"81/tcp": ()})


def test_sctp_is_refused() -> None:
    with pytest.raises(NotSupported, match="sctp"):
        published(binding(80, protocol="sctp"))


def test_a_key_names_sandbox_protocol_address_and_port() -> None:
    (wish,) = published(binding(80, "8080", "::1"))
    assert reservation_key("abc", wish.publications(8080)[0]) == "abc/tcp/::1/8080"
