"""OCI and Docker JSON: indexes, manifests and image configurations, decoded from bytes that nobody vouches for.

Sources: OCI image-spec (manifest.md, image-index.md, config.md) and Docker's "Image Manifest Version 2, Schema 2".
The two differ in media types alone, so one set of structs reads both.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from linkspan.errors import InvalidRequest, NotSupported
from linkspan.model.image import History, Image, ImageConfig

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_Kind = TypeVar("_Kind")


class Platform(msgspec.Struct, frozen=True):
    """What an index says of one manifest."""

    architecture: str = ""
    os: str = ""


class Descriptor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A pointer to a blob (OCI descriptor.md). ``size`` in bytes."""

    digest: str
    size: int
    media_type: str = ""
    platform: Platform | None = None
    annotations: dict[str, str] | None = None


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """Which configuration and which layer blobs, lowest first, make an image."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    schema_version: int = 2
    media_type: str = ""


class Index(msgspec.Struct, frozen=True, rename="camel"):
    """Several manifests: one a platform, or all the images of an OCI layout."""

    manifests: tuple[Descriptor, ...]
    schema_version: int = 2
    media_type: str = ""


class _Probe(msgspec.Struct, frozen=True, rename="camel"):
    schema_version: int = 0
    media_type: str = ""
    manifests: msgspec.Raw = msgspec.Raw()


class _Container(msgspec.Struct, frozen=True, rename="pascal"):
    user: str | None = None
    exposed_ports: dict[str, object] | None = None
    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: dict[str, object] | None = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None


class _RootFs(msgspec.Struct, frozen=True):
    diff_ids: tuple[str, ...] | None = None


class _HistoryLine(msgspec.Struct, frozen=True):
    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool = False


class _Configuration(msgspec.Struct, frozen=True):
    architecture: str = ""
    os: str = ""
    created: str | None = None
    author: str | None = None
    comment: str | None = None
    config: _Container | None = None
    rootfs: _RootFs | None = None
    history: tuple[_HistoryLine, ...] | None = None


class RepositoryTag(msgspec.Struct, frozen=True, rename="pascal"):
    """One image of a docker-archive: a line of its ``manifest.json``."""

    config: str
    layers: tuple[str, ...]
    repo_tags: tuple[str, ...] | None = None


def digest_of(data: bytes) -> str:
    """``sha256:…`` of these bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def short(digest: str) -> str:
    """The twelve digits that people see of a layer or an image."""
    return digest.removeprefix("sha256:")[:12]


def check_digest(digest: str) -> str:
    """The 64 hexadecimal digits of a sha256 digest; InvalidRequest for anything else (it becomes a file's name)."""
    if not _DIGEST.fullmatch(digest):
        raise InvalidRequest(f"{digest[:100]!r} is no sha256 digest")
    return digest.removeprefix("sha256:")


def read_manifest(data: bytes, whose: str) -> Manifest | Index:
    """Decodes a manifest or an index. ``whose`` names it in errors (InvalidRequest, NotSupported)."""
    probe = _decode(data, _Probe, whose)
    if probe.schema_version == 1:
        raise NotSupported(f"the manifest of {whose} has schema version 1", remedy="push the image again in version 2")
    if bytes(probe.manifests):
        return _decode(data, Index, whose)
    manifest = _decode(data, Manifest, whose)
    for descriptor in (manifest.config, *manifest.layers):
        check_digest(descriptor.digest)
    return manifest


def read_repository_tags(data: bytes) -> tuple[RepositoryTag, ...]:
    """Decodes ``manifest.json`` of a docker-archive."""
    return _decode(data, tuple[RepositoryTag, ...], "manifest.json in the archive")


def diff_ids_of(data: bytes, whose: str) -> tuple[str, ...]:
    """The diff ids that an image configuration lists, lowest first."""
    configuration = _decode(data, _Configuration, whose)
    diff_ids = configuration.rootfs.diff_ids if configuration.rootfs else None
    for diff_id in diff_ids or ():
        check_digest(diff_id)
    return diff_ids or ()


