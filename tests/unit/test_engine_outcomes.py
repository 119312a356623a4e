"""What an end means, and signals by their names."""

from __future__ import annotations

import signal

import pytest

from linkspan.engine import outcomes
from linkspan.engine.signals import signal_number
from linkspan.errors import CommandNotExecutable, CommandNotFound, Conflict, InvalidRequest, LinkspanError
from linkspan.model.container import ContainerState, RestartPolicy
from linkspan.runtime.monitor import Exit

RUNNING = ContainerState(status="running", pid=7, pid_start=8, monitor_pid=9, monitor_start=10, started=5.0)


@pytest.mark.parametrize(
    ("error", "code"), [(CommandNotFound("x"), 127), (CommandNotExecutable("x"), 126), (Conflict("x"), 128)]
)
def test_a_program_that_never_ran_has_the_shells_exit_code(error: LinkspanError, code: int) -> None:
    assert outcomes.exit_code_of(error) == code
    assert outcomes.failed(ContainerState(), error).exit_code == code


def test_an_end_is_written_down_whole() -> None:
    state = outcomes.ended(RUNNING, Exit(code=137, oom_killed=True, finished=9.0))
    assert state == ContainerState(status="exited", exit_code=137, oom_killed=True, started=5.0, finished=9.0)


@pytest.mark.parametrize(("before", "after"), [("created", "created"), ("exited", "exited"), ("restarting", "exited")])
def test_a_start_that_failed_leaves_the_container_as_it_was(before: str, after: str) -> None:
    state = ContainerState(status=before)  # type: ignore[arg-type]
    assert outcomes.failed(state, Conflict("address taken", remedy="choose another")).status == after
    assert outcomes.failed(state, Conflict("address taken")).error == "address taken"


@pytest.mark.parametrize(
    ("name", "retries", "code", "count", "stopped", "again", "after_boot"),
    [
        ("no", 0, 1, 0, False, False, False),
        ("always", 0, 0, 9, False, True, True),
        ("always", 0, 0, 0, True, False, True),
        ("unless-stopped", 0, 0, 0, False, True, True),
        ("unless-stopped", 0, 0, 0, True, False, False),
        ("on-failure", 0, 1, 99, False, True, True),
        ("on-failure", 0, 0, 0, False, False, False),
        ("on-failure", 3, 1, 2, False, True, True),
        ("on-failure", 3, 1, 3, False, False, False),
        ("on-failure", 3, 1, 0, True, False, False),
    ],
)
def test_policies(name: str, retries: int, code: int, count: int, stopped: bool, again: bool, after_boot: bool) -> None:
    policy = RestartPolicy(name=name, max_retries=retries)  # type: ignore[arg-type]
    state = ContainerState(
        status="exited", exit_code=code, restart_count=count, stopped_by_user=stopped, started=1.0, finished=2.0
    )
    assert outcomes.wanted_again(policy, state) == again
    assert outcomes.wanted_after_boot(policy, state) == after_boot


def test_a_container_that_never_ran_is_not_started_with_the_daemon() -> None:
    assert not outcomes.wanted_after_boot(RestartPolicy(name="always"), ContainerState())


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGTERM", 15),
        ("term", 15),
        ("sigkill", 9),
        ("9", 9),
        ("64", 64),
        ("HUP", 1),
        ("SIGRTMIN", int(signal.SIGRTMIN)),
        ("SIGRTMIN+3", int(signal.SIGRTMIN) + 3),
        ("RTMAX-1", int(signal.SIGRTMAX) - 1),
    ],
)
def test_signals_have_names_and_numbers(text: str, number: int) -> None:
    assert signal_number(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "-9", "SIG", "NOPE", "RTMIN+99", "RTMAX-99", "9.0", "٩"])
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid signal"):
        signal_number(text)
