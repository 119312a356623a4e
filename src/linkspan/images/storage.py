"""The face of a storage driver: unpacked images, and for each container a root of its own.

``overlay`` shares layers between containers and needs a file system that overlayfs can sit on; ``copy`` works
everywhere and copies whole images. Methods that are not ``async`` block for milliseconds to seconds: call them in a
thread. They raise OSError; ``linkspan.images.rootfs`` names the container in what a person sees.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, Protocol

import msgspec

Change = tuple[Literal[0, 1, 2], str]
"""What happened to an absolute path: MODIFIED, ADDED or DELETED, the kinds of Docker's Engine API."""
MODIFIED: Final = 0
ADDED: Final = 1
DELETED: Final = 2


class LayerSource(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that is wanted unpacked, and the blob that holds it."""

    diff_id: str
    blob: Path


class Unpacked(msgspec.Struct, frozen=True, kw_only=True):
    """How far a layer is: ``read`` bytes of its blob, and once it is done its unpacked ``size`` (else None)."""

    diff_id: str
    read: int = 0
    size: int | None = None


class StorageDriver(Protocol):
    """``layers`` are diff ids, lowest first; they stand for an unpacked image."""

    @property
    def name(self) -> str:
        """``overlay`` or ``copy``: what ``info`` shows, and the folder's name below the data-root."""
        ...

    def prepare(self, layers: Sequence[LayerSource]) -> AsyncGenerator[Unpacked, None]:
        """Unpacks what is not there yet, verified. Every layer is reported once with its size."""
        ...

    def has(self, layers: Sequence[str]) -> bool:
        """Whether ``prepare`` would have nothing to do."""
        ...

    def create(self, container: str, layers: Sequence[str]) -> None:
        """Makes a root on unpacked layers, whole or not at all."""
        ...

    def mount(self, container: str) -> Path:
        """The root's path; idempotent."""
        ...

    def unmount(self, container: str) -> None:
        """Not mounted is success."""
        ...

    def remove(self, container: str) -> None:
        """Unmounts and deletes a root; absent is success."""
        ...

    def changes(self, container: str) -> tuple[Change, ...]:
        """What the container changed, by path. FileNotFoundError when it has no root."""
        ...

    def size(self, container: str) -> int:
        """Bytes of files that the container wrote."""
        ...

    def containers(self) -> Mapping[str, tuple[str, ...]]:
        """Layers by container id, from disk."""
        ...

    def collect(self, wanted: Collection[tuple[str, ...]]) -> None:
        """Moves unpacked images that are not wanted to the trash: quick, and nobody finds them there."""
        ...

    def empty_trash(self) -> None:
        """Deletes for good; takes as long as the trash is large."""
        ...


class Gate:
    """Counts operations that need blobs or unpacked layers which no catalog entry names yet: ``with gate:``.

    Collecting waits until it is idle. Used on the event loop alone.
    """

    def __init__(self) -> None:
        self._inside = 0

    def __enter__(self) -> None:
        self._inside += 1

    def __exit__(self, *_: object) -> None:
        self._inside -= 1

    @property
    def idle(self) -> bool:
        """Whether nobody is inside."""
        return self._inside == 0


class Folders:
    """The folders that both drivers have: ``containers``, ``trash`` and one for what images unpack to."""

    def __init__(self, data_root: Path, name: str, unpacked: str) -> None:
        root = data_root / name
        self.unpacked = root / unpacked
        self.containers = root / "containers"
        self._trash = root / "trash"
        for folder in (root, self.unpacked, self.containers, self._trash):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def container(self, identity: str) -> Path:
        """A container's folder. FileNotFoundError when the container has no root here."""
        folder = self.containers / identity
        if not (folder / "layers.json").exists():
            raise FileNotFoundError(2, "this storage driver has no root for the container", str(folder))
        return folder

    @contextmanager
    def new_container(self, identity: str, layers: Sequence[str]) -> Iterator[Path]:
        """A folder to fill for a new container. It gets its name at the end; until then it does not exist."""
        folder = self.containers / f".new-{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
        try:
            yield folder
            (folder / "layers.json").write_bytes(msgspec.json.encode(layers))
            os.rename(folder, self.containers / identity)
        except BaseException:
            self.discard(folder)
            raise

    def layers(self) -> dict[str, tuple[str, ...]]:
        """Layers by container id; none for a container whose list is damaged, which cannot be mounted any more."""
        found = {}
        for folder in self.containers.iterdir():
            if not folder.name.startswith("."):
                try:
                    found[folder.name] = self.layers_of(folder)
                except OSError:
                    found[folder.name] = ()
        return found

    def layers_of(self, folder: Path) -> tuple[str, ...]:
        """The layers that a container was created on. OSError when a power failure took the list."""
        file = folder / "layers.json"
        try:
            return msgspec.json.decode(file.read_bytes(), type=tuple[str, ...])
        except msgspec.DecodeError:
            raise OSError(errno.EIO, "the list of its layers is damaged", str(file)) from None

    def discard(self, folder: Path) -> None:
        """Moves a folder to the trash."""
        os.rename(folder, self._trash / secrets.token_hex(8))

    def remove_container(self, identity: str) -> None:
        """Deletes a container's folder; absent is success."""
        folder = self.containers / identity
        if folder.exists():
            self.discard(folder)
            self.empty_trash()

    def discard_unpacked(self, keep: Collection[str]) -> None:
        """Moves all that was unpacked to the trash but the folders of these names and those that are being filled."""
        for folder in list(self.unpacked.iterdir()):
            if folder.name not in keep and not folder.name.startswith("."):
                self.discard(folder)

    def discard_unfinished(self) -> None:
        """What a killed daemon left half made: only for the start."""
        for parent in (self.unpacked, self.containers):
            for folder in parent.glob(".new-*"):
                self.discard(folder)

    def empty_trash(self) -> None:
        """Deletes what lies in the trash."""
        for folder in self._trash.iterdir():
            shutil.rmtree(folder, ignore_errors=True)
