"""Volumes."""

from __future__ import annotations

import msgspec

from linkspan.api.wire import times
from linkspan.api.wire.decoding import Json
from linkspan.engine.views import VolumeView


class VolumeCreate(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The body of ``POST /volumes/create``."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] = {}
    labels: dict[str, str] = {}


def inspect(view: VolumeView) -> Json:
    """``GET /volumes/{name}``; usage only where it was measured."""
    volume = view.volume
    shown: Json = {
        "CreatedAt": times.rfc3339(int(volume.created)),
        "Driver": "local",
        "Labels": volume.labels or None,
        "Mountpoint": view.path,
        "Name": volume.name,
        "Options": volume.options or None,
        "Scope": "local",
    }
    if view.size >= 0 or view.references >= 0:
        shown["UsageData"] = {"Size": view.size, "RefCount": view.references}
    return shown
