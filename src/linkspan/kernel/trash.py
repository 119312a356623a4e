"""Lazy deletion: veths and namespaces leave the way at once and are deleted later, a few at a time.

Deleting a veth holds the kernel's network lock for 14 to 22 ms, and 16 of them by group take not much longer. A
discarded veth is down and in a group of its own, so that a new daemon finds it; a discarded namespace has lost its
pin and lives by our socket alone, so that it goes with us.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Collection

from linkspan.kernel.links import Mark
from linkspan.kernel.netlink import Netlink, NetlinkError
from linkspan.kernel.netns import Namespaces
from linkspan.kernel.wire import link
from linkspan.kernel.wire.message import number


class Trash:
    """What waits for being deleted."""

    def __init__(self, host: Netlink, namespaces: Namespaces, mark: Mark) -> None:
        self._host = host
        self._namespaces = namespaces
        self._mark = mark
        self._veths: list[int] | None = None
        self._sockets: list[Netlink] = []

    def close(self) -> None:
        """Lets go of discarded namespaces; the kernel takes them apart with what is in them."""
        for inside in self._sockets:
            inside.close()
        self._sockets.clear()

    def discard(self, veths: Collection[str], namespaces: Collection[str]) -> None:
        """Takes host ends of ours down and into the trash, and unpins namespaces. Absence is success. NetlinkError."""
        waiting = self._waiting()
        for name in veths:
            with contextlib.suppress(NetlinkError):
                found = link.decode(self._host.get(link.get_by_name(name)))
                if self._mark.ours(found) and not self._mark.discarded(found):
                    self._host.request(link.change(found.index, number(link.IFLA_GROUP, self._mark.trash), up=False))
                    waiting.append(found.index)
        for name in namespaces:
            inside = self._namespaces.unpin(name)
            if inside is not None:
                self._sockets.append(inside)

    def sweep(self, limit: int) -> int:
        """Deletes up to ``limit`` veths in one message, then lets up to ``limit`` namespaces go. NetlinkError.

        Returns how many of both still wait.
        """
        waiting = self._waiting()
        batch, self._veths = waiting[:limit], waiting[limit:]
        doomed = [index for index in batch if self._is_discarded(index)]
        if doomed:
            self._host.batch([link.change(index, number(link.IFLA_GROUP, self._mark.doomed)) for index in doomed])
            try:
                self._host.request(link.delete_group(self._mark.doomed))
            except NetlinkError as error:
                if error.errno != errno.ENODEV:
                    self._veths = None
                    raise
        if not self._veths:
            for inside in self._sockets[:limit]:
                inside.close()
            del self._sockets[:limit]
        return len(self._veths) + len(self._sockets)

    def _is_discarded(self, index: int) -> bool:
        try:
            return self._mark.discarded(link.decode(self._host.get(link.get_by_index(index))))
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return False
            raise

    def _waiting(self) -> list[int]:
        """Numbers of the veths in the trash; read once from the kernel, where an earlier daemon may have left some."""
        if self._veths is None:
            every = [link.decode(body) for body in self._host.dump(link.dump())]
            self._veths = [found.index for found in every if self._mark.discarded(found)]
        return self._veths
