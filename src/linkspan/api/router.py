"""Method and path -> handler, and the application around it: version, errors, headers that every reply carries."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

import msgspec

from linkspan import __version__
from linkspan.api import versions
from linkspan.api.failures import reply_for
from linkspan.api.messages import Answer, Body, Query, Reply, Request, json_reply
from linkspan.engine.face import EngineFace
from linkspan.errors import LinkspanError

LOG = logging.getLogger(__name__)

Handler = Callable[[EngineFace, Request], Awaitable[Answer]]

_PARAMETER = re.compile(r"\{(\w+)(\*?)\}")

STANDARD_HEADERS = (
    ("Api-Version", versions.text(versions.NEWEST)),
    ("Docker-Experimental", "false"),
    ("Ostype", "linux"),
    ("Server", f"Linkspan/{__version__} (linux)"),
)


class Route(msgspec.Struct, frozen=True):
    """``cancellable``: the handler stops when its client goes away."""

    pattern: re.Pattern[str]
    handler: Handler
    cancellable: bool


class Router:
    """Routes by method and first path segment. ``{name}`` matches one segment, ``{name*}`` several."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, str], list[Route]] = {}

    def add(self, method: str, template: str, handler: Handler, *, cancellable: bool = False) -> None:
        """Earlier routes win."""
        pattern = _PARAMETER.sub(lambda part: f"(?P<{part[1]}>{'.+' if part[2] else '[^/]+'})", template)
        route = Route(re.compile(pattern), handler, cancellable)
        self._routes.setdefault((method, template.split("/")[1]), []).append(route)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        segment = path.split("/", 2)[1] if path.startswith("/") else ""
        for route in self._routes.get((method, segment), ()):
            match = route.pattern.fullmatch(path)
            if match is not None:
                return route, {name: unquote(value) for name, value in match.groupdict().items()}
        return None


class Application:
    """Answers requests with the engine's help; never raises a LinkspanError."""

    def __init__(self, engine: EngineFace, router: Router) -> None:
        self._engine = engine
        self._router = router

    async def answer(self, request: Request) -> Answer:
        found = self._router.find(request.method, request.path)
        if found is None:
            return json_reply({"message": "page not found"}, 404)
        route, request.parameters = found
        request.cancellable = route.cancellable
        try:
            return await route.handler(self._engine, request)
        except Exception as error:  # noqa: BLE001 - the boundary: a bug in one request must not end the daemon
            return reply_for(error, f"{request.method} {request.path}")

    def request(self, method: str, target: str, headers: dict[str, str], body: Body) -> Request:
        """Reads a request's target. InvalidRequest for an unknown version or a malformed query."""
        path, _, query = target.partition("?")
        version, path = versions.split(path)
        return Request(method=method, path=path, version=version, query=Query(query), headers=headers, body=body)

    def refuse(self, error: LinkspanError) -> Reply:
        """The reply to a request that never reached a handler."""
        return reply_for(error, "a request")
