"""What the members of an outer archive mean: the images of a docker-archive or of an OCI layout (pure).

docker-archive: ``manifest.json`` names configurations, layers and tags (moby, image/spec). OCI archive:
``index.json`` names manifests below ``blobs/sha256`` (OCI image-spec, image-layout.md). Docker 25 and later write
both; then ``manifest.json`` decides, and the OCI manifests are kept where they fit.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence

import msgspec

from linkspan.errors import InvalidRequest
from linkspan.images.documents import (
    Descriptor,
    Index,
    Manifest,
    RepositoryTag,
    choose_platform,
    digest_of,
    read_manifest,
    read_repository_tags,
    write_manifest,
)
from linkspan.images.ingest import Candidate
from linkspan.images.references import parse
from linkspan.images.unpacking import Member

_MOST_LINKS = 10
_REFERENCE_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """The images found, and the members that hold their layers by blob digest."""

    candidates: tuple[Candidate, ...]
    layers: dict[str, Member]


class ArchiveReader:
    """The members of an archive by name; ``read`` gives the bytes of a small one."""

    def __init__(self, members: Sequence[Member], read: Callable[[Member], bytes], architecture: str) -> None:
        self._members = {posixpath.normpath(member.name): member for member in members}
        self._read = read
        self._architecture = architecture
        self._layers: dict[str, Member] = {}

    def layout(self) -> Layout:
        """The archive's images. InvalidRequest names what is missing or contradictory."""
        if "manifest.json" in self._members:
            originals = self._originals()
            tags = read_repository_tags(self._bytes("manifest.json"))
            candidates = [self._docker_image(tag, originals) for tag in tags]
        elif "index.json" in self._members:
            candidates = [self._oci_image(descriptor) for descriptor in self._index().manifests]
        else:
            raise InvalidRequest(
                "the archive holds no image: it has neither manifest.json nor index.json",
                remedy="use import for a plain root file system",
            )
        if not candidates:
            raise InvalidRequest("the archive holds no image")
        return Layout(candidates=tuple(candidates), layers=self._layers)

    def _member(self, name: str) -> Member:
        """The file behind a name. Older archives share layers through links."""
        current = posixpath.normpath(name)
        for _ in range(_MOST_LINKS):
            member = self._members.get(current)
            if member is None:
                break
            if not member.link:
                return member
            base = posixpath.dirname(current) if member.symbolic else ""
            current = posixpath.normpath(posixpath.join(base, member.link))
        raise InvalidRequest(f"the archive is incomplete: it has no {name[:200]!r}")

    def _bytes(self, name: str) -> bytes:
        return self._read(self._member(name))

    def _blob(self, descriptor: Descriptor) -> Member:
        member = self._member(f"blobs/{descriptor.digest.replace(':', '/')}")
        if member.digest != descriptor.digest:
            raise InvalidRequest(f"the archive is damaged: {descriptor.digest} has the digest {member.digest}")
        return member

    def _docker_image(self, tag: RepositoryTag, originals: Mapping[str, bytes]) -> Candidate:
        config = self._bytes(tag.config)
        layers = [self._member(name) for name in tag.layers]
        self._layers |= {layer.digest: layer for layer in layers}
        digests = tuple(layer.digest for layer in layers)
        raw = originals.get(digest_of(config))
        if raw is not None:
            manifest = read_manifest(raw, "the archive")
            if not isinstance(manifest, Manifest) or tuple(layer.digest for layer in manifest.layers) != digests:
                raw = None
        if raw is None:
            raw = write_manifest(config, [(layer.digest, layer.size, layer.gzip) for layer in layers])
        references = tuple(parse(name).full for name in tag.repo_tags or ())
        return Candidate(manifest=raw, config=config, layers=digests, references=references)

    def _index(self) -> Index:
        index = read_manifest(self._bytes("index.json"), "index.json in the archive")
        if not isinstance(index, Index):
            raise InvalidRequest("index.json in the archive is no index")
        return index

    def _originals(self) -> dict[str, bytes]:
        """Manifests of an OCI layout beside ``manifest.json``, by the digest of the configuration."""
        found = {}
        if "index.json" in self._members:
            for descriptor in self._index().manifests:
                raw = self._read(self._blob(descriptor))
                manifest = read_manifest(raw, f"manifest {descriptor.digest}")
                if isinstance(manifest, Manifest):
                    found[manifest.config.digest] = raw
        return found

    def _oci_image(self, descriptor: Descriptor) -> Candidate:
        raw = self._read(self._blob(descriptor))
        manifest = read_manifest(raw, f"manifest {descriptor.digest}")
        if isinstance(manifest, Index):
            chosen = choose_platform(manifest, self._architecture, "the archive")
            raw = self._read(self._blob(chosen))
            manifest = read_manifest(raw, f"manifest {chosen.digest}")
        if isinstance(manifest, Index):
            raise InvalidRequest("the archive nests its indexes too deeply")
        config = self._read(self._blob(manifest.config))
        self._layers |= {layer.digest: self._blob(layer) for layer in manifest.layers}
        return Candidate(
            manifest=raw,
            config=config,
            layers=tuple(layer.digest for layer in manifest.layers),
            references=_names(descriptor.annotations or {}),
        )


def _names(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """The full name that containerd writes; else the OCI reference name, unless it is a bare tag."""
    for key in _REFERENCE_NAMES:
        text = annotations.get(key, "")
        if text and (key == _REFERENCE_NAMES[0] or ":" in text or "/" in text):
            return (parse(text).full,)
    return ()
