"""The intent: memory never says more than the disk, and things are found by what people call them."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec
import pytest

from linkspan.engine.intent import Intent
from linkspan.errors import Conflict, InvalidRequest, NotFound, StoreFailure
from linkspan.model.container import Container, ContainerSpec, ContainerState
from linkspan.model.endpoint import Endpoint, EndpointRequest
from linkspan.model.image import ImageConfig
from linkspan.model.network import Network
from linkspan.model.sandbox import Sandbox
from linkspan.model.volume import Volume
from linkspan.store import Store

NETWORK = Network(id="n" + "0" * 63, name="web", driver="bridge", created=1.0)
BOX = Container(id="ab" + "0" * 62, name="box", created=1.0, image_id="i", spec=ContainerSpec(image="busybox"))
OTHER = msgspec.structs.replace(BOX, id="ac" + "0" * 62, name="other")
SANDBOX = Sandbox(id="s1", owner=BOX.id, owner_name="box", hostname="h", members=frozenset({BOX.id, OTHER.id}))


def endpoint(identity: str, interface: str) -> Endpoint:
    return Endpoint(
        id=identity,
        network_id=NETWORK.id,
        sandbox_id="s1",
        request=EndpointRequest(network=NETWORK.id),
        interface=interface,
        host_interface=f"veth{identity}",
        mac="02:00:00:00:00:01",
    )


@pytest.fixture
def intent(tmp_path: Path) -> Iterator[Intent]:
    store = Store.open(tmp_path)
    yield Intent(store)
    store.close()


def everything(intent: Intent) -> list[object]:
    nouns = ("networks", "containers", "states", "sandboxes", "endpoints", "volumes", "image_configs")
    return [dict(getattr(intent, noun)) for noun in nouns]


def test_what_was_committed_is_there_after_a_restart(intent: Intent) -> None:
    intent.commit(
        put=[NETWORK, BOX, SANDBOX, endpoint("e1", "eth0"), Volume(name="data", created=1.0)],
        states={BOX.id: ContainerState(status="running", pid=7)},
        image_configs={BOX.id: ImageConfig(user="nobody")},
    )
    assert everything(Intent(intent.store)) == everything(intent)
    assert intent.container("box") == BOX
    intent.commit(drop=[NETWORK, BOX, SANDBOX, endpoint("e1", "eth0"), Volume(name="data", created=1.0)])
    assert everything(Intent(intent.store)) == everything(intent) == [{}] * 7


def test_a_commit_that_the_store_refuses_changes_neither_memory_nor_disk(
    intent: Intent, monkeypatch: pytest.MonkeyPatch
) -> None:
    intent.commit(put=[BOX, SANDBOX], states={BOX.id: ContainerState()})
    before = everything(intent)

    def refuse(*_: object) -> None:
        raise StoreFailure("the disk is full")

    monkeypatch.setattr(intent.store.image_configs, "put", refuse)
    with pytest.raises(StoreFailure):
        intent.commit(
            put=[NETWORK, msgspec.structs.replace(BOX, name="renamed")],
            drop=[SANDBOX],
            states={BOX.id: ContainerState(status="running")},
            image_configs={BOX.id: ImageConfig()},
        )
    assert everything(intent) == before == everything(Intent(intent.store))
    assert intent.container_named("renamed") is None
    assert intent.container_named("box") == BOX


def test_a_network_takes_its_cursors_along(intent: Intent) -> None:
    intent.commit(put=[NETWORK])
    intent.store.cursors.put(NETWORK.id, ip_network("10.0.0.0/24"), ip_address("10.0.0.7"))
    intent.commit(drop=[NETWORK])
    assert intent.store.cursors.all() == ()


def test_things_are_found_by_name_id_and_unique_prefix(intent: Intent) -> None:
    intent.commit(put=[NETWORK, BOX, OTHER])
    for reference in ("box", BOX.id, "ab", "/box"):
        assert intent.container(reference) == BOX
    for reference in ("web", NETWORK.id, "n0"):
        assert intent.network(reference) == NETWORK
    with pytest.raises(InvalidRequest, match="multiple IDs found"):
        intent.container("a")
    for reference in ("nobody", "", "B"):
        with pytest.raises(NotFound, match="No such container"):
            intent.container(reference)
    with pytest.raises(NotFound, match="network x not found"):
        intent.network("x")


def test_a_name_wins_over_a_prefix(intent: Intent) -> None:
    named = msgspec.structs.replace(OTHER, name="ab")
    intent.commit(put=[BOX, named])
    assert intent.container("ab") == named


def test_a_renamed_container_gives_its_name_free(intent: Intent) -> None:
    intent.commit(put=[BOX])
    intent.commit(put=[msgspec.structs.replace(BOX, name="new")])
    intent.check_container_name("box")
    with pytest.raises(Conflict, match='"/new" is already in use by container "ab0') as refusal:
        intent.check_container_name("new")
    assert refusal.value.whose == BOX.id


def test_a_name_that_went_to_another_container_stays_with_it(intent: Intent) -> None:
    intent.commit(put=[BOX])
    intent.commit(put=[msgspec.structs.replace(BOX, name="new")])
    heir = msgspec.structs.replace(OTHER, name="box")
    intent.commit(put=[heir])
    intent.commit(drop=[BOX])  # as it was before the rename
    assert intent.container_named("box") == heir


def test_sandboxes_are_known_by_owner_and_by_member(intent: Intent) -> None:
    intent.commit(put=[BOX, OTHER, SANDBOX])
    assert intent.sandbox_owned_by(BOX.id) == intent.sandbox_of(OTHER.id) == SANDBOX
    assert intent.sandbox_owned_by(OTHER.id) is None
    assert intent.sandbox_of("nobody") is None


def test_a_removed_owner_is_called_by_its_last_name(intent: Intent) -> None:
    intent.commit(put=[SANDBOX])
    assert intent.name_of(BOX.id) == "box"
    assert intent.name_of(OTHER.id) == OTHER.id[:12]


def test_endpoints_come_in_the_order_of_their_interfaces(intent: Intent) -> None:
    names = ("eth10", "eth2", "eth0")
    intent.commit(put=[endpoint(f"e{index}", name) for index, name in enumerate(names)])
    assert [item.interface for item in intent.endpoints_in("s1")] == ["eth0", "eth2", "eth10"]
    assert len(intent.endpoints_on(NETWORK.id)) == 3
    assert intent.endpoints_on("other") == []


def test_a_container_without_a_state_is_a_fresh_one(intent: Intent) -> None:
    assert intent.state("nobody") == ContainerState()
