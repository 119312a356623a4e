"""``linkspan events``."""

from __future__ import annotations

import sys
import time

from linkspan.cli.client import Query, filters
from linkspan.cli.documents import Json, number, text, text_mapping
from linkspan.cli.failure import UsageError
from linkspan.cli.grammar import Command, Option
from linkspan.cli.human import stamp
from linkspan.cli.listing import FILTER
from linkspan.cli.template import renderer
from linkspan.cli.values import timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call


def events(call: Call) -> int:
    parsed = call.parsed
    layout = parsed.text("format")
    render = renderer(layout) if layout else event_line
    query: Query = {"filters": filters(parsed.texts("filter"))}
    try:
        for name in ("since", "until"):
            query[name] = timestamp(parsed.text(name), time.time()) if parsed.text(name) else ""
    except ValueError as reason:
        raise UsageError(f"linkspan: {reason}", 1) from reason
    reply = call.client.send("GET", "/events", query)
    for event in reply.documents():
        print(render(event))
        sys.stdout.flush()
    reply.close()
    return 0


def event_line(event: Json) -> str:
    """``2026-11-23T18:27:14.000000000Z container start 3f2a… (image=busybox, name=web)``."""
    seconds, nanoseconds = divmod(number(event, "timeNano") or number(event, "time") * 10**9, 10**9)
    attributes = text_mapping(event, "Actor", "Attributes")
    shown = ", ".join(f"{key}={value}" for key, value in sorted(attributes.items()))
    line = f"{stamp(seconds, nanoseconds)} {text(event, 'Type')} {text(event, 'Action')} {text(event, 'Actor', 'ID')}"
    return f"{line} ({shown})" if shown else line


COMMANDS = {
    "system events": Command(
        events,
        options=(
            FILTER,
            Option("format", "string", "json, or a Go template", words=("json",)),
            Option("since", "string", "Past events from this time on too (RFC 3339, Unix time, or 10m)"),
            Option("until", "string", "End at this time"),
        ),
    )
}
