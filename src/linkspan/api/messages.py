"""What handlers take and give: a request with its query and body, and three kinds of reply."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Protocol, TypeVar
from urllib.parse import parse_qs

import msgspec

from linkspan.api.versions import Version
from linkspan.api.wire.decoding import decode
from linkspan.engine.face import Session
from linkspan.errors import InvalidRequest

JSON_LIMIT = 8 * 1024 * 1024
"""Bytes of a JSON body: all 65,535 ports published on one address are 5 MiB. Archives have no limit, since they are
never held in memory."""

T = TypeVar("T")

_FALSE = frozenset({"", "0", "no", "false", "none"})
"""What Docker's ``httputils.BoolValue`` counts as false, in lower case."""

_encode = msgspec.json.Encoder().encode


class Body(Protocol):
    """A request's body, read at most once."""

    async def read(self, limit: int) -> bytes:
        """The whole body. TooLarge above ``limit`` bytes; InvalidRequest when the client ends it early."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives; the client is slowed down to the reader's speed."""
        ...


class Query:
    """The parameters of a URL. Every bad value is an InvalidRequest that names it."""

    def __init__(self, text: str) -> None:
        try:
            self._values = parse_qs(text, keep_blank_values=True, max_num_fields=1000)
        except ValueError as error:
            raise InvalidRequest(f"invalid query string: {error}") from error

    def text(self, name: str, default: str = "") -> str:
        values = self._values.get(name)
        return values[0] if values else default

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(self._values.get(name, ()))

    def flag(self, name: str, default: bool = False) -> bool:
        values = self._values.get(name)
        return values[0].strip().lower() not in _FALSE if values else default

    def number(self, name: str) -> int | None:
        """None when absent or empty."""
        text = self.text(name)
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise InvalidRequest(f"invalid value {text!r} for {name}: it must be a whole number") from None

    def seconds(self, name: str) -> float | None:
        """A Unix time, ``1700000000`` or ``1700000000.123456789``. None when absent, empty or 0."""
        text = self.text(name)
        if not text:
            return None
        try:
            return float(text) or None
        except ValueError:
            raise InvalidRequest(f"invalid value {text!r} for {name}: it must be a Unix time in seconds") from None

    def filters(self) -> dict[str, tuple[str, ...]]:
        """Both of Docker's forms: ``{"type": ["container"]}`` and ``{"type": {"container": true}}``."""
        text = self.text("filters")
        if not text:
            return {}
        try:
            raw = msgspec.json.decode(text, type=dict[str, list[str] | dict[str, bool]])
        except msgspec.DecodeError as error:
            raise InvalidRequest(f"invalid filters {text!r}: {error}") from error
        return {
            key: tuple(values) if isinstance(values, list) else tuple(name for name, set_ in values.items() if set_)
            for key, values in raw.items()
        }


class Request:
    """One request, its version prefix taken off. ``parameters`` are the path's, filled in by the router."""

    __slots__ = ("body", "cancellable", "headers", "method", "parameters", "path", "query", "version")

    def __init__(
        self, *, method: str, path: str, version: Version, query: Query, headers: Mapping[str, str], body: Body
    ) -> None:
        self.method = method
        self.path = path
        self.version = version
        self.query = query
        self.headers = headers
        """Names in lower case."""
        self.body = body
        self.parameters: Mapping[str, str] = {}
        self.cancellable = False
        """Whether the handler stops when the client goes; others finish what they began."""

    async def json(self, kind: type[T]) -> T:
        """The body as ``kind``; an empty body gives its defaults. InvalidRequest names the bad value."""
        return decode(await self.body.read(JSON_LIMIT), kind)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole reply."""

    status: int = 200
    body: bytes = b""
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Streamed(msgspec.Struct, frozen=True, kw_only=True):
    """A reply whose headers go out at once and whose body comes as it is made. Ends when the client goes."""

    chunks: AsyncGenerator[bytes, None]
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Hijacked(msgspec.Struct, frozen=True, kw_only=True):
    """From here on the connection carries raw bytes: ``session`` pumps them."""

    session: Session
    multiplexed: bool
    """Whether stdout and stderr are framed; a terminal has one raw stream."""
    multiplexed_type: bool = False
    """Whether the content type says so, too: API 1.42 and newer."""


Answer = Reply | Streamed | Hijacked


def json_reply(value: object, status: int = 200) -> Reply:
    """``value`` as JSON, with the newline that Go's encoder writes too."""
    return Reply(status=status, body=_encode(value) + b"\n", content_type="application/json")


def json_line(value: object) -> bytes:
    """One line of a stream of JSON values."""
    return _encode(value) + b"\r\n"


NO_CONTENT = Reply(status=204)


async def finish(iterator: AsyncIterator[object]) -> None:
    """Closes an iterator that is not read to its end, so that its producer stops now and not at some collection."""
    if isinstance(iterator, AsyncGenerator):
        await iterator.aclose()
