"""``docker cp``: what a path is, as the header ``X-Docker-Container-Path-Stat`` says it."""

from __future__ import annotations

import base64
import stat

import msgspec

from linkspan.api.wire import times
from linkspan.engine.views import PathStat

_KINDS = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
}
"""Go's bits for the kinds of files (package io/fs, ``FileMode``)."""


def path_stat(found: PathStat) -> str:
    """Base64 of the JSON that clients expect."""
    shown = {
        "name": found.name,
        "size": found.size,
        "mode": go_mode(found.mode),
        "mtime": times.rfc3339(found.mtime),
        "linkTarget": found.link_target,
    }
    return base64.b64encode(msgspec.json.encode(shown)).decode()


def go_mode(mode: int) -> int:
    """stat(2)'s ``st_mode`` in Go's bits."""
    bits = (mode & 0o777) | _KINDS.get(stat.S_IFMT(mode), 0)
    bits |= 1 << 23 if mode & stat.S_ISUID else 0
    bits |= 1 << 22 if mode & stat.S_ISGID else 0
    return bits | (1 << 20 if mode & stat.S_ISVTX else 0)
