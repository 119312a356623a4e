"""Events as ``GET /events`` shows them."""

from __future__ import annotations

from linkspan.api.wire.decoding import Json
from linkspan.model.event import Event


def event(happened: Event) -> Json:
    """``status``, ``id`` and ``from`` are the old spelling for containers and images, which Compose 1 reads."""
    shown: Json = {}
    if happened.kind in ("container", "image"):
        shown = {"status": happened.action, "id": happened.id}
        if "image" in happened.attributes:
            shown["from"] = happened.attributes["image"]
    shown |= {
        "Type": happened.kind,
        "Action": happened.action,
        "Actor": {"ID": happened.id, "Attributes": happened.attributes},
        "scope": "local",
        "time": happened.time // 1_000_000_000,
        "timeNano": happened.time,
    }
    return shown
