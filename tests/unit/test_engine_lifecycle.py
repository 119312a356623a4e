"""The lives of containers: started, stopped, restarted, killed and removed, one at a time and all at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from pathlib import Path

import pytest

from engine_lives import Lives
from linkspan.engine import lifecycle
from linkspan.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    KernelFailure,
    LinkspanError,
    NotFound,
    NotModified,
    RuntimeFailure,
    StoreFailure,
)
from linkspan.model.container import Container, RestartPolicy

ALWAYS = RestartPolicy(name="always")
UNLESS_STOPPED = RestartPolicy(name="unless-stopped")
ON_FAILURE = RestartPolicy(name="on-failure", max_retries=2)


@pytest.fixture
def lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lives]:
    monkeypatch.setattr(lifecycle, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(lifecycle, "WRITE_AGAIN", 0.001)
    with Lives(tmp_path) as opened:
        opened.network("web", "10.5.0.0/24")
        yield opened
        opened.check_lives()


def at_once(lives: Lives, *stories: Coroutine[object, object, object]) -> list[object]:
    async def story() -> list[object]:
        async with asyncio.timeout(5):
            return await asyncio.gather(*stories, return_exceptions=True)

    return lives.run(story())


# --- start and stop -----------------------------------------------------------------------------------------------


def test_a_container_lives_and_ends(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.start(box)
    state = lives.state(box)
    assert (state.status, state.pid > 0, state.exit_code) == ("running", True, 0)
    assert lives.runtime.processes[box.id].started
    lives.runtime.end(box.id, 3)
    lives.until(box, "exited")
    state = lives.state(box)
    assert (state.pid, state.exit_code, state.finished > state.started > 0) == (0, 3, True)
    assert lives.told() == ["create", "start", "die"]


def test_stopping_sends_the_stop_signal_and_waits_until_all_is_clean(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.start(box)
    process = lives.runtime.processes[box.id]
    lives.stop(box)
    assert process.signals == [signal.SIGTERM]
    assert (lives.status(box), lives.state(box).exit_code) == ("exited", 143)
    assert not lives.intent.sandboxes
    assert lives.told()[-3:] == ["kill", "die", "stop"]


def test_a_process_that_does_not_listen_is_killed_after_the_timeout(lives: Lives) -> None:
    lives.runtime.deaf = frozenset({signal.SIGTERM})
    box = lives.create("box", "web", stop_timeout=0)
    lives.start(box)
    process = lives.runtime.processes[box.id]
    lives.stop(box)
    assert process.signals == [signal.SIGTERM, signal.SIGKILL]
    assert lives.state(box).exit_code == 137


def test_a_process_that_is_never_to_be_killed_is_waited_for(lives: Lives) -> None:
    lives.runtime.deaf = frozenset({signal.SIGTERM})
    box = lives.create("box", "web", stop_timeout=0)
    lives.start(box)
    process = lives.runtime.processes[box.id]

    async def end_later() -> None:
        await asyncio.sleep(0.02)
        lives.runtime.end(box.id, 0)

    at_once(lives, lives.containers.stop(box.id, timeout=-1), end_later())
    assert process.signals == [signal.SIGTERM]


def test_starting_and_stopping_twice_are_no_news(lives: Lives) -> None:
    box = lives.create("box", "web")
    with pytest.raises(NotModified):
        lives.stop(box)
    lives.start(box)
    with pytest.raises(NotModified):
        lives.start(box)
    lives.stop(box)
    with pytest.raises(NotModified):
        lives.stop(box)


def test_a_stop_that_comes_while_it_starts_stops_it(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.runtime.slow_start = 0.01

    async def stop_soon() -> None:
        await asyncio.sleep(0.005)
        await lives.containers.stop(box.id, timeout=None)

    assert at_once(lives, lives.containers.start(box.id), stop_soon()) == [None, None]
    assert lives.status(box) == "exited"


def test_many_starts_at_once_make_one_process(lives: Lives) -> None:
    box = lives.create("box", "web")
    outcomes = at_once(lives, *(lives.containers.start(box.id) for _ in range(4)))
    assert [type(item) for item in outcomes] == [type(None), NotModified, NotModified, NotModified]


def test_many_stops_at_once_all_return_when_it_has_ended(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.start(box)
    outcomes = at_once(lives, *(lives.containers.stop(box.id, timeout=None) for _ in range(3)))
    assert all(item is None or isinstance(item, NotModified) for item in outcomes)
    assert lives.status(box) == "exited"


def test_a_start_and_stop_storm_ends_in_one_of_both(lives: Lives) -> None:
    box = lives.create("box", "web")
    for _ in range(5):
        deeds = [lives.containers.start(box.id), lives.containers.stop(box.id, timeout=None)]
        deeds += [lives.containers.restart(box.id, timeout=None), lives.containers.kill(box.id, "")]
        at_once(lives, *deeds)
        assert lives.status(box) in ("running", "exited")
        lives.check_lives()


# --- starts that fail ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandNotFound("no such file"), 127),
        (CommandNotExecutable("permission denied"), 126),
        (RuntimeFailure("crun says no"), 128),
    ],
)
@pytest.mark.parametrize("verb", ["create", "start"])
def test_a_start_that_fails_leaves_nothing_but_its_reason(
    lives: Lives, error: LinkspanError, code: int, verb: str
) -> None:
    box = lives.create("box", "web")
    lives.runtime.refuse[verb] = [error]
    with pytest.raises(type(error)):
        lives.start(box)
    state = lives.state(box)
    assert (state.status, state.exit_code, state.error, state.pid) == ("created", code, str(error), 0)
    assert not lives.intent.sandboxes
    lives.check_lives()
    lives.start(box)
    assert (lives.state(box).exit_code, lives.state(box).error) == (0, "")


def test_a_start_that_the_kernel_refuses_leaves_nothing(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.kernel.fail_at(1, 12)
    with pytest.raises(KernelFailure):
        lives.start(box)
    assert lives.state(box).exit_code == 128
    lives.check_lives()


def test_a_start_that_the_disk_refuses_is_told_in_one_sentence(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.launching.refuse = [OSError(28, "No space left on device")]
    with pytest.raises(RuntimeFailure, match=r"container box cannot be started: .*No space left"):
        lives.start(box)
    lives.check_lives()


def test_with_rm_a_container_that_does_not_start_goes(lives: Lives) -> None:
    box = lives.create("box", "web", auto_remove=True)
    lives.runtime.refuse["start"] = [CommandNotFound("no such file")]
    with pytest.raises(CommandNotFound):
        lives.start(box)
    assert lives.status(box) == "gone"


def test_those_who_attached_before_the_start_hear_when_it_fails(lives: Lives) -> None:
    box = lives.create("box", "web")

    async def story() -> list[object]:
        futures = [lives.waiting.register(box.id) for _ in range(2)]
        with pytest.raises(RuntimeFailure):
            await lives.containers.start(box.id)
        return [await future for future in futures]

    lives.runtime.refuse["attach"] = [RuntimeFailure("conmon is gone")]
    assert lives.run(story()) == [None, None]


# --- restart ------------------------------------------------------------------------------------------------------


def test_a_restart_keeps_the_sandbox_and_its_addresses(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.start(box)
    before, addresses, sandboxes = lives.live(), lives.addresses(box), dict(lives.intent.sandboxes)
    steps = len(lives.kernel.journal)
    pid = lives.state(box).pid
    lives.run(lives.containers.restart(box.id, timeout=None))
    assert lives.state(box).pid != pid
    assert (lives.live(), lives.addresses(box), lives.intent.sandboxes) == (before, addresses, sandboxes)
    assert len(lives.kernel.journal) == steps, "the kernel was left alone"
    assert lives.told()[-4:] == ["kill", "die", "start", "restart"]


def test_restarting_a_stopped_container_starts_it(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.run(lives.containers.restart(box.id, timeout=None))
    assert lives.status(box) == "running"


def test_restarting_twice_at_once_leaves_one_process(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.start(box)
    outcomes = at_once(lives, *(lives.containers.restart(box.id, timeout=None) for _ in range(3)))
    assert outcomes == [None, None, None]
    assert lives.status(box) == "running"


def test_a_restart_that_fails_gives_the_sandbox_back(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.start(box)
    lives.runtime.refuse["start"] = [RuntimeFailure("crun says no")]
    with pytest.raises(RuntimeFailure):
        lives.run(lives.containers.restart(box.id, timeout=None))
    assert lives.status(box) == "exited"
    assert not lives.intent.sandboxes


def test_a_start_right_behind_a_restart_that_fails_has_a_sandbox(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.start(box)
    lives.runtime.refuse["start"] = [RuntimeFailure("crun says no")]
    lives.runtime.slow_start = 0.02

    async def start_soon() -> None:
        await asyncio.sleep(0.01)
        await lives.containers.start(box.id)

    outcomes = at_once(lives, lives.containers.restart(box.id, timeout=None), start_soon())
    assert isinstance(outcomes[0], RuntimeFailure)
    assert lives.status(box) == "running"


def test_a_restart_keeps_a_container_that_goes_when_it_ends(lives: Lives) -> None:
    box = lives.create("box", "web", auto_remove=True)
    lives.start(box)
    lives.run(lives.containers.restart(box.id, timeout=None))
    assert lives.status(box) == "running"
    lives.stop(box)
    assert lives.status(box) == "gone"


def test_a_restart_of_the_owner_is_not_noticed_by_its_partner(lives: Lives) -> None:
    owner = lives.create("owner", "web")
    partner = lives.create("partner", owner=owner)
    lives.start(owner)
    lives.start(partner)
    before = lives.live()
    lives.run(lives.containers.restart(owner.id, timeout=None))
    lives.stop(owner)
    assert lives.live() == before
    lives.start(owner)
    lives.stop(partner)
    assert lives.live() == before


# --- kill and pause -----------------------------------------------------------------------------------------------


def test_killing_returns_when_all_is_clean(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.start(box)
    lives.run(lives.containers.kill(box.id, ""))
    assert (lives.status(box), lives.state(box).exit_code) == ("exited", 137)
    with pytest.raises(Conflict, match="is not running"):
        lives.run(lives.containers.kill(box.id, ""))


def test_a_signal_that_ends_nothing_changes_nothing(lives: Lives) -> None:
    box = lives.create("box", "web", restart=ALWAYS)
    lives.start(box)
    lives.run(lives.containers.kill(box.id, "HUP"))
    assert lives.runtime.processes[box.id].signals == [signal.SIGHUP]
    lives.runtime.end(box.id, 1)
    lives.until_restarted(box, 1)


def test_a_killed_container_is_not_started_again_by_its_policy(lives: Lives) -> None:
    box = lives.create("box", "web", restart=ALWAYS)
    lives.start(box)
    lives.run(lives.containers.kill(box.id, "KILL"))
    assert lives.status(box) == "exited"
    lives.start(box)
    lives.run(lives.containers.kill(box.id, "TERM"))
    lives.until(box, "exited")


def test_a_paused_container_can_be_resumed_stopped_and_killed(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.start(box)
    lives.run(lives.containers.pause(box.id))
    assert lives.status(box) == "paused"
    with pytest.raises(Conflict, match="already paused"):
        lives.run(lives.containers.pause(box.id))
    with pytest.raises(Conflict, match="cannot start a paused container"):
        lives.start(box)
    lives.run(lives.containers.unpause(box.id))
    assert lives.status(box) == "running"
    with pytest.raises(Conflict, match="not paused"):
        lives.run(lives.containers.unpause(box.id))
    lives.run(lives.containers.pause(box.id))
    lives.stop(box)
    lives.start(box)
    lives.run(lives.containers.pause(box.id))
    lives.run(lives.containers.kill(box.id, "TERM"))
    lives.until(box, "exited")
    lives.start(box)
    lives.run(lives.containers.pause(box.id))
    lives.run(lives.containers.kill(box.id, "KILL"))
    assert lives.status(box) == "exited"


def test_a_paused_container_that_survives_its_stop_signal_runs(lives: Lives) -> None:
    lives.runtime.deaf = frozenset({signal.SIGTERM})
    box = lives.create("box", "web")
    lives.start(box)
    lives.run(lives.containers.pause(box.id))
    lives.run(lives.containers.kill(box.id, "TERM"))
    assert lives.status(box) == "running"


# --- restart policies ---------------------------------------------------------------------------------------------


def test_a_container_that_shall_always_run_runs_again_in_the_same_sandbox(lives: Lives) -> None:
    box = lives.create("box", "web", restart=ALWAYS)
    lives.start(box)
    addresses, steps = lives.addresses(box), len(lives.kernel.journal)
    for count in (1, 2, 3):
        lives.runtime.end(box.id, 0)
        lives.until_restarted(box, count)
        assert lives.addresses(box) == addresses
    assert len(lives.kernel.journal) == steps, "the kernel was left alone"


def test_the_wait_before_a_restart_doubles(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    original = lives.life._restart_later
    monkeypatch.setattr(
        lives.life,
        "_restart_later",
        lambda identity, state, *, delay: (waited.append(delay), original(identity, state, delay=0.0)),
    )
    box = lives.create("box", "web", restart=ALWAYS)
    lives.start(box)
    for count in range(1, 5):
        lives.runtime.end(box.id, 1)
        lives.until_restarted(box, count)
    assert waited == [0.001, 0.002, 0.004, 0.008]


def test_on_failure_tries_so_many_times_and_no_more(lives: Lives) -> None:
    box = lives.create("box", "web", restart=ON_FAILURE)
    lives.start(box)
    for count in (1, 2):
        lives.runtime.end(box.id, 1)
        lives.until_restarted(box, count)
    lives.runtime.end(box.id, 1)
    lives.until(box, "exited")
    assert not lives.intent.sandboxes


def test_on_failure_does_not_repeat_success(lives: Lives) -> None:
    box = lives.create("box", "web", restart=ON_FAILURE)
    lives.start(box)
    lives.runtime.end(box.id, 0)
    lives.until(box, "exited")


def test_a_stopped_container_stays_stopped_whatever_its_policy(lives: Lives) -> None:
    for policy in (ALWAYS, UNLESS_STOPPED, ON_FAILURE):
        box = lives.create(f"box-{policy.name}", "web", restart=policy)
        lives.start(box)
        lives.stop(box)
        assert lives.status(box) == "exited"


def test_a_container_that_waits_for_its_restart_can_be_stopped_killed_started_and_removed(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "FIRST_DELAY", 60.0)
    monkeypatch.setattr(lifecycle, "LONGEST_DELAY", 60.0)
    box = lives.create("box", "web", restart=ALWAYS)

    def fall() -> None:
        lives.start(box)
        lives.runtime.end(box.id, 1)
        lives.until(box, "restarting")
        lives.check_lives()

    fall()
    lives.stop(box)
    assert lives.status(box) == "exited"
    assert not lives.intent.sandboxes
    fall()
    lives.run(lives.containers.kill(box.id, "KILL"))
    assert lives.status(box) == "exited"
    fall()
    with pytest.raises(Conflict, match="is not running"):
        lives.run(lives.containers.kill(box.id, "HUP"))
    lives.start(box)
    assert lives.status(box) == "running"
    lives.stop(box)
    fall()
    lives.run(lives.containers.restart(box.id, timeout=None))
    assert lives.status(box) == "running"
    lives.stop(box)
    fall()
    with pytest.raises(Conflict, match="container is restarting"):
        lives.rm(box)
    lives.rm(box, force=True)
    assert lives.status(box) == "gone"


def test_a_restart_that_fails_is_tried_again(lives: Lives) -> None:
    box = lives.create("box", "web", restart=ALWAYS)
    lives.start(box)
    lives.runtime.refuse["create"] = [RuntimeFailure("not now"), RuntimeFailure("not yet")]
    lives.runtime.end(box.id, 1)
    lives.until_restarted(box, 3)


def test_on_failure_gives_up_when_restarts_fail(lives: Lives) -> None:
    box = lives.create("box", "web", restart=ON_FAILURE)
    lives.start(box)
    lives.runtime.refuse["create"] = [RuntimeFailure("no")] * 9

    async def story() -> int:
        waiting = lives.containers.wait(box.id, "not-running")
        lives.runtime.end(box.id, 1)
        return await waiting

    assert lives.run(story()) == 128
    lives.until(box, "exited")


# --- removal ------------------------------------------------------------------------------------------------------


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


# --- wait ---------------------------------------------------------------------------------------------------------


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


# --- when cleaning up fails ---------------------------------------------------------------------------------------


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


# --- a daemon that goes and comes ---------------------------------------------------------------------------------


def test_a_container_runs_on_over_a_restart_of_the_daemon_and_is_watched_again(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.start(box)
    before, state = lives.live(), lives.state(box)
    lives.reopen()
    assert (lives.live(), lives.state(box)) == (before, state)
    lives.check_lives()
    lives.runtime.end(box.id, 6)
    lives.until(box, "exited")
    assert lives.state(box).exit_code == 6


def test_a_paused_container_is_still_paused(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.start(box)
    lives.run(lives.containers.pause(box.id))
    lives.reopen()
    assert lives.status(box) == "paused"
    lives.stop(box)


def test_a_container_that_ended_meanwhile_is_written_down_and_cleaned_up(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.start(box)
    lives.run(lives._close())
    lives.runtime.end(box.id, 6)
    lives.run(lives._open())
    assert (lives.status(box), lives.state(box).exit_code) == ("exited", 6)
    lives.check_lives()


def test_a_container_that_vanished_with_the_host_has_the_exit_code_255(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.start(box)
    lives.run(lives._close())
    lives.runtime.lose()
    lives.run(lives._open())
    assert (lives.status(box), lives.state(box).exit_code) == ("exited", 255)
    lives.check_lives()


def test_a_container_that_goes_when_it_ends_is_gone_when_it_ended_meanwhile(lives: Lives) -> None:
    ended, lost = lives.create("ended", "web", auto_remove=True), lives.create("lost", "web", auto_remove=True)
    never = lives.create("never", "web", auto_remove=True)
    lives.start(ended)
    lives.start(lost)
    lives.run(lives._close())
    lives.runtime.end(ended.id, 0)
    del lives.runtime.processes[lost.id]
    lives.run(lives._open())
    assert (lives.status(ended), lives.status(lost), lives.status(never)) == ("gone", "gone", "created")


def test_a_removal_that_was_cut_short_is_finished(lives: Lives) -> None:
    box = lives.create("box", "web")
    lives.roots.refuse = [RuntimeFailure("the root is busy")]
    with pytest.raises(RuntimeFailure):
        lives.rm(box)
    lives.reopen()
    assert lives.status(box) == "gone"


def test_a_cleaning_up_that_fails_does_not_keep_the_daemon_from_starting(lives: Lives) -> None:
    box, other = lives.create("box", "web"), lives.create("other", "web")
    lives.start(box)
    lives.start(other)
    lives.run(lives._close())
    lives.runtime.end(box.id, 0)
    lives.runtime.refuse["delete"] = [RuntimeFailure("it does not end")]
    lives.run(lives._open())
    assert (lives.status(box), lives.status(other)) == ("exited", "running")
    lives.run(lives.runtime.delete(box.id))


@pytest.mark.parametrize(
    ("policy", "stopped", "status"),
    [
        (ALWAYS, False, "running"),
        (ALWAYS, True, "running"),
        (UNLESS_STOPPED, False, "running"),
        (UNLESS_STOPPED, True, "exited"),
        (ON_FAILURE, False, "running"),
        (ON_FAILURE, True, "exited"),
        (RestartPolicy(), False, "exited"),
    ],
)
def test_a_new_daemon_starts_whom_the_policy_wants(
    lives: Lives, policy: RestartPolicy, stopped: bool, status: str
) -> None:
    box = lives.create("box", "web", restart=policy)
    lives.start(box)
    if stopped:
        lives.stop(box)
    lives.run(lives._close())
    lives.runtime.lose()
    lives.run(lives._open())
    lives.until(box, status)
    lives.check_lives()


def test_a_new_daemon_starts_nobody_who_never_ran(lives: Lives) -> None:
    box = lives.create("box", "web", restart=ALWAYS)
    lives.reopen()
    lives.run(asyncio.sleep(0.01))
    assert lives.status(box) == "created"


def test_a_container_that_ended_meanwhile_is_started_again_by_its_policy(lives: Lives) -> None:
    box = lives.create("box", "web", restart=ALWAYS)
    lives.start(box)
    lives.run(lives._close())
    lives.runtime.end(box.id, 1)
    lives.run(lives._open())
    lives.until_restarted(box, 1)


def test_a_daemon_that_goes_while_a_container_waits_for_its_restart_starts_it_when_it_is_back(lives: Lives) -> None:
    box = lives.create("box", "web", restart=ALWAYS)
    lives.start(box)
    lives.runtime.refuse["create"] = [RuntimeFailure("not now")] * 1000
    lives.runtime.end(box.id, 1)
    lives.until(box, "restarting")
    lives.run(lives._close())
    lives.runtime.refuse.clear()
    lives.run(lives._open())
    lives.until(box, "running")


def test_a_partner_of_a_removed_owner_keeps_its_sandbox_over_a_restart_of_the_daemon(lives: Lives) -> None:
    owner = lives.create("owner", "web")
    partner = lives.create("partner", owner=owner)
    lives.start(owner)
    lives.start(partner)
    lives.rm(owner, force=True)
    before = lives.live()
    lives.reopen()
    assert lives.live() == before
    lives.check_lives()
