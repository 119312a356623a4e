"""Driver options and labels: what is read, what is refused, what is kept."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from msgspec.structs import replace

from linkspan.errors import InvalidRequest, LinkspanError, NotSupported
from linkspan.model.network import BridgeOptions
from linkspan.model.options import bridge_options, check_labels, option_warnings

ID = "0123456789abcdef" * 4


def test_without_options_the_defaults_are_dockers() -> None:
    assert bridge_options("web", ID, {}) == BridgeOptions(bridge_name="br-0123456789ab")
    assert bridge_options("bridge", ID, {}).bridge_name == "linkspan0"


def test_dockers_keys_are_read() -> None:
    options = bridge_options(
        "web",
        ID,
        {
            "com.docker.network.bridge.name": "web0",
            "com.docker.network.driver.mtu": "1450",
            "com.docker.network.bridge.enable_ip_masquerade": "false",
            "com.docker.network.bridge.enable_icc": "0",
            "com.docker.network.container_iface_prefix": "net",
        },
    )

    assert options == BridgeOptions(
        bridge_name="web0", mtu=1450, masquerade=False, inter_container=False, interface_prefix="net"
    )


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        (
            "com.docker.network.bridge.enable_ipmasquerade",
            "false",
            "(did you mean com.docker.network.bridge.enable_ip_masquerade?); correct it or leave it out",
        ),
        ("com.docker.network.bridge.mtu", "1400", "did you mean com.docker.network.driver.mtu?"),
        ("com.docker.network.nonsense", "1", "network option com.docker.network.nonsense is unknown"),
        (
            "linkspan.mtu",
            "1400",
            "network option linkspan.mtu is unknown (did you mean com.docker.network.driver.mtu?)",
        ),
        ("com.docker.network.driver.mtu", "big", '"big" is not an MTU; give a number of bytes from 68 to 65535'),
        ("com.docker.network.driver.mtu", "-1", '"-1" is not an MTU'),
        ("com.docker.network.driver.mtu", "67", '"67" is not an MTU'),
        ("com.docker.network.driver.mtu", "65536", '"65536" is not an MTU'),
        ("com.docker.network.driver.mtu", "٣٠٠٠", "is not an MTU"),
        ("com.docker.network.bridge.enable_icc", "maybe", '"maybe" is neither true nor false'),
        ("com.docker.network.bridge.enable_icc", "yes", '"yes" is neither true nor false'),
        ("com.docker.network.bridge.name", "a-name-that-is-too-long", "is longer than 15 bytes"),
        ("com.docker.network.bridge.name", "br 0", "has characters that are not allowed"),
        ("com.docker.network.bridge.name", "../all", "has characters that are not allowed"),
        ("com.docker.network.bridge.name", "lo", "means something else to the kernel"),
        ("com.docker.network.container_iface_prefix", "0eth", '"0eth" cannot begin an interface name'),
        ("com.docker.network.container_iface_prefix", "abcdefghijkl", "at most 11 in all"),
        ("com.docker.network.bridge.gateway_mode_ipv4", "bridged", "is no gateway mode; give one of nat, "),
        ("com.docker.network.bridge.host_binding_ipv4", "localhost", '"localhost" is not an IP address'),
        ("com.docker.network.bridge.default_bridge", "true", "belongs to the network bridge alone"),
        ("com.docker.network.bridge.gateway_mode_ipv6", "isolated", "is for internal networks; say --internal"),
        ("com.docker.network.bridge.inhibit_ipv4", "perhaps", '"perhaps" is neither true nor false'),
        ("com.docker.network.bridge.trusted_host_interfaces", "eth0::eth1", "interface name is empty"),
        ("com.docker.network.bridge.trusted_host_interfaces", "eth0,eth1", "has characters that are not allowed"),
        ("com.docker.network.host_ipv4", "fd00::1", "say it with com.docker.network.host_ipv6"),
        ("com.docker.network.host_ipv6", "192.0.2.1", "say it with com.docker.network.host_ipv4"),
        ("com.docker.network.host_ipv4", "127.0.0.1", "nothing can leave under 127.0.0.1"),
        ("com.docker.network.host_ipv6", "fe80::1%eth0", "names an interface; give an address alone"),
        ("com.docker.network.advertise_addr_nmsgs", "4", '"4" will not do; give a number from 0 to 3'),
        ("com.docker.network.advertise_addr_ms", "99", "give a number from 100 to 2000"),
        ("com.docker.network.advertise_addr_ival_ms", "2001", "give a number from 100 to 2000"),
        ("linkspan.anti_spoofing", "of", '"of" is neither true nor false'),
        ("linkspan.dns", "192.0.2.53,", "has an empty part"),
        ("linkspan.dns", "ns.example", '"ns.example" is not an IP address'),
        ("linkspan.dns_search", "a..b", '"a..b" is not valid'),
        ("linkspan.dns_options", "ndots 2", "say them as in resolv.conf(5): ndots:2"),
        ("linkspan.dnsoptions", "ndots:2", "did you mean linkspan.dns_options"),
    ],
)
def test_a_bad_option_is_refused_with_its_value(key: str, value: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        bridge_options("web", ID, {key: value})

    assert sentence in str(refusal.value)
    assert key in str(refusal.value)


def test_ipv6_needs_a_larger_mtu() -> None:
    with pytest.raises(InvalidRequest, match='"1279" is not an MTU for IPv6; give a number of bytes from 1280'):
        bridge_options("web", ID, {"com.docker.network.driver.mtu": "1279"}, enable_ipv6=True)


@pytest.mark.parametrize(
    ("key", "value", "field", "meaning"),
    [
        ("com.docker.network.bridge.host_binding_ipv4", "127.0.0.1", "host_binding", IPv4Address("127.0.0.1")),
        ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0", "host_binding", IPv4Address("0.0.0.0")),
        ("com.docker.network.bridge.host_binding_ipv4", "::1", "host_binding", IPv6Address("::1")),
        ("com.docker.network.bridge.gateway_mode_ipv4", "routed", "gateway_mode4", "routed"),
        ("com.docker.network.bridge.gateway_mode_ipv6", "nat-unprotected", "gateway_mode6", "nat-unprotected"),
        ("com.docker.network.bridge.inhibit_ipv4", "true", "inhibit_ipv4", True),
        (
            "com.docker.network.bridge.trusted_host_interfaces",
            "eth1:vxlan.1",
            "trusted_interfaces",
            ("eth1", "vxlan.1"),
        ),
        ("com.docker.network.host_ipv4", "192.0.2.1", "source4", IPv4Address("192.0.2.1")),
        ("com.docker.network.host_ipv6", "2001:db8::1", "source6", IPv6Address("2001:db8::1")),
        ("com.docker.network.advertise_addr_nmsgs", "0", "announcements", 0),
        ("com.docker.network.advertise_addr_ms", "100", "announcement_interval", 0.1),
        ("com.docker.network.advertise_addr_ival_ms", "2000", "announcement_interval", 2.0),
        ("linkspan.big_tcp", "false", "big_tcp", False),
        ("linkspan.anti_spoofing", "false", "anti_spoofing", False),
        ("linkspan.dns", "192.0.2.53, 2001:DB8::53", "dns", ("192.0.2.53", "2001:db8::53")),
        ("linkspan.dns_search", "shop.example.,example", "dns_search", ("shop.example", "example")),
        ("linkspan.dns_options", "ndots:2,rotate", "dns_options", ("ndots:2", "rotate")),
    ],
)
def test_an_option_means_what_it_says(key: str, value: str, field: str, meaning: object) -> None:
    assert bridge_options("web", ID, {key: value}) == replace(bridge_options("web", ID, {}), **{field: meaning})


def test_a_network_without_the_host_is_internal() -> None:
    asked = {"com.docker.network.bridge.gateway_mode_ipv4": "isolated"}
    assert bridge_options("web", ID, asked, internal=True).gateway_mode4 == "isolated"


def test_what_is_said_with_flags_is_no_option() -> None:
    with pytest.raises(NotSupported, match=r"enable_ipv6 is not read; say --ipv6 instead"):
        bridge_options("web", ID, {"com.docker.network.enable_ipv6": "true"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("com.docker.network.bridge.host_binding_ipv4", ""),
        ("com.docker.network.bridge.gateway_mode_ipv4", "nat"),
        ("com.docker.network.bridge.inhibit_ipv4", "false"),
        ("com.docker.network.bridge.trusted_host_interfaces", ""),
        ("com.docker.network.bridge.default_bridge", "false"),
        ("com.docker.network.driver.mtu", "0"),
        ("com.docker.network.bridge.name", ""),
        ("com.example.colour", "green"),
    ],
)
def test_what_asks_for_what_happens_anyway_is_taken(key: str, value: str) -> None:
    assert bridge_options("web", ID, {key: value}) == bridge_options("web", ID, {})


def test_the_default_bridge_may_say_that_it_is_the_default() -> None:
    asked = {"com.docker.network.bridge.default_bridge": "true"}
    assert bridge_options("bridge", ID, asked) == bridge_options("bridge", ID, {})


def test_options_of_others_are_kept_with_a_warning() -> None:
    assert option_warnings({"com.example.colour": "green", "com.docker.network.driver.mtu": "1400"}) == (
        "option com.example.colour is kept and has no effect",
    )
    assert option_warnings({"mtu": "1400"}) == (
        "option mtu is kept and has no effect (did you mean com.docker.network.driver.mtu?)",
    )


def test_labels_may_say_anything_outside_the_network_namespaces() -> None:
    labels = {
        "com.docker.compose.project": "shop",
        "traefik.http.routers.x.rule": "Host(`a.b`) && Path(`/ü`)",
        "com.docker.networking": "x",
        "": "empty",
    }

    assert check_labels(labels) == ()


def test_a_misspelt_label_in_the_network_namespaces_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"label com\.docker\.network\.bridge\.nam is unknown"):
        check_labels({"com.docker.network.bridge.nam": "x"})
    with pytest.raises(InvalidRequest, match=r"label linkspan\.colour is unknown"):
        check_labels({"linkspan.colour": "x"})
    with pytest.raises(InvalidRequest, match=r"did you mean linkspan\.publish-from\?"):
        check_labels({"linkspan.publish_from": "10.0.0.0/8"})


def test_labels_that_say_who_may_come_are_known() -> None:
    assert check_labels({"linkspan.publish-from": "10.0.0.0/8", "linkspan.publish-from.80/tcp": "10.0.0.1"}) == ()


def test_an_option_given_as_a_label_is_warned_about() -> None:
    assert check_labels({"com.docker.network.bridge.name": "x"}) == (
        "label com.docker.network.bridge.name has no effect as a label; the option of that name (--opt) has",
    )


def test_every_refusal_is_one_sentence() -> None:
    with pytest.raises(LinkspanError) as refusal:
        bridge_options("web", ID, {"com.docker.network.nonsense": "1"})

    assert "\n" not in str(refusal.value)
