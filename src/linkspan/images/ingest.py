"""The last steps of pull, load and import: unpack and verify, then make the images visible all at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec

from linkspan import libc
from linkspan.errors import InvalidRequest
from linkspan.images.blobs import Blobs
from linkspan.images.catalog import Catalog, Layer, Record
from linkspan.images.documents import diff_ids_of, digest_of
from linkspan.images.storage import LayerSource, StorageDriver, Unpacked


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An image whose layer blobs are in the blob store. ``layers`` are blob digests, lowest first."""

    manifest: bytes
    config: bytes
    layers: tuple[str, ...]
    references: tuple[str, ...] = ()
    """Full references that it gets."""

    @property
    def id(self) -> str:
        """``sha256:…`` of the configuration."""
        return digest_of(self.config)


class Ingest:
    """Turns candidates into images."""

    def __init__(self, root: Path, blobs: Blobs, driver: StorageDriver, catalog: Catalog) -> None:
        self._root = root
        self._blobs = blobs
        self._driver = driver
        self._catalog = catalog

    async def run(self, candidates: Sequence[Candidate]) -> AsyncGenerator[Unpacked, None]:
        """Unpacks all layers, verified against their diff ids, then adds all images or, on any error, none.

        InvalidRequest when an image contradicts itself or an archive in it is hostile.
        """
        records = {}
        names: dict[str, str] = {}
        for candidate in candidates:
            diff_ids = diff_ids_of(candidate.config, f"image {candidate.id[:19]}")
            if len(diff_ids) != len(candidate.layers):
                raise InvalidRequest(
                    f"image {candidate.id[:19]} has {len(candidate.layers)} layers and its configuration lists "
                    f"{len(diff_ids)}"
                )
            sources = [
                LayerSource(diff_id=diff_id, blob=self._blobs.path(blob))
                for diff_id, blob in zip(diff_ids, candidate.layers, strict=True)
            ]
            sizes = {}
            async with aclosing(self._driver.prepare(sources)) as steps:
                async for progress in steps:
                    if progress.size is not None:
                        sizes[progress.diff_id] = progress.size
                    yield progress
            self._blobs.write(candidate.config)
            records[candidate.id] = Record(
                manifest=self._blobs.write(candidate.manifest),
                layers=tuple(
                    Layer(diff_id=diff_id, blob=blob, size=sizes[diff_id])
                    for diff_id, blob in zip(diff_ids, candidate.layers, strict=True)
                ),
            )
            names |= dict.fromkeys(candidate.references, candidate.id)
        # One call for all files: the catalog must not name what a power cut would lose.
        await asyncio.to_thread(libc.sync_file_system, str(self._root))
        self._catalog.change(add=records, name=names)
