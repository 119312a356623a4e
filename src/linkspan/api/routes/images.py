"""Images: list, inspect, history, tag, remove, prune."""

from __future__ import annotations

from linkspan.api.messages import Answer, Reply, Request, json_reply
from linkspan.api.router import Router
from linkspan.api.wire import images as wire
from linkspan.engine.face import EngineFace
from linkspan.errors import InvalidRequest


def add_to(router: Router) -> None:
    router.add("GET", "/images/json", list_all)
    router.add("POST", "/images/prune", prune)
    router.add("GET", "/images/{name*}/json", inspect)
    router.add("GET", "/images/{name*}/history", history)
    router.add("POST", "/images/{name*}/tag", tag)
    router.add("DELETE", "/images/{name*}", remove)


async def list_all(engine: EngineFace, request: Request) -> Answer:
    filters = request.query.filters()
    if name := request.query.text("filter"):
        filters = {**filters, "reference": (name,)}
    return json_reply([wire.summary(each, version=request.version) for each in engine.images.list(filters)])


async def inspect(engine: EngineFace, request: Request) -> Answer:
    image = engine.images.get(request.parameters["name"])
    return json_reply(wire.inspect(image, version=request.version, driver=engine.system.info().storage_driver))


async def history(engine: EngineFace, request: Request) -> Answer:
    name = request.parameters["name"]
    tags = engine.images.get(name).tags
    lines = engine.images.history(name)
    return json_reply([wire.history_line(key, line, () if index else tags) for index, (key, line) in enumerate(lines)])


async def tag(engine: EngineFace, request: Request) -> Answer:
    repository = request.query.text("repo")
    if not repository:
        raise InvalidRequest("the parameter repo is empty: it names the new reference")
    label = request.query.text("tag")
    await engine.images.tag(request.parameters["name"], f"{repository}:{label}" if label else repository)
    return Reply(status=201)


async def remove(engine: EngineFace, request: Request) -> Answer:
    gone = await engine.images.remove(request.parameters["name"], force=request.query.flag("force"))
    return json_reply(wire.removed(gone))


async def prune(engine: EngineFace, request: Request) -> Answer:
    gone, reclaimed = await engine.images.prune(request.query.filters())
    return json_reply({"ImagesDeleted": wire.removed(gone) or None, "SpaceReclaimed": reclaimed})
