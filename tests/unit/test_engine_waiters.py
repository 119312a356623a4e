"""Who waits for a container: told once, and forgotten when they leave."""

from __future__ import annotations

import asyncio
import tracemalloc

from linkspan.engine.streams import Attachment, Waiting
from linkspan.engine.waiters import Waiters


def test_each_is_told_when_its_condition_has_come_true() -> None:
    async def story() -> None:
        waiters = Waiters()
        end, removal = waiters.register("box", "not-running"), waiters.register("box", "removed")
        waiters.settle("box", 3, "next-exit", "not-running")
        assert (end.result(), removal.done()) == (3, False)
        waiters.settle("box", 4, "removed")
        assert removal.result() == 4

    asyncio.run(story())


def test_clients_that_came_and_went_are_not_remembered() -> None:
    async def story() -> None:
        waiters = Waiters()
        waiting: Waiting[Attachment] = Waiting()
        tracemalloc.start()
        for _ in range(5000):
            waiters.register("box", "removed").cancel()
            waiting.register("box").cancel()
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert size < 100_000, "bytes"

    asyncio.run(story())
