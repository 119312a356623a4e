"""Ping, version, info, events, disk usage and registry logins."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator

from linkspan.api.messages import Answer, Reply, Request, Streamed, finish, json_line, json_reply
from linkspan.api.router import Router
from linkspan.api.wire import events as event_wire
from linkspan.api.wire import system as wire
from linkspan.api.wire.credentials import AuthConfig
from linkspan.engine.face import EngineFace
from linkspan.errors import InvalidRequest
from linkspan.model.event import Event

_NO_CACHE = (("Cache-Control", "no-cache, no-store, must-revalidate"), ("Pragma", "no-cache"))
_KINDS = frozenset({"container", "image", "volume", "build-cache"})


def add_to(router: Router) -> None:
    router.add("GET", "/_ping", ping)
    router.add("HEAD", "/_ping", ping)
    router.add("GET", "/version", version)
    router.add("GET", "/info", info)
    router.add("GET", "/events", events, cancellable=True)
    router.add("GET", "/system/df", disk_usage)
    router.add("POST", "/auth", login)


async def ping(engine: EngineFace, request: Request) -> Answer:
    """Clients read the API version from its headers, which every reply carries."""
    body = b"" if request.method == "HEAD" else b"OK"
    headers = (*_NO_CACHE, ("Builder-Version", "1"), ("Swarm", "inactive"))
    return Reply(body=body, content_type="text/plain; charset=utf-8", headers=headers)


async def version(engine: EngineFace, request: Request) -> Answer:
    return json_reply(wire.version(engine.system.info()))


async def info(engine: EngineFace, request: Request) -> Answer:
    return json_reply(wire.info(engine.system.info()))


async def events(engine: EngineFace, request: Request) -> Answer:
    """The subscription exists before the headers go out."""
    query = request.query
    since, until = query.seconds("since"), query.seconds("until")
    if since is not None and until is not None and until < since:
        raise InvalidRequest(f"`since` time ({since:.0f}) cannot be after `until` time ({until:.0f})")
    return Streamed(chunks=_lines(engine.system.events(since=since, until=until, filters=query.filters())))


async def disk_usage(engine: EngineFace, request: Request) -> Answer:
    kinds = frozenset(request.query.all("type"))
    if unknown := kinds - _KINDS:
        raise InvalidRequest(f"unknown object type: {sorted(unknown)[0]}")
    usage = await engine.system.disk_usage()
    return json_reply(wire.disk_usage(usage, now=time.time(), version=request.version, kinds=kinds))


async def login(engine: EngineFace, request: Request) -> Answer:
    auth = await request.json(AuthConfig)
    status = await engine.system.login(auth.serveraddress, auth.username, auth.password)
    return json_reply({"Status": status, "IdentityToken": ""})


async def _lines(happenings: AsyncIterator[Event]) -> AsyncGenerator[bytes, None]:
    try:
        async for happened in happenings:
            yield json_line(event_wire.event(happened))
    finally:
        await finish(happenings)
