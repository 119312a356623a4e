"""What guards a port, and in which order it comes and goes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from linkspan.kernel.diff import diff
from linkspan.kernel.state import Address, Element, Object, Sysctl, Table, Veth, state_of
from linkspan.model.endpoint import Endpoint, EndpointOptions
from linkspan.model.network import Network
from linkspan.plan import bridge, host, spoofing
from plan_cases import FACTS, endpoint, network

DUAL = network("dual", "10.9.0.0/24", "fd00:9::/64")
FOUR = network("four", "10.9.0.0/24")


def planned(on: Network, place: Endpoint) -> list[Object]:
    return list(bridge.endpoint(on, place, "box", FACTS))


def guard(objects: Sequence[Object]) -> list[str]:
    elements = [item for item in objects if isinstance(item, Element) and item.family == "bridge"]
    return sorted(f"{item.set} {' '.join(item.item[1:])}".strip() for item in elements)


def unguarded(on: Network) -> Network:
    assert on.bridge is not None
    return msgspec.structs.replace(on, bridge=msgspec.structs.replace(on.bridge, anti_spoofing=False))


def with_options(place: Endpoint, **options: object) -> Endpoint:
    return msgspec.structs.replace(place, options=EndpointOptions(**options))  # type: ignore[arg-type]


def test_a_port_is_guarded_by_what_its_endpoint_was_given() -> None:
    assert guard(planned(FOUR, endpoint(FOUR))) == [
        "guarded",
        "senders4 02:42:ac:00:00:02 10.9.0.2",
        "stations 02:42:ac:00:00:02",
    ]
    assert guard(planned(DUAL, endpoint(DUAL))) == [
        "guarded",
        "options6 0x1010242ac000002",
        "options6 0x2010242ac000002",
        "senders4 02:42:ac:00:00:02 10.9.0.2",
        "senders6 02:42:ac:00:00:02 fd00:9::2",
        "senders6 02:42:ac:00:00:02 fe80::42:acff:fe00:2",
        "stations 02:42:ac:00:00:02",
        "targets6 0xfd000009000000000000000000000002",
        "targets6 0xfe800000000000000042acfffe000002",
    ]


def test_a_chosen_link_local_address_passes_the_guard_once() -> None:
    own = "fe80::42:acff:fe00:2"
    place = endpoint(DUAL)
    asked = msgspec.structs.replace(place.request, link_local=("169.254.1.9", "fe80::9", "fe80::0:9", own))
    objects = planned(DUAL, msgspec.structs.replace(place, request=asked))
    assert {item.address for item in objects if isinstance(item, Address)} == {
        "10.9.0.2/24",
        "fd00:9::2/64",
        f"{own}/64",
        "169.254.1.9/16",
        "fe80::9/64",
    }
    assert [text.split()[-1] for text in guard(objects) if text.startswith("senders")] == [
        "10.9.0.2",
        "169.254.1.9",
        "fd00:9::2",
        own,
        "fe80::9",
    ]


def test_the_endpoint_s_switch_goes_before_the_network_s() -> None:
    place = endpoint(FOUR)
    assert guard(planned(unguarded(FOUR), place)) == []
    assert guard(planned(FOUR, with_options(place, anti_spoofing=False))) == []
    assert guard(planned(unguarded(FOUR), with_options(place, anti_spoofing=True))) != []


def test_a_kernel_that_judges_no_frames_is_asked_for_no_guard() -> None:
    facts = msgspec.structs.replace(FACTS, bridge_filter=False)
    wanted = [*host.base(facts, ipv6=True), *bridge.endpoint(DUAL, endpoint(DUAL), "box", facts)]
    assert [item for item in wanted if isinstance(item, Table | Element) and item.family == "bridge"] == []


def test_a_port_is_guarded_before_it_is_there_and_until_it_is_gone() -> None:
    state = state_of([spoofing.table(), *planned(DUAL, endpoint(DUAL))])
    for want, have, before in ((state, {}, True), ({}, state, False)):
        kinds = [type(step.object) for step in diff(want, have)]
        last_guard = max(place for place, kind in enumerate(kinds) if kind in (Table, Element))
        first_guard = min(place for place, kind in enumerate(kinds) if kind in (Table, Element))
        port = kinds.index(Veth)
        assert (last_guard < port) if before else (port < first_guard)


def test_the_table_counts_every_reason() -> None:
    for reason in spoofing.REASONS:
        assert f"goto refuse_{reason}\n" in spoofing.RULESET
        assert f"update @refused_{reason} {{ iifname counter }}\n  drop\n" in spoofing.RULESET


def test_a_setting_of_the_interface_goes_under_its_name_and_with_it() -> None:
    sysctls = (("net/ipv4/conf/IFNAME/log_martians", "1"), ("net/ipv6/conf/IFNAME/accept_ra", "2"))
    objects = planned(DUAL, with_options(endpoint(DUAL, 3), sysctls=sysctls))
    assert [item for item in objects if isinstance(item, Sysctl) and not item.path.endswith("/mtu")] == [
        Sysctl(namespace="box", link="eth3", path="net/ipv4/conf/eth3/log_martians", value="1"),
        Sysctl(namespace="box", link="eth3", path="net/ipv6/conf/eth3/accept_ra", value="2"),
    ]


def test_announcements_are_as_the_endpoint_says_else_as_the_network_does() -> None:
    place = endpoint(FOUR)
    assert bridge.announcements_of(FOUR, place) == (3, 1.0)
    assert bridge.announcements_of(FOUR, with_options(place, announcements=0)) == (0, 1.0)
    assert bridge.announcements_of(FOUR, with_options(place, announcement_interval=0.1)) == (3, 0.1)
