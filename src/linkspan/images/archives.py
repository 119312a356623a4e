"""Load and import: a stream of bytes that nobody vouches for becomes images, or one sentence and nothing else."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

from linkspan.errors import InvalidRequest
from linkspan.images.archive_layout import ArchiveReader
from linkspan.images.blobs import Blobs
from linkspan.images.documents import diff_ids_of, short, write_config, write_manifest
from linkspan.images.face import Progress
from linkspan.images.ingest import Candidate, Ingest
from linkspan.images.instructions import apply_changes
from linkspan.images.references import parse, parse_target
from linkspan.images.registry import architecture
from linkspan.images.unpacking import Member, expand, split
from linkspan.model.image import ImageConfig

_DOCUMENT_LIMIT = 8 << 20
"""Bytes of a manifest or a configuration in an archive; real ones have some kilobytes."""


class Archives:
    """Reads archives into the image store."""

    def __init__(self, blobs: Blobs, ingest: Ingest) -> None:
        self._blobs = blobs
        self._ingest = ingest

    async def load(self, body: AsyncIterator[bytes]) -> AsyncGenerator[Progress, None]:
        """A docker-archive or an OCI archive, also compressed. All of its images, or none."""
        with self._blobs.staging() as folder:
            members = await split(body, folder)
            layout = ArchiveReader(members, _read_document, architecture()).layout()
            for digest, member in layout.layers.items():
                if not self._blobs.has(digest):
                    self._blobs.adopt(Path(member.file), digest)
            totals: dict[str, int] = {}
            for candidate in layout.candidates:
                diff_ids = diff_ids_of(candidate.config, "the archive")
                totals |= {
                    diff_id: layout.layers[blob].size for diff_id, blob in zip(diff_ids, candidate.layers, strict=False)
                }
            async with aclosing(self._ingest.run(layout.candidates)) as steps:
                async for progress in steps:
                    total = totals[progress.diff_id]
                    current = progress.read if progress.size is None else total
                    yield Progress(status="Loading layer", id=short(progress.diff_id), current=current, total=total)
        for candidate in layout.candidates:
            for name in candidate.references:
                yield Progress(status="", stream=f"Loaded image: {parse(name).familiar}\n")
            if not candidate.references:
                yield Progress(status="", stream=f"Loaded image ID: {candidate.id}\n")

    async def import_archive(
        self, body: AsyncIterator[bytes], reference: str, message: str, changes: Sequence[str]
    ) -> AsyncGenerator[Progress, None]:
        """A root file system's tar becomes an image of one layer; the last line's status is its id."""
        names = (parse_target(reference).full,) if reference else ()
        defaults = apply_changes(ImageConfig(), changes)
        with self._blobs.staging() as folder:
            path = folder / "layer"
            expanded = await expand(body, path)
            if expanded.size == 0:
                raise InvalidRequest("the archive to import is empty")
            self._blobs.adopt(path, expanded.digest)
        config = write_config(
            defaults,
            architecture=architecture(),
            created=time.time(),
            diff_id=expanded.digest,
            created_by="import",
            comment=message or "Imported from -",
        )
        candidate = Candidate(
            manifest=write_manifest(config, [(expanded.digest, expanded.size, False)]),
            config=config,
            layers=(expanded.digest,),
            references=names,
        )
        async for _ in self._ingest.run([candidate]):
            pass
        yield Progress(status=candidate.id)


def _read_document(member: Member) -> bytes:
    if member.size > _DOCUMENT_LIMIT:
        raise InvalidRequest(f"the archive is refused: {member.name[:200]!r} has {member.size} bytes")
    return Path(member.file).read_bytes()
