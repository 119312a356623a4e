"""The overlay driver: each layer is unpacked once, and containers stack theirs with overlayfs.

    overlay/layers/<hex of the diff id>/{diff/, size}
    overlay/containers/<id>/{layers.json, upper/, work/, merged/, l/}

mount(2) takes one page of options, which absolute paths of some 40 layers fill. So options name paths relative to
the container's folder, entered by a thread that has a working directory of its own; for many layers ``l/`` holds
short links to them (``l/0:l/1:…``; overlayfs resolves them while mounting), which reaches overlayfs's own limit of
500 layers on every kernel. Rejected: fsconfig(2) with ``lowerdir+``, which needs Linux 6.7. Relative names also
need no escaping of ``:`` and ``,`` in the data-root.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

from linkspan import libc
from linkspan.errors import InvalidRequest
from linkspan.images import upper
from linkspan.images.documents import check_digest
from linkspan.images.storage import Change, Folders, LayerSource, Unpacked
from linkspan.images.trees import tree_size
from linkspan.images.unpacking import LayerJob, unpack_layers

_OPTIONS_LIMIT = 4000
"""Bytes; the kernel's limit is a page, 4096 with the final zero."""
_MOST_LAYERS = 500
"""OVL_MAX_STACK in fs/overlayfs/params.h."""


class OverlayDriver:
    """Implements ``linkspan.images.storage.StorageDriver``. Probe with ``why_not`` first."""

    name = "overlay"

    def __init__(self, data_root: Path) -> None:
        self._folders = Folders(data_root, "overlay", "layers")
        self._folders.discard_unfinished()
        # A thread of its own, since its working directory moves and is not the process's.
        self._mounter = ThreadPoolExecutor(1, "mount", initializer=libc.unshare, initargs=(libc.CLONE_FS,))

    def _layer(self, diff_id: str) -> Path:
        return self._folders.unpacked / check_digest(diff_id)

    def has(self, layers: Sequence[str]) -> bool:
        return all(self._layer(diff_id).exists() for diff_id in layers)

    async def prepare(self, layers: Sequence[LayerSource]) -> AsyncGenerator[Unpacked, None]:
        if len(layers) > _MOST_LAYERS:
            raise InvalidRequest(f"the image has {len(layers)} layers, and overlayfs stacks {_MOST_LAYERS} at most")
        missing: dict[str, LayerSource] = {}
        for layer in layers:
            if self._layer(layer.diff_id).exists():
                yield self._done(layer.diff_id)
            else:
                missing[layer.diff_id] = layer
        if missing:
            async with aclosing(self._unpack(tuple(missing.values()))) as steps:
                async for progress in steps:
                    yield progress

    async def _unpack(self, layers: Sequence[LayerSource]) -> AsyncGenerator[Unpacked, None]:
        folders = [self._folders.unpacked / f".new-{secrets.token_hex(8)}" for _ in layers]
        try:
            jobs = []
            for layer, folder in zip(layers, folders, strict=True):
                folder.mkdir(mode=0o700)
                (folder / "diff").mkdir(mode=0o755)
                job = LayerJob(blob=layer.blob, target=folder / "diff", style="overlay", diff_id=layer.diff_id)
                jobs.append(job)
            async with aclosing(unpack_layers(jobs)) as steps:
                async for index, read, size in steps:
                    diff_id = layers[index].diff_id
                    if size is None:
                        yield Unpacked(diff_id=diff_id, read=read)
                    else:
                        self._publish(folders[index], diff_id, size)
                        yield self._done(diff_id)
        finally:
            for folder in folders:
                if folder.exists():
                    self._folders.discard(folder)

    def _publish(self, folder: Path, diff_id: str, size: int) -> None:
        """Two pulls may unpack the same layer at once: the first one's stays."""
        (folder / "size").write_text(str(size))
        if not self._layer(diff_id).exists():
            os.rename(folder, self._layer(diff_id))

    def _done(self, diff_id: str) -> Unpacked:
        return Unpacked(diff_id=diff_id, size=int((self._layer(diff_id) / "size").read_text()))

    def create(self, container: str, layers: Sequence[str]) -> None:
        with self._folders.new_container(container, layers) as folder:
            for name in ("upper", "work", "merged", "empty"):
                (folder / name).mkdir(mode=0o755)
            if layers:
                # The merged root shows the attributes of its topmost folder, which is ours.
                top = (self._layer(layers[-1]) / "diff").stat()
                os.chown(folder / "upper", top.st_uid, top.st_gid)
                os.chmod(folder / "upper", stat.S_IMODE(top.st_mode))

    def mount(self, container: str) -> Path:
        folder = self._folders.container(container)
        merged = folder / "merged"
        if not os.path.ismount(merged):
            self._mounter.submit(self._mount, folder, self._folders.layers_of(folder)).result()
        return merged

    def _mount(self, folder: Path, layers: Sequence[str]) -> None:
        """Runs in the mounting thread. The topmost layer comes first in ``lowerdir``; an empty image has none."""
        os.chdir(folder)
        try:
            lower = [os.path.relpath(self._layer(diff_id) / "diff", folder) for diff_id in reversed(layers)]
            options = _options(lower or ["empty"])
            if len(options) > _OPTIONS_LIMIT:
                options = _options(_short_names(folder, lower))
            libc.mount("overlay", "merged", "overlay", 0, options)
        finally:
            os.chdir("/")

    def unmount(self, container: str) -> None:
        merged = str(self._folders.containers / container / "merged")
        while unmounted(merged):
            pass

    def remove(self, container: str) -> None:
        self.unmount(container)
        self._folders.remove_container(container)

    def changes(self, container: str) -> tuple[Change, ...]:
        folder = self._folders.container(container)
        layers = [self._layer(diff_id) / "diff" for diff_id in reversed(self._folders.layers_of(folder))]
        return upper.overlay_changes(folder / "upper", layers)

    def size(self, container: str) -> int:
        return tree_size(self._folders.container(container) / "upper")

    def containers(self) -> Mapping[str, tuple[str, ...]]:
        return self._folders.layers()

    def collect(self, wanted: Collection[tuple[str, ...]]) -> None:
        self._folders.discard_unpacked({check_digest(diff_id) for layers in wanted for diff_id in layers})

    def empty_trash(self) -> None:
        self._folders.empty_trash()


