"""A daemon for tests of the command line: answers with canned documents on a unix socket and remembers requests."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class Request:
    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes, stream: Any) -> None:
        self.method = method
        parts = urlsplit(target)
        path = unquote(parts.path)
        self.path = "/" + path.split("/", 2)[2] if path.startswith("/v1.") else path
        self.query = parse_qs(parts.query)
        self.headers = headers
        self.body = body
        self.stream = stream

    @property
    def document(self) -> Any:
        return json.loads(self.body)


Answer = tuple[int, Any] | Callable[[Request, socket.socket], None]
"""(status, document), or a function that writes to the connection itself."""


class FakeDaemon:
    """``routes`` maps "METHOD /path" (without the version) to an answer; what is missing gets 404."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.host = f"unix://{path}"
        self.routes: dict[str, Answer] = {}
        self.requests: list[Request] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def bodies(self, method: str, path: str) -> list[Any]:
        return [request.document for request in self.requests if (request.method, request.path) == (method, path)]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while (request := _read(stream)) is not None:
                self.requests.append(request)
                answer = self.routes.get(f"{request.method} {request.path}", (404, {"message": "page not found"}))
                if request.path == "/_ping":
                    answer = _ping
                if callable(answer):
                    try:
                        answer(request, connection)
                    except OSError:
                        return
                    if answer is not _ping:
                        return
                else:
                    status, document = answer
                    send(connection, status, document)


def _ping(request: Request, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nApi-Version: 1.44\r\nOstype: linux\r\nContent-Length: 0\r\n\r\n")


def send(connection: socket.socket, status: int, document: Any) -> None:
    body = b"" if document is None else json.dumps(document).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)


def chunked(pieces: list[bytes], content_type: str = "application/json") -> Callable[[Request, socket.socket], None]:
    """An answer in chunks, one a piece."""

    def answer(request: Request, connection: socket.socket) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        for piece in pieces:
            connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        connection.sendall(b"0\r\n\r\n")

    return answer


def upgrade(connection: socket.socket) -> None:
    """The head of a hijacked connection."""
    connection.sendall(
        b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n"
        b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    )


def frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def _read(stream: Any) -> Request | None:
    line = stream.readline()
    if not line.strip():
        return None
    method, target, _ = line.decode().split(" ")
    headers = {}
    while (header := stream.readline().strip()) != b"":
        name, _, value = header.decode().partition(":")
        headers[name.lower()] = value.strip()
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while (size := int(stream.readline(), 16)) > 0:
            body += stream.read(size)
            stream.readline()
        stream.readline()
    elif "content-length" in headers:
        body = stream.read(int(headers["content-length"]))
    return Request(method, target, headers, body, stream)
