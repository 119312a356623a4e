"""Who waits for a container's end or removal (``docker wait``)."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from linkspan.engine.face import WaitCondition


class Waiters:
    """Futures by container id; each is settled with an exit code when its condition has come true."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, list[tuple[WaitCondition, asyncio.Future[int]]]] = defaultdict(list)

    def register(self, container_id: str, condition: WaitCondition) -> asyncio.Future[int]:
        """From now on; nothing that happens later is missed."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        living = [each for each in self._waiting[container_id] if not each[1].done()]  # clients may come and go
        self._waiting[container_id] = [*living, (condition, future)]
        return future

    def settle(self, container_id: str, exit_code: int, *conditions: WaitCondition) -> None:
        """These conditions have come true."""
        for condition, future in self._waiting.pop(container_id, []):
            if condition not in conditions:
                self._waiting[container_id].append((condition, future))
            elif not future.done():
                future.set_result(exit_code)
