"""Driver options and labels: what is read, what is refused, what is kept."""

from __future__ import annotations

import pytest

from linkspan.errors import InvalidRequest, LinkspanError, NotSupported
from linkspan.model.network import BridgeOptions
from linkspan.model.options import bridge_options, check_endpoint_options, check_labels, option_warnings

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
    ("key", "value"),
    [
        ("com.docker.network.bridge.host_binding_ipv4", "127.0.0.1"),
        ("com.docker.network.bridge.gateway_mode_ipv4", "routed"),
        ("com.docker.network.bridge.gateway_mode_ipv6", "isolated"),
        ("com.docker.network.bridge.inhibit_ipv4", "true"),
        ("com.docker.network.bridge.trusted_host_interfaces", "eth1"),
        ("com.docker.network.host_ipv4", "192.0.2.1"),
        ("com.docker.network.advertise_addr_nmsgs", "5"),
        ("com.docker.network.enable_ipv6", "true"),
    ],
)
def test_what_docker_knows_and_we_do_not_do_yet_is_not_supported(key: str, value: str) -> None:
    with pytest.raises(NotSupported) as refusal:
        bridge_options("web", ID, {key: value})

    assert key in str(refusal.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0"),
        ("com.docker.network.bridge.host_binding_ipv4", "::"),
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


def test_endpoint_options_are_refused_like_network_options() -> None:
    check_endpoint_options({"com.example.colour": "green"})
    with pytest.raises(InvalidRequest, match=r"did you mean com\.docker\.network\.endpoint\.sysctls"):
        check_endpoint_options({"com.docker.network.endpoint.sysctl": "x"})
    with pytest.raises(NotSupported, match="ifname=foo is not supported yet"):
        check_endpoint_options({"com.docker.network.endpoint.ifname": "foo"})


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


def test_an_option_given_as_a_label_is_warned_about() -> None:
    assert check_labels({"com.docker.network.bridge.name": "x"}) == (
        "label com.docker.network.bridge.name has no effect as a label; the option of that name (--opt) has",
    )


def test_every_refusal_is_one_sentence() -> None:
    with pytest.raises(LinkspanError) as refusal:
        bridge_options("web", ID, {"com.docker.network.nonsense": "1"})

    assert "\n" not in str(refusal.value)
