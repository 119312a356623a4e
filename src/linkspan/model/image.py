"""A container image as it lies in the local store (OCI image-spec, config.md)."""

from __future__ import annotations

import msgspec


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults that an image gives to its containers (OCI image-spec, ``config`` object)."""

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: dict[str, str] = {}
    stop_signal: str = ""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an image's history. ``size`` in bytes, ``created`` in Unix seconds."""

    created: float = 0.0
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False
    size: int = 0


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image. ``id`` is ``sha256:`` + digest of its configuration; ``layers`` are diff ids, lowest first."""

    id: str
    created: float
    architecture: str
    os: str
    size: int
    """Bytes of all unpacked layers."""
    config: ImageConfig
    layers: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    """Familiar references, ``nginx:latest``, ``127.0.0.1:5000/app:1``."""
    digests: tuple[str, ...] = ()
    """``nginx@sha256:…``"""
    history: tuple[History, ...] = ()
    author: str = ""
    comment: str = ""
