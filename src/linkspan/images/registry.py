"""Pull and push: the order of things and what the person sees. ``skopeo`` does the talking.

A pull asks for the manifest and the configuration first, byte for byte, so that ids and digests are the registry's;
then only blobs that are missing are downloaded.
"""

from __future__ import annotations

import os
import platform
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

from linkspan.errors import InvalidRequest, NotFound, RegistryFailure
from linkspan.images.blobs import Blobs
from linkspan.images.catalog import Catalog
from linkspan.images.documents import (
    DOCKER_CONFIG,
    OCI_CONFIG,
    Index,
    Manifest,
    choose_platform,
    diff_ids_of,
    digest_of,
    read_manifest,
    short,
)
from linkspan.images.face import Credentials, Progress
from linkspan.images.ingest import Candidate, Ingest
from linkspan.images.references import Reference
from linkspan.images.skopeo import Session, is_insecure

_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386"}
_CONFIG_TYPES = ("", OCI_CONFIG, DOCKER_CONFIG)
"""Of what can be run; other artefacts in a registry have types of their own."""


def architecture() -> str:
    """This machine's architecture in the words of image indexes (Go's GOARCH)."""
    machine = platform.machine()
    return _GO_NAMES.get(machine, machine)


class Registry:
    """Pull and push against any registry. ``insecure`` lists those without TLS, besides this host's own."""

    def __init__(self, blobs: Blobs, catalog: Catalog, ingest: Ingest, insecure: Sequence[str]) -> None:
        self._blobs = blobs
        self._catalog = catalog
        self._ingest = ingest
        self._insecure = tuple(insecure)

    def _session(self, folder: Path, reference: Reference, credentials: Credentials | None) -> Session:
        return Session(folder, reference, credentials, is_insecure(reference.domain, self._insecure))

    async def pull(self, reference: Reference, credentials: Credentials | None) -> AsyncGenerator[Progress, None]:
        """Pulls one image. ImageNotFound, RegistryFailure, or InvalidRequest when no platform fits."""
        with self._blobs.staging() as folder:
            session = self._session(folder, reference, credentials)
            top = await session.manifest(reference.suffix)
            yield Progress(
                status=f"Pulling from {reference.path}", id=reference.tag if not reference.digest else reference.digest
            )
            document, raw, suffix = await self._choose(session, reference, top)
            config = await session.config(suffix)
            if digest_of(config) != document.config.digest:
                raise RegistryFailure(f"registry {reference.domain} gave a damaged configuration of {reference.full}")
            digest = digest_of(top)
            names = (reference.full, f"{reference.name}@{digest}")
            known = document.config.digest in self._catalog.records
            same = all(self._catalog.references.get(name) == document.config.digest for name in names)
            if known:
                self._catalog.change(name=dict.fromkeys(names, document.config.digest))
                for layer in document.layers:
                    yield Progress(status="Already exists", id=short(layer.digest))
            else:
                layers = tuple(layer.digest for layer in document.layers)
                candidate = Candidate(manifest=raw, config=config, layers=layers, references=names)
                for source in (self._download(session, suffix, document), self._unpack(candidate)):
                    async with aclosing(source) as steps:
                        async for progress in steps:
                            yield progress
            yield Progress(status=f"Digest: {digest}")
            news = "Image is up to date for" if known and same else "Downloaded newer image for"
            yield Progress(status=f"Status: {news} {reference.familiar}")

    async def _choose(self, session: Session, reference: Reference, top: bytes) -> tuple[Manifest, bytes, str]:
        """The manifest for this machine, its bytes, and ``@digest`` to ask for the rest by."""
        document = read_manifest(top, reference.familiar)
        raw = top
        if isinstance(document, Index):
            chosen = choose_platform(document, architecture(), reference.familiar)
            raw = await session.manifest(f"@{chosen.digest}")
            if digest_of(raw) != chosen.digest:
                raise RegistryFailure(f"registry {reference.domain} gave a damaged manifest of {reference.familiar}")
            document = read_manifest(raw, reference.familiar)
        if isinstance(document, Index) or document.config.media_type not in _CONFIG_TYPES:
            raise InvalidRequest(f"{reference.familiar} is no container image")
        return document, raw, f"@{digest_of(raw)}"

    async def _download(self, session: Session, suffix: str, document: Manifest) -> AsyncGenerator[Progress, None]:
        """skopeo does not tell which layer its unfinished bytes belong to: they are counted for the first missing."""
        missing = {layer.digest: layer.size for layer in document.layers if not self._blobs.has(layer.digest)}
        for layer in document.layers:
            status = "Pulling fs layer" if layer.digest in missing else "Already exists"
            yield Progress(status=status, id=short(layer.digest))
        if not missing:
            return
        async with aclosing(session.download(suffix, self._blobs.shared)) as steps:
            async for unfinished in steps:
                for progress in self._downloading(missing, unfinished):
                    yield progress
        for digest in missing:
            if not self._blobs.has(digest):
                raise RegistryFailure(f"layer {short(digest)} was not downloaded")
            yield Progress(status="Download complete", id=short(digest))

    def _downloading(self, missing: dict[str, int], unfinished: int) -> Iterator[Progress]:
        for digest, size in list(missing.items()):
            if self._blobs.has(digest):
                del missing[digest]
                yield Progress(status="Download complete", id=short(digest))
            elif unfinished > 0:
                current = min(unfinished, size)
                unfinished -= current
                yield Progress(status="Downloading", id=short(digest), current=current, total=size)

    async def _unpack(self, candidate: Candidate) -> AsyncGenerator[Progress, None]:
        """Begins once the blobs are there."""
        blobs = dict(zip(diff_ids_of(candidate.config, "the image"), candidate.layers, strict=False))
        totals = {digest: self._blobs.path(digest).stat().st_size for digest in candidate.layers}
        async with aclosing(self._ingest.run([candidate])) as steps:
            async for progress in steps:
                digest = blobs[progress.diff_id]
                if progress.size is None:
                    yield Progress(status="Extracting", id=short(digest), current=progress.read, total=totals[digest])
                else:
                    yield Progress(status="Pull complete", id=short(digest))

    async def push(
        self, reference: Reference, identity: str, credentials: Credentials | None
    ) -> AsyncGenerator[Progress, None]:
        """Pushes an image under ``reference``. RegistryFailure when the registry refuses."""
        record = self._catalog.records[identity]
        yield Progress(status=f"The push refers to repository [{reference.name}]")
        blobs = dict.fromkeys(layer.blob for layer in record.layers)
        for digest in blobs:
            yield Progress(status="Preparing", id=short(digest))
        with self._blobs.staging() as folder:
            source = folder / "dir"
            self._lay_out(source, record.manifest, (identity, *blobs))
            digest = ""
            session = self._session(folder, reference, credentials)
            async with aclosing(session.upload(source, reference.suffix)) as steps:
                async for digest in steps:
                    if digest in blobs:
                        total = self._blobs.path(digest).stat().st_size
                        yield Progress(status="Pushing", id=short(digest), total=total)
            size = len(await session.manifest(f"@{digest}"))
        for blob in blobs:
            yield Progress(status="Pushed", id=short(blob))
        self._catalog.change(name={f"{reference.name}@{digest}": identity})
        yield Progress(status=f"{reference.tag}: digest: {digest} size: {size}")
        # Docker's client shows a line or reads its aux, never both.
        yield Progress(status="", aux={"Tag": reference.tag, "Digest": digest, "Size": str(size)})

    def _lay_out(self, folder: Path, manifest: str, digests: Sequence[str]) -> None:
        """A folder in the format of containers-transports(5), ``dir:``, of hard links to the blobs."""
        folder.mkdir()
        (folder / "version").write_text("Directory Transport Version: 1.1\n")
        (folder / "manifest.json").write_bytes(self._blobs.read(manifest))
        for digest in dict.fromkeys(digests):
            try:
                os.link(self._blobs.path(digest), folder / digest.removeprefix("sha256:"))
            except FileNotFoundError:
                raise NotFound(f"blob {digest} of the image is missing", remedy="pull the image again") from None
