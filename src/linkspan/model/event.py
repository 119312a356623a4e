"""Something that happened, as ``docker events`` shows it."""

from __future__ import annotations

from typing import Literal

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """``time`` in Unix nanoseconds. ``action`` in Docker's words: ``create``, ``die``, ``connect`` …"""

    kind: Literal["container", "image", "network", "volume", "daemon"]
    action: str
    id: str
    attributes: dict[str, str] = {}
    time: int = 0
