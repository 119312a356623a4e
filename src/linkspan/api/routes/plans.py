"""Linkspan's own extension: what a request would do to the kernel, without doing it."""

from __future__ import annotations

from linkspan.api.messages import Answer, Request, json_reply
from linkspan.api.router import Router
from linkspan.api.wire.container_create import container_spec
from linkspan.api.wire.container_types import ContainerCreate
from linkspan.api.wire.network_modes import endpoint_request
from linkspan.api.wire.networks import (
    NetworkConnect,
    NetworkCreate,
    NetworkDisconnect,
    container_reference,
    network_request,
)
from linkspan.api.wire.plans import steps
from linkspan.engine.face import EngineFace


def add_to(router: Router) -> None:
    router.add("POST", "/linkspan/plan/networks/create", plan_network)
    router.add("POST", "/linkspan/plan/networks/{id}/remove", plan_remove)
    router.add("POST", "/linkspan/plan/networks/{id}/connect", plan_connect)
    router.add("POST", "/linkspan/plan/networks/{id}/disconnect", plan_disconnect)
    router.add("POST", "/linkspan/plan/containers/create", plan_run)
    router.add("POST", "/linkspan/plan/containers/{id}/start", plan_start)
    router.add("POST", "/linkspan/plan/containers/{id}/stop", plan_stop)


async def plan_network(engine: EngineFace, request: Request) -> Answer:
    wanted = network_request(await request.json(NetworkCreate))
    return json_reply(steps(engine.networks.plan_create(wanted)))


async def plan_remove(engine: EngineFace, request: Request) -> Answer:
    return json_reply(steps(engine.networks.plan_remove(request.parameters["id"])))


async def plan_connect(engine: EngineFace, request: Request) -> Answer:
    wanted, reference = await request.json(NetworkConnect), request.parameters["id"]
    endpoint = endpoint_request(reference, wanted.endpoint_config)
    return json_reply(steps(engine.networks.plan_connect(reference, container_reference(wanted.container), endpoint)))


async def plan_disconnect(engine: EngineFace, request: Request) -> Answer:
    wanted, reference = await request.json(NetworkDisconnect), request.parameters["id"]
    return json_reply(steps(engine.networks.plan_disconnect(reference, container_reference(wanted.container))))


async def plan_run(engine: EngineFace, request: Request) -> Answer:
    spec, _ = container_spec(await request.json(ContainerCreate))
    return json_reply(steps(engine.containers.plan_run(request.query.text("name").removeprefix("/"), spec)))


async def plan_start(engine: EngineFace, request: Request) -> Answer:
    return json_reply(steps(engine.containers.plan_start(request.parameters["id"])))


async def plan_stop(engine: EngineFace, request: Request) -> Answer:
    return json_reply(steps(engine.containers.plan_stop(request.parameters["id"])))
