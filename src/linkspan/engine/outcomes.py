"""What a container's end means: its next state, and whether its policy wants it to run again. No I/O."""

from __future__ import annotations

import msgspec

from linkspan.errors import CommandNotExecutable, CommandNotFound, LinkspanError
from linkspan.model.container import ContainerState, RestartPolicy
from linkspan.runtime.conmon import Created
from linkspan.runtime.monitor import Exit


def exit_code_of(error: LinkspanError) -> int:
    """The exit code of a program that never ran (Docker's and the shell's numbers)."""
    match error:
        case CommandNotFound():
            return 127
        case CommandNotExecutable():
            return 126
        case _:
            return 128


def created_of(state: ContainerState) -> Created:
    """What the runtime gave at the start, out of the stored state."""
    return Created(
        pid=state.pid, pid_start=state.pid_start, monitor_pid=state.monitor_pid, monitor_start=state.monitor_start
    )


def ended(state: ContainerState, outcome: Exit) -> ContainerState:
    """The state after an end."""
    return msgspec.structs.replace(
        state,
        status="exited",
        pid=0,
        pid_start=0,
        monitor_pid=0,
        monitor_start=0,
        exit_code=outcome.code,
        oom_killed=outcome.oom_killed,
        finished=outcome.finished,
    )


def failed(state: ContainerState, error: LinkspanError) -> ContainerState:
    """The state after a start that failed: 127 for a missing program, 126 for one that cannot be executed."""
    code = exit_code_of(error)
    status = "created" if state.status == "created" else "exited"
    return msgspec.structs.replace(state, status=status, exit_code=code, error=str(error), pid=0)


def wanted_again(policy: RestartPolicy, state: ContainerState) -> bool:
    """Whether the policy wants a container that just ended to run again."""
    if state.stopped_by_user:
        return False
    if policy.name == "on-failure":
        tries_left = policy.max_retries == 0 or state.restart_count < policy.max_retries
        return state.exit_code != 0 and tries_left
    return policy.name in ("always", "unless-stopped")


def wanted_after_boot(policy: RestartPolicy, state: ContainerState) -> bool:
    """Whether the policy wants a container that does not run to be started with the daemon."""
    if state.started == 0:
        return False
    if policy.name == "always":
        return True
    return wanted_again(policy, state)
