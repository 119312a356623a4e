"""Sandboxes: who enters and leaves, what they claim, where the default route goes, and nothing left after a failure."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from engine_house import House
from linkspan.errors import (
    Conflict,
    InvalidRequest,
    KernelFailure,
    LinkspanError,
    NotFound,
    RuntimeFailure,
    StoreFailure,
)
from linkspan.kernel.state import Route
from linkspan.model.container import Container, NetworkMode
from linkspan.model.endpoint import EndpointRequest
from linkspan.plan.sandbox import namespace_of


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as opened:
        yield opened
        opened.check()


def hosts_of(house: House, container: Container) -> str:
    sandbox = house.intent.sandbox_of(container.id)
    assert sandbox is not None
    return (house.files.folder(sandbox) / "hosts").read_text()


def refuse_store(house: House, times: int = 1) -> Callable[[], None]:
    """The next ``times`` transactions fail, as on a full disk. Returns how to undo it."""
    original = house.store.transaction
    left = [times]

    def transaction() -> object:
        if left[0]:
            left[0] -= 1
            raise StoreFailure("cannot write: the disk is full")
        return original()

    house.store.transaction = transaction  # type: ignore[method-assign,assignment]
    return lambda: setattr(house.store, "transaction", original)


# --- coming and going ---------------------------------------------------------------------------------------------


def test_the_last_one_out_takes_the_sandbox_with_it(house: House) -> None:
    container = house.container("box", house.network("web").id)
    before = house.live()
    house.enter(container)
    assert house.live() != before
    sandbox = house.intent.sandbox_of(container.id)
    house.leave(container)
    assert house.live() == before
    assert sandbox is not None
    assert not house.files.folder(sandbox).exists()


def test_the_default_bridge_comes_with_its_first_container_and_stays_over_a_restart(house: House) -> None:
    container = house.container("box", "bridge")
    assert ("link", "", "linkspan0") not in house.live()
    house.enter(container)
    house.leave(container)
    house.reopen()
    assert ("link", "", "linkspan0") in house.live()


def test_leaving_twice_or_without_having_entered_is_no_error(house: House) -> None:
    container = house.container("box", "bridge")
    house.leave(container)
    house.enter(container)

    async def story() -> None:
        await asyncio.gather(house.sandboxes.leave(container.id), house.sandboxes.leave(container.id))

    house.run(story())
    house.leave(container)


def test_an_address_is_not_given_again_at_once(house: House) -> None:
    container = house.container("box", house.network("web", "10.5.0.0/24").id)
    house.enter(container)
    house.leave(container)
    house.reopen()
    house.enter(container)
    assert house.addresses(container) == [ip_address("10.5.0.3")]


def test_a_container_without_a_network_has_a_namespace_and_nothing_else(house: House) -> None:
    container = house.container("box", "none", mode=NetworkMode(kind="none", raw="none"))
    house.enter(container)
    sandbox = house.intent.sandbox_of(container.id)
    assert sandbox is not None
    assert set(house.live()) == {("namespace", namespace_of(sandbox))}


def test_a_container_of_the_host_wants_nothing_of_the_kernel(house: House) -> None:
    container = house.container("box", "host", mode=NetworkMode(kind="host", raw="host"))
    house.enter(container)
    assert house.live() == {}
    sandbox = house.intent.sandbox_of(container.id)
    assert sandbox is not None
    assert house.files.namespace_path(sandbox) == ""
    assert sandbox.hostname == Path("/proc/sys/kernel/hostname").read_text().strip()


# --- partners -----------------------------------------------------------------------------------------------------


def test_a_partner_enters_the_sandbox_of_its_owner(house: House) -> None:
    owner = house.container("owner", house.network("web").id)
    partner = house.partner("partner", owner)
    house.enter(owner)
    house.enter(partner)
    assert house.intent.sandbox_of(owner.id) == house.intent.sandbox_of(partner.id)
    assert len(house.intent.sandboxes) == 1


def test_a_partner_started_alone_brings_up_its_owners_endpoints(house: House) -> None:
    owner = house.container("owner", house.network("web", "10.5.0.0/24").id)
    house.enter(house.partner("partner", owner))
    assert house.addresses(owner) == [ip_address("10.5.0.2")]


def test_an_owner_rejoins_the_sandbox_that_its_partner_kept(house: House) -> None:
    owner = house.container("owner", house.network("web").id)
    partner = house.partner("partner", owner)
    house.enter(owner)
    house.enter(partner)
    before, addresses = house.live(), house.addresses(owner)
    house.leave(owner)
    assert house.live() == before
    house.enter(owner)
    assert (house.live(), house.addresses(owner)) == (before, addresses)


def test_an_owner_and_its_partner_that_start_at_once_share_one_sandbox(house: House) -> None:
    owner = house.container("owner", house.network("web").id)
    partner = house.partner("partner", owner)

    async def story() -> None:
        await asyncio.gather(house.sandboxes.enter(owner), house.sandboxes.enter(partner))

    house.run(story())
    (sandbox,) = house.intent.sandboxes.values()
    assert sandbox.members == {owner.id, partner.id}


def test_a_partner_of_a_partner_is_in_the_same_sandbox(house: House) -> None:
    owner = house.container("owner", "bridge")
    middle = house.partner("middle", owner)
    house.enter(house.partner("last", middle))
    (sandbox,) = house.intent.sandboxes.values()
    assert sandbox.owner == owner.id


def test_containers_that_join_each_other_in_a_circle_are_refused(house: House) -> None:
    mode = NetworkMode(kind="container", raw="container:b", container="b" * 64)
    first = house.container("first", mode=mode)
    second = Container(id="b" * 64, name="second", created=0.0, image_id="", spec=house.partner("x", first).spec)
    house.intent.commit(put=[second])
    with pytest.raises(Conflict, match="joins the network of itself"):
        house.enter(first)


def test_a_removed_owner_leaves_the_sandbox_to_its_partner(house: House) -> None:
    request = EndpointRequest(network="web", ipv4=ip_address("10.5.0.9"))
    house.network("web", "10.5.0.0/24")
    owner = house.container("owner", request)
    partner = house.partner("partner", owner)
    house.enter(owner)
    house.enter(partner)
    before, hosts = house.live(), hosts_of(house, partner)
    house.leave(owner)
    house.remove(owner)
    assert house.live() == before
    assert hosts_of(house, partner) == hosts
    rival = house.container("rival", request)
    with pytest.raises(Conflict, match=r"10\.5\.0\.9 on network web is held by container owner"):
        house.enter(rival)
    house.leave(partner)
    assert not house.intent.sandboxes
    house.enter(rival)


def test_an_orphaned_sandbox_survives_a_restart_of_the_daemon(house: House) -> None:
    owner = house.container("owner", house.network("web").id)
    partner = house.partner("partner", owner)
    house.enter(owner)
    house.enter(partner)
    house.leave(owner)
    house.remove(owner)
    before = house.live()
    house.reopen()
    house.check()
    assert house.live() == before
    late = house.partner("late", owner)
    house.enter(late)
    house.leave(late)
    house.leave(partner)
    assert not house.intent.sandboxes


def test_a_partner_of_a_removed_container_is_told_so(house: House) -> None:
    owner = house.container("owner", "bridge")
    partner = house.partner("partner", owner)
    house.remove(owner)
    for attempt in (house.enter, house.networking.previews.start):
        with pytest.raises(Conflict, match="container that was removed"):
            attempt(partner)


def test_a_partner_that_waits_while_its_owner_is_removed_is_told_so(house: House) -> None:
    owner = house.container("owner", "bridge")
    partner = house.partner("partner", owner)
    house.enter(owner)

    async def story() -> object:
        leaving = asyncio.create_task(house.sandboxes.leave(owner.id))
        await asyncio.sleep(0)
        entering = asyncio.create_task(house.sandboxes.enter(partner))
        await asyncio.sleep(0)
        house.intent.commit(drop=[owner])
        await leaving
        return (await asyncio.gather(entering, return_exceptions=True))[0]

    assert isinstance(house.run(story()), Conflict)


# --- addresses ----------------------------------------------------------------------------------------------------


def test_a_static_address_is_passed_over_while_its_container_is_stopped(house: House) -> None:
    house.network("web", "10.5.0.0/29")
    house.container("fixed", EndpointRequest(network="web", ipv4=ip_address("10.5.0.3")))
    given = []
    for index in range(4):
        container = house.container(f"box{index}", "web")
        house.enter(container)
        given += house.addresses(container)
    assert given == [ip_address(f"10.5.0.{last}") for last in (2, 4, 5, 6)]
    with pytest.raises(Conflict, match="no free IPv4 address"):
        house.enter(house.container("late", "web"))


def test_two_definitions_may_name_an_address_and_one_of_them_runs(house: House) -> None:
    house.network("web", "10.5.0.0/24")
    request = EndpointRequest(network="web", ipv4=ip_address("10.5.0.9"))
    first, second = house.container("first", request), house.container("second", request)
    assert "already named by container first" in house.sandboxes.reserve(second)[0]
    house.enter(first)
    with pytest.raises(Conflict, match="held by container first"):
        house.enter(second)
    house.leave(first)
    house.enter(second)


def test_what_was_claimed_before_a_refusal_is_given_back(house: House) -> None:
    house.network("one", "10.1.0.0/24", ipv6=True)
    house.network("two", "10.2.0.0/24")
    request = EndpointRequest(network="two", ipv4=ip_address("10.2.0.9"))
    house.enter(house.container("holder", request))
    with pytest.raises(Conflict, match="held by container holder"):
        house.enter(house.container("box", "one", request))


def test_a_bridge_takes_no_more_ports_than_linux_allows(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linkspan.engine.claims.MOST_PORTS", 1)
    house.network("web")
    house.enter(house.container("first", "web"))
    with pytest.raises(Conflict, match="as many as a Linux bridge takes"):
        house.enter(house.container("second", "web"))


# --- connect and disconnect ---------------------------------------------------------------------------------------


def test_connecting_a_running_container_gives_it_the_next_interface(house: House) -> None:
    house.network("one")
    house.network("two")
    container = house.container("box", "one")
    house.enter(container)
    house.connect("two", container)
    sandbox = house.intent.sandbox_of(container.id)
    assert sandbox is not None
    assert [item.interface for item in house.intent.endpoints_in(sandbox.id)] == ["eth0", "eth1"]
    house.disconnect("one", container)
    house.connect("one", container)
    networks = {item.interface: item.network_id for item in house.intent.endpoints_in(sandbox.id)}
    assert networks["eth0"] == house.intent.network("one").id


def test_a_connected_network_belongs_to_the_definition(house: House) -> None:
    house.network("one")
    house.network("two", "10.2.0.0/24")
    container = house.container("box", "one")
    house.enter(container)
    house.connect("two", container, EndpointRequest(network="two", ipv4=ip_address("10.2.0.9")))
    house.leave(container)
    house.reopen()
    house.enter(container)
    assert ip_address("10.2.0.9") in house.addresses(container)


def test_a_stopped_container_is_connected_in_its_definition_alone(house: House) -> None:
    house.network("web")
    container = house.container("box", "bridge")
    house.connect("web", container)
    assert not house.intent.endpoints
    house.enter(container)
    assert len(house.addresses(container)) == 2


def test_connecting_the_stopped_owner_reaches_the_partner_that_runs(house: House) -> None:
    house.network("one")
    house.network("two")
    owner = house.container("owner", "one")
    house.enter(house.partner("partner", owner))
    house.connect("two", owner)
    assert len(house.addresses(owner)) == 2


def test_without_the_network_of_the_default_route_it_moves_to_the_other(house: House) -> None:
    house.network("alpha", ipv6=True)
    house.network("beta")
    container = house.container("box", "alpha", "beta")
    house.enter(container)
    assert house.default_routes(container) == {"0.0.0.0/0": "eth0", "::/0": "eth0"}
    house.disconnect("alpha", container)
    assert house.default_routes(container) == {"0.0.0.0/0": "eth1"}
    house.disconnect("beta", container)
    assert house.default_routes(container) == {}


def test_a_network_of_higher_gateway_priority_takes_the_default_route(house: House) -> None:
    house.network("alpha")
    house.network("beta")
    house.network("gamma")
    container = house.container("box", "alpha")
    house.enter(container)
    house.connect("beta", container)
    assert house.default_routes(container) == {"0.0.0.0/0": "eth0"}
    house.connect("gamma", container, EndpointRequest(network="gamma", gateway_priority=1))
    assert house.default_routes(container) == {"0.0.0.0/0": "eth2"}
    house.disconnect("gamma", container)
    assert house.default_routes(container) == {"0.0.0.0/0": "eth0"}


def test_an_internal_network_never_has_the_default_route(house: House) -> None:
    house.network("vault", internal=True)
    container = house.container("box", "vault")
    house.enter(container)
    assert not [item for item in house.live().values() if isinstance(item, Route)]


def test_an_orphaned_sandbox_can_be_taken_off_a_network_by_force(house: House) -> None:
    owner = house.container("owner", house.network("web").id)
    partner = house.partner("partner", owner)
    house.enter(owner)
    house.enter(partner)
    house.leave(owner)
    house.remove(owner)
    with pytest.raises(NotFound):
        house.run(house.networks.disconnect("web", "owner", force=False))
    house.run(house.networks.disconnect("web", "owner", force=True))
    house.run(house.networks.remove("web"))


# --- failures -----------------------------------------------------------------------------------------------------


def every_failure(house: House, deed: Callable[[], None]) -> int:
    """Lets the kernel fail at each step of ``deed`` in turn, until it succeeds. Returns how often it failed."""
    before = (house.live(), dict(house.intent.sandboxes), dict(house.intent.endpoints), dict(house.intent.containers))
    for step in range(200):
        house.kernel.fail_at(step, errno.ENOMEM)
        try:
            deed()
        except KernelFailure:
            after = (house.live(), house.intent.sandboxes, house.intent.endpoints, house.intent.containers)
            assert after == before
            house.check()
        else:
            house.kernel._faults.clear()
            return step
    raise AssertionError("it fails for ever")


def test_wherever_the_kernel_fails_a_start_leaves_nothing(house: House) -> None:
    house.network("six", ipv6=True)
    container = house.container("box", "bridge", "six")
    assert every_failure(house, lambda: house.enter(container)) > 10
    assert len(house.addresses(container)) == 3


def test_wherever_the_kernel_fails_a_connect_leaves_everything_as_it_was(house: House) -> None:
    house.network("web", "10.5.0.0/24")
    house.network("other")
    container = house.container("box", "other")
    house.enter(container)
    hosts = hosts_of(house, container)
    request = EndpointRequest(network="web", ipv4=ip_address("10.5.0.9"), gateway_priority=5)
    house.kernel.fail_at(0, errno.ENOMEM)
    with pytest.raises(KernelFailure):
        house.connect("web", container, request)
    assert hosts_of(house, container) == hosts
    assert every_failure(house, lambda: house.connect("web", container, request)) > 2
    assert "10.5.0.9" in hosts_of(house, container)


def test_wherever_the_kernel_fails_a_disconnect_leaves_everything_as_it_was(house: House) -> None:
    house.network("alpha", ipv6=True)
    house.network("beta")
    container = house.container("box", "alpha", "beta")
    house.enter(container)
    assert every_failure(house, lambda: house.disconnect("alpha", container)) > 1


def test_when_the_kernel_fails_at_an_end_the_sandbox_is_whole_and_can_be_left_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.network("web", ipv6=True)
    container = house.container("box", "web")
    house.enter(container)
    before = house.live()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOBUFS, "No buffer space available")

    with monkeypatch.context() as patch:
        patch.setattr(house.kernel, "discard", refuse)
        with pytest.raises(KernelFailure):
            house.leave(container)
    assert house.live() == before
    house.check()
    house.leave(container)
    assert not house.intent.sandboxes


@pytest.mark.parametrize("deed", ["enter", "leave", "connect", "connect stopped", "disconnect"])
def test_when_the_store_cannot_be_written_nothing_happens(house: House, deed: str) -> None:
    house.network("web", "10.5.0.0/24")
    container = house.container("box", "bridge", *(["web"] if deed == "disconnect" else []))
    if deed in ("leave", "connect", "disconnect"):
        house.enter(container)
    request = EndpointRequest(network="web", ipv4=ip_address("10.5.0.9"))
    deeds: dict[str, Callable[[], None]] = {
        "enter": lambda: house.enter(container),
        "leave": lambda: house.leave(container),
        "connect": lambda: house.connect("web", container, request),
        "connect stopped": lambda: house.connect("web", container, request),
        "disconnect": lambda: house.disconnect("web", container),
    }
    before = (house.live(), dict(house.intent.sandboxes), dict(house.intent.endpoints), dict(house.intent.containers))
    refuse_store(house)
    with pytest.raises(StoreFailure):
        deeds[deed]()
    assert (house.live(), house.intent.sandboxes, house.intent.endpoints, house.intent.containers) == before
    house.check()
    deeds[deed]()


def test_when_a_file_cannot_be_written_a_start_leaves_nothing(house: House) -> None:
    house.network("web")
    container = house.container("box", "web")
    before = house.live()
    folder = house.config.exec_root / "sandboxes"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")
    with pytest.raises(RuntimeFailure, match="Not a directory"):
        house.enter(container)
    assert house.live() == before
    house.check()
    folder.unlink()
    house.enter(container)


def test_when_a_file_cannot_be_written_connect_and_disconnect_change_nothing(house: House) -> None:
    house.network("web", "10.5.0.0/24")
    house.network("other", "10.6.0.0/24")
    container = house.container("box", "web")
    house.enter(container)
    sandbox = house.intent.sandbox_of(container.id)
    assert sandbox is not None
    hosts = house.files.folder(sandbox) / "hosts"
    text = hosts.read_text()
    hosts.unlink()
    hosts.mkdir()
    request = EndpointRequest(network="other", ipv4=ip_address("10.6.0.9"))
    before = (house.live(), dict(house.intent.containers), dict(house.intent.endpoints))
    for deed in (lambda: house.connect("other", container, request), lambda: house.disconnect("web", container)):
        with pytest.raises(RuntimeFailure, match="Is a directory"):
            deed()
        assert (house.live(), house.intent.containers, house.intent.endpoints) == before
        house.check()
    hosts.rmdir()
    house.connect("other", container, request)
    house.disconnect("web", container)
    assert "10.6.0.9" in hosts.read_text()
    assert text.splitlines()[0] == hosts.read_text().splitlines()[0]


# --- dry runs -----------------------------------------------------------------------------------------------------


def test_a_preview_leaves_the_book_the_intent_and_the_kernel_as_they_were(house: House) -> None:
    house.network("web", "10.5.0.0/24")
    container = house.container("box", "web", EndpointRequest(network="bridge"))
    before = (house.live(), dict(house.intent.sandboxes), dict(house.intent.endpoints))
    scopes, names = house.networking.previews.start(container)
    assert {kind for kind, _ in scopes} == {"host", "network", "endpoint", "sandbox"}
    assert set(names.values()) == {
        "sandbox of box",
        "network web",
        "network bridge",
        "endpoint of box on web",
        "endpoint of box on bridge",
    }
    assert (house.live(), house.intent.sandboxes, house.intent.endpoints) == before
    house.check()
    house.enter(container)
    assert ip_address("10.5.0.2") in house.addresses(container), "the preview took no address"


def test_a_preview_that_is_refused_leaves_the_book_as_it_was(house: House) -> None:
    house.network("web", "10.5.0.0/24")
    request = EndpointRequest(network="web", ipv4=ip_address("10.5.0.9"))
    house.enter(house.container("holder", request))
    house.network("first", "10.6.0.0/24")
    container = house.container("box", "first", request)
    with pytest.raises(Conflict, match="held by container holder"):
        house.networking.previews.start(container)
    house.leave(house.intent.containers[house.intent.sandboxes[next(iter(house.intent.sandboxes))].owner])
    house.enter(container)
    assert ip_address("10.6.0.2") in house.addresses(container)


def test_a_preview_of_a_partner_whose_owner_runs_is_empty(house: House) -> None:
    owner = house.container("owner", "bridge")
    partner = house.partner("partner", owner)
    assert house.networking.previews.start(partner)[0]
    house.enter(owner)
    assert house.networking.previews.start(partner) == ({}, {})


# --- files --------------------------------------------------------------------------------------------------------


def test_the_hosts_file_follows_the_networks_in_place(house: House) -> None:
    house.network("one", "10.1.0.0/24")
    house.network("two", "10.2.0.0/24", ipv6=True)
    container = house.container("box", "one")
    house.enter(container)
    sandbox = house.intent.sandbox_of(container.id)
    assert sandbox is not None
    inode = (house.files.folder(sandbox) / "hosts").stat().st_ino
    assert f"10.1.0.2\t{container.id[:12]}\n" in hosts_of(house, container)
    house.connect("two", container)
    assert f"10.2.0.2\t{container.id[:12]}\n" in hosts_of(house, container)
    house.disconnect("one", container)
    assert "10.1.0.2" not in hosts_of(house, container)
    assert (house.files.folder(sandbox) / "hosts").stat().st_ino == inode
    assert (house.files.folder(sandbox) / "hostname").read_text() == f"{container.id[:12]}\n"


def test_a_definition_with_an_address_outside_is_refused_whole(house: House) -> None:
    house.network("one", "10.1.0.0/24")
    house.network("two", "10.2.0.0/24")
    good = EndpointRequest(network="one", ipv4=ip_address("10.1.0.9"))
    bad = EndpointRequest(network="two", ipv4=ip_address("10.9.0.9"))
    with pytest.raises(InvalidRequest, match=r"10\.9\.0\.9"):
        house.container("box", good, bad)
    house.check()


def test_all_refusals_are_one_sentence(house: House) -> None:
    house.network("web", "10.5.0.0/24")
    container = house.container("box", "web")
    for refused in (lambda: house.connect("web", container), lambda: house.run(house.networks.remove("bridge"))):
        with pytest.raises(LinkspanError) as refusal:
            refused()
        assert "\n" not in str(refusal.value)
        assert not str(refusal.value).endswith(".")
