"""Labels that say who may come to published ports."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from linkspan.errors import InvalidRequest
from linkspan.model.sources import publish_sources, sources_of

OFFICE, LAB, ADMIN = ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"), ip_network("192.0.2.7/32")


def test_without_labels_everybody_may_come() -> None:
    assert publish_sources({"com.example.publish-from": "10.0.0.0/8"}) == {}
    assert sources_of({}, 80, "tcp") is None


def test_networks_of_both_families_stand_in_one_list_and_an_address_is_a_network() -> None:
    found = publish_sources({"linkspan.publish-from": "10.0.0.0/8, 2001:DB8::/32,192.0.2.7,10.0.0.0/8"})
    assert found == {"": (OFFICE, LAB, ADMIN)}
    assert sources_of(found, 80, "tcp") == (OFFICE, LAB, ADMIN)


def test_a_port_may_have_its_own_list() -> None:
    found = publish_sources({"linkspan.publish-from": "10.0.0.0/8", "linkspan.publish-from.53/udp": "2001:db8::/32"})
    assert sources_of(found, 53, "udp") == (LAB,)
    assert sources_of(found, 53, "tcp") == (OFFICE,)


def test_what_is_said_of_fewer_ports_goes_first() -> None:
    labels = {
        "linkspan.publish-from.8003/tcp": "192.0.2.7",
        "linkspan.publish-from.8000-8010/tcp": "10.0.0.0/8",
        "linkspan.publish-from.8002-8004/tcp": "2001:db8::/32",
    }
    for order in (labels, dict(reversed(labels.items()))):
        found = publish_sources(order)
        assert [sources_of(found, port, "tcp") for port in (8000, 8002, 8003, 8011)] == [
            (OFFICE,),
            (LAB,),
            (ADMIN,),
            None,
        ]


@pytest.mark.parametrize(
    ("label", "value", "sentence"),
    [
        ("linkspan.publish-from", "", 'label linkspan.publish-from: "" is not a network; give networks like'),
        ("linkspan.publish-from", "office", '"office" is not a network'),
        ("linkspan.publish-from", "10", '"10" is not a network'),
        ("linkspan.publish-from", "10.0.0.0/33", '"10.0.0.0/33" is not a network'),
        ("linkspan.publish-from", "fe80::1%eth0", '"fe80::1%eth0" is not a network'),
        ("linkspan.publish-from", "10.1.2.3/8", '"10.1.2.3/8" has bits behind its prefix; say 10.0.0.0/8'),
        ("linkspan.publish-from.80/tcp", "10.0.0.0/8,", 'label linkspan.publish-from.80/tcp: "" is not a network'),
        ("linkspan.publish-from.80", "10.0.0.0/8", '"80" is not a port; say 80/tcp or 8000-8010/udp'),
        ("linkspan.publish-from.80/sctp", "10.0.0.0/8", '"80/sctp" is not a port'),
        ("linkspan.publish-from.0/tcp", "10.0.0.0/8", '"0/tcp" lies outside 1-65535'),
        ("linkspan.publish-from.90-80/tcp", "10.0.0.0/8", "or runs backwards"),
        ("linkspan.publish-from.80-65536/udp", "10.0.0.0/8", "lies outside 1-65535"),
    ],
)
def test_a_bad_label_is_refused_with_its_value(label: str, value: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        publish_sources({label: value})
    assert sentence in str(refusal.value)


def test_two_ranges_that_contradict_each_other_are_refused() -> None:
    labels = {"linkspan.publish-from.80-82/tcp": "10.0.0.0/8", "linkspan.publish-from.81-83/tcp": "192.0.2.7"}
    with pytest.raises(InvalidRequest, match="says otherwise than another one of port 81/tcp"):
        publish_sources(labels)
