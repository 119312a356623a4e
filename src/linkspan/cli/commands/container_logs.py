"""``linkspan logs``."""

from __future__ import annotations

import time

from linkspan.cli.attach import Demultiplexer, write_all
from linkspan.cli.client import Query, segment
from linkspan.cli.failure import UsageError
from linkspan.cli.grammar import Command, Option
from linkspan.cli.values import timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

RAW = "application/vnd.docker.raw-stream"


def logs(call: Call) -> int:
    parsed, client = call.parsed, call.client
    path = f"/containers/{segment(call.words[0])}"
    try:
        since, until = (
            timestamp(parsed.text(name), time.time()) if parsed.text(name) else "" for name in ("since", "until")
        )
    except ValueError as reason:
        raise UsageError(f"linkspan: {reason}", 1) from reason
    query: Query = {
        "stdout": True,
        "stderr": True,
        "follow": parsed.flag("follow") or None,
        "timestamps": parsed.flag("timestamps") or None,
        "details": parsed.flag("details") or None,
        "since": since,
        "until": until,
        "tail": parsed.text("tail"),
    }
    reply = client.send("GET", f"{path}/logs", query)
    content_type = reply.headers.get("content-type", "")
    demultiplexer = None if content_type == RAW else Demultiplexer()
    for piece in reply.pieces():
        if demultiplexer is None:
            write_all(1, piece)
            continue
        for stream, content in demultiplexer.feed(piece):
            write_all(stream, content)
    reply.close()
    return 0


COMMANDS = {
    "container logs": Command(
        logs,
        arguments="CONTAINER",
        least=1,
        most=1,
        nouns=("container",),
        options=(
            Option("details", "flag", "Extra attributes of the log driver"),
            Option("follow", "flag", "Go on as more is written", short="f"),
            Option("since", "string", "From this time on (RFC 3339, Unix time, or 10m: ten minutes ago)"),
            Option("tail", "string", "So many lines from the end", short="n", default="all"),
            Option("timestamps", "flag", "A time before each line", short="t"),
            Option("until", "string", "Up to this time"),
        ),
    )
}
