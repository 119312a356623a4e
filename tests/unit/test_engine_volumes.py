"""Volumes: named folders that nobody loses by accident."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_lives import Lives
from linkspan.engine import volumes as volumes_module
from linkspan.errors import Conflict, InvalidRequest, NotFound, StoreFailure
from linkspan.model.container import Container, ContainerSpec, Mount, NetworkMode


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    with Lives(tmp_path) as opened:
        yield opened
        opened.check_lives()


def make(lives: Lives, name: str = "", **labels: str) -> str:
    return lives.run(lives.volumes.create(name, "local", labels, {})).volume.name


def user_of(lives: Lives, name: str, *mounts: Mount, volumes: tuple[str, ...] = ()) -> Container:
    spec = ContainerSpec(
        image="busybox", network_mode=NetworkMode(kind="none", raw="none"), mounts=mounts, volumes=volumes
    )
    return lives.intent.containers[lives.run(lives.containers.create(name, spec)).id]


def test_a_volume_is_a_folder_and_is_there_after_a_restart(lives: Lives) -> None:
    make(lives, "data", tier="front")
    folder = lives.volumes.path("data")
    (folder / "file").write_text("kept")
    lives.reopen()
    assert lives.volumes.get("data").volume.labels == {"tier": "front"}
    assert (lives.volumes.path("data") / "file").read_text() == "kept"


def test_creating_it_again_gives_the_same_one(lives: Lives) -> None:
    make(lives, "data", tier="front")
    assert lives.run(lives.volumes.create("data", "", {"tier": "back"}, {})).volume.labels == {"tier": "front"}


@pytest.mark.parametrize("name", ["a", "../x", "-x", "a/b", ".removed"])
def test_a_bad_name_is_refused(lives: Lives, name: str) -> None:
    with pytest.raises(InvalidRequest):
        make(lives, name)


@pytest.mark.parametrize("name", ["x" * 256, "../x"])
def test_a_definition_with_a_bad_name_leaves_no_volume(lives: Lives, name: str) -> None:
    with pytest.raises(InvalidRequest):
        user_of(lives, "box", Mount(kind="volume", source=name, target="/data"))
    assert lives.volumes.list({}) == ()
    assert lives.run(lives.volumes.prune({"all": ("true",)})).deleted == ()


def test_other_drivers_and_options_are_refused(lives: Lives) -> None:
    with pytest.raises(NotFound, match="nfs"):
        lives.run(lives.volumes.create("data", "nfs", {}, {}))
    with pytest.raises(InvalidRequest, match="device"):
        lives.run(lives.volumes.create("data", "local", {}, {"device": "/dev/sda"}))


def test_a_volume_in_use_names_its_users(lives: Lives) -> None:
    make(lives, "data")
    user_of(lives, "box", Mount(kind="volume", source="data", target="/data"))
    with pytest.raises(Conflict, match="volume is in use by box"):
        lives.run(lives.volumes.remove("data", force=True))


def test_removing_takes_the_files_along(lives: Lives) -> None:
    make(lives, "data")
    (lives.volumes.path("data") / "file").write_text("x")
    lives.run(lives.volumes.remove("data", force=False))
    assert not lives.volumes.path("data").parent.exists()
    with pytest.raises(NotFound, match="get data: no such volume"):
        lives.run(lives.volumes.remove("data", force=False))
    lives.run(lives.volumes.remove("data", force=True))


def test_a_new_volume_of_the_name_is_not_deleted_with_the_old_one(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(lives, "data")
    (lives.volumes.path("data") / "old").write_text("x")
    go_on = threading.Event()
    original = volumes_module.shutil.rmtree

    def slow(path: Path, ignore_errors: bool = False) -> None:
        go_on.wait(5)
        original(path, ignore_errors)

    monkeypatch.setattr(volumes_module.shutil, "rmtree", slow)

    async def story() -> None:
        removing = asyncio.create_task(lives.volumes.remove("data", force=False))
        await asyncio.sleep(0.01)
        await lives.volumes.create("data", "", {}, {})
        (lives.volumes.path("data") / "new").write_text("y")
        go_on.set()
        await removing

    lives.run(story())
    assert [item.name for item in lives.volumes.path("data").iterdir()] == ["new"]


def test_what_a_removal_left_is_deleted_at_the_next_start(lives: Lives) -> None:
    left = lives.volumes.path(volumes_module.TRASH).parent / "ab12"
    left.mkdir(parents=True)
    lives.volumes.empty_trash()
    assert not left.exists()


def test_a_removal_that_was_not_written_down_before_the_daemon_died_did_not_happen(lives: Lives) -> None:
    make(lives, "data")
    (lives.volumes.path("data") / "file").write_text("kept")
    folder = lives.volumes.path("data").parent
    aside = folder.parent / volumes_module.TRASH / "ab12" / "data"
    aside.parent.mkdir(parents=True)
    folder.rename(aside)
    lives.volumes.empty_trash()
    assert (lives.volumes.path("data") / "file").read_text() == "kept"


def test_a_removal_that_cannot_be_written_down_leaves_the_files(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    make(lives, "data")
    (lives.volumes.path("data") / "file").write_text("kept")

    def full(**_: object) -> None:
        raise StoreFailure("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(lives.intent, "commit", full)
        with pytest.raises(StoreFailure):
            lives.run(lives.volumes.remove("data", force=False))
    assert (lives.volumes.path("data") / "file").read_text() == "kept"


def test_a_definition_makes_the_volumes_that_it_names(lives: Lives) -> None:
    box = user_of(lives, "box", Mount(kind="volume", source="data", target="/data"), volumes=("/cache",))
    named, anonymous = box.spec.mounts
    assert (named.source, anonymous.anonymous, len(anonymous.source)) == ("data", True, 64)
    assert set(lives.intent.volumes) == {"data", anonymous.source}
    assert lives.volumes.users(anonymous.source) == ("box",)


def test_a_create_that_fails_takes_its_volumes_back_and_no_others(lives: Lives) -> None:
    make(lives, "mine")
    lives.roots.refuse = [Conflict("no")]
    with pytest.raises(Conflict):
        user_of(
            lives,
            "box",
            Mount(kind="volume", source="mine", target="/a"),
            Mount(kind="volume", source="fresh", target="/b"),
        )
    assert set(lives.intent.volumes) == {"mine"}


@pytest.mark.parametrize(("volumes", "left"), [(True, {"data"}), (False, {"data", "anonymous"})])
def test_removing_a_container_may_take_its_anonymous_volumes_along(lives: Lives, volumes: bool, left: set[str]) -> None:
    box = user_of(lives, "box", Mount(kind="volume", source="data", target="/data"), volumes=("/cache",))
    lives.run(lives.containers.remove(box.id, force=False, volumes=volumes))
    found = {"anonymous" if volume.anonymous else volume.name for volume in lives.intent.volumes.values()}
    assert found == left


def test_prune_takes_anonymous_ones_and_with_all_the_named_ones_too(lives: Lives) -> None:
    anonymous, _ = make(lives), make(lives, "data")
    make(lives, "kept", keep="yes")
    user_of(lives, "box", Mount(kind="volume", source="used", target="/data"))
    assert lives.run(lives.volumes.prune({})).deleted == (anonymous,)
    assert lives.run(lives.volumes.prune({"all": ["true"], "label!": ["keep"]})).deleted == ("data",)
    assert set(lives.intent.volumes) == {"kept", "used"}


def test_volumes_are_listed_by_filters(lives: Lives) -> None:
    make(lives, "data", tier="front")
    user_of(lives, "box", Mount(kind="volume", source="used", target="/data"))

    def found(**wanted: str) -> list[str]:
        return [view.volume.name for view in lives.volumes.list({key: [text] for key, text in wanted.items()})]

    assert found() == ["data", "used"]
    assert found(dangling="true") == ["data"]
    assert found(dangling="false") == ["used"]
    assert found(name="dat") == ["data"]
    assert found(label="tier=front") == ["data"]
    assert found(driver="nfs") == []
    with pytest.raises(InvalidRequest):
        found(colour="red")


def test_usage_counts_bytes_and_users(lives: Lives) -> None:
    make(lives, "data")
    (lives.volumes.path("data") / "file").write_bytes(b"x" * 9000)
    (view,) = lives.volumes.usage()
    assert view.size >= 8192
    assert view.references == 0
