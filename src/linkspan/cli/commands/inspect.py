"""``inspect`` of everything: what is found is printed, what is missing is named, and then the status is 1."""

from __future__ import annotations

import sys

from linkspan.cli.client import Client, segment
from linkspan.cli.documents import Json
from linkspan.cli.failure import DaemonError, Failure, UsageError
from linkspan.cli.grammar import Command, Option
from linkspan.cli.jsontext import encode
from linkspan.cli.template import renderer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from linkspan.cli.call import Call

PATHS = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
}
"""In the order in which a name without a type is looked for."""

MALFORMED = 64
"""Docker's exit status for a template that cannot be read (cli, ``inspect.NewTemplateInspectorFromString``)."""

FORMAT = Option("format", "string", "json, or a Go template on the document", short="f", words=("json",))
SIZE = Option("size", "flag", "Sizes on disk, for containers", short="s")
TYPE = Option("type", "string", "Look among these only", words=tuple(PATHS))
VERBOSE = Option("verbose", "flag", "Accepted for Docker's sake", short="v", hidden=True)


def inspect_any(call: Call) -> int:
    wanted = call.parsed.text("type")
    if wanted and wanted not in PATHS:
        raise UsageError(f'linkspan: "{wanted}" is not a valid value for --type: it is one of {", ".join(PATHS)}', 1)
    kinds = (wanted,) if wanted else tuple(PATHS)
    return _inspect(call, kinds, call.parsed.flag("size"))


def _of(kind: str) -> Callable[[Call], int]:
    return lambda call: _inspect(call, (kind,), kind == "container" and call.parsed.flag("size"))


def _inspect(call: Call, kinds: tuple[str, ...], size: bool) -> int:
    layout = call.parsed.text("format")
    render = _renderer(layout) if layout else None
    missing, found = [], []
    for name in call.words:
        document, problem = _find(call.client, name, kinds, size)
        if problem:
            missing.append(problem)
        elif render:
            print(render(document))
        else:
            found.append(document)
    if not render:
        print(encode(found, 4))
    sys.stdout.flush()
    for problem in missing:
        print(problem, file=sys.stderr)
    return 1 if missing else 0


def _renderer(layout: str) -> Callable[[Json], str]:
    try:
        return renderer(layout)
    except Failure as failure:
        raise Failure(failure.message, MALFORMED) from failure


def _find(client: Client, name: str, kinds: tuple[str, ...], size: bool) -> tuple[Json, str]:
    """(document, empty) or (None, why not)."""
    for kind in kinds:
        try:
            return client.get(PATHS[kind].format(segment(name)), {"size": (size and kind == "container") or None}), ""
        except DaemonError as failure:
            if failure.code != 404 and not (failure.code == 400 and len(kinds) > 1):
                return None, failure.message
            reason = failure.message
    return None, reason if len(kinds) == 1 and kinds[0] != "container" else f"Error: No such {_noun(kinds)}: {name}"


def _noun(kinds: tuple[str, ...]) -> str:
    return kinds[0] if len(kinds) == 1 else "object"


def _command(kind: str, options: tuple[Option, ...]) -> Command:
    noun = kind.upper()
    return Command(_of(kind), arguments=f"{noun} [{noun}...]", least=1, most=None, nouns=(kind,), options=options)


COMMANDS = {
    "inspect": Command(
        inspect_any,
        arguments="NAME|ID [NAME|ID...]",
        least=1,
        most=None,
        nouns=("container",),
        options=(FORMAT, SIZE, TYPE),
    ),
    "container inspect": _command("container", (FORMAT, SIZE)),
    "image inspect": _command("image", (FORMAT,)),
    "network inspect": _command("network", (FORMAT, VERBOSE)),
    "volume inspect": _command("volume", (FORMAT,)),
}
