"""Networks."""

from __future__ import annotations

from linkspan.api.messages import NO_CONTENT, Answer, Reply, Request, json_reply
from linkspan.api.router import Router
from linkspan.api.wire import networks as wire
from linkspan.api.wire.network_modes import endpoint_request
from linkspan.engine.face import EngineFace
from linkspan.errors import NotFound


def add_to(router: Router) -> None:
    router.add("GET", "/networks", list_all)
    router.add("POST", "/networks/create", create)
    router.add("POST", "/networks/prune", prune)
    router.add("GET", "/networks/{id}", inspect)
    router.add("DELETE", "/networks/{id}", remove)
    router.add("POST", "/networks/{id}/connect", connect)
    router.add("POST", "/networks/{id}/disconnect", disconnect)


async def list_all(engine: EngineFace, request: Request) -> Answer:
    views = engine.networks.list(request.query.filters())
    return json_reply([wire.inspect(view, version=request.version, members=False) for view in views])


async def create(engine: EngineFace, request: Request) -> Answer:
    created = await engine.networks.create(wire.network_request(await request.json(wire.NetworkCreate)))
    return json_reply({"Id": created.id, "Warning": "\n".join(created.warnings)}, 201)


async def inspect(engine: EngineFace, request: Request) -> Answer:
    reference = request.parameters["id"]
    if request.query.text("scope") not in ("", "local"):
        raise NotFound(f"network {reference} not found")
    return json_reply(wire.inspect(engine.networks.get(reference), version=request.version))


async def remove(engine: EngineFace, request: Request) -> Answer:
    await engine.networks.remove(request.parameters["id"])
    return NO_CONTENT


async def prune(engine: EngineFace, request: Request) -> Answer:
    pruned = await engine.networks.prune(request.query.filters())
    return json_reply({"NetworksDeleted": list(pruned.deleted) or None})


async def connect(engine: EngineFace, request: Request) -> Answer:
    wanted, reference = await request.json(wire.NetworkConnect), request.parameters["id"]
    await engine.networks.connect(
        reference, wire.container_reference(wanted.container), endpoint_request(reference, wanted.endpoint_config)
    )
    return Reply()


async def disconnect(engine: EngineFace, request: Request) -> Answer:
    wanted = await request.json(wire.NetworkDisconnect)
    await engine.networks.disconnect(
        request.parameters["id"], wire.container_reference(wanted.container), force=wanted.force
    )
    return Reply()
