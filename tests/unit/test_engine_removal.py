"""The ends of containers: removed, waited for, and cleaned up although something refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_lives import Lives, at_once, quick_lives
from linkspan.errors import (
    CommandNotFound,
    Conflict,
    NotFound,
    RuntimeFailure,
    StoreFailure,
)
from linkspan.model.container import Container, RestartPolicy

ALWAYS = RestartPolicy(name="always")


@pytest.fixture
def lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lives]:
    with quick_lives(tmp_path, monkeypatch) as opened:
        yield opened


# --- removal ----------------------------------------------------------------------------------------------------------


def test_a_running_container_is_removed_by_force_alone(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.start(box)
    with pytest.raises(Conflict, match="container is running") as refusal:
        lives.rm(box)
    assert refusal.value.whose == box.id
    lives.rm(box, force=True)
    assert lives.status(box) == "gone"
    assert lives.told()[-3:] == ["kill", "die", "destroy"]


def test_with_rm_a_container_goes_when_it_ends(lives: Lives) -> None:
    box = lives.create("box", "web", auto_remove=True)
    lives.start(box)
    lives.runtime.end(box.id, 0)
    lives.until(box, "gone")
    assert lives.told()[-2:] == ["die", "destroy"]


def test_removing_while_it_ends_is_done_once(lives: Lives) -> None:
    box = lives.create("box", "web", auto_remove=True)
    lives.start(box)
    lives.runtime.end(box.id, 0)
    removals = [lives.containers.remove(box.id, force=True, volumes=True) for _ in range(3)]
    assert at_once(lives, *removals) == [None, None, None]
    assert lives.told().count("destroy") == 1


def test_removing_by_force_while_it_starts_removes_it(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.runtime.slow_start = 0.01

    async def remove_soon() -> None:
        await asyncio.sleep(0.005)
        await lives.containers.remove(box.id, force=True, volumes=False)

    assert at_once(lives, lives.containers.start(box.id), remove_soon()) == [None, None]
    assert lives.status(box) == "gone"


def test_removing_while_it_starts_is_refused(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.runtime.slow_start = 0.01

    async def remove_soon() -> None:
        await asyncio.sleep(0.005)
        await lives.containers.remove(box.id, force=False, volumes=False)

    _, refusal = at_once(lives, lives.containers.start(box.id), remove_soon())
    assert isinstance(refusal, Conflict)
    assert lives.status(box) == "running"


def test_removing_the_owner_leaves_the_sandbox_to_its_partner(lives: Lives) -> None:
    owner = lives.create("owner", "web")
    partner = lives.create("partner", owner=owner)
    lives.start(owner)
    lives.start(partner)
    lives.run(lives.containers.rename(owner.id, "renamed"))
    before = lives.live()
    lives.rm(owner, force=True)
    assert lives.live() == before
    assert lives.intent.name_of(owner.id) == "renamed"
    lives.stop(partner)
    assert not lives.intent.sandboxes


def test_a_removal_that_fails_half_way_can_be_repeated(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.roots.refuse = [RuntimeFailure("the root is busy")]
    with pytest.raises(RuntimeFailure):
        lives.rm(box)
    assert lives.status(box) == "removing"
    for deed in (lives.containers.start(box.id), lives.containers.restart(box.id, timeout=None)):
        with pytest.raises(Conflict, match="marked for removal"):
            lives.run(deed)
    lives.rm(box)
    assert lives.status(box) == "gone"


def test_prune_removes_what_does_not_run(lives: Lives) -> None:
    running, stopped = lives.create("running", "web"), lives.create("stopped", "web")
    lives.start(running)
    pruned = lives.run(lives.containers.prune({}))
    assert (pruned.deleted, pruned.reclaimed) == ((stopped.id,), 10)


def test_a_name_is_free_after_a_rename(lives: Lives) -> None:
    first = lives.create("first", "web")
    lives.run(lives.containers.rename(first.id, "second"))
    other = lives.create("first", "web")
    with pytest.raises(Conflict, match="already in use"):
        lives.run(lives.containers.rename(other.id, "second"))
    lives.rm(first)
    assert lives.intent.container("first") == other


def test_a_create_that_fails_leaves_nothing(lives: Lives) -> None:
    lives.roots.refuse = [RuntimeFailure("the disk is full")]
    with pytest.raises(RuntimeFailure):
        lives.create("box", "web")
    assert not lives.intent.containers
    lives.create("box", "web")


# --- wait -------------------------------------------------------------------------------------------------------------


def test_waiting_for_the_next_exit_begins_before_the_start(lives: Lives) -> None:
    box = lives.create("box", "web")

    async def story() -> int:
        waiting = lives.containers.wait(box.id, "next-exit")
        await lives.containers.start(box.id)
        lives.runtime.end(box.id, 7)
        return await waiting

    assert lives.run(story()) == 7


def test_waiting_until_it_does_not_run_is_over_at_once_for_one_that_does_not(lives: Lives) -> None:
    box = lives.create("box", "web")
    assert at_once(lives, wait_for(lives, box, "not-running")) == [0]
    lives.start(box)
    lives.runtime.end(box.id, 5)
    lives.until(box, "exited")
    assert at_once(lives, wait_for(lives, box, "not-running")) == [5]


async def wait_for(lives: Lives, box: Container, condition: str) -> int:
    return await lives.containers.wait(box.id, condition)  # type: ignore[arg-type]


def test_waiting_until_it_does_not_run_outlasts_restarts_and_the_next_exit_does_not(lives: Lives) -> None:
    box = lives.create("box", "web", restart=ALWAYS)
    lives.start(box)

    async def story() -> tuple[int, int]:
        stopped, exited = lives.containers.wait(box.id, "not-running"), lives.containers.wait(box.id, "next-exit")
        lives.runtime.end(box.id, 1)
        first = await exited
        await lives.eventually(lambda: lives.state(box).restart_count == 1, "started again")
        await lives.containers.stop(box.id, timeout=None)
        return first, await stopped

    assert lives.run(story()) == (1, 143)


def test_waiting_for_the_removal_ends_after_all_is_clean(lives: Lives) -> None:
    box = lives.create("box", "web", auto_remove=True)

    async def story() -> int:
        waiting = lives.containers.wait(box.id, "removed")
        await lives.containers.start(box.id)
        lives.runtime.end(box.id, 9)
        code = await waiting
        assert box.id not in lives.intent.containers
        assert not lives.intent.sandboxes
        return code

    assert lives.run(story()) == 9


def test_waiting_for_the_removal_ends_when_the_start_fails(lives: Lives) -> None:
    box = lives.create("box", "web", auto_remove=True)
    lives.runtime.refuse["create"] = [CommandNotFound("no such file")]

    async def story() -> int:
        waiting = lives.containers.wait(box.id, "removed")
        with pytest.raises(CommandNotFound):
            await lives.containers.start(box.id)
        return await waiting

    assert lives.run(story()) == 127


def test_nobody_waits_for_what_does_not_exist(lives: Lives) -> None:
    with pytest.raises(NotFound):
        lives.containers.wait("nobody", "removed")


# --- when cleaning up fails -------------------------------------------------------------------------------------------


def test_an_end_is_told_and_the_rest_cleaned_up_although_the_runtime_refuses(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.start(box)
    lives.runtime.refuse["delete"] = [RuntimeFailure("it does not end")]
    lives.runtime.end(box.id, 4)
    lives.until(box, "exited")
    assert not lives.roots.mounted
    assert not lives.intent.sandboxes
    lives.run(lives.runtime.delete(box.id))


def test_an_end_that_cannot_be_written_down_is_written_down_later(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = lives.create("box", "web")
    lives.start(box)
    refused = []
    original = lives.intent.commit

    def commit(**records: object) -> None:
        if len(refused) < 3 and "states" in records:
            refused.append(records)
            raise StoreFailure("the disk is full")
        original(**records)  # type: ignore[arg-type]

    monkeypatch.setattr(lives.intent, "commit", commit)
    lives.runtime.end(box.id, 4)
    lives.until(box, "exited")
    assert len(refused) == 3
    assert lives.told().count("die") == 1
