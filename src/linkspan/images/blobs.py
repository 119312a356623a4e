"""Files named by the sha256 digest of their content, and staging folders for what is still on its way.

The layout is an OCI shared blob folder (``sha256/<hex>``), so that skopeo reads and fills it as it is.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from linkspan.images.documents import check_digest, digest_of


class Blobs:
    """The content-addressed files below ``folder``; made when missing, staging of an earlier life removed."""

    def __init__(self, folder: Path) -> None:
        self.shared = folder / "blobs"
        """What skopeo takes as a shared blob folder."""
        self._files = self.shared / "sha256"
        self._staging = folder / "staging"
        self._files.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._staging, ignore_errors=True)
        self._staging.mkdir(mode=0o700)

    def path(self, digest: str) -> Path:
        """Where the blob lies, or would. InvalidRequest for what is no sha256 digest."""
        return self._files / check_digest(digest)

    def has(self, digest: str) -> bool:
        """Whether the blob is there."""
        return self.path(digest).exists()

    def read(self, digest: str) -> bytes:
        """A small blob's bytes. FileNotFoundError when it is not there."""
        return self.path(digest).read_bytes()

    def write(self, data: bytes) -> str:
        """Stores a small blob; returns its digest."""
        digest = digest_of(data)
        path = self.path(digest)
        if not path.exists():
            temporary = self._staging / secrets.token_hex(8)
            temporary.write_bytes(data)
            os.rename(temporary, path)
        return digest

    def adopt(self, file: Path, digest: str) -> None:
        """Takes over a file of a staging folder whose content is known to have this digest."""
        os.rename(file, self.path(digest))

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """An empty folder on the same file system, removed at the end with all that is left in it."""
        folder = self._staging / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def collect(self, keep: Collection[str]) -> int:
        """Deletes blobs whose digests are not in ``keep``; returns the bytes freed."""
        freed = 0
        with os.scandir(self._files) as entries:
            for entry in entries:
                if f"sha256:{entry.name}" not in keep:
                    freed += entry.stat().st_size
                    os.unlink(entry.path)
        return freed
