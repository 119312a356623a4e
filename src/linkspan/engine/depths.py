"""What services ask of the kernel thread, beside the objects that are planned."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence

import msgspec

from linkspan.kernel.conntrack import Change, Conntrack
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.worker import Worker
from linkspan.model.address import IPAddress
from linkspan.model.port import Publication
from linkspan.plan.ports import PROTOCOLS

log = logging.getLogger(__name__)


class Flows(msgspec.Struct, frozen=True):
    """Tracked connections to a publication: those that go elsewhere than to ``target``, or (``gone``) go there."""

    publication: Publication
    target: IPAddress | None
    gone: bool = False


class Depths(msgspec.Struct, frozen=True):
    """What services ask of the kernel; all of it runs on the kernel thread."""

    open_resolver: Callable[[str, int], Awaitable[tuple[int, int, int]]]
    """UDP and TCP sockets bound to 127.0.0.11 inside a namespace, at a port, and the namespace. OSError EADDRINUSE."""
    announce: Callable[[str, str, Sequence[str], str], Awaitable[None]]
    """Namespace, interface, addresses, MAC."""
    purge: Callable[[Sequence[Flows]], Coroutine[object, object, None]]
    """Forgets tracked connections."""


class KernelDepths:
    """The real ones."""

    def __init__(self, worker: Worker, kernel: LinuxKernel) -> None:
        self._worker = worker
        self._kernel = kernel

    def depths(self) -> Depths:
        """As ``Services`` takes them."""
        return Depths(self._open_resolver, self._announce, self._purge)

    async def _open_resolver(self, namespace: str, port: int) -> tuple[int, int, int]:
        return await self._worker.call(self._open_resolver_now, namespace, port)

    def _open_resolver_now(self, namespace: str, port: int) -> tuple[int, int, int]:
        inside = self._kernel.namespace_fd(namespace)
        try:
            return (*self._kernel.open_resolver(namespace, port), inside)
        except BaseException:
            os.close(inside)
            raise

    async def _announce(self, namespace: str, interface: str, addresses: Sequence[str], mac: str) -> None:
        # Not on the kernel thread: closing a packet socket waits for every CPU, 10 ms and more on a busy machine.
        await asyncio.to_thread(self._kernel.announce, namespace, interface, addresses, mac)

    async def _purge(self, flows: Sequence[Flows]) -> None:
        # Not on the kernel thread: a walk through the table takes 12 ms and shares no lock with what works there.
        try:
            await asyncio.to_thread(purge, flows)
        except OSError as error:
            log.warning("connections to published ports go on as they are: %s", error)


def purge(flows: Sequence[Flows]) -> None:
    """Forgets connections, all changes in one walk. OSError."""
    tracking = Conntrack()
    try:
        tracking.purge(
            Change(
                protocol=int(PROTOCOLS[item.publication.protocol]),
                address=item.publication.address,
                first=item.publication.host_port,
                count=item.publication.count,
                target=item.target,
                target_port=item.publication.port,
                gone=item.gone,
            )
            for item in flows
            if item.target is not None or not item.gone
        )
    finally:
        tracking.close()
