"""``linkspan attach``."""

from __future__ import annotations

import os

from linkspan.cli.client import segment
from linkspan.cli.documents import flag, text
from linkspan.cli.failure import Failure
from linkspan.cli.grammar import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call


def attach(call: Call) -> int:
    """Exit status: the container's when it ends while attached."""
    from linkspan.cli.attach import attach_query, detach_sequence
    from linkspan.cli.session import stay

    parsed, client = call.parsed, call.client
    document = client.get(f"/containers/{segment(call.words[0])}/json")
    if not flag(document, "State", "Running"):
        raise Failure("linkspan: you cannot attach to a stopped container, start it first")
    if flag(document, "State", "Paused"):
        raise Failure("linkspan: you cannot attach to a paused container, unpause it first")
    path = f"/containers/{segment(text(document, 'Id'))}"
    tty = flag(document, "Config", "Tty")
    stdin = not parsed.flag("no-stdin") and flag(document, "Config", "OpenStdin")
    if tty and stdin and not os.isatty(0):
        raise Failure("linkspan: the input device is not a TTY")
    keys = detach_sequence(parsed.text("detach-keys"))
    waiting = client.send("POST", f"{path}/wait", {"condition": "next-exit"})
    query = attach_query(stdin=stdin, keys=parsed.text("detach-keys"))
    stream = client.hijack(f"{path}/attach", query)
    sig_proxy = parsed.flag("sig-proxy")
    return stay(client, path, stream, waiting, stdin=stdin, tty=tty, keys=keys, sig_proxy=sig_proxy)


COMMANDS = {
    "container attach": Command(
        attach,
        arguments="CONTAINER",
        least=1,
        most=1,
        nouns=("running",),
        options=(
            Option("detach-keys", "string", "Keys that detach the terminal"),
            Option("no-stdin", "flag", "Do not pass stdin on"),
            Option("sig-proxy", "flag", "Pass signals on to the process", default=True),
        ),
    )
}
