"""``linkspan start``: several at once, or one whose streams are attached."""

from __future__ import annotations

from linkspan.cli.client import segment
from linkspan.cli.documents import flag, text
from linkspan.cli.failure import DaemonError, Failure
from linkspan.cli.grammar import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call


def start(call: Call) -> int:
    parsed = call.parsed
    if not parsed.flag("attach") and not parsed.flag("interactive"):
        return call.each(lambda name: call.client.post(f"/containers/{segment(name)}/start"))
    if len(call.words) > 1:
        raise Failure("linkspan: you cannot start and attach multiple containers at once")
    return _attached(call)


def _attached(call: Call) -> int:
    from linkspan.cli.attach import attach_query, detach_sequence
    from linkspan.cli.session import stay

    parsed, client = call.parsed, call.client
    document = client.get(f"/containers/{segment(call.words[0])}/json")
    path = f"/containers/{segment(text(document, 'Id'))}"
    tty = flag(document, "Config", "Tty")
    stdin = parsed.flag("interactive") and flag(document, "Config", "OpenStdin")
    keys = detach_sequence(parsed.text("detach-keys"))
    query = attach_query(stdin=stdin, keys=parsed.text("detach-keys"))
    stream = client.hijack(f"{path}/attach", query)
    removed = flag(document, "HostConfig", "AutoRemove")
    waiting = client.send("POST", f"{path}/wait", {"condition": "removed" if removed else "next-exit"})
    try:
        client.post(f"{path}/start")
    except DaemonError as failure:
        raise Failure(f"linkspan: {failure.reason}", 1) from failure
    sig_proxy = parsed.flag("sig-proxy")
    return stay(client, path, stream, waiting, stdin=stdin, tty=tty, keys=keys, sig_proxy=sig_proxy)


COMMANDS = {
    "container start": Command(
        start,
        arguments="CONTAINER [CONTAINER...]",
        least=1,
        most=None,
        nouns=("stopped",),
        options=(
            Option("attach", "flag", "Show its output and pass signals on", short="a"),
            Option("detach-keys", "string", "Keys that detach the terminal"),
            Option("interactive", "flag", "Pass stdin on", short="i"),
            Option("sig-proxy", "flag", "Pass signals on to the process", default=True, hidden=True),
        ),
    )
}
