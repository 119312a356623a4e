"""Which images and references exist: one JSON file, replaced atomically, so a crash leaves the old or the new.

Whatever no image in the catalog names (blobs, layers) does not exist, and is collected at the next start.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from linkspan.errors import StoreFailure
from linkspan.images.blobs import Blobs
from linkspan.images.documents import read_image
from linkspan.images.references import Reference, parse
from linkspan.model.image import Image


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of an image: ``blob`` is the digest of the file it came in, ``size`` its unpacked bytes."""

    diff_id: str
    blob: str
    size: int


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What the catalog keeps of one image beside its configuration, which is the blob named by its id."""

    manifest: str
    layers: tuple[Layer, ...]


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    version: int = 1
    images: dict[str, Record] = {}
    references: dict[str, str] = {}
    """Full reference, with a tag or a digest, to image id."""


class Catalog:
    """The images and their names. Reads come from memory; each change is on disk before it returns."""

    def __init__(self, path: Path, blobs: Blobs) -> None:
        """StoreFailure when the file cannot be read."""
        self._path = path
        self._blobs = blobs
        self._document = self._load()
        self._images = {identity: self._decode(identity, record) for identity, record in self._document.images.items()}
        self._name_images()

    def _load(self) -> _Document:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Document)
        except FileNotFoundError:
            return _Document()
        except (OSError, msgspec.DecodeError) as error:
            raise StoreFailure(
                f"the image catalog {self._path} cannot be read: {error}",
                remedy="restore the file, or move it away to begin without images",
            ) from None

    def _decode(self, identity: str, record: Record) -> Image:
        try:
            return read_image(self._blobs.read(identity), [layer.size for layer in record.layers])
        except OSError as error:
            raise StoreFailure(f"the configuration of image {identity[:19]} cannot be read: {error}") from None

    @property
    def records(self) -> Mapping[str, Record]:
        """By image id."""
        return self._document.images

    @property
    def references(self) -> Mapping[str, str]:
        """Full reference to image id."""
        return self._document.references

    def image(self, identity: str) -> Image:
        """One image, with its tags and digests. KeyError when there is none."""
        return self._images[identity]

    def _name_images(self) -> None:
        names: dict[str, list[Reference]] = {identity: [] for identity in self._document.images}
        for name, identity in sorted(self._document.references.items()):
            names[identity].append(parse(name))
        self._images = {
            identity: msgspec.structs.replace(
                self._images[identity],
                tags=tuple(reference.familiar for reference in references if not reference.digest),
                digests=tuple(reference.familiar for reference in references if reference.digest),
            )
            for identity, references in names.items()
        }

    def change(
        self,
        *,
        add: Mapping[str, Record] | None = None,
        name: Mapping[str, str] | None = None,
        unname: Iterable[str] = (),
        drop: Iterable[str] = (),
    ) -> None:
        """Adds images, gives and takes full references, and drops images, all at once and durably."""
        images = {**self._document.images, **(add or {})}
        references = {**self._document.references, **(name or {})}
        for reference in unname:
            references.pop(reference, None)
        decoded = {identity: self._decode(identity, record) for identity, record in (add or {}).items()}
        for identity in drop:
            images.pop(identity, None)
        references = {name: identity for name, identity in references.items() if identity in images}
        self._save(_Document(images=images, references=references))
        self._images = {**self._images, **decoded}
        self._name_images()

    def _save(self, document: _Document) -> None:
        temporary = self._path.with_suffix(".new")
        try:
            with open(temporary, "wb") as file:
                file.write(msgspec.json.encode(document))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StoreFailure(f"the image catalog {self._path} cannot be written: {error}") from None
        self._document = document
