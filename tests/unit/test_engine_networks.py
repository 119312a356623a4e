"""Networks: made and removed whole or not at all, named once, apart from each other, and held by those who use them."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec
import pytest

from engine_house import FACTS, House
from linkspan.errors import Conflict, Forbidden, InvalidRequest, KernelFailure, NotFound, NotSupported
from linkspan.kernel.state import Table
from linkspan.model.container import NetworkMode
from linkspan.model.endpoint import EndpointRequest
from linkspan.model.network import NetworkRequest, PoolRequest


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as opened:
        yield opened
        opened.check()


def names(house: House) -> set[str]:
    return {network.name for network in house.intent.networks.values()}


def test_three_networks_are_there_from_the_start_and_nothing_in_the_kernel(house: House) -> None:
    assert names(house) == {"bridge", "host", "none"}
    assert house.live() == {}


def test_a_network_has_its_bridge_and_its_gateway_at_once(house: House) -> None:
    network = house.network("web", "10.5.0.0/24")
    link = network.bridge.bridge_name if network.bridge else ""
    assert ("link", "", link) in house.live()
    assert ("address", "", link, "10.5.0.1/24") in house.live()


def test_a_network_is_there_again_after_a_restart(house: House) -> None:
    network = house.network("web", "10.5.0.0/24")
    before = house.live()
    house.reopen()
    assert house.intent.network("web") == network
    assert house.live() == before


def test_a_lost_bridge_is_made_again_at_the_next_start(house: House) -> None:
    network = house.network("web", "10.5.0.0/24")
    house.kernel.lose(("link", "", network.bridge.bridge_name if network.bridge else ""))
    house.reopen()
    house.check()


def test_a_name_is_taken_once(house: House) -> None:
    first = house.network("web")
    with pytest.raises(Conflict, match="network with name web already exists") as refusal:
        house.network("web")
    assert refusal.value.whose == first.id


@pytest.mark.parametrize("name", ["bridge", "host", "none", "default", "", "-x", "a b", "a/b"])
def test_a_bad_name_is_refused(house: House, name: str) -> None:
    with pytest.raises((Forbidden, InvalidRequest)):
        house.network(name)


def test_overlapping_subnets_are_refused_naming_the_network(house: House) -> None:
    house.network("web", "10.5.0.0/16")
    with pytest.raises(Forbidden, match="web"):
        house.network("other", "10.5.7.0/24")
    assert "other" not in names(house)


def test_automatic_subnets_keep_clear_of_the_hosts_routes_and_name_servers(house: House) -> None:
    house.routes = [(ip_network("172.18.0.0/24"), "eth0")]
    house.servers = [ip_address("172.19.1.1")]
    assert str(house.network("web").pools[0].subnet) == "172.20.0.0/16"


def test_two_networks_made_at_once_never_choose_the_same_subnet(house: House) -> None:
    async def story() -> None:
        await asyncio.gather(*(house.networks.create(NetworkRequest(name=f"n{index}")) for index in range(12)))

    house.run(story())
    subnets = [network.pools[0].subnet for network in house.intent.networks.values() if network.pools]
    assert len(set(subnets)) == len(subnets) == 13


def test_two_networks_of_one_name_made_at_once_become_one(house: House) -> None:
    async def story() -> list[object]:
        both = (house.networks.create(NetworkRequest(name="web")) for _ in range(2))
        return await asyncio.gather(*both, return_exceptions=True)

    assert sorted(type(outcome).__name__ for outcome in house.run(story())) == ["Conflict", "Created"]


@pytest.mark.parametrize("driver", ["host", "null"])
def test_a_second_host_or_null_network_is_refused(house: House, driver: str) -> None:
    with pytest.raises(Forbidden, match="only one instance"):
        house.run(house.networks.create(NetworkRequest(name="mine", driver=driver)))


def test_an_unknown_driver_is_refused(house: House) -> None:
    with pytest.raises(NotFound, match="macvlan"):
        house.run(house.networks.create(NetworkRequest(name="mine", driver="macvlan")))


def test_a_bridge_name_is_taken_once(house: House) -> None:
    options = {"com.docker.network.bridge.name": "br7"}
    house.run(house.networks.create(NetworkRequest(name="one", options=options)))
    with pytest.raises(Conflict, match="br7"):
        house.run(house.networks.create(NetworkRequest(name="two", options=options)))


def test_a_kernel_without_ipv6_refuses_an_ipv6_network_before_anything_happens(tmp_path: Path) -> None:
    with House(tmp_path, facts=msgspec.structs.replace(FACTS, ipv6=False)) as house:
        with pytest.raises(NotSupported, match="no IPv6"):
            house.network("six", ipv6=True)
        assert names(house) == {"bridge", "host", "none"}


def test_wherever_the_kernel_fails_a_create_leaves_nothing(house: House) -> None:
    for step in range(100):
        house.kernel.fail_at(step, errno.ENOMEM)
        try:
            house.network("web", "10.5.0.0/24", ipv6=True)
            break
        except KernelFailure:
            assert "web" not in names(house)
            assert house.live() == {}
            house.check()
    assert step > 5
    house.kernel._faults.clear()


def test_a_removed_network_leaves_nothing_in_the_kernel(house: House) -> None:
    house.network("web", ipv6=True)
    house.run(house.networks.remove("web"))
    assert house.live() == {}
    house.network("web", ipv6=True)


def test_the_table_stays_as_long_as_any_network_needs_it(house: House) -> None:
    house.network("web")
    house.network("other")
    house.run(house.networks.remove("web"))
    assert any(isinstance(item, Table) for item in house.live().values())


def test_when_the_kernel_refuses_a_removal_the_network_is_whole_again(house: House) -> None:
    container = house.container("box", house.network("web", "10.5.0.0/24").id)
    house.enter(container)
    house.leave(container)
    house.kernel.fail_at(0, errno.EBUSY)
    with pytest.raises(KernelFailure):
        house.run(house.networks.remove("web"))
    house.check()
    house.enter(container)
    assert house.addresses(container) == [ip_address("10.5.0.3")], "the cursor went on where it was"


def test_a_predefined_network_cannot_be_removed(house: House) -> None:
    for name in ("bridge", "host", "none"):
        with pytest.raises(Forbidden, match="pre-defined"):
            house.run(house.networks.remove(name))


def test_an_unknown_network_is_not_found(house: House) -> None:
    with pytest.raises(NotFound, match="network nowhere not found"):
        house.run(house.networks.remove("nowhere"))


def test_a_network_in_use_names_its_users(house: House) -> None:
    owner = house.container("owner", house.network("web").id)
    partner = house.partner("partner", owner)
    house.enter(partner)
    with pytest.raises(Forbidden, match=r"active endpoints \(partner\)") as refusal:
        house.run(house.networks.remove("web"))
    assert refusal.value.whose == owner.id
    house.enter(owner)
    with pytest.raises(Forbidden, match=r"\(owner, partner\)"):
        house.run(house.networks.remove("web"))


def test_a_stopped_container_does_not_hold_its_network(house: House) -> None:
    container = house.container("box", house.network("web").id)
    house.run(house.networks.remove("web"))
    with pytest.raises(NotFound, match="of container box not found"):
        house.enter(container)
    with pytest.raises(NotFound, match="of container box not found"):
        house.networking.previews.start(container)


def test_a_container_can_be_disconnected_from_a_network_that_was_removed(house: House) -> None:
    network = house.network("web")
    container = house.container("box", network.id)
    house.run(house.networks.remove("web"))
    house.disconnect(network.id[:12], container)
    house.enter(container)


def test_a_start_and_a_removal_at_once_leave_one_winner(house: House) -> None:
    for _ in range(5):
        container = house.container("box", house.network("web").id)

        async def story() -> list[object]:
            enter = house.sandboxes.enter(container)  # noqa: B023
            return await asyncio.gather(house.networks.remove("web"), enter, return_exceptions=True)

        removal, entry = house.run(story())
        assert isinstance(removal, Forbidden) != isinstance(entry, NotFound)
        house.check()
        house.remove(container)
        if "web" in names(house):
            house.run(house.networks.remove("web"))


def test_a_network_that_is_being_created_is_removed_when_it_is_there(house: House) -> None:
    async def story() -> None:
        creating = asyncio.create_task(house.networks.create(NetworkRequest(name="web")))
        await asyncio.sleep(0)
        await asyncio.gather(creating, house.networks.remove("web"))

    house.run(story())
    assert "web" not in names(house)
    assert house.live() == {}


def test_nobody_joins_a_network_whose_creation_may_yet_fail(house: House) -> None:
    container = house.container("box", "bridge")
    house.enter(container)

    async def story() -> list[object]:
        creating = asyncio.create_task(house.networks.create(NetworkRequest(name="web")))
        await asyncio.sleep(0)
        connecting = house.networks.connect("web", container.id, EndpointRequest(network="web"))
        return await asyncio.gather(creating, connecting, return_exceptions=True)

    house.kernel.fail_at(0, errno.ENOMEM)
    creation, connection = house.run(story())
    assert isinstance(creation, KernelFailure)
    assert isinstance(connection, NotFound)
    house.check()


def test_a_network_made_while_a_removal_fails_does_not_take_the_place_of_what_comes_back(house: House) -> None:
    house.network("web", ipv6=True)

    async def story() -> list[object]:
        removal, creation = house.networks.remove("web"), house.networks.create(NetworkRequest(name="web"))
        return await asyncio.gather(removal, creation, return_exceptions=True)

    house.kernel.fail_at(0, errno.EBUSY)
    assert [type(item) for item in house.run(story())] == [KernelFailure, Conflict]


def test_prune_removes_what_no_definition_names(house: House) -> None:
    house.container("box", house.network("used").id)
    house.network("idle")
    assert house.run(house.networks.prune({})).deleted == ("idle",)
    assert names(house) == {"bridge", "host", "none", "used"}


def test_prune_looks_at_labels_and_age(house: House) -> None:
    house.run(house.networks.create(NetworkRequest(name="keep", labels={"a": "b"})))
    house.network("young")
    assert house.run(house.networks.prune({"label!": ["a=b"], "until": ["24h"]})).deleted == ()
    assert house.run(house.networks.prune({"label!": ["a=b"]})).deleted == ("young",)
    with pytest.raises(InvalidRequest, match="invalid filter 'name'"):
        house.run(house.networks.prune({"name": ["x"]}))


def test_networks_are_listed_by_filters(house: House) -> None:
    house.run(house.networks.create(NetworkRequest(name="web", labels={"tier": "front"})))
    container = house.container("box", house.network("busy").id)
    house.enter(container)

    def found(**wanted: str) -> set[str]:
        return {view.network.name for view in house.networks.list({key: [text] for key, text in wanted.items()})}

    assert found(driver="bridge") == {"bridge", "busy", "web"}
    assert found(type="custom") == {"busy", "web"}
    assert found(type="builtin") == {"bridge", "host", "none"}
    assert found(name="we") == {"web"}
    assert found(label="tier=front") == {"web"}
    assert found(dangling="true") == {"web"}
    assert found(id=house.intent.network("web").id[:9]) == {"web"}
    assert found(scope="swarm") == set()
    with pytest.raises(InvalidRequest, match="invalid filter 'colour'"):
        found(colour="red")


def test_inspect_shows_members_and_how_full_the_subnet_is(house: House) -> None:
    container = house.container("box", house.network("web", "10.5.0.0/29").id)
    house.enter(container)
    view = house.networks.get("web")
    assert [(item.container_id, item.name) for item in view.members] == [(container.id, "box")]
    assert [(item.subnet, item.capacity, item.in_use) for item in view.usage] == [("10.5.0.0/29", 5, 1)]


def test_a_network_is_found_by_a_unique_prefix_of_its_id(house: House) -> None:
    network = house.network("web")
    assert house.networks.get(network.id[:16]).network == network


# --- connect and disconnect ---------------------------------------------------------------------------------------


def test_connecting_twice_is_refused(house: House) -> None:
    container = house.container("box", house.network("web").id)
    for running in (False, True):
        if running:
            house.enter(container)
        with pytest.raises(Forbidden, match="already connected to network web"):
            house.connect("web", container)


def test_connecting_twice_at_once_makes_one_endpoint(house: House) -> None:
    container = house.container("box", "bridge")
    house.network("web")
    house.enter(container)

    async def story() -> list[object]:
        request = EndpointRequest(network="web")
        both = (house.networks.connect("web", container.id, request) for _ in range(2))
        return await asyncio.gather(*both, return_exceptions=True)

    outcomes = house.run(story())
    assert [type(outcome) for outcome in outcomes] == [type(None), Forbidden]
    assert len(house.addresses(container)) == 2


def test_a_partner_cannot_be_connected(house: House) -> None:
    house.network("web")
    owner = house.container("owner", "bridge")
    with pytest.raises(Forbidden, match="sharing network namespace") as refusal:
        house.connect("web", house.partner("partner", owner))
    assert refusal.value.remedy == "connect owner instead"


def test_a_container_of_the_host_cannot_be_connected(house: House) -> None:
    house.network("web")
    container = house.container("box", "host", mode=NetworkMode(kind="host", raw="host"))
    with pytest.raises(Forbidden, match="host network"):
        house.connect("web", container)
    with pytest.raises(Forbidden, match="host network"):
        house.disconnect("host", container)


def test_a_container_with_no_network_can_leave_that_and_be_connected(house: House) -> None:
    house.network("web")
    container = house.container("box", "none", mode=NetworkMode(kind="none", raw="none"))
    with pytest.raises(Forbidden, match=r"private \(none\) mode"):
        house.connect("web", container)
    house.disconnect("none", container)
    house.connect("web", container)
    house.enter(container)
    assert len(house.addresses(container)) == 1


def test_a_connected_container_cannot_be_put_on_none_too(house: House) -> None:
    with pytest.raises(Forbidden, match=r"private \(none\) mode"):
        house.connect("none", house.container("box", "bridge"))


def test_disconnecting_from_a_network_that_it_is_not_on_is_refused(house: House) -> None:
    house.network("web")
    with pytest.raises(Forbidden, match="box is not connected to network web"):
        house.disconnect("web", house.container("box", "bridge"))


def test_an_address_on_the_default_bridge_cannot_be_asked_for(house: House) -> None:
    request = EndpointRequest(network="bridge", ipv4=ip_address("172.17.0.9"))
    with pytest.raises(InvalidRequest, match="user defined networks only"):
        house.container("box", request)


def test_aliases_are_for_networks_that_people_made(house: House) -> None:
    with pytest.raises(InvalidRequest, match="alias"):
        house.container("box", EndpointRequest(network="bridge", aliases=("db",)))


@pytest.mark.parametrize("address", ["10.5.0.0", "10.5.0.1", "10.5.0.255", "10.6.0.1"])
def test_an_address_that_nobody_can_have_is_refused_and_nothing_is_booked(house: House, address: str) -> None:
    house.network("web", "10.5.0.0/24", ipv6=True)
    container = house.container("box", "bridge")
    request = EndpointRequest(network="web", ipv4=ip_address(address))
    for running in (False, True):
        if running:
            house.enter(container)
        with pytest.raises(InvalidRequest, match=address):
            house.connect("web", container, request)
        house.check()


def test_a_bad_ipv6_address_gives_the_ipv4_one_back(house: House) -> None:
    house.network("web", "10.5.0.0/24")
    container = house.container("box", "bridge")
    request = EndpointRequest(network="web", ipv4=ip_address("10.5.0.9"), ipv6=ip_address("fd00::9"))
    with pytest.raises(InvalidRequest, match="no IPv6 subnet"):
        house.connect("web", container, request)
    house.check()


def test_what_happens_is_told(house: House) -> None:
    container = house.container("box", "bridge")
    house.network("web")
    house.connect("web", container)
    house.disconnect("web", container)
    house.run(house.networks.remove("web"))
    told = [(event.action, event.attributes.get("container", "")) for event in house.events._past]
    assert told == [("create", ""), ("connect", container.id), ("disconnect", container.id), ("destroy", "")]


def test_a_plan_of_a_network_changes_nothing(house: House) -> None:
    steps = house.networks.plan_create(NetworkRequest(name="web", pools=(PoolRequest(subnet="10.5.0.0/24"),)))
    assert [step for step in steps if step.object.startswith("bridge br-")]
    assert all(step.action == "create" for step in steps)
    assert {step.scope for step in steps} == {"host", "network web"}
    assert house.live() == {}
