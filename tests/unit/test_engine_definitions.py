"""What ``create`` refuses, since it would fail at every start; and what a definition looks like when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from engine_house import House
from linkspan.engine import definitions
from linkspan.errors import InvalidRequest, LinkspanError, NotFound
from linkspan.model.container import ContainerSpec, Mount, NetworkMode, PortBinding
from linkspan.model.endpoint import EndpointRequest
from linkspan.model.image import ImageConfig


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as opened:
        opened.network("web", "10.5.0.0/24")
        yield opened


def settled(house: House, spec: ContainerSpec, name: str = "box") -> ContainerSpec:
    return definitions.settled(name, spec, house.intent, house.networks)


def on(*networks: str, mode: str = "web") -> ContainerSpec:
    requests = tuple(EndpointRequest(network=item) for item in networks)
    return ContainerSpec(image="busybox", network_mode=NetworkMode(raw=mode), endpoints=requests)


def joining(reference: str, **fields: object) -> ContainerSpec:
    mode = NetworkMode(kind="container", raw=f"container:{reference}", container=reference)
    return ContainerSpec(image="busybox", network_mode=mode, **fields)  # type: ignore[arg-type]


def test_the_default_network_is_the_bridge(house: House) -> None:
    bridge = house.intent.network("bridge").id
    for spec in (ContainerSpec(image="busybox"), on("default", mode="default"), on("bridge", mode="bridge")):
        assert [item.network for item in settled(house, spec).endpoints] == [bridge]


def test_networks_are_known_by_name_id_and_prefix_and_come_once(house: House) -> None:
    web = house.intent.network("web").id
    for reference in ("web", web, web[:12]):
        assert [item.network for item in settled(house, on(reference, mode="web")).endpoints] == [web]


def test_the_network_of_the_mode_comes_first(house: House) -> None:
    house.network("other")
    names = [house.intent.networks[item.network].name for item in settled(house, on("other", "web")).endpoints]
    assert names == ["web", "other"]


def test_the_wishes_for_the_first_network_are_kept(house: House) -> None:
    request = EndpointRequest(network="web", ipv4=ip_address("10.5.0.9"), aliases=("www",))
    spec = ContainerSpec(image="busybox", network_mode=NetworkMode(raw="web"), endpoints=(request,))
    (found,) = settled(house, spec).endpoints
    assert (found.ipv4, found.aliases) == (ip_address("10.5.0.9"), ("www",))


def test_a_container_without_networking_has_no_endpoints(house: House) -> None:
    assert settled(house, ContainerSpec(image="busybox", network_disabled=True)).endpoints == ()


def test_a_partner_names_its_owner_by_id_and_has_no_endpoints(house: House) -> None:
    owner = house.container("owner", "web")
    for reference in ("owner", owner.id, owner.id[:12]):
        spec = settled(house, joining(reference))
        assert (spec.network_mode.container, spec.endpoints) == (owner.id, ())
        assert spec.network_mode.raw == f"container:{owner.id}", "as Docker shows it"


def test_the_sandbox_of_a_removed_owner_can_still_be_joined_by_name(house: House) -> None:
    owner = house.container("owner", "web")
    partner = house.partner("partner", owner)
    house.enter(partner)
    house.remove(owner)
    assert settled(house, joining("owner")).network_mode.container == owner.id


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        (on("nowhere"), NotFound, "network nowhere not found"),
        (on(mode="nowhere"), NotFound, "network nowhere not found"),
        (joining("nobody"), NotFound, "No such container: nobody"),
        (joining("box"), InvalidRequest, "it is the container itself"),
        (joining("owner", hostname="a"), InvalidRequest, "hostname and the network mode"),
        (joining("owner", dns=("9.9.9.9",)), InvalidRequest, "dns and the network mode"),
        (joining("owner", dns_search=("a",)), InvalidRequest, "dns and the network mode"),
        (joining("owner", extra_hosts=("a:1.2.3.4",)), InvalidRequest, "custom host-to-IP mapping"),
        (joining("owner", links=("a",)), InvalidRequest, "links"),
        (joining("owner", endpoints=(EndpointRequest(network="web"),)), InvalidRequest, "connecting to networks"),
        (on("web", "host"), InvalidRequest, "cannot attach both"),
        (on("web", "none"), InvalidRequest, "cannot attach both"),
        (on("web", mode="host"), InvalidRequest, "cannot attach both"),
        (ContainerSpec(image="busybox", links=("owner:db",)), InvalidRequest, "cannot link to owner, as it does not"),
        (ContainerSpec(image="busybox", hostname="a b"), InvalidRequest, 'hostname "a b"'),
        (ContainerSpec(image="busybox", hostname="x" * 65), InvalidRequest, "not valid|longer"),
        (ContainerSpec(image="busybox", domainname="a..b"), InvalidRequest, "domain name"),
        (ContainerSpec(image="busybox", stop_signal="SIGNOPE"), InvalidRequest, "invalid signal: SIGNOPE"),
    ],
)
def test_what_can_never_start_is_refused_naming_the_value(
    house: House, spec: ContainerSpec, error: type[LinkspanError], words: str
) -> None:
    house.container("owner", "web")
    with pytest.raises(error, match=words):
        settled(house, spec)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (EndpointRequest(network="bridge", ipv4=ip_address("172.17.0.9")), "user defined networks only"),
        (EndpointRequest(network="bridge", aliases=("db",)), "user defined networks"),
        (EndpointRequest(network="none", mac="02:00:00:00:00:01"), "network none gives no addresses"),
        (EndpointRequest(network="web", aliases=("a b",)), 'network alias "a b"'),
        (EndpointRequest(network="web", driver_options={"com.docker.network.endpoint.ifnam": "x"}), "did you mean"),
        (EndpointRequest(network="none", driver_options={"linkspan.anti_spoofing": "no"}), "neither true nor false"),
        (EndpointRequest(network="none", driver_options={"linkspan.anti_spoofing": "false"}), "has no interface that"),
        (EndpointRequest(network="web", link_local=("fe80::9",)), "network web has no IPv6, so it cannot give fe80::9"),
        (EndpointRequest(network="web", link_local=("10.5.0.9",)), "10.5.0.9 is no link-local address"),
        (EndpointRequest(network="none", link_local=("169.254.1.9",)), "network none gives no addresses"),
    ],
)
def test_wishes_that_a_network_cannot_fulfil_are_refused(house: House, request_: EndpointRequest, words: str) -> None:
    mode = NetworkMode(raw=request_.network, kind="none" if request_.network == "none" else "bridge")
    spec = ContainerSpec(image="busybox", network_mode=mode, endpoints=(request_,))
    with pytest.raises(InvalidRequest, match=words):
        settled(house, spec)


@pytest.mark.parametrize("kind", ["host", "none"])
def test_ports_mean_nothing_without_a_network_of_ones_own(house: House, kind: str) -> None:
    mode = NetworkMode(kind=kind, raw=kind)  # type: ignore[arg-type]
    spec = ContainerSpec(image="busybox", network_mode=mode, port_bindings=(PortBinding(port=80),), publish_all=True)
    assert len(settled(house, spec).endpoints) == 1


def test_volumes_of_the_image_and_of_the_request_come_after_the_mounts_and_once() -> None:
    spec = ContainerSpec(
        image="busybox",
        mounts=(Mount(kind="bind", source="/srv", target="/data/"),),
        volumes=("/logs", "/data"),
    )
    mounts = definitions.with_volumes(spec, ImageConfig(volumes=("/logs/", "/cache")))
    assert [(mount.kind, mount.target, mount.anonymous) for mount in mounts] == [
        ("bind", "/data/", False),
        ("volume", "/logs", True),
        ("volume", "/cache", True),
    ]


def test_two_mounts_on_one_path_are_refused() -> None:
    mounts = (Mount(kind="tmpfs", target="/a"), Mount(kind="tmpfs", target="/a/"))
    with pytest.raises(InvalidRequest, match="Duplicate mount point: /a"):
        definitions.with_volumes(ContainerSpec(image="busybox", mounts=mounts), ImageConfig())
