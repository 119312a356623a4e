"""Published ports that only some sources may come to, on the real kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from linkspan.model.port import Transport
from plan_cases import network, published
from port_lab import HOST, LAN, LAN4, LAN6, REFUSED, SILENCE, Container, Lab, port_lab

pytestmark = pytest.mark.kernel

WEB = network("web", "10.81.0.0/24", "fd00:81::/64", digit="a")
BACK = network("back", "10.82.0.0/24", "fd00:82::/64", digit="b")
GATEWAY = {4: "10.81.0.1", 6: "fd00:81::1"}
ANY = {4: "0.0.0.0", 6: "::"}
FAMILIES = (4, 6)
PROTOCOLS: tuple[Transport, ...] = ("tcp", "udp")
ELSEWHERE = ("203.0.113.0/24", "2001:db8:77::/48")


@pytest.fixture(params=[True, False], ids=["br-netfilter", "no-br-netfilter"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """The networks web and back."""
    with port_lab(tmp_path, bridge_netfilter=request.param) as made:
        made.add(WEB, BACK)
        yield made


@pytest.fixture
def web(lab: Lab) -> Container:
    made = lab.start(WEB, host=2)
    lab.serve(made, 80, 81)
    return made


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_who_is_on_the_list_comes_and_nobody_else(lab: Lab, web: Container, protocol: Transport) -> None:
    sibling, stranger = lab.start(WEB, host=3), lab.start(BACK, host=2)
    allowed = (*ELSEWHERE, LAN4, LAN6)
    lab.publish(web, *(published(ANY[version], 8080, 80, protocol=protocol, sources=allowed) for version in FAMILIES))
    for version in FAMILIES:
        before = lab.dropped("strangers")
        assert lab.ask(lab.lan, HOST[version], 8080, protocol) == f"{LAN[version]} at 80"
        assert lab.dropped("strangers") == before
        assert lab.ask(sibling, HOST[version], 8080, protocol) == SILENCE
        assert lab.ask(stranger, HOST[version], 8080, protocol) == SILENCE
        assert lab.ask(web, GATEWAY[version], 8080, protocol) == SILENCE
        assert lab.dropped("strangers") >= before + 3
        assert lab.ask(None, HOST[version], 8080, protocol) == f"{HOST[version]} at 80"
        assert lab.ask(sibling, web.address(version), 80, protocol) == f"{sibling.address(version)} at 80"
    assert lab.ask(None, "127.0.0.1", 8080, protocol) == "10.81.0.1 at 80"


def test_a_container_may_be_on_the_list(lab: Lab, web: Container) -> None:
    sibling, stranger = lab.start(WEB, host=3), lab.start(BACK, host=2)
    lab.publish(web, published("0.0.0.0", 8080, 80, sources=("10.82.0.0/24", "10.81.0.3")))
    assert lab.ask(stranger, HOST[4], 8080) == "10.82.0.2 at 80"
    assert lab.ask(sibling, HOST[4], 8080) == "10.81.0.1 at 80"
    assert lab.ask(web, HOST[4], 8080) == SILENCE
    assert lab.ask(lab.lan, HOST[4], 8080) == SILENCE


def test_a_family_without_a_source_is_closed(lab: Lab, web: Container) -> None:
    lab.publish(web, *(published(ANY[version], 8080, 80, sources=("198.51.100.0/24",)) for version in FAMILIES))
    assert lab.ask(lab.lan, HOST[4], 8080) == f"{LAN4} at 80"
    assert lab.ask(lab.lan, HOST[6], 8080) == SILENCE
    assert lab.ask(None, HOST[6], 8080) == f"{HOST[6]} at 80"


def test_a_list_belongs_to_its_port_alone(lab: Lab, web: Container) -> None:
    lab.publish(
        web,
        published("0.0.0.0", 8080, 80, sources=ELSEWHERE),
        published("0.0.0.0", 8081, 80),
        published(HOST[4], 8082, 81, sources=("0.0.0.0/0",)),
    )
    assert lab.ask(lab.lan, HOST[4], 8080) == SILENCE
    assert lab.ask(lab.lan, HOST[4], 8081) == f"{LAN4} at 80"
    assert lab.ask(lab.lan, HOST[4], 8082) == f"{LAN4} at 81"
    assert lab.ask(lab.lan, HOST[4], 8079) == REFUSED


def test_ranges_have_lists_too(lab: Lab, web: Container) -> None:
    lab.serve(web, 9000, 9003)
    lab.publish(
        web,
        published("0.0.0.0", 9000, 9000, 5, sources=ELSEWHERE),
        published("::", 9000, 9000, 5, sources=(LAN6,)),
        published("0.0.0.0", 8000, 80, 2, sources=(LAN4,)),
        published("::", 8000, 80, 2, sources=ELSEWHERE),
    )
    for port in (9000, 9003):
        assert lab.ask(lab.lan, HOST[4], port) == SILENCE
        assert lab.ask(lab.lan, HOST[6], port) == f"{LAN6} at {port}"
        assert lab.ask(None, HOST[4], port) == f"{HOST[4]} at {port}"
    for port, own in ((8000, 80), (8001, 81)):
        assert lab.ask(lab.lan, HOST[4], port) == f"{LAN4} at {own}"
        assert lab.ask(lab.lan, HOST[6], port) == SILENCE


def test_a_list_can_be_changed_while_the_container_runs(lab: Lab, web: Container) -> None:
    lab.publish(web, published("0.0.0.0", 8080, 80, sources=ELSEWHERE))
    assert lab.ask(lab.lan, HOST[4], 8080) == SILENCE
    lab.publish(web, published("0.0.0.0", 8080, 80, sources=("198.51.0.0/16", "198.51.100.0/24")))
    assert lab.ask(lab.lan, HOST[4], 8080) == f"{LAN4} at 80"
    lab.publish(web, published("0.0.0.0", 8080, 80))
    assert lab.ask(lab.lan, HOST[4], 8080) == f"{LAN4} at 80"
    lab.publish(web)
    assert lab.ask(lab.lan, HOST[4], 8080) == REFUSED


def test_a_relayed_port_has_its_list_in_the_kernel(lab: Lab) -> None:
    four = network("four", "10.83.0.0/24", digit="c")
    lab.add(four)
    box = lab.start(four, host=2)
    lab.serve(None, 8080, 8081)  # in the keeper's stead
    lab.publish(box, published("::", 8080, 80, sources=(LAN6,)), published("::", 8081, 80, sources=ELSEWHERE))
    assert lab.ask(lab.lan, HOST[6], 8080) == f"{LAN6} at 8080"
    assert lab.ask(lab.lan, HOST[6], 8081) == SILENCE
    assert lab.ask(None, "::1", 8081) == "::1 at 8081"
    assert lab.ask(None, HOST[6], 8081) == f"{HOST[6]} at 8081"
