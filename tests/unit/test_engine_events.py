"""Events: the past for those who come late, the present for everybody, and no waiting for the slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine

import pytest

from linkspan.engine.events import BACKLOG, MEMORY, Events
from linkspan.errors import InvalidRequest
from linkspan.model.event import Event

Filters = dict[str, list[str]]


def told(story: Coroutine[object, object, None]) -> None:
    async def timely() -> None:
        async with asyncio.timeout(5):
            await story

    asyncio.run(timely())


def publish(events: Events, action: str = "start", identity: str = "c1", **attributes: str) -> None:
    events.publish("container", action, identity, attributes)


async def all_of(heard: AsyncIterator[Event]) -> list[str]:
    return [event.action async for event in heard]


def matched(wanted: Filters, *actions: tuple[str, str, str, dict[str, str]]) -> list[str]:
    """The actions, out of (kind, action, id, attributes), that a listener with these filters hears of."""
    heard: list[str] = []

    async def story() -> None:
        events = Events()
        for kind, action, identity, attributes in actions:
            events.publish(kind, action, identity, attributes)  # type: ignore[arg-type]
        heard.extend(await all_of(events.subscribe(since=0.0, until=time.time(), filters=wanted)))

    told(story())
    return heard


def test_everybody_hears_what_happens_from_the_subscription_on() -> None:
    async def story() -> None:
        events = Events()
        publish(events, "before")
        listeners = [events.subscribe(since=None, until=None, filters={}) for _ in range(2)]
        publish(events, "create")
        publish(events, "start")
        for listener in listeners:
            assert [(await anext(listener)).action for _ in range(2)] == ["create", "start"]

    told(story())


def test_times_are_strictly_increasing() -> None:
    async def story() -> None:
        events = Events()
        for _ in range(100):
            publish(events)
        times = [event.time async for event in events.subscribe(since=0.0, until=time.time() + 0.01, filters={})]
        assert len(times) == 100
        assert sorted(set(times)) == times

    told(story())


def test_since_reaches_back_as_far_as_the_memory_does() -> None:
    async def story() -> None:
        events = Events()
        for index in range(MEMORY + 5):
            publish(events, str(index))
        heard = await all_of(events.subscribe(since=0.0, until=time.time(), filters={}))
        assert heard == [str(index) for index in range(5, MEMORY + 5)]

    told(story())


def test_since_and_until_cut_out_a_span() -> None:
    async def story() -> None:
        events = Events()
        publish(events, "early")
        await asyncio.sleep(0.01)
        since = time.time()
        publish(events, "inside")
        until = time.time()
        await asyncio.sleep(0.01)
        publish(events, "late")
        assert await all_of(events.subscribe(since=since, until=until, filters={})) == ["inside"]

    told(story())


def test_until_in_the_future_ends_the_listening_then() -> None:
    async def story() -> None:
        events = Events()
        listening = asyncio.create_task(
            all_of(events.subscribe(since=None, until=time.time() + 0.05, filters={})),
        )
        await asyncio.sleep(0.01)
        publish(events, "in time")
        assert await listening == ["in time"]
        assert not events._listeners

    told(story())


def test_the_end_of_the_time_does_not_strike_what_a_listener_does_with_an_event() -> None:
    async def story() -> None:
        events = Events()
        heard = events.subscribe(since=None, until=time.time() + 0.02, filters={})
        publish(events, "start")
        done = []
        async for event in heard:
            await asyncio.sleep(0.05)  # a slow client
            done.append(event.action)
        assert done == ["start"]

    told(story())


def test_a_listener_that_falls_behind_is_cut_off() -> None:
    async def story() -> None:
        events = Events()
        slow = events.subscribe(since=None, until=None, filters={})
        for _ in range(BACKLOG + 10):
            publish(events)
        assert len(await all_of(slow)) == BACKLOG
        assert not events._listeners

    told(story())


def test_a_listener_that_goes_is_forgotten() -> None:
    async def story() -> None:
        events = Events()
        heard = events.subscribe(since=None, until=None, filters={})
        publish(events)
        await anext(heard)
        await heard.aclose()  # type: ignore[attr-defined]
        assert not events._listeners

    told(story())


def test_an_unknown_filter_is_refused_at_the_subscription() -> None:
    with pytest.raises(InvalidRequest, match="invalid filter 'colour'"):
        Events().subscribe(since=None, until=None, filters={"colour": ["red"]})


@pytest.mark.parametrize(
    ("wanted", "heard"),
    [
        ({}, ["create", "exec_start: sh -c x", "connect", "pull"]),
        ({"type": ["network"]}, ["connect"]),
        ({"type": ["network", "image"]}, ["connect", "pull"]),
        ({"event": ["create"]}, ["create"]),
        ({"event": ["exec_start"]}, ["exec_start: sh -c x"]),
        ({"container": ["web"]}, ["create", "exec_start: sh -c x"]),
        ({"container": ["c1"]}, ["create", "exec_start: sh -c x", "connect"]),
        ({"container": ["nobody"]}, []),
        ({"image": ["nginx"]}, ["create", "exec_start: sh -c x", "pull"]),
        ({"label": ["tier=front"]}, ["create"]),
        ({"network": ["my_net"]}, ["connect"]),
        ({"scope": ["local"], "type": ["image"]}, ["pull"]),
        ({"scope": ["swarm"]}, []),
        ({"id": ["n1"]}, ["connect"]),
        ({"type": ["container"], "event": ["connect"]}, []),
    ],
)
def test_filters_match_as_dockers(wanted: Filters, heard: list[str]) -> None:
    web = {"name": "web", "image": "nginx:latest"}
    assert (
        matched(
            wanted,
            ("container", "create", "c1", {**web, "tier": "front"}),
            ("container", "exec_start: sh -c x", "c1", web),
            ("network", "connect", "n1", {"name": "my_net", "type": "bridge", "container": "c1"}),
            ("image", "pull", "nginx:latest", {"name": "nginx:latest"}),
        )
        == heard
    )
