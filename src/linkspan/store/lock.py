"""One daemon a data-root: a file lock that the kernel drops with the process, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from linkspan.errors import Conflict, StoreFailure


class DataRootLock:
    """flock(2) on ``linkspan.lock`` below the data-root, with the holder's pid inside for people to read.

    The file stays when the lock goes: removing it would let two daemons lock two files of one name.
    """

    def __init__(self, data_root: Path) -> None:
        """Takes the lock. Conflict names the pid of who has it; StoreFailure when the file cannot be made."""
        path = data_root / "linkspan.lock"
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreFailure(f"cannot open {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            pid = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise Conflict(
                f"data-root {data_root} is in use by another Linkspan daemon (pid {pid})",
                whose=pid,
                remedy="stop that one or give this one another --data-root",
            ) from error
        except OSError as error:
            os.close(self._descriptor)
            raise StoreFailure(f"cannot lock {path}: {error.strerror}") from error

    def release(self) -> None:
        """Drops the lock. A second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
