"""ImageStore: the local images. What changes them is durable before it returns, and all or nothing.

Methods belong on the event loop; heavy work happens in threads and child programs. The engine adds events.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar

from linkspan.errors import Conflict, ImageNotFound, InvalidRequest
from linkspan.images import removal, selection
from linkspan.images.archives import Archives
from linkspan.images.blobs import Blobs
from linkspan.images.catalog import Catalog
from linkspan.images.face import Credentials, ImageUser, Progress, Removal
from linkspan.images.ingest import Ingest
from linkspan.images.references import Reference, id_prefix, is_full_id, parse, parse_target
from linkspan.images.registry import Registry
from linkspan.images.rootfs import RootFileSystems, choose_driver
from linkspan.images.saving import save
from linkspan.images.selection import Filters
from linkspan.images.storage import Gate, LayerSource
from linkspan.model.image import History, Image

_Item = TypeVar("_Item")
Users = Callable[[str], Sequence[ImageUser]]
"""The containers made from an image, by its id."""


def _nobody(_: str) -> Sequence[ImageUser]:
    return ()


class ImageStore:
    """All images below ``data_root``. Make it once, at the daemon's start, before containers are recovered."""

    def __init__(
        self,
        data_root: Path,
        *,
        users: Users = _nobody,
        storage_driver: str = "",
        insecure_registries: Sequence[str] = (),
    ) -> None:
        """Tries overlayfs and reads the catalog: some milliseconds. StoreFailure when that cannot be read."""
        root = data_root / "images"
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._users = users
        self._driver, self.warning = choose_driver(data_root, storage_driver)
        self._gate = Gate()
        self._blobs = Blobs(root)
        self._catalog = Catalog(root / "images.json", self._blobs)
        ingest = Ingest(root, self._blobs, self._driver, self._catalog)
        self._registry = Registry(self._blobs, self._catalog, ingest, insecure_registries)
        self._archives = Archives(self._blobs, ingest)
        self.roots = RootFileSystems(self._driver, self._gate, self._unpack)
        """The containers' root file systems."""
        self._collect()

    @property
    def storage_driver(self) -> str:
        """``overlay`` or ``copy``; ``warning`` says why it is not overlay."""
        return self._driver.name

    def list(self, filters: Filters) -> tuple[Image, ...]:
        """Images, newest first. InvalidRequest for an unknown filter."""
        return selection.listed(self._all(), filters, self.get, time.time())

    def _all(self) -> tuple[Image, ...]:
        return tuple(self._catalog.image(identity) for identity in self._catalog.records)

    def get(self, reference: str) -> Image:
        """The image with this name, id or beginning of an id. ImageNotFound, Conflict for an ambiguous beginning."""
        return self._catalog.image(self._resolve(reference)[0])

    def _resolve(self, text: str) -> tuple[str, Reference | None]:
        """The image's id, and the reference when it was found by one."""
        digits = id_prefix(text)
        if is_full_id(text):
            if f"sha256:{digits}" in self._catalog.records:
                return f"sha256:{digits}", None
            raise ImageNotFound(f"No such image: {text}")
        reference: Reference | None = None
        try:
            reference = parse(text)
        except InvalidRequest:
            if not digits:
                raise
        if reference is not None and reference.full in self._catalog.references:
            return self._catalog.references[reference.full], reference
        matches = [identity for identity in self._catalog.records if digits and identity[7:].startswith(digits)]
        if len(matches) > 1:
            raise Conflict(f"{text!r} is the beginning of {len(matches)} image ids", remedy="give more digits")
        if matches:
            return matches[0], None
        raise ImageNotFound(f"No such image: {reference.familiar if reference is not None else text}")

    def history(self, reference: str) -> tuple[tuple[str, History], ...]:
        """Newest first; only the top line has an id."""
        image = self.get(reference)
        newest_first = tuple(reversed(image.history))
        return tuple((image.id if number == 0 else "<missing>", line) for number, line in enumerate(newest_first))

    def layers_size(self) -> int:
        """Bytes of all unpacked layers, shared ones once."""
        layers = {layer.diff_id: layer.size for record in self._catalog.records.values() for layer in record.layers}
        return sum(layers.values())

    def shared_sizes(self) -> dict[str, int]:
        """For each image the bytes of those of its layers that other images have too."""
        users = Counter(layer.diff_id for record in self._catalog.records.values() for layer in set(record.layers))
        return {
            identity: sum(layer.size for layer in record.layers if users[layer.diff_id] > 1)
            for identity, record in self._catalog.records.items()
        }

    async def tag(self, reference: str, target: str) -> None:
        """Gives an image one more name, taking it from another where that holds it."""
        name = parse_target(target)
        identity, _ = self._resolve(reference)
        self._catalog.change(name={name.full: identity})

    async def remove(self, reference: str, *, force: bool) -> tuple[Removal, ...]:
        """Untags, and deletes with the last tag. Conflict names the containers in the way."""
        identity, name = self._resolve(reference)
        image = self._catalog.image(identity)
        names = self._names(identity)
        users = self._users(identity)
        if name is None:
            plan = removal.by_id(image, names, users, force=force)
        else:
            plan = removal.by_reference(image, name, names, users, force=force)
        return await self._remove(image, plan)

    async def prune(self, filters: Filters) -> tuple[tuple[Removal, ...], int]:
        """Removes images that no container uses: dangling ones, or all with ``dangling=false``. Bytes freed too."""
        before = self.layers_size()
        lines: list[Removal] = []
        for image in selection.prunable(self._all(), filters, time.time()):
            if not self._users(image.id):
                plan = removal.RemovalPlan(untag=self._names(image.id), delete=True)
                lines += await self._remove(image, plan)
        return tuple(lines), before - self.layers_size()

    def _names(self, identity: str) -> tuple[Reference, ...]:
        return tuple(parse(name) for name, target in sorted(self._catalog.references.items()) if target == identity)

    async def _remove(self, image: Image, plan: removal.RemovalPlan) -> tuple[Removal, ...]:
        self._catalog.change(unname=[name.full for name in plan.untag], drop=[image.id] if plan.delete else [])
        lines: list[Removal] = [("Untagged", name.familiar) for name in plan.untag]
        if plan.delete:
            kept = {layer for other in self._all() for layer in other.layers}
            gone = [layer for layer in reversed(image.layers) if layer not in kept]
            lines += [("Deleted", identity) for identity in (image.id, *gone)]
            self._collect()
            await asyncio.to_thread(self._driver.empty_trash)
        return tuple(lines)

    def pull(self, reference: str, credentials: Credentials | None) -> AsyncGenerator[Progress, None]:
        """Pulls one image. A bad reference is refused at once, other errors come with the iteration."""
        name = parse(reference)
        return self._guarded(self._registry.pull(name, credentials))

    def push(self, reference: str, credentials: Credentials | None) -> AsyncGenerator[Progress, None]:
        """Pushes the image that has this name. ImageNotFound when none has."""
        name = parse_target(reference)
        identity = self._catalog.references.get(name.full)
        if identity is None:
            raise ImageNotFound(f"An image does not exist locally with the tag: {name.familiar}")
        return self._guarded(self._registry.push(name, identity, credentials))

    def load(self, body: AsyncIterator[bytes]) -> AsyncGenerator[Progress, None]:
        """Loads a docker-archive or an OCI archive. InvalidRequest when it is damaged or hostile."""
        return self._guarded(self._archives.load(body))

    def import_archive(
        self, body: AsyncIterator[bytes], reference: str, message: str, changes: Sequence[str]
    ) -> AsyncGenerator[Progress, None]:
        """Makes an image of a root file system's tar. ``reference`` may be empty; the last status is the id."""
        return self._guarded(self._archives.import_archive(body, reference, message, changes))

    async def save(self, references: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """The bytes of a docker-archive of these images; ImageNotFound is raised by the call itself."""
        names: dict[str, list[Reference]] = {}
        for text in references:
            identity, name = self._resolve(text)
            travelling = names.setdefault(identity, [])
            if name is not None and name.tag and name not in travelling:
                travelling.append(name)
        images = {identity: self._catalog.records[identity] for identity in names}
        return self._guarded(save(self._blobs, images, names))

    async def _guarded(self, steps: AsyncGenerator[_Item, None]) -> AsyncGenerator[_Item, None]:
        """Runs an operation with nothing collected under it, and collects what a failure left behind."""
        try:
            with self._gate:
                async with aclosing(steps):
                    async for item in steps:
                        yield item
        finally:
            self._collect()
            await asyncio.to_thread(self._driver.empty_trash)

    async def _unpack(self, image: Image) -> None:
        """Unpacks an image again where this storage driver has not seen it yet."""
        if self._driver.has(image.layers):
            return
        record = self._catalog.records[image.id]
        sources = [LayerSource(diff_id=layer.diff_id, blob=self._blobs.path(layer.blob)) for layer in record.layers]
        async for _ in self._driver.prepare(sources):
            pass

    def _collect(self) -> None:
        """Lets go of blobs and layers that no image and no container needs, unless something is on its way."""
        if not self._gate.idle:
            return
        keep: set[str] = set()
        wanted = set(self._driver.containers().values())
        for identity, record in self._catalog.records.items():
            keep |= {identity, record.manifest, *(layer.blob for layer in record.layers)}
            wanted.add(tuple(layer.diff_id for layer in record.layers))
        self._blobs.collect(keep)
        self._driver.collect(wanted)
