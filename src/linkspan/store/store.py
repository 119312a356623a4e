"""All that Linkspan remembers, by noun."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from linkspan.errors import StoreFailure
from linkspan.model.container import Container, ContainerState
from linkspan.model.endpoint import Endpoint
from linkspan.model.image import ImageConfig
from linkspan.model.network import Network
from linkspan.model.sandbox import Sandbox
from linkspan.model.volume import Volume
from linkspan.store.database import Database
from linkspan.store.lock import DataRootLock
from linkspan.store.table import Cursors, Table

FILE_NAME = "linkspan.db"


class Store:
    """The open store of one data-root. ``Store.open`` makes it; one process at a time has it."""

    def __init__(self, database: Database, lock: DataRootLock) -> None:
        self._database = database
        self._lock = lock
        self.networks = Table(database, "networks", Network)
        """By network id."""
        self.containers = Table(database, "containers", Container)
        """By container id."""
        self.states = Table(database, "states", ContainerState)
        """By container id."""
        self.image_configs = Table(database, "image_configs", ImageConfig)
        """By container id: the image's defaults as they were when the container was created."""
        self.sandboxes = Table(database, "sandboxes", Sandbox)
        """By sandbox id."""
        self.endpoints = Table(database, "endpoints", Endpoint)
        """By endpoint id."""
        self.volumes = Table(database, "volumes", Volume)
        """By name."""
        self.meta = Table(database, "meta", str)
        """Single facts by name; ``instance`` is the daemon's id."""
        self.cursors = Cursors(database)

    @classmethod
    def open(cls, data_root: Path, *, random_bytes: Callable[[int], bytes] = os.urandom) -> Store:
        """Opens ``linkspan.db`` below ``data_root``, making both when they are missing.

        Conflict: another daemon has that data-root (its pid is named). StoreFailure: the file cannot be read, is
        damaged, or was written by a newer Linkspan. ``random_bytes`` makes the instance id at the first open.
        """
        try:
            data_root.mkdir(mode=0o711, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreFailure(f"cannot make data-root {data_root}: {error.strerror}") from error
        lock = DataRootLock(data_root)
        try:
            store = cls(Database(data_root / FILE_NAME), lock)
            if store.meta.get("instance") is None:
                store.meta.put("instance", random_bytes(4).hex())
        except BaseException:
            lock.release()
            raise
        return store

    @property
    def instance(self) -> str:
        """The id of this daemon, 8 hexadecimal digits, which everything it makes on the machine carries."""
        instance = self.meta.get("instance")
        if instance is None:
            raise StoreFailure(f"{self._database.path} has lost its instance id", remedy="restore it from a backup")
        return instance

    def transaction(self) -> AbstractContextManager[None]:
        """Groups writes into one commit; see ``Database.transaction``. Never ``await`` inside."""
        return self._database.transaction()

    def close(self) -> None:
        """Closes the file, then lets the data-root go. A second call does nothing."""
        try:
            self._database.close()
        finally:
            self._lock.release()
