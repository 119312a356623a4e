"""What the image store takes and gives beside ``linkspan.model.image``."""

from __future__ import annotations

from typing import Literal

import msgspec

Removal = tuple[Literal["Untagged", "Deleted"], str]
"""One line of ``rmi`` or ``prune``: a familiar reference, or the id of an image or a layer."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """A registry login; ``token`` is an identity token. Never logged."""

    username: str = ""
    password: str = ""
    token: str = ""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One line of progress. ``id`` names the layer or is empty; bytes are 0 when unknown."""

    status: str
    id: str = ""
    current: int = 0
    total: int = 0
    stream: str = ""
    """For ``load``: a line for the person instead of ``status``."""
    aux: dict[str, str] = {}


class ImageUser(msgspec.Struct, frozen=True, kw_only=True):
    """A container that was made from an image."""

    name: str
    running: bool
