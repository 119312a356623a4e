"""Images: the store's use cases with events added."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from linkspan.engine.events import Events
from linkspan.engine.filters import Filters
from linkspan.images.face import Credentials, Progress, Removal
from linkspan.images.store import ImageStore
from linkspan.model.image import History, Image


class Images:
    """The noun of the API."""

    def __init__(self, store: ImageStore, events: Events) -> None:
        self._store = store
        self._events = events

    def list(self, filters: Filters) -> tuple[Image, ...]:
        """Images that match, newest first."""
        return self._store.list(filters)

    def get(self, reference: str) -> Image:
        """One image. ImageNotFound."""
        return self._store.get(reference)

    def history(self, reference: str) -> tuple[tuple[str, History], ...]:
        """Newest first; only the top line has an id."""
        return self._store.history(reference)

    async def pull(self, reference: str, credentials: Credentials | None) -> AsyncIterator[Progress]:
        """Fetches an image from its registry."""
        async for step in self._store.pull(reference, credentials):
            yield step
        self._publish("pull", reference)

    async def push(self, reference: str, credentials: Credentials | None) -> AsyncIterator[Progress]:
        """Sends an image to its registry."""
        async for step in self._store.push(reference, credentials):
            yield step
        self._publish("push", reference)

    async def load(self, body: AsyncIterator[bytes]) -> AsyncIterator[Progress]:
        """Reads images out of an archive."""
        async for step in self._store.load(body):
            yield step
        self._publish("load", "")

    async def save(self, references: Sequence[str]) -> AsyncIterator[bytes]:
        """Images as an archive."""
        chunks = await self._store.save(references)
        self._publish("save", ",".join(references))
        return chunks

    async def import_archive(
        self, body: AsyncIterator[bytes], reference: str, message: str, changes: Sequence[str]
    ) -> AsyncIterator[Progress]:
        """A root file system as an image of one layer."""
        async for step in self._store.import_archive(body, reference, message, changes):
            yield step
        self._publish("import", reference)

    async def tag(self, reference: str, target: str) -> None:
        """Gives an image one more name."""
        await self._store.tag(reference, target)
        self._publish("tag", target)

    async def remove(self, reference: str, *, force: bool) -> tuple[Removal, ...]:
        """Untags, and deletes with the last tag."""
        image = self._store.get(reference)
        removed = await self._store.remove(reference, force=force)
        self._publish_removed(image, removed)
        return removed

    async def prune(self, filters: Filters) -> tuple[tuple[Removal, ...], int]:
        """Removes images that no container uses. The bytes freed too."""
        removed, freed = await self._store.prune(filters)
        for deed, name in removed:
            self._events.publish("image", "untag" if deed == "Untagged" else "delete", name, {"name": name})
        return removed, freed

    def _publish(self, action: str, reference: str) -> None:
        self._events.publish("image", action, reference, {"name": reference})

    def _publish_removed(self, image: Image, removed: Sequence[Removal]) -> None:
        for deed, name in removed:
            self._events.publish("image", "untag" if deed == "Untagged" else "delete", image.id, {"name": name})
