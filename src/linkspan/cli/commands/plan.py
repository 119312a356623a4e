"""``linkspan plan …``: the steps that a command would take, as commands that could be pasted. Nothing is done."""

from __future__ import annotations

from linkspan.cli.client import segment
from linkspan.cli.commands.network import CREATE_OPTIONS as NETWORK_OPTIONS
from linkspan.cli.commands.network import create_body as network_body
from linkspan.cli.commands.network_attach import CONNECT_OPTIONS, DISCONNECT_OPTIONS, connect_body, disconnect_body
from linkspan.cli.documents import Json, sequence, text, texts
from linkspan.cli.grammar import Command, Option
from linkspan.cli.jsontext import encode
from linkspan.cli.run_body import create_body
from linkspan.cli.run_options import CREATE_OPTIONS, RUN_OPTIONS
from linkspan.cli.tables import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from linkspan.cli.call import Call

FORMAT = Option("format", "string", "json: the steps as a document", words=("json",))


def plan_network(call: Call) -> int:
    body = network_body(call.words[0], call.parsed)
    return _show(call, [call.client.post("/linkspan/plan/networks/create", body=body)])


def plan_connect(call: Call) -> int:
    path = f"/linkspan/plan/networks/{segment(call.words[0])}/connect"
    return _show(call, [call.client.post(path, body=connect_body(call))])


def plan_disconnect(call: Call) -> int:
    path = f"/linkspan/plan/networks/{segment(call.words[0])}/disconnect"
    return _show(call, [call.client.post(path, body=disconnect_body(call))])


def plan_run(call: Call) -> int:
    body = create_body(call.parsed, call.words[0], call.words[1:], attach=False)
    query = {"name": call.parsed.text("name")}
    return _show(call, [call.client.post("/linkspan/plan/containers/create", {**query}, body)])


def _each(noun: str, verb: str) -> Callable[[Call], int]:
    """Plans one verb for every word, one after the other."""

    def plan(call: Call) -> int:
        return _show(call, [call.client.post(f"/linkspan/plan/{noun}/{segment(word)}/{verb}") for word in call.words])

    return plan


def _show(call: Call, answers: list[Json]) -> int:
    steps = [step for answer in answers for step in sequence(answer, "Steps")]
    if call.parsed.text("format") == "json":
        print(encode({"Steps": steps}, 4))
    else:
        print(rendered(steps), end="")
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
            lines.append(one_line(f"### {scope}"))
        lines.append(one_line(f"# {text(step, 'Action')} {text(step, 'Object')}"))
        lines += texts(step, "Commands")
    return "\n".join(lines) + "\n"


def _container_plan(options: tuple[Option, ...]) -> Command:
    return Command(
        plan_run,
        arguments="IMAGE [COMMAND] [ARG...]",
        least=1,
        most=None,
        options=(*options, FORMAT),
        nouns=("image", ""),
        interspersed=False,
    )


def _endpoint_plan(run: Callable[[Call], int], options: tuple[Option, ...]) -> Command:
    return Command(
        run,
        arguments="NETWORK CONTAINER",
        least=2,
        most=2,
        options=(*options, FORMAT),
        nouns=("network", "container"),
    )


def _state_plan(verb: str, noun: str) -> Command:
    run = _each("containers", verb)
    return Command(run, arguments="CONTAINER [CONTAINER...]", least=1, most=None, options=(FORMAT,), nouns=(noun,))


COMMANDS = {
    "plan network create": Command(
        plan_network, arguments="NETWORK", least=1, most=1, options=(*NETWORK_OPTIONS, FORMAT)
    ),
    "plan network rm": Command(
        _each("networks", "remove"),
        arguments="NETWORK [NETWORK...]",
        least=1,
        most=None,
        options=(FORMAT,),
        nouns=("network",),
    ),
    "plan network connect": _endpoint_plan(plan_connect, CONNECT_OPTIONS),
    "plan network disconnect": _endpoint_plan(plan_disconnect, DISCONNECT_OPTIONS),
    "plan create": _container_plan(CREATE_OPTIONS),
    "plan run": _container_plan(RUN_OPTIONS),
    "plan start": _state_plan("start", "stopped"),
    "plan stop": _state_plan("stop", "running"),
}
