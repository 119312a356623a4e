"""Archives for tests: layers entry by entry, docker-archives and OCI archives around them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator, Sequence

from linkspan.images.face import Progress
from linkspan.images.store import ImageStore


def entry(name: str, kind: bytes = tarfile.REGTYPE, **attributes: object) -> tarfile.TarInfo:
    """A tar header; ``attributes`` are TarInfo's own."""
    member = tarfile.TarInfo(name)
    member.type = kind
    member.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in attributes.items():
        setattr(member, key, value)
    return member


def layer(*entries: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    """A layer's tar. A pair is a file's name and content."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for item in entries:
            member, data = (entry(item[0]), item[1]) if isinstance(item, tuple) else (item, b"")
            member.size = len(data) or member.size
            archive.addfile(member, io.BytesIO(data.ljust(member.size, b"x")) if member.isreg() else None)
    return stream.getvalue()


def configuration(layers: Sequence[bytes], **container: object) -> bytes:
    """An image configuration over uncompressed layers."""
    diff_ids = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in layers]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-05-01T10:00:00.123456789Z",
        "config": container,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": f"layer {number}"} for number in range(len(layers))],
    }
    return json.dumps(document).encode()


def docker_archive(
    layers: Sequence[bytes], tags: Sequence[str] = ("made:1",), config: bytes | None = None, **container: object
) -> bytes:
    """A docker-archive of one image."""
    config = configuration(layers, **container) if config is None else config
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": list(tags) or None, "Layers": names}]
    files = [
        ("config.json", config),
        *zip(names, layers, strict=True),
        ("manifest.json", json.dumps(manifest).encode()),
    ]
    return layer(*files)


def oci_archive(layers: Sequence[bytes], name: str = "made:1") -> bytes:
    """An OCI archive of one image."""
    blobs: dict[str, bytes] = {}

    def add(data: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    manifest = {
        "schemaVersion": 2,
        "config": add(configuration(layers), "application/vnd.oci.image.config.v1+json"),
        "layers": [add(data, "application/vnd.oci.image.layer.v1.tar") for data in layers],
    }
    top = add(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    top["annotations"] = {"org.opencontainers.image.ref.name": name}
    files = [(f"blobs/sha256/{digest}", data) for digest, data in blobs.items()]
    index = {"schemaVersion": 2, "manifests": [top]}
    return layer(*files, ("index.json", json.dumps(index).encode()), ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'))


async def stream(data: bytes) -> AsyncIterator[bytes]:
    """A request's body in pieces."""
    for start in range(0, len(data), 10_000):
        yield data[start : start + 10_000]


def load(store: ImageStore, data: bytes) -> list[Progress]:
    """Loads an archive; what the person sees of it."""

    async def steps() -> list[Progress]:
        return [progress async for progress in store.load(stream(data))]

    return asyncio.run(steps())


def import_root(store: ImageStore, data: bytes, reference: str = "", changes: Sequence[str] = ()) -> str:
    """Imports a root file system; the new image's id."""

    async def steps() -> list[Progress]:
        return [progress async for progress in store.import_archive(stream(data), reference, "", changes)]

    return asyncio.run(steps())[-1].status


def save(store: ImageStore, *references: str) -> bytes:
    """The bytes of ``save``."""

    async def steps() -> bytes:
        return b"".join([piece async for piece in await store.save(references)])

    return asyncio.run(steps())
