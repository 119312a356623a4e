"""Volumes: named folders below the data-root that outlive containers (Docker's ``local`` driver)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from linkspan.engine import filters
from linkspan.engine.events import Events
from linkspan.engine.filters import Filters
from linkspan.engine.intent import Intent
from linkspan.engine.views import Pruned, VolumeView
from linkspan.errors import Conflict, InvalidRequest, NotFound
from linkspan.model.names import volume_name
from linkspan.model.volume import Volume

FILTERS = ("dangling", "driver", "label", "name")
TRASH = ".removed"
"""No volume has this name: they begin with a letter or digit."""
PRUNE_FILTERS = ("all", "label", "label!")


class Volumes:
    """The use cases of volumes."""

    def __init__(self, data_root: Path, intent: Intent, events: Events) -> None:
        self._folder = data_root / "volumes"
        self._intent = intent
        self._events = events

    def path(self, name: str) -> Path:
        """The folder that is mounted into containers."""
        return self._folder / name / "_data"

    async def create(self, name: str, driver: str, labels: Mapping[str, str], options: Mapping[str, str]) -> VolumeView:
        """An existing volume of that name is given back, as Docker does."""
        if driver not in ("", "local"):
            raise NotFound(f"volume driver {driver} not found", remedy="the one driver is local")
        if options:
            raise InvalidRequest(
                f"unknown volume option {next(iter(options))}", remedy="volumes here are plain folders without options"
            )
        known = self._intent.volumes.get(name)
        if known is None:
            known = self.make(name, labels=labels)
        return self._view(known)

    def make(self, name: str, *, labels: Mapping[str, str] | None = None) -> Volume:
        """A new volume; without a name it is anonymous and gets one of 64 hex digits."""
        volume = self.design(name, labels=labels)
        self._intent.commit(put=[volume])
        self.made(volume)
        return volume

    @staticmethod
    def design(name: str, *, labels: Mapping[str, str] | None = None) -> Volume:
        """A volume that is not there yet: the caller writes it into the intent and then calls ``made``.

        InvalidRequest for a name that no volume can have.
        """
        if name:
            volume_name(name)
        return Volume(
            name=name or secrets.token_hex(32), created=time.time(), labels=dict(labels or {}), anonymous=not name
        )

    def made(self, volume: Volume) -> None:
        """Makes the folder of a volume that was written into the intent, and tells."""
        self.path(volume.name).mkdir(parents=True, exist_ok=True)
        self._events.publish("volume", "create", volume.name, {"driver": "local"})

    def list(self, wanted: Filters) -> tuple[VolumeView, ...]:
        """All volumes that match, by name."""
        filters.check_keys(wanted, FILTERS)
        dangling = filters.boolean(wanted, "dangling")
        found = [
            volume
            for volume in self._intent.volumes.values()
            if filters.matches_text([volume.name], wanted.get("name", ()))
            and (not wanted.get("driver") or "local" in wanted["driver"])
            and (dangling is None or dangling == (not self.users(volume.name)))
            and filters.matches_labels(volume.labels, wanted)
        ]
        return tuple(self._view(volume) for volume in sorted(found, key=lambda item: item.name))

    def get(self, reference: str) -> VolumeView:
        """One volume. NotFound."""
        return self._view(self._find(reference))

    async def remove(self, reference: str, *, force: bool) -> None:
        """Refused while a container's definition names it. With ``force``, absence is success."""
        if force and reference not in self._intent.volumes:
            return
        volume = self._find(reference)
        users = self.users(volume.name)
        if users:
            raise Conflict(
                f"remove {volume.name}: volume is in use by {', '.join(users)}", remedy="remove those containers first"
            )
        await self.discard([volume.name])

    async def discard(self, names: Iterable[str]) -> None:
        """Removes volumes that nobody uses any more; those in use are left."""
        for name in names:
            volume = self._intent.volumes.get(name)
            if volume is None or self.users(name):
                continue
            removed = self._put_aside(name)
            try:
                self._intent.commit(drop=[volume])
            except BaseException:
                self._put_back(removed)
                raise
            await asyncio.to_thread(shutil.rmtree, removed.parent, True)
            self._events.publish("volume", "destroy", name, {"driver": "local"})

    async def prune(self, wanted: Filters) -> Pruned:
        """Removes unused volumes: anonymous ones, and with the filter ``all`` named ones too."""
        filters.check_keys(wanted, PRUNE_FILTERS)
        everything = filters.boolean(wanted, "all") is True
        deleted: tuple[str, ...] = ()
        reclaimed = 0
        for volume in list(self._intent.volumes.values()):
            fits = (everything or volume.anonymous) and filters.matches_labels(volume.labels, wanted)
            if fits and not self.users(volume.name):
                reclaimed += await asyncio.to_thread(folder_size, self.path(volume.name))
                await self.discard([volume.name])
                deleted = (*deleted, volume.name)
        return Pruned(deleted=deleted, reclaimed=reclaimed)

    def users(self, name: str) -> tuple[str, ...]:
        """Names of the containers whose definitions mount this volume."""
        return tuple(
            sorted(
                container.name
                for container in self._intent.containers.values()
                if any(mount.kind == "volume" and mount.source == name for mount in container.spec.mounts)
            )
        )

    def usage(self) -> tuple[VolumeView, ...]:
        """All volumes with size and references, for ``system df``."""
        return tuple(
            VolumeView(
                volume=volume,
                path=str(self.path(volume.name)),
                size=folder_size(self.path(volume.name)),
                references=len(self.users(volume.name)),
            )
            for volume in self._intent.volumes.values()
        )

    def empty_trash(self) -> None:
        """At the start of the daemon: what a removal that was cut short has left.

        A volume that is still in the intent gets its files back: its removal was not written down.
        """
        for aside in (self._folder / TRASH).glob("*/*"):
            if aside.name in self._intent.volumes:
                self._put_back(aside)
        shutil.rmtree(self._folder / TRASH, ignore_errors=True)

    def _put_aside(self, name: str) -> Path:
        """The name is free at once: a new volume may take it while the old one's files are being deleted."""
        aside = self._folder / TRASH / secrets.token_hex(8) / name
        aside.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (self._folder / name).rename(aside)
        return aside

    def _put_back(self, aside: Path) -> None:
        with contextlib.suppress(OSError):  # nothing was put aside, or a start of its container made a folder anew
            aside.rename(self._folder / aside.name)

    def _find(self, reference: str) -> Volume:
        volume = self._intent.volumes.get(reference)
        if volume is None:
            raise NotFound(f"get {reference}: no such volume")
        return volume

    def _view(self, volume: Volume) -> VolumeView:
        return VolumeView(volume=volume, path=str(self.path(volume.name)))


def folder_size(folder: Path) -> int:
    """Bytes that the files below ``folder`` take on disk."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total
