"""Who is started again: by a restart policy, and by a new daemon that takes up what an earlier one left."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_lives import Lives, quick_lives
from linkspan.engine import lifecycle
from linkspan.errors import (
    Conflict,
    RuntimeFailure,
)
from linkspan.model.container import RestartPolicy

ALWAYS = RestartPolicy(name="always")
UNLESS_STOPPED = RestartPolicy(name="unless-stopped")
ON_FAILURE = RestartPolicy(name="on-failure", max_retries=2)


@pytest.fixture
def lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lives]:
    with quick_lives(tmp_path, monkeypatch) as opened:
        yield opened


# --- restart policies -------------------------------------------------------------------------------------------------


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


# --- a daemon that goes and comes -------------------------------------------------------------------------------------


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
