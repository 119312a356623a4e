"""A named folder that outlives containers (Docker's ``local`` volume driver)."""

from __future__ import annotations

import msgspec


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """``created`` in Unix seconds; ``anonymous`` volumes were named by us."""

    name: str
    created: float
    labels: dict[str, str] = {}
    options: dict[str, str] = {}
    anonymous: bool = False
