"""The copy driver: where overlayfs cannot sit (an overlay itself, no trusted attributes), every root is a copy.

    copy/trees/<hex of the layers>/{root/, sizes.json}     an image, its layers applied one on another
    copy/containers/<id>/{layers.json, root/}

Copies share blocks where the file system can; nothing writable is ever hard-linked.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec

from linkspan.images import upper
from linkspan.images.storage import DELETED, Change, Folders, LayerSource, Unpacked
from linkspan.images.trees import copy_tree
from linkspan.images.unpacking import LayerJob, unpack_layers


class CopyDriver:
    """Implements ``linkspan.images.storage.StorageDriver``."""

    name = "copy"

    def __init__(self, data_root: Path) -> None:
        self._folders = Folders(data_root, "copy", "trees")
        self._folders.discard_unfinished()

    def _tree(self, layers: Sequence[str]) -> Path:
        return self._folders.unpacked / _key(layers)

    def has(self, layers: Sequence[str]) -> bool:
        return self._tree(layers).exists()

    async def prepare(self, layers: Sequence[LayerSource]) -> AsyncGenerator[Unpacked, None]:
        diff_ids = [layer.diff_id for layer in layers]
        tree = self._tree(diff_ids)
        if not tree.exists():
            folder = self._folders.unpacked / f".new-{secrets.token_hex(8)}"
            try:
                (folder / "root").mkdir(parents=True, mode=0o755)
                sizes = {}
                jobs = [
                    LayerJob(blob=layer.blob, target=folder / "root", style="apply", diff_id=layer.diff_id)
                    for layer in layers
                ]
                async with aclosing(unpack_layers(jobs)) as steps:
                    async for index, read, size in steps:
                        if size is None:
                            yield Unpacked(diff_id=diff_ids[index], read=read)
                        else:
                            sizes[diff_ids[index]] = size
                (folder / "sizes.json").write_bytes(msgspec.json.encode(sizes))
                if not tree.exists():
                    os.rename(folder, tree)
            finally:
                if folder.exists():
                    self._folders.discard(folder)
        sizes = msgspec.json.decode((tree / "sizes.json").read_bytes(), type=dict[str, int])
        for diff_id in dict.fromkeys(diff_ids):
            yield Unpacked(diff_id=diff_id, size=sizes[diff_id])

    def create(self, container: str, layers: Sequence[str]) -> None:
        with self._folders.new_container(container, layers) as folder:
            (folder / "root").mkdir(mode=0o755)
            copy_tree(self._tree(layers) / "root", folder / "root")

    def mount(self, container: str) -> Path:
        return self._folders.container(container) / "root"

    def unmount(self, container: str) -> None:
        """Nothing is mounted."""

    def remove(self, container: str) -> None:
        self._folders.remove_container(container)

    def _both(self, container: str) -> tuple[Path, Path]:
        folder = self._folders.container(container)
        return folder / "root", self._tree(self._folders.layers_of(folder)) / "root"

    def changes(self, container: str) -> tuple[Change, ...]:
        return upper.copy_changes(*self._both(container))

    def size(self, container: str) -> int:
        root, tree = self._both(container)
        written = [root / path[1:] for kind, path in upper.copy_changes(root, tree) if kind != DELETED]
        return sum(path.lstat().st_size for path in written if path.is_symlink() or path.is_file())

    def containers(self) -> Mapping[str, tuple[str, ...]]:
        return self._folders.layers()

    def collect(self, wanted: Collection[tuple[str, ...]]) -> None:
        self._folders.discard_unpacked({_key(layers) for layers in wanted})

    def empty_trash(self) -> None:
        self._folders.empty_trash()


def _key(layers: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(layers).encode()).hexdigest()
