"""``save``: one tar that every Docker and every OCI tool reads.

It is an OCI layout with Docker's ``manifest.json`` and ``repositories`` beside it, as Docker 25 and later write it.
Layers go out as they came in, so ids and digests survive the journey.
"""

from __future__ import annotations

import asyncio
import tarfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path

import msgspec

from linkspan.errors import StoreFailure
from linkspan.images.blobs import Blobs
from linkspan.images.catalog import Record
from linkspan.images.documents import OCI_INDEX, OCI_MANIFEST
from linkspan.images.references import Reference

_CHUNK = 1 << 20
_BLOCK = 512


async def save(
    blobs: Blobs, images: Mapping[str, Record], names: Mapping[str, Sequence[Reference]]
) -> AsyncGenerator[bytes, None]:
    """The archive's bytes. ``names`` are the references that travel along, by image id."""
    digests: dict[str, None] = {}
    for identity, record in images.items():
        digests |= dict.fromkeys((identity, record.manifest, *(layer.blob for layer in record.layers)))
    for folder in ("blobs/", "blobs/sha256/"):
        yield _header(folder, 0, tarfile.DIRTYPE)
    for digest in sorted(digests):
        async for piece in _file(_name(digest), blobs.path(digest)):
            yield piece
    documents = {
        "index.json": _index(blobs, images, names),
        "manifest.json": _manifest(images, names),
        "oci-layout": msgspec.json.encode({"imageLayoutVersion": "1.0.0"}),
        "repositories": _repositories(images, names),
    }
    for name, data in documents.items():
        yield _header(name, len(data), tarfile.REGTYPE) + data + _padding(len(data))
    yield bytes(2 * _BLOCK)


def _name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _header(name: str, size: int, kind: bytes) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    member.type = kind
    member.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    return member.tobuf()


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


async def _file(name: str, path: Path) -> AsyncGenerator[bytes, None]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise StoreFailure(f"blob {path.name[:12]} of the image cannot be read: {error.strerror}") from None
    with file:
        size = path.stat().st_size
        yield _header(name, size, tarfile.REGTYPE)
        while data := await asyncio.to_thread(file.read, _CHUNK):
            yield data
        yield _padding(size)


def _index(blobs: Blobs, images: Mapping[str, Record], names: Mapping[str, Sequence[Reference]]) -> bytes:
    entries: list[dict[str, object]] = []
    for identity, record in images.items():
        raw = blobs.read(record.manifest)
        kind = msgspec.json.decode(raw, type=dict[str, object]).get("mediaType") or OCI_MANIFEST
        entry: dict[str, object] = {"mediaType": kind, "digest": record.manifest, "size": len(raw)}
        for reference in names[identity] or (None,):
            notes = {}
            if reference is not None:
                notes = {
                    "io.containerd.image.name": reference.full,
                    "org.opencontainers.image.ref.name": reference.tag,
                }
            entries.append({**entry, "annotations": notes} if notes else entry)
    return msgspec.json.encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})


def _manifest(images: Mapping[str, Record], names: Mapping[str, Sequence[Reference]]) -> bytes:
    return msgspec.json.encode(
        [
            {
                "Config": _name(identity),
                "RepoTags": [reference.familiar for reference in names[identity]] or None,
                "Layers": [_name(layer.blob) for layer in record.layers],
            }
            for identity, record in images.items()
        ]
    )


def _repositories(images: Mapping[str, Record], names: Mapping[str, Sequence[Reference]]) -> bytes:
    """Docker's oldest index: repository to tag to the top layer."""
    found: dict[str, dict[str, str]] = {}
    for identity, record in images.items():
        top = record.layers[-1].blob if record.layers else identity
        for reference in names[identity]:
            found.setdefault(reference.familiar_name, {})[reference.tag] = top.removeprefix("sha256:")
    return msgspec.json.encode(found)
