"""Docker's endpoints that Linkspan does not have: each says so in one sentence."""

from __future__ import annotations

from linkspan.api.messages import Answer, Request, json_reply
from linkspan.api.router import Handler, Router
from linkspan.engine.face import EngineFace
from linkspan.errors import NotSupported

_NOUNS = {
    "swarm": "swarm mode",
    "services": "swarm mode",
    "tasks": "swarm mode",
    "nodes": "swarm mode",
    "secrets": "swarm mode",
    "configs": "swarm mode",
    "plugins": "plugins",
    "build": "building images",
    "session": "building images with BuildKit",
    "grpc": "building images with BuildKit",
    "distribution": "asking a registry about an image",
    "commit": "making an image of a container",
}


def add_to(router: Router) -> None:
    """``/build/prune`` is answered, since ``docker system prune`` asks for it: there is no build cache."""
    router.add("POST", "/build/prune", prune_builds)
    for noun, what in _NOUNS.items():
        _refuse(router, f"/{noun}", what)
        _refuse(router, f"/{noun}/{{rest*}}", what)
    _refuse(router, "/containers/{id}/attach/ws", "attaching over a web socket")
    _refuse(router, "/containers/{id}/checkpoints", "checkpoints")
    _refuse(router, "/containers/{id}/checkpoints/{name}", "checkpoints")
    _refuse(router, "/images/search", "searching a registry")
    _refuse(router, "/volumes/{name}", "updating a volume", ("PUT",))


async def prune_builds(engine: EngineFace, request: Request) -> Answer:
    return json_reply({"CachesDeleted": None, "SpaceReclaimed": 0})


def _refuse(
    router: Router, template: str, what: str, methods: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT", "DELETE")
) -> None:
    handler = _refusal(what)
    for method in methods:
        router.add(method, template, handler)


def _refusal(what: str) -> Handler:
    async def refuse(engine: EngineFace, request: Request) -> Answer:
        raise NotSupported(f"{what}: not supported by Linkspan")

    return refuse
