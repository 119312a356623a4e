"""What a container tells about itself: logs, processes, use of resources, changed files."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from linkspan.api.messages import Answer, Query, Request, Streamed, finish, json_line, json_reply
from linkspan.api.router import Router
from linkspan.api.routes.attachments import MULTIPLEXED_SINCE
from linkspan.api.streams import frame
from linkspan.api.wire import stats as stats_wire
from linkspan.api.wire import times
from linkspan.engine.face import EngineFace
from linkspan.engine.views import LogLine, StatsSample
from linkspan.errors import InvalidRequest


def add_to(router: Router) -> None:
    router.add("GET", "/containers/{id}/logs", logs, cancellable=True)
    router.add("GET", "/containers/{id}/top", top)
    router.add("GET", "/containers/{id}/stats", stats, cancellable=True)
    router.add("GET", "/containers/{id}/changes", changes)


async def logs(engine: EngineFace, request: Request) -> Answer:
    query, reference = request.query, request.parameters["id"]
    stdout, stderr = query.flag("stdout"), query.flag("stderr")
    if not (stdout or stderr):
        raise InvalidRequest("Bad parameters: you must choose at least one stream")
    tty = engine.containers.get(reference).container.spec.tty
    lines = engine.inside.logs(
        reference,
        stdout=stdout,
        stderr=stderr,
        follow=query.flag("follow"),
        tail=_tail(query),
        since=query.seconds("since") or 0.0,
        until=query.seconds("until") or 0.0,
    )
    framed = not tty
    kind = "multiplexed" if framed and request.version >= MULTIPLEXED_SINCE else "raw"
    return Streamed(
        chunks=_output(lines, stamps=query.flag("timestamps"), framed=framed),
        content_type=f"application/vnd.docker.{kind}-stream",
    )


async def top(engine: EngineFace, request: Request) -> Answer:
    titles, rows = await engine.inside.top(request.parameters["id"], request.query.text("ps_args") or "-ef")
    return json_reply({"Titles": list(titles), "Processes": [list(row) for row in rows]})


async def stats(engine: EngineFace, request: Request) -> Answer:
    """One reading waits for a second one, to have something to compare with, unless ``one-shot`` is asked for."""
    stream = request.query.flag("stream", default=True)
    single = request.query.flag("one-shot")
    if stream and single:
        raise InvalidRequest("cannot have stream=true and one-shot=true")
    samples = engine.inside.stats(request.parameters["id"], stream=not single)
    return Streamed(chunks=_readings(samples, wanted=0 if stream else 1, compare=not (stream or single)))


async def changes(engine: EngineFace, request: Request) -> Answer:
    found = await engine.inside.changes(request.parameters["id"])
    return json_reply([{"Path": path, "Kind": kind} for kind, path in found] or None)


async def _output(lines: AsyncIterator[LogLine], *, stamps: bool, framed: bool) -> AsyncGenerator[bytes, None]:
    try:
        async for line in lines:
            data = times.log_stamp(line.time) + line.data if stamps else line.data
            yield frame(line.stream, data) if framed else data
    finally:
        await finish(lines)


async def _readings(samples: AsyncIterator[StatsSample], *, wanted: int, compare: bool) -> AsyncGenerator[bytes, None]:
    """``wanted`` readings, 0 for all; with ``compare`` the first one counts only as the one before."""
    previous: StatsSample | None = None
    written = 0
    try:
        async for sample in samples:
            if previous is not None or not compare:
                yield json_line(stats_wire.stats(sample, previous))
                written += 1
            if wanted and written == wanted:
                return
            previous = sample
        if wanted and not written and previous is not None:
            yield json_line(stats_wire.stats(previous, None))
    finally:
        await finish(samples)


def _tail(query: Query) -> int | None:
    """``all`` and anything below zero mean everything."""
    if query.text("tail", "all") in ("all", ""):
        return None
    count = query.number("tail")
    return None if count is None or count < 0 else count
