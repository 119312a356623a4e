"""Processes run in a running container."""

from __future__ import annotations

from linkspan.api.messages import Answer, Hijacked, Reply, Request, json_reply
from linkspan.api.router import Router
from linkspan.api.routes.attachments import MULTIPLEXED_SINCE, terminal_size
from linkspan.api.wire import execs as wire
from linkspan.engine.face import EngineFace


def add_to(router: Router) -> None:
    router.add("POST", "/containers/{id}/exec", create)
    router.add("GET", "/exec/{id}/json", inspect)
    router.add("POST", "/exec/{id}/start", start)
    router.add("POST", "/exec/{id}/resize", resize)


async def create(engine: EngineFace, request: Request) -> Answer:
    wanted = wire.exec_request(await request.json(wire.ExecCreate))
    return json_reply({"Id": await engine.execs.create(request.parameters["id"], wanted)}, 201)


async def inspect(engine: EngineFace, request: Request) -> Answer:
    return json_reply(wire.inspect(engine.execs.get(request.parameters["id"])))


async def start(engine: EngineFace, request: Request) -> Answer:
    """A wrong request gets its status; a program that cannot be run is told in the hijacked stream, as by Docker."""
    reference, how = request.parameters["id"], await request.json(wire.ExecStart)
    if how.detach:
        await engine.execs.start_detached(reference)
        return Reply()
    session = await engine.execs.start(reference, tty=how.tty)
    return Hijacked(
        session=session,
        multiplexed=not how.tty,
        multiplexed_type=not how.tty and request.version >= MULTIPLEXED_SINCE,
    )


async def resize(engine: EngineFace, request: Request) -> Answer:
    rows, columns = terminal_size(request)
    await engine.execs.resize(request.parameters["id"], rows, columns)
    return Reply()
