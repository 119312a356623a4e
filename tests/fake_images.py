"""One image, volumes in memory, and a registry that says what its image's name asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal

from linkspan.engine.face import Filters
from linkspan.engine.views import Pruned, VolumeView
from linkspan.errors import ImageNotFound, InvalidRequest, NotFound, RegistryFailure
from linkspan.images.face import Credentials, Progress
from linkspan.model.image import History, Image, ImageConfig
from linkspan.model.volume import Volume

BUSYBOX = Image(
    id="sha256:" + "b" * 64,
    created=1_700_000_000.0,
    architecture="amd64",
    os="linux",
    size=4_000_000,
    config=ImageConfig(env=("PATH=/bin",), command=("sh",)),
    layers=("sha256:" + "1" * 64,),
    tags=("busybox:latest",),
    history=(History(created=1_700_000_000.0, created_by="ADD rootfs", size=4_000_000),),
)
Removed = tuple[Literal["Untagged", "Deleted"], str]


class FakeImages:
    def __init__(self) -> None:
        self.logins: list[Credentials | None] = []
        self.loaded = bytearray()

    def list(self, filters: Filters) -> tuple[Image, ...]:
        return (BUSYBOX,)

    def get(self, reference: str) -> Image:
        if reference not in ("busybox", "busybox:latest", "docker.io/library/busybox", BUSYBOX.id):
            raise ImageNotFound(f"No such image: {reference}")
        return BUSYBOX

    def history(self, reference: str) -> tuple[tuple[str, History], ...]:
        return ((BUSYBOX.id, BUSYBOX.history[0]), ("<missing>", History()))

    async def pull(self, reference: str, credentials: Credentials | None) -> AsyncIterator[Progress]:
        self.logins.append(credentials)
        if reference.startswith("absent"):
            raise NotFound(f"manifest for {reference} not found")
        yield Progress(status="Pulling from library/busybox", id="latest")
        yield Progress(status="Downloading", id="1111", current=5, total=10)
        if reference.startswith("broken"):
            raise RegistryFailure("the registry hung up")
        yield Progress(status=f"Status: Downloaded newer image for {reference}")

    async def push(self, reference: str, credentials: Credentials | None) -> AsyncIterator[Progress]:
        yield Progress(status="Pushed", id="1111")
        yield Progress(status="", aux={"Tag": "latest", "Digest": "sha256:" + "d" * 64, "Size": "12"})

    async def load(self, body: AsyncIterator[bytes]) -> AsyncIterator[Progress]:
        async for chunk in body:
            self.loaded += chunk
        if not self.loaded:
            raise InvalidRequest("the archive is empty")
        yield Progress(status="", stream="Loaded image: busybox:latest")

    async def save(self, references: Sequence[str]) -> AsyncIterator[bytes]:
        for reference in references:
            self.get(reference)
        return chunks(b"tar " + ",".join(references).encode(), 1)

    async def import_archive(
        self, body: AsyncIterator[bytes], reference: str, message: str, changes: Sequence[str]
    ) -> AsyncIterator[Progress]:
        async for chunk in body:
            self.loaded += chunk
        yield Progress(status=BUSYBOX.id)

    async def tag(self, reference: str, target: str) -> None:
        self.get(reference)

    async def remove(self, reference: str, *, force: bool) -> tuple[Removed, ...]:
        self.get(reference)
        return (("Untagged", reference),)

    async def prune(self, filters: Filters) -> tuple[tuple[Removed, ...], int]:
        return (("Deleted", "sha256:1"),), 7


class FakeVolumes:
    def __init__(self) -> None:
        self.known: dict[str, VolumeView] = {}

    async def create(self, name: str, driver: str, labels: Mapping[str, str], options: Mapping[str, str]) -> VolumeView:
        view = VolumeView(volume=Volume(name=name or "f" * 64, created=2.0, labels=dict(labels)), path=f"/v/{name}")
        self.known[view.volume.name] = view
        return view

    def list(self, filters: Filters) -> tuple[VolumeView, ...]:
        return tuple(self.known.values())

    def get(self, reference: str) -> VolumeView:
        if reference not in self.known:
            raise NotFound(f"get {reference}: no such volume")
        return self.known[reference]

    async def remove(self, reference: str, *, force: bool) -> None:
        self.get(reference)
        del self.known[reference]

    async def prune(self, filters: Filters) -> Pruned:
        return Pruned()


async def chunks(piece: bytes, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield piece
