"""Waiting until a file changes (inotify(7))."""

from __future__ import annotations

import asyncio
import ctypes
import os
from pathlib import Path
from typing import TypeVar

from linkspan.errors import RuntimeFailure
from linkspan.runtime.descriptors import Stream

IN_MODIFY, IN_ATTRIB, IN_MOVE_SELF = 0x2, 0x4, 0x800  # linux/inotify.h; ATTRIB: also when its name is taken over

T = TypeVar("T")

_libc = ctypes.CDLL(None, use_errno=True)


class FileChanges:
    """Notes changes of one file from now on, so that none is lost between a look at it and ``wait``."""

    def __init__(self, path: Path) -> None:
        descriptor = _libc.inotify_init1(os.O_CLOEXEC)
        if descriptor < 0:
            raise RuntimeFailure(f"cannot watch {path}: {os.strerror(ctypes.get_errno())}")
        self._stream = Stream(descriptor)
        self._path = path
        self.renew()

    def renew(self) -> None:
        """Watches the file that has the name now (a log that was begun anew). A missing one is waited for in vain."""
        _libc.inotify_add_watch(self._stream.descriptor, os.fsencode(self._path), IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF)

    async def wait(self, over: asyncio.Future[T], timeout: float | None) -> None:
        """Returns at a change, when ``over`` is done, or after ``timeout`` seconds."""
        change = asyncio.ensure_future(self._stream.read())
        try:
            either: tuple[asyncio.Future[bytes] | asyncio.Future[T], ...] = (change, over)
            await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            change.cancel()

    def close(self) -> None:
        """Stops watching."""
        self._stream.close()
