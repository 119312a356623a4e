"""Driver options of endpoints, and link-local addresses: what is read and what is refused."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from linkspan.errors import InvalidRequest
from linkspan.model.endpoint import EndpointOptions
from linkspan.model.endpoint_options import KEYS, endpoint_options
from linkspan.model.link_local import link_local_address

SYSCTLS = "com.docker.network.endpoint.sysctls"


def test_without_options_everything_is_as_the_network_says() -> None:
    assert endpoint_options({}) == EndpointOptions()
    assert endpoint_options(dict.fromkeys(KEYS, "")) == EndpointOptions()
    assert endpoint_options({"com.example.colour": "green"}) == EndpointOptions()


def test_every_option_is_read() -> None:
    assert endpoint_options(
        {
            "com.docker.network.endpoint.ifname": "lan0",
            SYSCTLS: "net.ipv4.conf.IFNAME.log_martians=1, net.ipv6.neigh.IFNAME.gc_stale_time=30",
            "linkspan.endpoint.host_ifname": "web-lan0",
            "linkspan.anti_spoofing": "false",
            "com.docker.network.advertise_addr_nmsgs": "0",
            "com.docker.network.advertise_addr_ms": "250",
        }
    ) == EndpointOptions(
        interface="lan0",
        host_interface="web-lan0",
        sysctls=(("net/ipv4/conf/IFNAME/log_martians", "1"), ("net/ipv6/neigh/IFNAME/gc_stale_time", "30")),
        anti_spoofing=False,
        announcements=0,
        announcement_interval=0.25,
    )


def test_the_placeholder_is_read_in_small_letters_too() -> None:
    """The docker client writes it so, whatever a person typed."""
    assert endpoint_options({SYSCTLS: "net.ipv4.conf.ifname.log_martians=1"}).sysctls == (
        ("net/ipv4/conf/IFNAME/log_martians", "1"),
    )


def test_both_spellings_of_the_interval_are_read() -> None:
    assert endpoint_options({"com.docker.network.advertise_addr_ival_ms": "100"}).announcement_interval == 0.1


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("com.docker.network.endpoint.sysctl", "x", "(did you mean com.docker.network.endpoint.sysctls?)"),
        ("linkspan.host_ifname", "x", "(did you mean linkspan.endpoint.host_ifname?)"),
        ("linkspan.colour", "x", "endpoint option linkspan.colour is unknown; correct it or leave it out"),
        ("com.docker.network.endpoint.ifname", "a name", '"a name" has characters that are not allowed'),
        ("com.docker.network.endpoint.ifname", "x" * 16, "is longer than 15 bytes"),
        ("linkspan.endpoint.host_ifname", "all", '"all" means something else to the kernel'),
        ("linkspan.anti_spoofing", "off", '"off" is neither true nor false'),
        ("com.docker.network.advertise_addr_nmsgs", "4", '"4" will not do; give a number from 0 to 3'),
        ("com.docker.network.advertise_addr_ms", "99", '"99" will not do; give a number from 100 to 2000'),
        ("com.docker.network.advertise_addr_ival_ms", "2001", '"2001" will not do'),
        (SYSCTLS, "net.ipv4.conf.IFNAME.log_martians", "say it like net.ipv4.conf.IFNAME.log_martians=1"),
        (SYSCTLS, "net.ipv4.conf.eth0.log_martians=1", "with IFNAME for the interface"),
        (SYSCTLS, "net.ipv4.ip_forward=1", '"net.ipv4.ip_forward=1" is no setting of a network interface'),
        (SYSCTLS, "kernel.IFNAME.x=1", "is no setting of a network interface"),
        (SYSCTLS, "net.ipv4.conf.IFNAME.a=1,", '"" is no setting of a network interface'),
        (SYSCTLS, "net.ipv4.conf.IFNAME..x=1", "is no setting of a network interface"),
        (SYSCTLS, "net.ipv4.conf.IFNAME.x=1\n2", "is no setting of a network interface"),
        (SYSCTLS, "net/ipv4/conf/IFNAME/../../x=1", "is no setting of a network interface"),
        (SYSCTLS, "net.ipv4.conf.IFNAME.a=1,net.ipv4.conf.IFNAME.a=2", "is set twice, to 1 and to 2; give one value"),
    ],
)
def test_a_bad_option_is_refused_with_its_value(key: str, value: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        endpoint_options({key: value})
    assert sentence in str(refusal.value)
    assert key in str(refusal.value)


@pytest.mark.parametrize("text", ["169.254.1.2", "fe80::9"])
def test_link_local_addresses_of_both_families_are_taken(text: str) -> None:
    assert link_local_address(text) == ip_address(text)


@pytest.mark.parametrize("text", ["", "10.0.0.1", "fd00::1", "fe80::9%eth0", "169.254.1.2/16", "::ffff:169.254.1.2"])
def test_other_addresses_are_refused_naming_them(text: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        link_local_address(text)
    assert text in str(refusal.value)
