"""A dry run: the steps that would be taken, as the commands that a person would type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from linkspan.engine.views import PlannedStep
from linkspan.kernel.diff import Create, Delete, Step
from linkspan.kernel.render import commands, describe
from linkspan.kernel.state import Scope, State
from linkspan.kernel.worker import Worker


def planned(worker: Worker, wants: Mapping[Scope, State], names: Mapping[str, str]) -> tuple[PlannedStep, ...]:
    """The steps from what is applied to ``wants``; ``names`` tells how to call a scope's id."""
    owners = {key: scope for scope, state in wants.items() for key in (*worker.applied(scope), *state)}
    steps = []
    for step in worker.preview(wants):
        kind, identity = owners.get(step.object.key, ("", ""))
        scope = names.get(identity) or f"{kind} {identity[:12]}".strip()
        steps.append(
            PlannedStep(scope=scope, action=_action(step), object=describe(step.object), commands=commands(step))
        )
    return tuple(steps)


def _action(step: Step) -> Literal["create", "update", "delete"]:
    match step:
        case Create():
            return "create"
        case Delete():
            return "delete"
        case _:
            return "update"
