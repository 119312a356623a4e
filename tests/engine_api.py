"""A bare client of the Docker Engine API for tests that must know exactly what was acknowledged."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any


class Unacknowledged(Exception):
    """The daemon went away before it answered: what was asked may or may not have happened."""


class Refused(Exception):
    """The daemon answered with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class EngineApi:
    """One connection a request, over the daemon's unix socket."""

    def __init__(self, path: Path, timeout: float = 30.0) -> None:
        self._path = path
        self._timeout = timeout

    def __call__(self, method: str, target: str, body: object = None) -> Any:
        """The decoded reply. Raises Unacknowledged and Refused."""
        connection = http.client.HTTPConnection("localhost", timeout=self._timeout)
        try:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(self._timeout)
            connection.sock.connect(str(self._path))
            text = None if body is None else json.dumps(body)
            connection.request(method, f"/v1.44{target}", text, {"Content-Type": "application/json"})
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unacknowledged(str(error)) from error
        finally:
            connection.close()
        decoded = json.loads(data) if data else None
        if response.status >= 400:
            raise Refused(response.status, (decoded or {}).get("message", ""))
        return decoded
