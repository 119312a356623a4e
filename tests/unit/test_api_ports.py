"""Published ports through the API: what clients may ask for, and how ps and inspect show what became of it."""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_address, ip_network

import msgspec
import pytest

from linkspan.api.messages import JSON_LIMIT
from linkspan.api.versions import NEWEST
from linkspan.api.wire import containers, ports
from linkspan.api.wire.container_create import container_spec
from linkspan.api.wire.container_types import ContainerCreate, HostConfig, HostPort
from linkspan.api.wire.decoding import decode
from linkspan.engine.views import AttachedNetwork, ContainerView
from linkspan.errors import InvalidRequest, LinkspanError, NotSupported
from linkspan.model.container import Container, ContainerSpec, ContainerState, NetworkMode, PortBinding
from linkspan.model.endpoint import EndpointRequest
from linkspan.model.image import ImageConfig
from linkspan.model.network import Network
from linkspan.model.port import Publication, Transport
from raw_http import serving

# Asked


@pytest.mark.parametrize(
    ("address", "held"),
    [
        ("", ""),
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("::", "::"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("FD00:0::1", "fd00::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_a_host_address_is_held_in_one_form(address: str, held: str) -> None:
    (found,) = ports.bindings({"80/tcp": [HostPort(host_ip=address, host_port="8080")]})
    assert found == PortBinding(port=80, host_ip=held, host_port="8080")


@pytest.mark.parametrize("host_port", ["", "0", "8080", "8000-9000", "1", "65535"])
def test_a_host_port_is_any_one_of_a_range_or_a_number(host_port: str) -> None:
    (found,) = ports.bindings({"53/udp": [HostPort(host_port=host_port)]})
    assert found == PortBinding(port=53, protocol="udp", host_port=host_port)


def test_each_host_address_is_a_binding_and_an_empty_list_means_any_port() -> None:
    found = ports.bindings({"80": [HostPort(host_ip="127.0.0.1"), HostPort(host_ip="::1")], "81/TCP": []})
    assert found == (
        PortBinding(port=80, host_ip="127.0.0.1"),
        PortBinding(port=80, host_ip="::1"),
        PortBinding(port=81),
    )


@pytest.mark.parametrize(
    ("port", "address", "host_port", "said"),
    [
        ("80/tcp", "localhost", "80", "invalid host address 'localhost' of a published port"),
        ("80/tcp", "fe80::1%eth0", "80", "it names an interface; leave that out"),
        ("80/tcp", "224.0.0.1", "80", "it is a multicast address"),
        ("80/tcp", "[::1", "80", "invalid host address"),
        ("80/tcp", "", "http", "invalid port specification: 'http'"),
        ("80/tcp", "", "65536", "ports lie between 1 and 65535"),
        ("80/tcp", "", "9000-8000", "ports lie between 1 and 65535"),
        ("80/tcp", "", "0-10", "ports lie between 1 and 65535"),
        ("80/tcp", "", "+80", "invalid port specification"),
        ("80/tcp", "", "8_0", "invalid port specification"),
        ("80/tcp", "", "٨٠", "invalid port specification"),
        ("80/tcp", "", "80-", "invalid port specification"),
        ("80/tcp", "", "9" * 5000, "ports lie between 1 and 65535"),
        ("0/tcp", "", "", "ports lie between 1 and 65535"),
        ("/tcp", "", "", "invalid port specification"),
        ("80/quic", "", "", "the protocol must be tcp, udp or sctp"),
    ],
)
def test_a_bad_port_is_named(port: str, address: str, host_port: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ports.bindings({port: [HostPort(host_ip=address, host_port=host_port)]})
    assert said in str(caught.value)


def test_sctp_may_be_exposed_and_not_published() -> None:
    assert ports.exposed({"80/sctp": {}, "90-91/udp": {}, "80": {}}) == ("80/sctp", "90/udp", "91/udp", "80/tcp")
    with pytest.raises(NotSupported, match="port 80/sctp cannot be published; only tcp and udp ports can be"):
        ports.bindings({"80/sctp": [HostPort()]})


def asked(*published: str, everything: bool = False, **labels: str) -> tuple[ContainerSpec, tuple[str, ...]]:
    bindings = {port: [HostPort(host_port="8080")] for port in published}
    host = HostConfig(port_bindings=bindings, publish_all_ports=everything)
    return container_spec(ContainerCreate(image="busybox", labels=labels, host_config=host))


def test_labels_say_who_may_come() -> None:
    labels = {"linkspan.publish-from": "10.0.0.0/8,fd00::/8", "linkspan.publish-from.53/udp": "192.0.2.1"}
    spec, warnings = asked("80/tcp", "53/udp", **labels)
    assert warnings == ()
    assert spec.labels == labels
    assert spec.publish_sources == {
        "": (ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
        "53/udp": (ip_network("192.0.2.1/32"),),
    }


def test_an_allow_list_for_a_port_that_is_not_published_is_refused() -> None:
    labels = {"linkspan.publish-from.8080/tcp": "10.0.0.0/8"}
    with pytest.raises(InvalidRequest) as caught:
        asked("80/tcp", **labels)
    assert str(caught.value) == (
        "sources are limited for port 8080/tcp, which is not published; name the container's port, not the host's"
    )
    assert asked("80/tcp", everything=True, **labels)[1] == ()  # the image may expose it


def test_an_allow_list_without_any_published_port_gets_a_warning() -> None:
    assert asked(**{"linkspan.publish-from": "10.0.0.0/8"})[1] == (
        "limited sources have no effect: no port is published",
    )
    with pytest.raises(InvalidRequest, match="is not a network"):
        asked("80/tcp", **{"linkspan.publish-from": "somewhere"})


def test_all_ports_of_one_address_fit_into_a_body() -> None:
    body = create_body(range(1, 65536))
    assert len(body) < JSON_LIMIT
    assert len(ports.bindings(decode(body, ContainerCreate).host_config.port_bindings)) == 65535


def test_ten_thousand_ports_are_read_without_a_pause() -> None:
    """The bound is ten times what it takes: other tests run at the same time."""
    body = create_body(range(10000, 20000))
    start = time.perf_counter()
    create = decode(body, ContainerCreate)
    found = ports.bindings(create.host_config.port_bindings), ports.exposed(create.exposed_ports)
    assert time.perf_counter() - start < 0.5
    assert [len(each) for each in found] == [10000, 10000]


def create_body(wanted: range) -> bytes:
    return msgspec.json.encode(
        {
            "Image": "busybox",
            "Cmd": None,
            "ExposedPorts": {f"{port}/tcp": {} for port in wanted},
            "HostConfig": {
                "PortBindings": {f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}] for port in wanted}
            },
        }
    )


# Shown


def view(
    *publications: Publication,
    exposed: tuple[str, ...] = (),
    mode: NetworkMode | None = None,
    status: ContainerState | None = None,
) -> ContainerView:
    """A running container on the default network."""
    spec = ContainerSpec(image="busybox", exposed_ports=exposed, network_mode=mode or NetworkMode())
    network = Network(id="0" * 64, name="bridge", driver="bridge", created=1.0)
    attached = AttachedNetwork(network=network, request=EndpointRequest(network="0" * 64))
    return ContainerView(
        container=Container(id="c" * 64, name="web", created=1.0, image_id="sha256:b", spec=spec),
        state=status or ContainerState(status="running", pid=1, started=1.0),
        image=None,
        image_config=ImageConfig(exposed_ports=("443/tcp",)),
        networks=(attached,),
        publications=publications,
    )


def publication(address: str, host_port: int, port: int, count: int = 1, protocol: Transport = "tcp") -> Publication:
    return Publication(protocol=protocol, address=ip_address(address), host_port=host_port, port=port, count=count)


def inspected(shown: ContainerView) -> object:
    settings = containers.inspect(shown, version=NEWEST)["NetworkSettings"]
    return settings["Ports"] if isinstance(settings, dict) else None


def listed(shown: ContainerView) -> object:
    return containers.summary(shown, now=2.0, version=NEWEST)["Ports"]


def test_every_host_address_has_an_entry_and_an_exposed_port_has_none() -> None:
    web = view(publication("0.0.0.0", 8080, 80), publication("::", 8080, 80), publication("127.0.0.1", 9, 53, 1, "udp"))
    assert inspected(web) == {
        "443/tcp": None,
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
        "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "9"}],
    }
    assert listed(web) == [
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"IP": "127.0.0.1", "PrivatePort": 53, "PublicPort": 9, "Type": "udp"},
        {"PrivatePort": 443, "Type": "tcp"},
    ]


def test_a_range_is_shown_port_by_port() -> None:
    web = view(publication("0.0.0.0", 9000, 8000, 3), exposed=("8001/tcp",))
    assert inspected(web) == {
        "443/tcp": None,
        "8001/tcp": [{"HostIp": "0.0.0.0", "HostPort": "9001"}],
        "8000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "9000"}],
        "8002/tcp": [{"HostIp": "0.0.0.0", "HostPort": "9002"}],
    }


def test_a_routed_port_has_no_port_on_the_host() -> None:
    web = view(publication("0.0.0.0", 0, 80))
    assert inspected(web) == {"443/tcp": None, "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}]}
    assert listed(web) == [{"PrivatePort": 80, "Type": "tcp"}, {"PrivatePort": 443, "Type": "tcp"}]


@pytest.mark.parametrize("kind", ["host", "none", "container"])
def test_a_container_without_a_bridge_network_of_its_own_shows_no_ports(kind: str) -> None:
    mode = msgspec.convert({"kind": kind, "raw": kind}, NetworkMode)
    assert inspected(view(publication("0.0.0.0", 80, 80), mode=mode)) == {}
    assert listed(view(publication("0.0.0.0", 80, 80), mode=mode)) == []


def test_a_stopped_container_shows_what_was_asked_for_only_as_its_definition() -> None:
    web = view(exposed=("80/tcp",), status=ContainerState(status="exited", started=1.0, finished=2.0))
    assert (inspected(web), listed(web)) == ({}, [])


def test_published_ports_go_through_the_whole_api() -> None:
    async def story() -> None:
        async with serving() as served:
            bindings = {"80/tcp": [{"HostIp": "[::1]", "HostPort": "8080"}], "81/tcp": [{"HostPort": "9000-9100"}]}
            await served.create("web", Cmd=["sleep", "60"], HostConfig={"PortBindings": bindings})
            await served.call("POST", "/containers/web/start")
            found = msgspec.convert((await served.call("GET", "/containers/web/json")).json(), dict[str, object])
        host = msgspec.convert(found["HostConfig"], dict[str, object])
        settings = msgspec.convert(found["NetworkSettings"], dict[str, object])
        assert host["PortBindings"] == {
            "80/tcp": [{"HostIp": "::1", "HostPort": "8080"}],
            "81/tcp": [{"HostIp": "", "HostPort": "9000-9100"}],
        }
        assert settings["Ports"] == {
            "80/tcp": [{"HostIp": "::1", "HostPort": "8080"}],
            "81/tcp": [{"HostIp": "0.0.0.0", "HostPort": "9000"}, {"HostIp": "::", "HostPort": "9000"}],
        }

    asyncio.run(story())


def test_a_refusal_is_one_sentence_with_its_status() -> None:
    async def story() -> None:
        async with serving() as served:
            body = b'{"Image": "busybox", "HostConfig": {"PortBindings": {"80/sctp": null}}}'
            reply = await served.call("POST", "/containers/create", body)
        assert (reply.status, reply.message) == (
            501,
            "port 80/sctp cannot be published; only tcp and udp ports can be",
        )
        assert issubclass(NotSupported, LinkspanError)

    asyncio.run(story())
