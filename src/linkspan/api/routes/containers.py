"""Containers: create, list, inspect, and everything that changes their state."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable

from linkspan.api.messages import NO_CONTENT, Answer, Request, Streamed, json_line, json_reply
from linkspan.api.router import Router
from linkspan.api.wire import containers as wire
from linkspan.api.wire import signals
from linkspan.api.wire.container_create import container_spec, update
from linkspan.api.wire.container_types import ContainerCreate, ContainerUpdate
from linkspan.api.wire.platforms import check_platform
from linkspan.engine.face import EngineFace, WaitCondition
from linkspan.errors import ImageNotFound, InvalidRequest, LinkspanError, NotFound, NotSupported
from linkspan.model.names import container_name

_CONDITIONS: dict[str, WaitCondition] = {
    "": "not-running",
    "not-running": "not-running",
    "next-exit": "next-exit",
    "removed": "removed",
}


def add_to(router: Router) -> None:
    router.add("GET", "/containers/json", list_all)
    router.add("POST", "/containers/create", create)
    router.add("POST", "/containers/prune", prune)
    router.add("GET", "/containers/{id}/json", inspect)
    router.add("DELETE", "/containers/{id}", remove)
    router.add("POST", "/containers/{id}/start", start)
    router.add("POST", "/containers/{id}/stop", stop)
    router.add("POST", "/containers/{id}/restart", restart)
    router.add("POST", "/containers/{id}/kill", kill)
    router.add("POST", "/containers/{id}/pause", pause)
    router.add("POST", "/containers/{id}/unpause", unpause)
    router.add("POST", "/containers/{id}/rename", rename)
    router.add("POST", "/containers/{id}/update", change)
    router.add("POST", "/containers/{id}/wait", wait, cancellable=True)


async def list_all(engine: EngineFace, request: Request) -> Answer:
    query = request.query
    limit = query.number("limit") or 0
    filters = query.filters()
    views = engine.containers.list(
        everything=query.flag("all") or limit > 0 or "status" in filters or "exited" in filters,
        filters=filters,
        limit=max(limit, 0),
    )
    if query.flag("size"):
        views = tuple([await engine.containers.with_size(view) for view in views])
    now = time.time()
    return json_reply([wire.summary(view, now=now, version=request.version) for view in views])


async def create(engine: EngineFace, request: Request) -> Answer:
    check_platform(request.query.text("platform"))
    name = request.query.text("name")
    if name:
        name = container_name(name.removeprefix("/"))
    spec, warnings = container_spec(await request.json(ContainerCreate))
    try:
        created = await engine.containers.create(name, spec)
    except ImageNotFound:
        raise
    except NotFound as error:  # a 404 here makes Docker's clients pull the image, and blame that
        raise InvalidRequest(error.what, whose=error.whose, remedy=error.remedy) from error
    return json_reply({"Id": created.id, "Warnings": [*warnings, *created.warnings]}, 201)


async def inspect(engine: EngineFace, request: Request) -> Answer:
    view = engine.containers.get(request.parameters["id"])
    if request.query.flag("size"):
        view = await engine.containers.with_size(view)
    return json_reply(wire.inspect(view, version=request.version))


async def remove(engine: EngineFace, request: Request) -> Answer:
    if request.query.flag("link"):
        raise NotSupported("removing a link between containers is not supported")
    await engine.containers.remove(
        request.parameters["id"], force=request.query.flag("force"), volumes=request.query.flag("v")
    )
    return NO_CONTENT


async def start(engine: EngineFace, request: Request) -> Answer:
    if request.query.text("checkpoint"):
        raise NotSupported("starting from a checkpoint is not supported")
    await engine.containers.start(request.parameters["id"])
    return NO_CONTENT


async def stop(engine: EngineFace, request: Request) -> Answer:
    await engine.containers.stop(request.parameters["id"], timeout=request.query.number("t"), signal=_signal(request))
    return NO_CONTENT


async def restart(engine: EngineFace, request: Request) -> Answer:
    await engine.containers.restart(
        request.parameters["id"], timeout=request.query.number("t"), signal=_signal(request)
    )
    return NO_CONTENT


async def kill(engine: EngineFace, request: Request) -> Answer:
    await engine.containers.kill(request.parameters["id"], _signal(request) or "SIGKILL")
    return NO_CONTENT


async def pause(engine: EngineFace, request: Request) -> Answer:
    await engine.containers.pause(request.parameters["id"])
    return NO_CONTENT


async def unpause(engine: EngineFace, request: Request) -> Answer:
    await engine.containers.unpause(request.parameters["id"])
    return NO_CONTENT


async def rename(engine: EngineFace, request: Request) -> Answer:
    name = request.query.text("name").removeprefix("/")
    if not name:
        raise InvalidRequest("the new name of the container is empty")
    await engine.containers.rename(request.parameters["id"], name)
    return NO_CONTENT


async def change(engine: EngineFace, request: Request) -> Answer:
    resources, policy = update(await request.json(ContainerUpdate))
    warnings = await engine.containers.update(request.parameters["id"], resources, policy)
    return json_reply({"Warnings": list(warnings) or None})


async def prune(engine: EngineFace, request: Request) -> Answer:
    pruned = await engine.containers.prune(request.query.filters())
    return json_reply({"ContainersDeleted": list(pruned.deleted) or None, "SpaceReclaimed": pruned.reclaimed})


async def wait(engine: EngineFace, request: Request) -> Answer:
    """The headers go out at once: clients start the container when they see them."""
    text = request.query.text("condition")
    condition = _CONDITIONS.get(text)
    if condition is None:
        raise InvalidRequest(f"invalid condition: {text!r}")
    return Streamed(chunks=_exit(engine.containers.wait(request.parameters["id"], condition)))


async def _exit(code: Awaitable[int]) -> AsyncGenerator[bytes, None]:
    try:
        yield json_line({"StatusCode": await code, "Error": None})
    except LinkspanError as error:
        yield json_line({"StatusCode": -1, "Error": {"Message": str(error)}})


def _signal(request: Request) -> str:
    text = request.query.text("signal")
    return signals.checked(text) if text else ""
