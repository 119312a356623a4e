"""API versions: which ones this daemon speaks, and how a path names one."""

from __future__ import annotations

import re

from linkspan.errors import InvalidRequest

Version = tuple[int, int]

NEWEST: Version = (1, 48)
"""1.48 (Docker 28.0) brought ``EnableIPv4`` and ``GwPriority``, which Linkspan's networks have."""
OLDEST: Version = (1, 24)

_PREFIX = re.compile(r"/v(\d+)\.(\d+)(?=/|$)")


def text(version: Version) -> str:
    """``1.48``"""
    return f"{version[0]}.{version[1]}"


def split(path: str) -> tuple[Version, str]:
    """The version that ``/v1.41/containers/json`` names, and the rest; a path without one means the newest.

    InvalidRequest with Docker's own sentence outside of the range: clients show it as it is.
    """
    match = _PREFIX.match(path)
    if match is None:
        return NEWEST, path
    version = (int(match[1]), int(match[2]))
    if version > NEWEST:
        raise InvalidRequest(
            f"client version {text(version)} is too new. Maximum supported API version is {text(NEWEST)}"
        )
    if version < OLDEST:
        raise InvalidRequest(
            f"client version {text(version)} is too old. Minimum supported API version is {text(OLDEST)}, "
            "please upgrade your client to a newer version"
        )
    return version, path[match.end() :] or "/"
