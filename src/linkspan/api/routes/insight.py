"""Linkspan's own extension: who reaches what, what is not as it should be, and what to do about it."""

from __future__ import annotations

from linkspan.api.messages import Answer, Request, json_reply
from linkspan.api.router import Router
from linkspan.api.wire import insight as wire
from linkspan.engine.face import EngineFace


def add_to(router: Router) -> None:
    router.add("GET", "/linkspan/exposure", exposure)
    router.add("GET", "/linkspan/drift", drift)
    router.add("POST", "/linkspan/repair", repair)
    router.add("POST", "/linkspan/gc", collect_garbage)
    router.add("GET", "/linkspan/doctor", doctor)
    router.add("GET", "/linkspan/names", names)
    router.add("GET", "/linkspan/networks/{id}", network)
    router.add("GET", "/linkspan/networks/{id}/commands", commands)


async def exposure(engine: EngineFace, request: Request) -> Answer:
    return json_reply(wire.exposures(await engine.insight.exposures(request.query.text("container"))))


async def drift(engine: EngineFace, request: Request) -> Answer:
    return json_reply(wire.drift(await engine.insight.drift()))


async def repair(engine: EngineFace, request: Request) -> Answer:
    return json_reply(wire.repaired(await engine.insight.repair()))


async def collect_garbage(engine: EngineFace, request: Request) -> Answer:
    done = await engine.insight.collect_garbage(dry=request.query.flag("dry"))
    return json_reply(wire.repaired(done))


async def doctor(engine: EngineFace, request: Request) -> Answer:
    return json_reply(wire.findings(await engine.insight.diagnose()))


async def names(engine: EngineFace, request: Request) -> Answer:
    return json_reply(wire.figures(await engine.insight.name_figures()))


async def network(engine: EngineFace, request: Request) -> Answer:
    return json_reply(wire.network(engine.networks.get(request.parameters["id"])))


async def commands(engine: EngineFace, request: Request) -> Answer:
    return json_reply(wire.commands(engine.insight.network_commands(request.parameters["id"])))
