"""What endpoints ask for by driver options and link-local addresses, and who stands in the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_house import House
from linkspan.errors import Conflict, InvalidRequest
from linkspan.kernel.state import Address, Element, Sysctl, Veth
from linkspan.model.container import Container
from linkspan.model.endpoint import EndpointRequest
from linkspan.plan.sandbox import namespace_of

INTERFACE = "com.docker.network.endpoint.ifname"
SYSCTLS = "com.docker.network.endpoint.sysctls"
HOST_INTERFACE = "linkspan.endpoint.host_ifname"
ANTI_SPOOFING = "linkspan.anti_spoofing"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as house:
        house.network("web", "10.5.0.0/24")
        house.network("back", "10.6.0.0/24")
        yield house


def asking(network: str, **options: str) -> EndpointRequest:
    keys = {"name": INTERFACE, "host": HOST_INTERFACE, "sysctls": SYSCTLS, "guard": ANTI_SPOOFING}
    return EndpointRequest(network=network, driver_options={keys[key]: value for key, value in options.items()})


def started(house: House, name: str, *requests: EndpointRequest | str) -> Container:
    container = house.container(name, *requests)
    house.enter(container)
    return container


def veths(house: House) -> dict[str, Veth]:
    return {item.name: item for item in house.live().values() if isinstance(item, Veth)}


def guarded(house: House) -> set[str]:
    elements = [item for item in house.live().values() if isinstance(item, Element)]
    return {item.item[0] for item in elements if item.family == "bridge" and item.set == "guarded"}


def namespace(house: House, container: Container) -> str:
    sandbox = house.intent.sandbox_owned_by(container.id)
    assert sandbox is not None
    return namespace_of(sandbox)


def test_interfaces_get_the_names_that_were_chosen_on_both_sides(house: House) -> None:
    started(house, "box", asking("web", name="lan0", host="box-lan0"), "back")
    assert veths(house)["box-lan0"].peer_name == "lan0"
    assert sorted(item.peer_name for item in veths(house).values()) == ["eth0", "lan0"]
    house.check()


def test_a_made_up_name_avoids_those_that_are_chosen(house: House) -> None:
    box = started(house, "box", "web", asking("back", name="eth0"))
    names = {item.network_id: item.interface for item in house.intent.endpoints.values()}
    assert names == {house.intent.network("web").id: "eth1", house.intent.network("back").id: "eth0"}
    assert len(veths(house)) == 2
    house.disconnect("web", box)
    house.connect("web", box)
    assert {item.peer_name for item in veths(house).values()} == {"eth0", "eth1"}


def test_a_name_that_the_sandbox_has_is_refused_naming_its_network(house: House) -> None:
    box = started(house, "box", "web")
    with pytest.raises(Conflict) as refusal:
        house.connect("back", box, asking("back", name="eth0"))
    assert str(refusal.value) == (
        "interface name eth0 is taken in container box by its endpoint on network web; "
        "choose another name for one of them"
    )
    house.check()


def test_a_name_on_the_host_is_refused_naming_the_container_that_has_it(house: House) -> None:
    started(house, "box", asking("web", host="shared0"))
    other = house.container("other", asking("back", host="shared0"))
    with pytest.raises(Conflict, match="host interface name shared0 is taken by container box on network web"):
        house.enter(other)
    house.check()


def test_a_name_on_the_host_is_refused_within_one_container_too(house: House) -> None:
    box = house.container("box", asking("web", host="shared0"), asking("back", host="shared0"))
    with pytest.raises(Conflict, match="host interface name shared0 is taken by this container on network web"):
        house.enter(box)
    house.check()


def test_a_name_on_the_host_that_is_a_bridge_s_is_refused_naming_the_network(house: House) -> None:
    bridge = house.intent.network("back").bridge
    assert bridge is not None
    box = house.container("box", asking("web", host=bridge.bridge_name))
    with pytest.raises(Conflict, match=f"{bridge.bridge_name} is taken by the bridge of network back"):
        house.enter(box)


def test_a_name_on_the_host_that_somebody_else_has_is_refused_by_the_kernel(house: House) -> None:
    house.kernel.foreign.add(("link", "", "wan0"))
    box = house.container("box", asking("web", host="wan0"))
    with pytest.raises(Conflict, match=r"cannot create veth wan0 .*; remove that or choose another name"):
        house.enter(box)
    house.check()
    assert guarded(house) == set()


def test_a_chosen_name_on_the_host_is_free_as_soon_as_its_container_ended(house: House) -> None:
    box = started(house, "box", asking("web", host="box-lan0"))
    house.leave(box)
    assert house.kernel.discarded == {}
    started(house, "other", asking("web", host="box-lan0"))
    house.check()


def test_sysctls_are_written_for_the_interface_under_its_name(house: House) -> None:
    box = started(house, "box", asking("web", name="lan0", sysctls="net.ipv4.conf.IFNAME.log_martians=1"))
    found = [item for item in house.live().values() if isinstance(item, Sysctl) and item.link == "lan0"]
    assert (
        Sysctl(namespace=namespace(house, box), link="lan0", path="net/ipv4/conf/lan0/log_martians", value="1") in found
    )


def test_a_person_s_sysctl_goes_before_ours(house: House) -> None:
    house.network("six", ipv6=True)
    started(house, "box", asking("six", sysctls="net.ipv6.conf.IFNAME.accept_ra=2"))
    found = [item.value for item in house.live().values() if isinstance(item, Sysctl) and "eth0/accept_ra" in item.path]
    assert found == ["2"]


def test_ipv6_cannot_be_switched_off_where_the_network_gives_it(house: House) -> None:
    house.network("six", ipv6=True)
    with pytest.raises(InvalidRequest, match="disable_ipv6 contradicts network six"):
        house.container("box", asking("six", sysctls="net.ipv6.conf.IFNAME.disable_ipv6=1"))


def test_an_endpoint_with_the_guard_off_is_not_guarded(house: House) -> None:
    started(house, "box", asking("web", host="box-lan0"))
    started(house, "vpn", asking("web", host="vpn-lan0", guard="false"))
    assert guarded(house) == {"box-lan0"}


def test_a_link_local_address_is_one_more(house: House) -> None:
    box = started(house, "box", EndpointRequest(network="web", link_local=("169.254.1.9",)))
    found = {item.address for item in house.live().values() if isinstance(item, Address) and item.namespace}
    assert found == {f"{house.addresses(box)[0]}/24", "169.254.1.9/16"}


def test_a_link_local_address_is_given_to_one_at_a_time(house: House) -> None:
    started(house, "box", EndpointRequest(network="web", link_local=("169.254.1.9",)))
    other = house.container("other", EndpointRequest(network="web", link_local=("169.254.1.9",)))
    with pytest.raises(Conflict, match=r"169\.254\.1\.9 is taken on network web by container box"):
        house.enter(other)
    started(house, "third", EndpointRequest(network="back", link_local=("169.254.1.9",)))
    house.check()


def test_options_outlive_a_restart_of_the_daemon(house: House) -> None:
    started(house, "box", asking("web", name="lan0", host="box-lan0", guard="false"))
    house.reopen()
    assert veths(house)["box-lan0"].peer_name == "lan0"
    house.check()
