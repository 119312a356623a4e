"""What services ask of the kernel thread, beside the objects that are planned."""

from __future__ import annotations

from collections.abc import Sequence

from linkspan.engine.services import Depths, Flows
from linkspan.kernel.conntrack import Conntrack
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
        await self._worker.call(self._kernel.announce, namespace, interface, addresses, mac)

    async def _purge(self, flows: Sequence[Flows]) -> None:
        await self._worker.call(self._purge_now, flows)

    def _purge_now(self, flows: Sequence[Flows]) -> None:
        if self._tracking is None:
            self._tracking = Conntrack()
        for item in flows:
            wanted = item.publication
            number = int(PROTOCOLS[wanted.protocol])
            place = (number, wanted.address, wanted.host_port, wanted.count)
            if not item.gone:
                self._tracking.purge_published(*place, target=item.target, target_port=wanted.port)
            elif item.target is not None:
                self._tracking.purge_target(*place, target=item.target, target_port=wanted.port)