def read_image(data: bytes, sizes: Sequence[int]) -> Image:
    """An image from its configuration's bytes; ``sizes`` are the unpacked bytes of its layers, lowest first.

    Tags and digests are left empty: the catalog knows them.
    """
    identity = digest_of(data)
    configuration = _decode(data, _Configuration, f"image {identity[:19]}")
    container = configuration.config or _Container()
    return Image(
        id=identity,
        created=_seconds(configuration.created),
        architecture=configuration.architecture,
        os=configuration.os or "linux",
        size=sum(sizes),
        config=ImageConfig(
            user=container.user or "",
            exposed_ports=tuple(container.exposed_ports or ()),
            env=container.env or (),
            entrypoint=container.entrypoint,
            command=container.cmd,
            volumes=tuple(container.volumes or ()),
            working_dir=container.working_dir or "",
            labels=container.labels or {},
            stop_signal=container.stop_signal or "",
        ),
        layers=diff_ids_of(data, identity),
        history=_history(configuration.history or (), sizes),
        author=configuration.author or "",
        comment=configuration.comment or "",
    )


def _history(lines: Sequence[_HistoryLine], sizes: Sequence[int]) -> tuple[History, ...]:
    remaining = iter(sizes)
    return tuple(
        History(
            created=_seconds(line.created),
            created_by=line.created_by or "",
            author=line.author or "",
            comment=line.comment or "",
            empty_layer=line.empty_layer,
            size=0 if line.empty_layer else next(remaining, 0),
        )
        for line in lines
    )


def choose_platform(index: Index, architecture: str, whose: str) -> Descriptor:
    """The manifest of an index for Linux on ``architecture`` (Go's name, ``amd64``).

    An index of one manifest without a platform is taken as it is. InvalidRequest in Docker's words when none fits.
    """
    if len(index.manifests) == 1 and index.manifests[0].platform is None:
        return index.manifests[0]
    for descriptor in index.manifests:
        platform = descriptor.platform
        if platform is not None and platform.os == "linux" and platform.architecture == architecture:
            return descriptor
    raise InvalidRequest(f"no matching manifest for linux/{architecture} in the manifest list entries of {whose}")


def write_manifest(config: bytes, layers: Sequence[tuple[str, int, bool]]) -> bytes:
    """An OCI manifest for an image that came without one. A layer is (blob digest, size in bytes, gzip?)."""
    manifest = Manifest(
        media_type=OCI_MANIFEST,
        config=Descriptor(media_type=OCI_CONFIG, digest=digest_of(config), size=len(config)),
        layers=tuple(
            Descriptor(media_type=OCI_LAYER + ("+gzip" if gzip else ""), digest=digest, size=size)
            for digest, size, gzip in layers
        ),
    )
    return msgspec.json.encode(manifest)


def write_config(
    config: ImageConfig, *, architecture: str, created: float, diff_id: str, created_by: str, comment: str
) -> bytes:
    """The configuration of a one-layer image, as ``import`` makes it."""
    moment = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
    container: dict[str, object] = {
        "User": config.user,
        "ExposedPorts": {port: {} for port in config.exposed_ports},
        "Env": list(config.env),
        "Entrypoint": config.entrypoint,
        "Cmd": config.command,
        "Volumes": {path: {} for path in config.volumes},
        "WorkingDir": config.working_dir,
        "Labels": config.labels,
        "StopSignal": config.stop_signal,
    }
    document = {
        "architecture": architecture,
        "os": "linux",
        "created": moment,
        "comment": comment,
        "config": {key: value for key, value in container.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": moment, "created_by": created_by, "comment": comment}],
    }
    return msgspec.json.encode(document)


def _seconds(text: str | None) -> float:
    """Unix seconds of an RFC 3339 time; 0 for none, for nonsense and for Go's year 1."""
    if not text:
        return 0.0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp())


def _decode(data: bytes, kind: type[_Kind], whose: str) -> _Kind:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"{whose} is malformed: {error}") from None
