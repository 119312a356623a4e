"""From ``-p`` through the API's body to the model, and back to what ``ps`` shows: nothing is lost, nothing is added."""

from __future__ import annotations

from ipaddress import ip_address

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from linkspan.api.messages import json_reply
from linkspan.api.wire import ports
from linkspan.api.wire.container_types import HostPort
from linkspan.api.wire.publications import port_list, port_map
from linkspan.cli.commands.container_list import shown_ports
from linkspan.cli.jsontext import decode, encode
from linkspan.cli.port_option import bindings_document, published
from linkspan.engine.views import AttachedNetwork, ContainerView
from linkspan.errors import LinkspanError
from linkspan.model.container import Container, ContainerSpec, ContainerState
from linkspan.model.endpoint import EndpointRequest
from linkspan.model.image import ImageConfig
from linkspan.model.network import Network
from linkspan.model.port import Publication

ADDRESSES = st.sampled_from(["", "0.0.0.0", "127.0.0.1", "::", "::1", "fd00::9"])
PROTOCOLS = st.sampled_from(["tcp", "udp"])
COUNTS = st.integers(1, 40)
PORTS = st.integers(1, 65535 - 40)


@given(ADDRESSES, PORTS, PORTS, COUNTS, PROTOCOLS)
def test_a_range_reaches_the_model_port_by_port(
    address: str, host_port: int, port: int, count: int, protocol: str
) -> None:
    shown = f"[{address}]:" if ":" in address else f"{address}:" if address else ""
    text = f"{shown}{host_port}-{host_port + count - 1}:{port}-{port + count - 1}/{protocol}"
    body = encode(dict(bindings_document(published([text]))))
    found = ports.bindings(msgspec.json.decode(body.encode(), type=dict[str, list[HostPort]]))
    assert [(each.host_ip, int(each.host_port), each.port, each.protocol) for each in found] == [
        (address, host_port + offset, port + offset, protocol) for offset in range(count)
    ]


@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
def test_no_text_is_read_otherwise_than_as_ports_or_a_refusal(port: str, address: str, host_port: str) -> None:
    try:
        found = ports.bindings({port: [HostPort(host_ip=address, host_port=host_port)]})
    except LinkspanError:
        return
    for each in found:
        assert 0 < each.port <= 65535
        assert not each.host_ip or ip_address(each.host_ip)


@st.composite
def publications(draw: st.DrawFn) -> tuple[Publication, ...]:
    """Runs of ports that do not meet: each in a block of its own."""
    blocks = draw(st.lists(st.integers(1, 600), max_size=5, unique=True))
    found = []
    for block in blocks:
        protocol = draw(st.sampled_from(("tcp", "udp")))
        count = draw(COUNTS)
        addresses = draw(st.sampled_from((("0.0.0.0",), ("::",), ("0.0.0.0", "::"), ("127.0.0.1",))))
        found += [
            Publication(
                protocol="tcp" if protocol == "tcp" else "udp",
                address=ip_address(address),
                host_port=block * 100 + 2000,
                port=block * 100,
                count=count,
            )
            for address in addresses
        ]
    return tuple(found)


@given(publications())
def test_every_port_is_shown_once_on_every_address(published: tuple[Publication, ...]) -> None:
    view = running(published)
    wanted = {
        (str(each.address), each.host_port + offset, each.port + offset, each.protocol)
        for each in published
        for offset in range(each.count)
    }
    listed = msgspec.json.decode(json_reply(port_list(view)).body, type=list[dict[str, str | int]])
    assert {(each["IP"], each["PublicPort"], each["PrivatePort"], each["Type"]) for each in listed} == wanted
    assert len(listed) == len(wanted)
    places = msgspec.json.decode(json_reply(port_map(view)).body, type=dict[str, list[dict[str, str]]])
    assert {
        (each["HostIp"], int(each["HostPort"]), int(name.split("/")[0]), name.split("/")[1])
        for name, entries in places.items()
        for each in entries
    } == wanted


@given(publications())
def test_ps_shows_a_run_as_one_range(published: tuple[Publication, ...]) -> None:
    entries = decode(json_reply(port_list(running(published))).body)
    assert isinstance(entries, list)
    shown = shown_ports(entries)
    assert len(shown.split(", ")) == max(len(published), 1)
    for each in published:
        span = f"-{each.host_port + each.count - 1}->" if each.count > 1 else f":{each.host_port}->"
        assert span in shown


def running(published: tuple[Publication, ...]) -> ContainerView:
    network = Network(id="0" * 64, name="bridge", driver="bridge", created=1.0)
    return ContainerView(
        container=Container(
            id="c" * 64, name="web", created=1.0, image_id="sha256:b", spec=ContainerSpec(image="busybox")
        ),
        state=ContainerState(status="running", pid=1, started=1.0),
        image=None,
        image_config=ImageConfig(),
        networks=(AttachedNetwork(network=network, request=EndpointRequest(network="0" * 64)),),
        publications=published,
    )
