"""HTTP/1.1 on a unix socket, by hand: one connection a request, so that nothing needs to be drained or reused.

What Docker's Engine API needs and no more: JSON bodies, chunked answers read as they come, uploads of unknown length,
and hijacked connections (RFC 9110 section 7.8, protocol ``tcp``) that carry raw bytes after the head.
"""

from __future__ import annotations

import os
import sys
from _socket import AF_UNIX, SOCK_STREAM, socket

from linkspan.cli.documents import Json, text
from linkspan.cli.failure import DaemonError, Failure, Unreachable
from linkspan.cli.jsontext import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

API = "/v1.48"
"""The newest that the daemon has: 1.48 is the first with ``EnableIPv4`` and gateway priorities."""
DEFAULT_SOCKET = "/run/linkspan/linkspan.sock"

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:,")
_HEAD_LIMIT = 65536
_PIECE = 65536

Query = dict[str, str | int | bool | list[str] | None]
"""Values of a query string; None and empty texts are left out, True is ``1``."""


def chosen_socket(host: str) -> str:
    """The socket's path: ``--host``, else LINKSPAN_HOST, else DOCKER_HOST when it is a unix socket, else our own."""
    for source, value in (("--host", host), ("LINKSPAN_HOST", os.environ.get("LINKSPAN_HOST", ""))):
        if value:
            path = value.removeprefix("unix://")
            if "://" in path or not path.startswith("/"):
                raise Failure(f'linkspan: {source} "{value}" is no unix socket: write unix:///path/of/socket')
            return path
    docker = os.environ.get("DOCKER_HOST", "")
    return docker.removeprefix("unix://") if docker.startswith("unix://") else DEFAULT_SOCKET


def quoted(value: str) -> str:
    """Percent-encoding of one path segment or query value (RFC 3986)."""
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in value.encode("utf-8", "surrogateescape"))


def segment(reference: str) -> str:
    """A name or id as one path segment; it must not be empty, or the path would mean something else."""
    if not reference.strip():
        raise Failure("linkspan: an empty name or id")
    return quoted(reference)


def query_string(query: Query) -> str:
    """With its question mark; empty when no value is left."""
    pairs = []
    for key, value in query.items():
        for item in value if isinstance(value, list) else [value]:
            if item is None or item == "":
                continue
            pairs.append(f"{key}={quoted(str(int(item)) if isinstance(item, bool) else str(item))}")
    return "?" + "&".join(pairs) if pairs else ""


def filters(given: Iterable[str]) -> str:
    """``key=value`` texts as the JSON that Docker's list calls take; empty when there are none."""
    found: dict[str, Json] = {}
    for item in given:
        key, _, value = item.partition("=")
        chosen = found.setdefault(key, {})
        if isinstance(chosen, dict):
            chosen[value] = True
    return encode(found) if found else ""


