"""Attaching to a container's first process, and the size of its terminal."""

from __future__ import annotations

from linkspan.api.messages import Answer, Hijacked, Reply, Request
from linkspan.api.router import Router
from linkspan.api.versions import Version
from linkspan.engine.face import EngineFace
from linkspan.errors import InvalidRequest

MULTIPLEXED_SINCE: Version = (1, 42)
"""From here on, framed streams have a content type of their own."""


def add_to(router: Router) -> None:
    router.add("POST", "/containers/{id}/attach", attach, cancellable=True)
    router.add("POST", "/containers/{id}/resize", resize)


async def attach(engine: EngineFace, request: Request) -> Answer:
    query, reference = request.query, request.parameters["id"]
    tty = engine.containers.get(reference).container.spec.tty
    session = await engine.inside.attach(
        reference,
        stdin=query.flag("stdin"),
        stdout=query.flag("stdout"),
        stderr=query.flag("stderr"),
        logs=query.flag("logs"),
        stream=query.flag("stream"),
        detach_keys=query.text("detachKeys"),
    )
    multiplexed = not tty
    return Hijacked(
        session=session,
        multiplexed=multiplexed,
        multiplexed_type=multiplexed and request.version >= MULTIPLEXED_SINCE,
    )


async def resize(engine: EngineFace, request: Request) -> Answer:
    rows, columns = terminal_size(request)
    await engine.inside.resize(request.parameters["id"], rows, columns)
    return Reply()


def terminal_size(request: Request) -> tuple[int, int]:
    """``?h=24&w=80``, rows first."""
    rows, columns = request.query.number("h"), request.query.number("w")
    if rows is None or columns is None or not (0 <= rows < 65536 and 0 <= columns < 65536):
        raise InvalidRequest(f"invalid terminal size: h={rows} w={columns}")
    return rows, columns
