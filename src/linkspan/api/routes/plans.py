"""Linkspan's own extension: what a create would do to the kernel, without doing it."""

from __future__ import annotations

from linkspan.api.messages import Answer, Request, json_reply
from linkspan.api.router import Router
from linkspan.api.wire.container_create import container_spec
from linkspan.api.wire.container_types import ContainerCreate
from linkspan.api.wire.networks import NetworkCreate, network_request
from linkspan.api.wire.plans import steps
from linkspan.engine.face import EngineFace


def add_to(router: Router) -> None:
    router.add("POST", "/linkspan/plan/networks/create", plan_network)
    router.add("POST", "/linkspan/plan/containers/create", plan_run)


async def plan_network(engine: EngineFace, request: Request) -> Answer:
    wanted = network_request(await request.json(NetworkCreate))
    return json_reply(steps(engine.networks.plan_create(wanted)))


async def plan_run(engine: EngineFace, request: Request) -> Answer:
    spec, _ = container_spec(await request.json(ContainerCreate))
    return json_reply(steps(engine.containers.plan_run(request.query.text("name").removeprefix("/"), spec)))
