"""Registry logins, in Docker's own format and file, so that one login serves both clients.

The file is ``config.json`` in ``$LINKSPAN_CONFIG``, else ``$DOCKER_CONFIG``, else ``~/.docker``; mode 0600. Docker
keeps ``user:password`` in base64 there; credential stores (programs) are not asked.
"""

from __future__ import annotations

import os
from binascii import Error, a2b_base64, b2a_base64

from linkspan.cli.documents import Json, mapping, text
from linkspan.cli.failure import Failure
from linkspan.cli.jsontext import decode, encode

MAIN_REGISTRY = "docker.io"
MAIN_KEY = "https://index." + MAIN_REGISTRY + "/v1/"
"""The key under which Docker's clients keep the main registry's login."""


def path() -> str:
    """Where the file is, or would be."""
    folder = os.environ.get("LINKSPAN_CONFIG") or os.environ.get("DOCKER_CONFIG")
    return os.path.join(folder or os.path.expanduser("~/.docker"), "config.json")


def read() -> dict[str, Json]:
    """The whole file; empty when there is none. Raises Failure when it is no JSON."""
    try:
        with open(path(), "rb") as file:
            return mapping(decode(file.read()))
    except FileNotFoundError:
        return {}
    except ValueError as reason:
        raise Failure(f"linkspan: {path()} is {reason}: repair or remove it") from reason


def write(config: dict[str, Json]) -> None:
    """Replaces the file at once, readable by its owner alone."""
    place = path()
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    draft = f"{place}.{os.getpid()}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(encode(config, 4) + "\n")
    os.replace(draft, place)


def key_of(server: str) -> str:
    """The name under which a registry's login is kept."""
    host = server.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return MAIN_KEY if host in ("", MAIN_REGISTRY, "index." + MAIN_REGISTRY) else host


def registry_of(image: str) -> str:
    """The registry in an image reference: its first part, when that looks like a host."""
    host, slash, _ = image.partition("/")
    return host if slash and ("." in host or ":" in host or host == "localhost") else MAIN_REGISTRY


def header(image: str) -> dict[str, str]:
    """``X-Registry-Auth`` for an image: base64url of JSON (Docker Engine API, authentication)."""
    entry = mapping(read(), "auths", key_of(registry_of(image)))
    login: dict[str, Json] = {"serveraddress": key_of(registry_of(image))}
    if text(entry, "identitytoken"):
        login["identitytoken"] = text(entry, "identitytoken")
    user, _, password = _decoded(text(entry, "auth")).partition(":")
    if user:
        login |= {"username": user, "password": password}
    if len(login) == 1:
        return {}
    encoded = b2a_base64(encode(login).encode(), newline=False).decode()
    return {"X-Registry-Auth": encoded.replace("+", "-").replace("/", "_")}


def entry(user: str, password: str, token: str) -> dict[str, Json]:
    """What to keep of a login: the identity token instead of the password where the registry gave one."""
    if token:
        return {"auth": b2a_base64(f"{user}:".encode(), newline=False).decode(), "identitytoken": token}
    return {"auth": b2a_base64(f"{user}:{password}".encode(), newline=False).decode()}


def _decoded(auth: str) -> str:
    try:
        return a2b_base64(auth.encode()).decode("utf-8", "replace").rstrip("\0")
    except Error:
        return ""
