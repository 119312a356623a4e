"""Commands that change what containers do: stop, restart, kill, pause, unpause, rm, rename, wait, prune."""

from __future__ import annotations

import sys

from linkspan.cli.client import Query, filters, segment
from linkspan.cli.documents import number, texts
from linkspan.cli.failure import DaemonError, Failure
from linkspan.cli.grammar import Command, Option
from linkspan.cli.pruning import FILTER, FORCE, confirmed, show_deleted, show_reclaimed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

SIGNAL = Option("signal", "string", "Signal to send", short="s")
TIMEOUT = Option("timeout", "int", "Seconds until it is killed; -1: never", short="t", aliases=("time",))


def stop(call: Call) -> int:
    return _end(call, "stop")


def restart(call: Call) -> int:
    return _end(call, "restart")


def _end(call: Call, verb: str) -> int:
    parsed = call.parsed
    seconds = parsed.number("timeout") if parsed.given("timeout") else None
    query: Query = {"t": seconds, "signal": parsed.text("signal")}
    return call.each(lambda name: call.client.post(f"/containers/{segment(name)}/{verb}", query))


def kill(call: Call) -> int:
    query: Query = {"signal": call.parsed.text("signal")}
    return call.each(lambda name: call.client.post(f"/containers/{segment(name)}/kill", query))


def pause(call: Call) -> int:
    return call.each(lambda name: call.client.post(f"/containers/{segment(name)}/pause"))


def unpause(call: Call) -> int:
    return call.each(lambda name: call.client.post(f"/containers/{segment(name)}/unpause"))


def remove(call: Call) -> int:
    """With ``-f`` an absent container is no failure, though it is named."""
    parsed = call.parsed
    query: Query = {
        "force": parsed.flag("force") or None,
        "v": parsed.flag("volumes") or None,
        "link": parsed.flag("link") or None,
    }

    def delete(name: str) -> None:
        try:
            call.client.delete(f"/containers/{segment(name)}", query)
        except DaemonError as failure:
            if failure.code != 404 or not parsed.flag("force"):
                raise
            print(failure.message, file=sys.stderr)
        else:
            print(name)

    return call.each(delete, echo=False)


def rename(call: Call) -> int:
    name, new = call.words
    if not new.strip():
        raise Failure("linkspan: Error: Neither old nor new names may be empty")
    call.client.post(f"/containers/{segment(name)}/rename", {"name": new})
    return 0


def wait(call: Call) -> int:
    def end(name: str) -> None:
        print(number(call.client.post(f"/containers/{segment(name)}/wait"), "StatusCode"), flush=True)

    return call.each(end, echo=False)


def prune(call: Call) -> int:
    if not confirmed("This will remove all stopped containers.", call.parsed.flag("force")):
        return 0
    answer = call.client.post("/containers/prune", {"filters": filters(call.parsed.texts("filter"))})
    show_deleted("Deleted Containers:", texts(answer, "ContainersDeleted"))
    show_reclaimed(number(answer, "SpaceReclaimed"))
    return 0


_ONE_OR_MORE = "CONTAINER [CONTAINER...]"

COMMANDS = {
    "container stop": Command(
        stop, arguments=_ONE_OR_MORE, least=1, most=None, nouns=("running",), options=(SIGNAL, TIMEOUT)
    ),
    "container restart": Command(
        restart, arguments=_ONE_OR_MORE, least=1, most=None, nouns=("container",), options=(SIGNAL, TIMEOUT)
    ),
    "container kill": Command(kill, arguments=_ONE_OR_MORE, least=1, most=None, nouns=("running",), options=(SIGNAL,)),
    "container pause": Command(pause, arguments=_ONE_OR_MORE, least=1, most=None, nouns=("running",)),
    "container unpause": Command(unpause, arguments=_ONE_OR_MORE, least=1, most=None, nouns=("container",)),
    "container rm": Command(
        remove,
        arguments=_ONE_OR_MORE,
        least=1,
        most=None,
        nouns=("container",),
        options=(
            Option("force", "flag", "Kill it first when it runs; an absent one is no error", short="f"),
            Option("link", "flag", "Remove the link", short="l"),
            Option("volumes", "flag", "Its anonymous volumes too", short="v"),
        ),
    ),
    "container rename": Command(rename, arguments="CONTAINER NEW_NAME", least=2, most=2, nouns=("container", "")),
    "container wait": Command(wait, arguments=_ONE_OR_MORE, least=1, most=None, nouns=("container",)),
    "container prune": Command(prune, options=(FILTER, FORCE)),
}
