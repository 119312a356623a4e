"""Images on their way: pull, push, load, save, import."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from linkspan.api.failures import sentence
from linkspan.api.messages import Answer, Request, Streamed, finish, json_line
from linkspan.api.router import Router
from linkspan.api.routes.archives import TAR, pieces
from linkspan.api.wire.credentials import credentials
from linkspan.api.wire.images import failed, progress
from linkspan.api.wire.platforms import check_platform
from linkspan.engine.face import EngineFace
from linkspan.errors import InvalidRequest, LinkspanError, NotSupported
from linkspan.images.face import Progress


def add_to(router: Router) -> None:
    router.add("POST", "/images/create", create, cancellable=True)
    router.add("POST", "/images/load", load, cancellable=True)
    router.add("GET", "/images/get", save_several, cancellable=True)
    router.add("GET", "/images/{name*}/get", save, cancellable=True)
    router.add("POST", "/images/{name*}/push", push, cancellable=True)


async def create(engine: EngineFace, request: Request) -> Answer:
    """Docker's one endpoint for two things: ``fromImage`` pulls, ``fromSrc=-`` imports the body."""
    query = request.query
    check_platform(query.text("platform"))
    if query.text("fromImage"):
        reference = _pulled(query.text("fromImage"), query.text("tag"))
        login = credentials(request.headers.get("x-registry-auth", ""))
        return await _following(engine.images.pull(reference, login))
    source = query.text("fromSrc")
    if not source:
        raise InvalidRequest("neither fromImage nor fromSrc is given: name an image to pull or an archive to import")
    if source != "-":
        raise NotSupported(f"importing from {source!r} is not supported; download it and import the file")
    repository, tag = query.text("repo"), query.text("tag")
    return await _following(
        engine.images.import_archive(
            request.body.chunks(),
            f"{repository}:{tag}" if repository and tag else repository,
            query.text("message"),
            query.all("changes"),
        )
    )


async def load(engine: EngineFace, request: Request) -> Answer:
    check_platform(request.query.text("platform"))
    return await _following(engine.images.load(request.body.chunks()))


async def save(engine: EngineFace, request: Request) -> Answer:
    return await _archive(engine, request, (request.parameters["name"],))


async def save_several(engine: EngineFace, request: Request) -> Answer:
    names = tuple(name for text in request.query.all("names") for name in text.split(",") if name)
    if not names:
        raise InvalidRequest("the parameter names is empty: it names the images to save")
    return await _archive(engine, request, names)


async def push(engine: EngineFace, request: Request) -> Answer:
    name, tag = request.parameters["name"], request.query.text("tag")
    login = credentials(request.headers.get("x-registry-auth", ""))
    return await _following(engine.images.push(f"{name}:{tag}" if tag else name, login))


async def _archive(engine: EngineFace, request: Request, names: tuple[str, ...]) -> Answer:
    check_platform(request.query.text("platform"))
    return Streamed(chunks=pieces(await engine.images.save(names)), content_type=TAR)


async def _following(lines: AsyncIterator[Progress]) -> Answer:
    """Waits for the first line: an error before it gets a proper status."""
    try:
        first = await anext(lines, None)
    except BaseException:
        await finish(lines)
        raise
    return Streamed(chunks=_progress(first, lines))


async def _progress(first: Progress | None, lines: AsyncIterator[Progress]) -> AsyncGenerator[bytes, None]:
    """Lines of JSON; an error on the way is the last of them, since the status has gone out."""
    try:
        if first is not None:
            yield json_line(progress(first))
        async for line in lines:
            yield json_line(progress(line))
    except LinkspanError as error:
        yield json_line(failed(sentence(error), error.status))
    finally:
        await finish(lines)


def _pulled(name: str, tag: str) -> str:
    """The reference to pull; a digest comes in ``tag`` too. A name alone would mean all of its tags."""
    if tag:
        return f"{name}@{tag}" if ":" in tag else f"{name}:{tag}"
    if "@" in name or ":" in name.rpartition("/")[2]:
        return name
    raise NotSupported(f"pulling all tags of {name!r} is not supported; name one with tag=")