class Reply:
    """An answer whose head has been read. The body is read once, whole or piece by piece."""

    __slots__ = ("_bodiless", "_buffer", "_connection", "headers", "status")

    def __init__(self, connection: socket, *, bodiless: bool = False) -> None:
        self._connection = connection
        self._bodiless = bodiless  # an answer to HEAD has a length and no body (RFC 9110, section 9.3.2)
        self._buffer = bytearray()
        self.status = 0
        self.headers: dict[str, str] = {}

    def read_head(self) -> None:
        """Reads the status line and headers; a 100 Continue before them is skipped."""
        while self.status in (0, 100):
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > _HEAD_LIMIT or not self._more():
                    raise Unreachable("linkspan: the daemon closed the connection without an answer")
                continue
            lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
            del self._buffer[: end + 4]
            code = lines[0].split(" ")[1:2]
            if not lines[0].startswith("HTTP/1.") or not code or not code[0].isdigit():
                raise Unreachable("linkspan: what listens on the socket does not speak HTTP")
            self.status = int(code[0])
            for line in lines[1:]:
                name, _, value = line.partition(":")
                self.headers[name.strip().lower()] = value.strip()

    def _more(self) -> bool:
        piece = self._connection.recv(_PIECE)
        self._buffer += piece
        return bool(piece)

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives. Raises Unreachable when it ends too early."""
        if self._bodiless or self.status in (204, 304):
            return
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            yield from self._chunks()
        elif "content-length" in self.headers:
            yield from self._counted(int(self.headers["content-length"]))
        else:
            while True:
                if self._buffer:
                    yield self._take(len(self._buffer))
                if not self._more():
                    return

    def _counted(self, left: int) -> Iterator[bytes]:
        while left > 0:
            if not self._buffer and not self._more():
                raise Unreachable("linkspan: the daemon went away in the middle of an answer")
            piece = self._take(min(left, len(self._buffer)))
            left -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while True:
            length = int(self._line().partition(b";")[0].strip() or b"0", 16)
            if length == 0:
                return
            yield from self._counted(length)
            self._line()

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if not self._more():
                raise Unreachable("linkspan: the daemon went away in the middle of an answer")
        line = self._take(end)
        self._take(2)
        return line

    def _take(self, count: int) -> bytes:
        piece = bytes(self._buffer[:count])
        del self._buffer[:count]
        return piece

    def read(self) -> bytes:
        """The whole body; closes the connection."""
        body = b"".join(self.pieces())
        self.close()
        return body

    def document(self) -> Json:
        """The body as one JSON document, None when it is empty. Raises Failure when it is no JSON."""
        body = self.read()
        try:
            return decode(body) if body.strip() else None
        except ValueError as reason:
            raise Failure(f"linkspan: the daemon's answer is {reason}") from reason

    def documents(self) -> Iterator[Json]:
        """A stream of JSON documents, one a line."""
        rest = b""
        for piece in self.pieces():
            *lines, rest = (rest + piece).split(b"\n")
            yield from (decode(line) for line in lines if line.strip())
        if rest.strip():
            yield decode(rest)

    def hijacked(self) -> tuple[socket, bytes]:
        """The bare connection, and the bytes that came with the head."""
        return self._connection, self._take(len(self._buffer))

    def fileno(self) -> int:
        """For poll(2)."""
        return self._connection.fileno()

    def close(self) -> None:
        """Ends the connection; what was not read is lost."""
        self._connection.close()


class Client:
    """The daemon behind one socket."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def get(self, path: str, query: Query | None = None) -> Json:
        """The document that a path shows. Raises DaemonError, Unreachable, as ``post`` and ``delete`` do."""
        return self.send("GET", path, query).document()

    def post(self, path: str, query: Query | None = None, body: Json = None) -> Json:
        """Does something; the answer's document."""
        return self.send("POST", path, query, body).document()

    def delete(self, path: str, query: Query | None = None) -> Json:
        """Removes something; the answer's document."""
        return self.send("DELETE", path, query).document()

    def send(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Json = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request with an optional JSON body. Raises DaemonError for statuses from 400, Unreachable."""
        reply = self.begin(method, path, query, body, headers)
        reply.read_head()
        return checked(reply)

    def begin(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Json = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Sends a request and does not wait: the caller calls ``read_head`` and ``checked`` when it is ready."""
        payload = b"" if body is None else encode(body).encode("utf-8", "replace")
        fields = {"Connection": "close", **(headers or {})}
        if body is not None:
            fields["Content-Type"] = "application/json"
        if body is not None or method in ("POST", "PUT"):
            fields["Content-Length"] = str(len(payload))
        connection = self._connect()
        connection.sendall(self._head(method, path, query, fields) + payload)
        return Reply(connection, bodiless=method == "HEAD")

    def upload(self, method: str, path: str, query: Query, pieces: Iterable[bytes]) -> Reply:
        """Sends a tar archive of unknown length as chunks. A daemon that refuses early is heard."""
        fields = {"Connection": "close", "Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"}
        connection = self._connect()
        connection.sendall(self._head(method, path, query, fields))
        try:
            for piece in pieces:
                if piece:
                    connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            connection.sendall(b"0\r\n\r\n")
        except BrokenPipeError:
            pass  # the answer below says why
        reply = Reply(connection)
        reply.read_head()
        return checked(reply)

    def hijack(self, path: str, query: Query | None = None, body: Json = None) -> Reply:
        """A POST whose connection becomes a bare stream: 101 from daemons that know upgrades, 200 from old ones."""
        return self.send("POST", path, query, body, {"Connection": "Upgrade", "Upgrade": "tcp"})

    def _head(self, method: str, path: str, query: Query | None, fields: Mapping[str, str]) -> bytes:
        target = API + path + query_string(query or {})
        if os.environ.get("LINKSPAN_DEBUG"):
            print(f"{method} {target}", file=sys.stderr)
        lines = [f"{method} {target} HTTP/1.1", "Host: linkspan", "User-Agent: Linkspan-Client"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _connect(self) -> socket:
        try:
            return self.connect()
        except (FileNotFoundError, ConnectionRefusedError) as reason:
            if self.path != DEFAULT_SOCKET or os.environ.get("LINKSPAN_AUTOSTART") == "0":
                raise self._unreachable(reason) from reason
            from linkspan.cli.autostart import start_daemon

            start_daemon(self)
            return self.connect()
        except OSError as reason:
            raise self._unreachable(reason) from reason

    def connect(self) -> socket:
        """A bare connection. Raises OSError."""
        connection = socket(AF_UNIX, SOCK_STREAM)
        try:
            connection.connect(self.path)
        except OSError:
            connection.close()
            raise
        return connection

    def _unreachable(self, reason: OSError) -> Unreachable:
        where = f"unix://{self.path}"
        if isinstance(reason, PermissionError):
            return Unreachable(
                f"linkspan: permission denied on the daemon's socket {where}: use sudo or join its group"
            )
        return Unreachable(f"linkspan: cannot connect to the daemon at {where}: {reason.strerror or reason}")


def checked(reply: Reply) -> Reply:
    """Passes an answer below 400 on; raises DaemonError with the daemon's sentence for the rest."""
    if reply.status < 400:
        return reply
    body = reply.read()
    try:
        message = text(decode(body), "message")
    except ValueError:
        message = ""
    raise DaemonError(reply.status, message or body.decode("utf-8", "replace").strip() or f"HTTP {reply.status}")
