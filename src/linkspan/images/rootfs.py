"""A root file system for each container, on whichever storage driver works here.

``create`` writes it once, ``mount`` and ``unmount`` may come and go, ``remove`` ends it. Everything lies below the
data-root, which is the mark of ownership: ``recover`` removes there what nobody wants.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from linkspan.errors import InvalidRequest, RuntimeFailure
from linkspan.images.copying import CopyDriver
from linkspan.images.inside import RootFs
from linkspan.images.overlay import OverlayDriver, why_not
from linkspan.images.storage import Change, Gate, StorageDriver
from linkspan.model.image import Image

__all__ = ["RootFileSystems", "RootFs", "choose_driver"]

log = logging.getLogger(__name__)


def choose_driver(data_root: Path, forced: str) -> tuple[StorageDriver, str]:
    """The storage driver for this data-root and a warning for the person, or an empty one.

    ``forced`` is ``overlay``, ``copy`` or empty. InvalidRequest for another name, RuntimeFailure when overlay is
    forced and cannot work. Blocks for some milliseconds: overlay is tried.
    """
    if forced not in ("", "overlay", "overlay2", "copy"):
        raise InvalidRequest(f"the storage driver {forced!r} is unknown", remedy="use overlay or copy")
    if forced == "copy":
        return CopyDriver(data_root), ""
    reason = why_not(data_root)
    if not reason:
        return OverlayDriver(data_root), ""
    if forced:
        raise RuntimeFailure(
            f"overlayfs does not work on the data-root {data_root}: {reason}",
            remedy="use a data-root on ext4, xfs, btrfs or tmpfs, or the storage driver copy",
        )
    warning = (
        f"overlayfs does not work on the data-root {data_root} ({reason}): every container gets a full copy of its "
        "image; a data-root on ext4, xfs, btrfs or tmpfs is quicker and smaller"
    )
    return CopyDriver(data_root), warning


class RootFileSystems:
    """The roots of all containers. RuntimeFailure names the container when the kernel or the disk refuses."""

    def __init__(self, driver: StorageDriver, gate: Gate, unpack: Callable[[Image], Awaitable[None]]) -> None:
        """``unpack`` makes sure that an image's layers are there (they are not after a change of driver)."""
        self._driver = driver
        self._gate = gate
        self._unpack = unpack

    async def create(self, container: str, image: Image) -> RootFs:
        """Makes and mounts a container's root. All or nothing."""
        with self._gate:
            await self._unpack(image)
            try:
                await asyncio.to_thread(self._driver.create, container, image.layers)
            except OSError as error:
                raise _failure(container, "made", error) from None
        try:
            return await self.mount(container)
        except RuntimeFailure:
            await self.remove(container)
            raise

    async def mount(self, container: str) -> RootFs:
        """Mounts a root, or finds it mounted."""
        try:
            return RootFs(await asyncio.to_thread(self._driver.mount, container))
        except OSError as error:
            raise _failure(container, "mounted", error) from None

    async def unmount(self, container: str) -> None:
        """Unmounts a root; nothing happens when it is not mounted."""
        try:
            await asyncio.to_thread(self._driver.unmount, container)
        except OSError as error:
            raise _failure(container, "unmounted", error) from None

    async def remove(self, container: str) -> None:
        """Unmounts and deletes a root; nothing happens when there is none."""
        try:
            await asyncio.to_thread(self._driver.remove, container)
        except OSError as error:
            raise _failure(container, "removed", error) from None

    async def changes(self, container: str) -> tuple[Change, ...]:
        """What the container changed, sorted by path."""
        try:
            return await asyncio.to_thread(self._driver.changes, container)
        except OSError as error:
            raise _failure(container, "compared with its image", error) from None

    async def size(self, container: str) -> int:
        """Bytes of files that the container wrote; 0 for one that has no root, or none any more."""
        try:
            return await asyncio.to_thread(self._driver.size, container)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise _failure(container, "measured", error) from None

    async def recover(self, expected: Collection[str], running: Collection[str]) -> None:
        """At start: removes roots of containers that are not ``expected``, unmounts those that do not run.

        A root that cannot be removed or unmounted is left as it is, and logged.
        """
        for container in self._driver.containers():
            try:
                if container not in expected:
                    await self.remove(container)
                elif container not in running:
                    await self.unmount(container)
            except RuntimeFailure as failure:
                log.error("%s", failure)
        await asyncio.to_thread(self._driver.empty_trash)


def _failure(container: str, deed: str, error: OSError) -> RuntimeFailure:
    reason = error.strerror or str(error)
    return RuntimeFailure(f"the root file system of container {container[:12]} cannot be {deed}: {reason}")
