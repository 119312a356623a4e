"""Volumes."""

from __future__ import annotations

from linkspan.api.messages import NO_CONTENT, Answer, Request, json_reply
from linkspan.api.router import Router
from linkspan.api.wire import volumes as wire
from linkspan.engine.face import EngineFace


def add_to(router: Router) -> None:
    router.add("GET", "/volumes", list_all)
    router.add("POST", "/volumes/create", create)
    router.add("POST", "/volumes/prune", prune)
    router.add("GET", "/volumes/{name}", inspect)
    router.add("DELETE", "/volumes/{name}", remove)


async def list_all(engine: EngineFace, request: Request) -> Answer:
    views = engine.volumes.list(request.query.filters())
    return json_reply({"Volumes": [wire.inspect(view) for view in views], "Warnings": None})


async def create(engine: EngineFace, request: Request) -> Answer:
    wanted = await request.json(wire.VolumeCreate)
    view = await engine.volumes.create(wanted.name, wanted.driver or "local", wanted.labels, wanted.driver_opts)
    return json_reply(wire.inspect(view), 201)


async def inspect(engine: EngineFace, request: Request) -> Answer:
    return json_reply(wire.inspect(engine.volumes.get(request.parameters["name"])))


async def remove(engine: EngineFace, request: Request) -> Answer:
    await engine.volumes.remove(request.parameters["name"], force=request.query.flag("force"))
    return NO_CONTENT


async def prune(engine: EngineFace, request: Request) -> Answer:
    """Since API 1.42 only anonymous volumes go, unless the filter ``all`` says otherwise."""
    filters = request.query.filters()
    if request.version < (1, 42):
        filters = {**filters, "all": ("true",)}
    pruned = await engine.volumes.prune(filters)
    return json_reply({"VolumesDeleted": list(pruned.deleted) or None, "SpaceReclaimed": pruned.reclaimed})
