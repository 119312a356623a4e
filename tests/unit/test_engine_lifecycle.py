"""The lives of containers: started, stopped, restarted, killed and paused, one at a time and all at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_lives import Lives, at_once, quick_lives
from linkspan.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    KernelFailure,
    LinkspanError,
    NotModified,
    RuntimeFailure,
)
from linkspan.model.container import RestartPolicy

ALWAYS = RestartPolicy(name="always")


@pytest.fixture
def lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lives]:
    with quick_lives(tmp_path, monkeypatch) as opened:
        yield opened


# --- start and stop ---------------------------------------------------------------------------------------------------


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


# --- starts that fail -------------------------------------------------------------------------------------------------


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


# --- restart ----------------------------------------------------------------------------------------------------------


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


# --- kill and pause ---------------------------------------------------------------------------------------------------


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
