"""Files in and out of containers: ``docker cp`` and ``docker export``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from linkspan.api.messages import Answer, Reply, Request, Streamed, finish
from linkspan.api.router import Router
from linkspan.api.wire.archives import path_stat
from linkspan.engine.face import EngineFace
from linkspan.errors import InvalidRequest

TAR = "application/x-tar"
STAT_HEADER = "X-Docker-Container-Path-Stat"


def add_to(router: Router) -> None:
    router.add("HEAD", "/containers/{id}/archive", look)
    router.add("GET", "/containers/{id}/archive", get)
    router.add("PUT", "/containers/{id}/archive", put)
    router.add("GET", "/containers/{id}/export", export, cancellable=True)


async def look(engine: EngineFace, request: Request) -> Answer:
    found = await engine.inside.path_stat(request.parameters["id"], _path(request))
    return Reply(headers=((STAT_HEADER, path_stat(found)),))


async def get(engine: EngineFace, request: Request) -> Answer:
    found, chunks = await engine.inside.archive_get(request.parameters["id"], _path(request))
    return Streamed(chunks=pieces(chunks), content_type=TAR, headers=((STAT_HEADER, path_stat(found)),))


async def put(engine: EngineFace, request: Request) -> Answer:
    await engine.inside.archive_put(
        request.parameters["id"],
        _path(request),
        request.body.chunks(),
        no_overwrite_dir=request.query.flag("noOverwriteDirNonDir"),
        copy_owner=request.query.flag("copyUIDGID"),
    )
    return Reply()


async def export(engine: EngineFace, request: Request) -> Answer:
    chunks = await engine.inside.export(request.parameters["id"])
    return Streamed(chunks=pieces(chunks), content_type=TAR)


async def pieces(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """An archive as it is made; its producer ends when the client does."""
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        await finish(chunks)


def _path(request: Request) -> str:
    path = request.query.text("path")
    if not path:
        raise InvalidRequest("the parameter path is empty: it names a file or folder in the container")
    return path
