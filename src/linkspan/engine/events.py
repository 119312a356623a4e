"""What happened, told to everybody who listens, with a short memory for those who come late."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Literal

from linkspan.engine.filters import Filters, check_keys, labels_match
from linkspan.model.event import Event

MEMORY = 1024
"""Events that ``since`` can still reach."""
BACKLOG = 4096
"""Events that a slow listener may fall behind before it is cut off."""
KEYS = ("container", "daemon", "event", "id", "image", "label", "network", "scope", "type", "volume")


class Events:
    """The hub. Publishing never waits: a listener that falls behind by ``BACKLOG`` events is cut off."""

    def __init__(self) -> None:
        self._past: deque[Event] = deque(maxlen=MEMORY)
        self._listeners: set[asyncio.Queue[Event | None]] = set()
        self._last_time = 0

    def publish(
        self,
        kind: Literal["container", "image", "network", "volume", "daemon"],
        action: str,
        identity: str,
        attributes: Mapping[str, str],
    ) -> None:
        """Tells everybody. Times are strictly increasing."""
        self._last_time = max(self._last_time + 1, time.time_ns())
        event = Event(kind=kind, action=action, id=identity, attributes=dict(attributes), time=self._last_time)
        self._past.append(event)
        for queue in list(self._listeners):
            if queue.qsize() >= BACKLOG:
                self._listeners.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    def subscribe(self, *, since: float | None, until: float | None, filters: Filters) -> AsyncIterator[Event]:
        """Subscribed when this returns. Times in Unix seconds."""
        check_keys(filters, KEYS)
        past = [event for event in self._past if since is not None and event.time >= since * 1e9]
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._listeners.add(queue)
        return self._iterate(queue, past, until, filters)

    async def _iterate(
        self, queue: asyncio.Queue[Event | None], past: list[Event], until: float | None, filters: Filters
    ) -> AsyncIterator[Event]:
        try:
            for event in past:
                if (until is None or event.time <= until * 1e9) and matches(event, filters):
                    yield event
            while (event_or_end := await _next(queue, until)) is not None:
                if matches(event_or_end, filters):
                    yield event_or_end
        finally:
            self._listeners.discard(queue)


async def _next(queue: asyncio.Queue[Event | None], until: float | None) -> Event | None:
    """What comes next; None at the end, and after ``until``.

    The time limit stands around this wait alone: around a ``yield`` it would strike whatever the listener does then.
    """
    try:
        async with asyncio.timeout(None if until is None else max(0.0, until - time.time())):
            event = await queue.get()
    except TimeoutError:
        return None
    return None if event is None or (until is not None and event.time > until * 1e9) else event


def matches(event: Event, filters: Filters) -> bool:
    """Docker's event filters."""
    attributes = event.attributes
    for key, wanted in filters.items():
        match key:
            case "type":
                fits = event.kind in wanted
            case "event":
                fits = any(event.action == want or event.action.startswith(want + ":") for want in wanted)
            case "label":
                fits = labels_match(attributes, wanted)
            case "scope":
                fits = "local" in wanted
            case "id":
                fits = any(event.id.startswith(want) for want in wanted)
            case "image":
                image = attributes.get("image", event.id)
                fits = any(want in (image, image.partition(":")[0], event.id) for want in wanted)
            case _:
                names = (event.id, attributes.get("name", ""), attributes.get(key, ""))
                fits = (event.kind == key or key in attributes) and any(
                    want in names or event.id.startswith(want) for want in wanted
                )
        if not fits:
            return False
    return True
