"""``linkspan update``."""

from __future__ import annotations

import sys

from linkspan.cli.client import segment
from linkspan.cli.documents import texts
from linkspan.cli.failure import UsageError
from linkspan.cli.grammar import Command
from linkspan.cli.run_body import limits, restart_policy
from linkspan.cli.run_options import LIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call


def update(call: Call) -> int:
    parsed = call.parsed
    body = limits(parsed)
    if not any(parsed.given(option.name) for option in LIMITS):
        raise UsageError("linkspan: you must provide one or more flags when using this command", 1)
    if parsed.given("restart"):
        try:
            body["RestartPolicy"] = restart_policy(parsed.text("restart"))
        except ValueError as reason:
            raise UsageError(f"linkspan: {reason}", 1) from reason

    def change(name: str) -> None:
        answer = call.client.post(f"/containers/{segment(name)}/update", body=body)
        for warning in texts(answer, "Warnings"):
            print(f"WARNING: {warning}", file=sys.stderr)

    return call.each(change)


COMMANDS = {
    "container update": Command(
        update,
        arguments="CONTAINER [CONTAINER...]",
        least=1,
        most=None,
        nouns=("container",),
        options=LIMITS,
    )
}
