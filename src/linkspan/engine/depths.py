"""What services ask of the kernel thread, beside the objects that are planned."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from linkspan.engine.services import Depths, Flows
from linkspan.kernel.conntrack import Change, Conntrack
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.worker import Worker
from linkspan.plan.ports import PROTOCOLS


class KernelDepths:
    """The real ones. ``close`` on the kernel thread."""

    def __init__(self, worker: Worker, kernel: LinuxKernel) -> None:
        self._worker = worker
        self._kernel = kernel
        self._tracking: Conntrack | None = None

    def depths(self) -> Depths:
        """As ``Services`` takes them."""
        return Depths(self._open_resolver, self._open_namespace, self._announce, self._purge)

    def close(self) -> None:
        """Closes what was opened."""
        if self._tracking is not None:
            self._tracking.close()
            self._tracking = None

    async def _open_resolver(self, namespace: str, port: int) -> tuple[int, int]:
        return await self._worker.call(self._kernel.open_resolver, namespace, port)

    async def _open_namespace(self, namespace: str) -> int:
        return await self._worker.call(self._kernel.namespace_fd, namespace)

    async def _announce(self, namespace: str, interface: str, addresses: Sequence[str], mac: str) -> None:
        # Not on the kernel thread: closing a packet socket waits for every CPU, 10 ms and more on a busy machine.
        await asyncio.to_thread(self._kernel.announce, namespace, interface, addresses, mac)

    async def _purge(self, flows: Sequence[Flows]) -> None:
        await self._worker.call(self._purge_now, flows)

    def _purge_now(self, flows: Sequence[Flows]) -> None:
        if self._tracking is None:
            self._tracking = Conntrack()
        self._tracking.purge(
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