def unmounted(target: str) -> bool:
    """Unmounts ``target``; when busy, detaches it. False when nothing is mounted there (EINVAL, ENOENT). OSError."""
    try:
        try:
            libc.unmount(target, 0)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            libc.unmount(target)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return False
        raise
    return True


def _options(lower: Sequence[str]) -> str:
    index = ",index=off" if os.path.exists("/sys/module/overlay/parameters/index") else ""
    return f"lowerdir={':'.join(lower)},upperdir=upper,workdir=work{index}"


def _short_names(folder: Path, lower: Sequence[str]) -> list[str]:
    links = folder / "l"
    shutil.rmtree(links, ignore_errors=True)
    links.mkdir(mode=0o700)
    for number, path in enumerate(lower):
        (links / str(number)).symlink_to(os.path.join("..", path))
    return [f"l/{number}" for number in range(len(lower))]


def why_not(data_root: Path) -> str:
    """Empty when overlayfs works on this data-root, else the reason. Tries it with two small layers."""
    probe = data_root / f".probe-{secrets.token_hex(4)}"
    try:
        for name in ("lower/a", "middle/a", "upper", "work", "merged"):
            (probe / name).mkdir(parents=True)
        (probe / "lower" / "hidden").touch()
        os.mknod(probe / "middle" / "hidden", stat.S_IFCHR, os.makedev(0, 0))
        os.setxattr(probe / "middle" / "a", "trusted.overlay.opaque", b"y")
        options = f"lowerdir={probe}/middle:{probe}/lower,upperdir={probe}/upper,workdir={probe}/work"
        libc.mount("overlay", str(probe / "merged"), "overlay", 0, options)
        if (probe / "merged" / "hidden").exists():
            return "overlayfs does not honour whiteouts there"
        (probe / "merged" / "a" / "written").touch()
    except OSError as error:
        return f"{error.strerror or error}"
    finally:
        unmounted(str(probe / "merged"))
        shutil.rmtree(probe, ignore_errors=True)
    return ""
