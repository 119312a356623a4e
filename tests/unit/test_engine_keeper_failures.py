"""A keeper that fails in the middle of things: all or nothing, and nothing stays taken."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_house import House
from linkspan.errors import KeeperFailure
from linkspan.keeper.face import Relay
from linkspan.model.container import Container, PortBinding
from linkspan.model.endpoint import EndpointRequest

WEB = PortBinding(port=80, host_port="8080")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as opened:
        opened.network("web", "10.5.0.0/24")
        yield opened
        opened.check()


def started(house: House, name: str) -> Container:
    container = house.container(name, "web", publish=[WEB])
    house.enter(container)
    return container


@pytest.mark.parametrize("call", range(4))
def test_a_start_that_the_keeper_cuts_short_leaves_the_port_to_others(house: House, call: int) -> None:
    unlucky = house.container("unlucky", "web", publish=[WEB])
    house.keeper.fail_at(call)
    with pytest.raises(KeeperFailure):
        house.enter(unlucky)
    house.check()
    started(house, "lucky")


@pytest.mark.parametrize("call", range(4))
def test_a_connection_that_the_keeper_cuts_short_leaves_all_as_it_was(house: House, call: int) -> None:
    house.network("inner", "10.6.0.0/24", internal=True)
    container = house.container("box", "inner", publish=[WEB])
    house.enter(container)
    house.keeper.fail_at(call)
    with pytest.raises(KeeperFailure):
        house.connect("web", container)
    house.check()
    house.connect("web", container)


def test_a_bridge_that_came_with_a_start_is_known_though_the_start_failed(house: House) -> None:
    container = house.container("box", "bridge", publish=[WEB])
    house.keeper.fail_at(0)
    with pytest.raises(KeeperFailure):
        house.enter(container)
    house.check()


def test_a_start_is_undone_whole_though_the_keeper_stays_away(house: House) -> None:
    before = house.live()
    friend = house.container("friend", "web")
    house.container("box", EndpointRequest(network="web", links=("friend",)))
    house.keeper.down = True
    with pytest.raises(KeeperFailure):
        house.enter(friend)
    house.keeper.down = False
    assert house.live() == before
    house.check()


def test_who_ends_while_there_is_no_keeper_gives_everything_back(house: House) -> None:
    friend = started(house, "friend")
    box = house.container("box", EndpointRequest(network="web", links=("friend",)))
    house.enter(box)
    house.keeper.down = True
    house.leave(friend)
    house.keeper.down = False
    assert house.intent.sandbox_of(friend.id) is None
    house.reopen()


def test_a_port_that_the_keeper_does_not_release_in_time_is_nobodys(house: House) -> None:
    container = started(house, "box")
    house.keeper.fail_at(1)  # after the end of the answering
    house.leave(container)
    house.check()
    started(house, "next")


def test_who_was_disconnected_has_no_address_left_though_the_keeper_fails_then(house: House) -> None:
    container = started(house, "box")
    house.network("other", "10.6.0.0/24")
    house.connect("other", container)
    house.keeper.fail_at(0)
    house.disconnect("other", container)
    house.reopen()


def test_a_rename_that_the_keeper_refuses_did_not_happen(house: House) -> None:
    container = started(house, "box")
    house.keeper.fail_at(0)
    with pytest.raises(KeeperFailure):
        house.run(house.sandboxes.rename(container.id, "crate"))
    assert house.intent.container(container.id).name == "box"


def test_a_failed_connection_does_not_bring_back_a_name_that_was_given_up_meanwhile(house: House) -> None:
    container = started(house, "box")
    house.network("other", "10.6.0.0/24")
    house.keeper.fail_at(0)

    async def story() -> None:
        connecting = asyncio.create_task(
            house.networks.connect("other", container.id, EndpointRequest(network="other"))
        )
        await asyncio.sleep(0)
        await house.sandboxes.rename(container.id, "crate")
        with pytest.raises(KeeperFailure):
            await connecting

    house.run(story())
    assert house.intent.container(container.id).name == "crate"


def test_names_of_a_network_that_went_while_nobody_looked_are_forgotten(house: House) -> None:
    house.keeper.hosts["gone"] = {}
    house.reopen()
    assert "gone" not in house.keeper.zones()


def test_who_ends_while_the_daemon_comes_back_leaves_nothing(house: House) -> None:
    first, second = started(house, "first"), house.container("second", "web")
    house.enter(second)

    async def story() -> None:
        resuming = asyncio.create_task(house.networking.resume())
        await asyncio.sleep(0)
        await asyncio.gather(house.sandboxes.leave(first.id), house.sandboxes.leave(second.id))
        await resuming

    house.run(story())
    house.check()
    started(house, "next")


def test_a_relay_that_a_daemon_did_not_live_to_change_is_changed_by_the_next(house: House) -> None:
    started(house, "box")
    wanted = dict(house.keeper.relays)
    key = next(key for key, relay in wanted.items() if relay is not None)
    house.keeper.relays[key] = Relay(target="10.5.0.99", port=80)
    house.reopen()
    assert house.keeper.relays == wanted


def test_the_folder_of_a_sandbox_that_nobody_knows_is_swept_away(house: House) -> None:
    container = started(house, "box")
    sandbox = house.intent.sandbox_of(container.id)
    assert sandbox is not None
    left = house.files.folder(sandbox).parent / "0123456789ab"
    left.mkdir()
    (left / "hosts").touch()
    house.reopen()
    assert not left.exists()
    assert house.files.folder(sandbox).exists()
