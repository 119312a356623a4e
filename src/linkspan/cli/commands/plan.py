"""``linkspan plan …``: the steps that a command would take, as commands that could be pasted. Nothing is done."""

from __future__ import annotations

from linkspan.cli.commands.network import CREATE_OPTIONS as NETWORK_OPTIONS
from linkspan.cli.commands.network import create_body as network_body
from linkspan.cli.documents import Json, sequence, text, texts
from linkspan.cli.grammar import Command, Option
from linkspan.cli.jsontext import encode
from linkspan.cli.run_body import create_body
from linkspan.cli.run_options import RUN_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

FORMAT = Option("format", "string", "json: the steps as a document", words=("json",))


def plan_network(call: Call) -> int:
    body = network_body(call.words[0], call.parsed)
    return _show(call, call.client.post("/linkspan/plan/networks/create", body=body))


def plan_run(call: Call) -> int:
    body = create_body(call.parsed, call.words[0], call.words[1:], attach=False)
    query = {"name": call.parsed.text("name")}
    return _show(call, call.client.post("/linkspan/plan/containers/create", {**query}, body))


def _show(call: Call, answer: Json) -> int:
    if call.parsed.text("format") == "json":
        print(encode(answer, 4))
        return 0
    print(rendered(sequence(answer, "Steps")), end="")
    return 0


def rendered(steps: list[Json]) -> str:
    """A shell script: a comment for each step, a headline for each scope, the commands below."""
    if not steps:
        return "# nothing to do: everything that this needs is there\n"
    lines: list[str] = []
    scope = None
    for step in steps:
        if text(step, "Scope") != scope:
            scope = text(step, "Scope")
            lines += [""] if lines else []
            lines.append(f"### {scope}")
        lines.append(f"# {text(step, 'Action')} {text(step, 'Object')}".replace("\n", " "))
        lines += texts(step, "Commands")
    return "\n".join(lines) + "\n"


COMMANDS = {
    "plan network create": Command(
        plan_network, arguments="NETWORK", least=1, most=1, options=(*NETWORK_OPTIONS, FORMAT)
    ),
    "plan run": Command(
        plan_run,
        arguments="IMAGE [COMMAND] [ARG...]",
        least=1,
        most=None,
        options=(*RUN_OPTIONS, FORMAT),
        nouns=("image", ""),
        interspersed=False,
    ),
}
