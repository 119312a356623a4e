"""Registry logins as clients send them. Nothing here is ever logged."""

from __future__ import annotations

import base64
import binascii

import msgspec

from linkspan.api.wire.decoding import decode
from linkspan.errors import InvalidRequest
from linkspan.images.face import Credentials


class AuthConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``POST /auth`` and the content of ``X-Registry-Auth``."""

    username: str = ""
    password: str = ""
    auth: str = ""
    identitytoken: str = ""
    serveraddress: str = ""


def credentials(header: str) -> Credentials | None:
    """``X-Registry-Auth``: base64 (URL alphabet) of JSON; None without a login. InvalidRequest when malformed."""
    if not header:
        return None
    try:
        text = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
        login = decode(text, AuthConfig)
        username, password = _pair(login)
    except (binascii.Error, UnicodeDecodeError, ValueError, InvalidRequest):
        raise InvalidRequest("the header X-Registry-Auth is malformed") from None
    if not (username or login.identitytoken):
        return None
    return Credentials(username=username, password=password, token=login.identitytoken)


def _pair(login: AuthConfig) -> tuple[str, str]:
    """User and password; ``auth`` holds both in base64."""
    if login.username or not login.auth:
        return login.username, login.password
    username, _, password = base64.b64decode(login.auth).decode().partition(":")
    return username, password
