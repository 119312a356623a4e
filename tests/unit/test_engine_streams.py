"""Attaching: detach keys, bytes both ways, half-closed and vanished clients, and those who wait for a start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.engine.streams import DetachKeys, ProcessSession, Waiting, parse_keys
from linkspan.engine.views import LogLine
from linkspan.errors import InvalidRequest, RuntimeFailure

Piece = tuple[Literal[1, 2], bytes]


class Attached:
    """A process: says ``pieces``, then ends once ``over`` is set; remembers what it was given."""

    def __init__(self, *pieces: Piece, over: bool = True) -> None:
        self.given = b""
        self.half_closed = asyncio.Event()
        self.over = asyncio.Event()
        self.reads_no_more = False
        self._pieces = list(pieces)
        if over:
            self.over.set()

    async def read(self) -> Piece | None:
        await asyncio.sleep(0)
        if self._pieces:
            return self._pieces.pop(0)
        await self.over.wait()
        return None

    async def write(self, data: bytes) -> None:
        if self.reads_no_more:
            raise BrokenPipeError
        self.given += data

    def half_close(self) -> None:
        self.half_closed.set()


class Client:
    """A client: sends ``typed``, then closes its half unless it ``stays``."""

    def __init__(self, *typed: bytes, stays: bool = False, gone: bool = False) -> None:
        self.heard: list[Piece] = []
        self._typed = list(typed)
        self._stays = stays
        self._gone = gone

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        if self._typed:
            return self._typed.pop(0)
        if self._stays:
            await asyncio.Event().wait()
        return b""

    async def write(self, stream: Literal[1, 2], data: bytes) -> None:
        if self._gone:
            raise ConnectionResetError
        self.heard.append((stream, data))


class LetGo:
    """Remembers how attachments were let go."""

    def __init__(self) -> None:
        self.calls: list[tuple[Attached, bool]] = []

    def __call__(self, attachment: Attached, detached: bool) -> None:
        self.calls.append((attachment, detached))


def told(story: Coroutine[object, object, None]) -> None:
    async def timely() -> None:
        async with asyncio.timeout(5):
            await story

    asyncio.run(timely())


def ready(attached: Attached | None) -> asyncio.Future[Attached | None]:
    future: asyncio.Future[Attached | None] = asyncio.get_running_loop().create_future()
    future.set_result(attached)
    return future


# --- detach keys --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "keys"),
    [("ctrl-p,ctrl-q", b"\x10\x11"), ("a", b"a"), ("ctrl-@,ctrl-[,x", b"\x00\x1bx"), ("ctrl-\\", b"\x1c")],
)
def test_keys_are_read_by_their_names(text: str, keys: bytes) -> None:
    assert parse_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "ab", "a,", ",", "ctrl-ab", "alt-x"])
def test_keys_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid detach key"):
        parse_keys(text)


def test_the_default_keys_detach_and_are_not_passed_on() -> None:
    keys = DetachKeys("")
    assert keys.feed(b"ls\n\x10\x11exit\n") == b"ls\n"
    assert keys.detached


def test_keys_that_break_off_are_passed_on() -> None:
    keys = DetachKeys("")
    assert keys.feed(b"\x10") == b""
    assert keys.feed(b"x") == b"\x10x"
    assert not keys.detached


def test_a_sequence_is_found_inside_a_longer_run_of_its_first_key() -> None:
    keys = DetachKeys("a,a,b")
    assert keys.feed(b"aaab") == b"a"
    assert keys.detached


@given(st.lists(st.binary(max_size=6).map(lambda raw: bytes(b"ab"[byte % 2] for byte in raw)), max_size=8))
def test_input_is_cut_at_the_first_sequence_however_it_arrives(pieces: list[bytes]) -> None:
    keys = DetachKeys("a,b,a")
    whole = b"".join(pieces)
    passed = b""
    for piece in pieces:
        passed += keys.feed(piece)
        if keys.detached:
            break
    before, found, _ = whole.partition(b"aba")
    assert keys.detached == bool(found)
    if found:
        assert passed == before
    else:
        assert whole.startswith(passed)
        assert b"aba".startswith(whole[len(passed) :])


# --- sessions -----------------------------------------------------------------------------------------------------


def test_output_is_carried_until_it_ends() -> None:
    async def story() -> None:
        attached, client, let_go = Attached((1, b"out"), (2, b"err")), Client(), LetGo()
        await ProcessSession(ready(attached), let_go, stdin=False, half_closes=False).pump(client)
        assert client.heard == [(1, b"out"), (2, b"err")]
        assert let_go.calls == [(attached, False)]

    told(story())


def test_only_the_streams_that_were_asked_for_are_carried() -> None:
    async def story() -> None:
        client = Client()
        session = ProcessSession(
            ready(Attached((1, b"out"), (2, b"err"))),
            LetGo(),
            stdin=False,
            half_closes=False,
            outputs=frozenset({2}),
        )
        await session.pump(client)
        assert client.heard == [(2, b"err")]

    told(story())


def test_what_was_said_earlier_comes_first() -> None:
    async def earlier() -> AsyncIterator[LogLine]:
        yield LogLine(stream=1, time=0, data=b"old\n")
        yield LogLine(stream=2, time=0, data=b"old error\n")

    async def story() -> None:
        client = Client()
        session = ProcessSession(
            ready(Attached((1, b"new"))),
            LetGo(),
            stdin=False,
            half_closes=False,
            outputs=frozenset({1}),
            earlier=earlier(),
        )
        await session.pump(client)
        assert client.heard == [(1, b"old\n"), (1, b"new")]

    told(story())


def test_a_client_that_closes_its_half_still_hears_everything() -> None:
    async def story() -> None:
        attached, client = Attached((1, b"a"), over=False), Client(b"input")
        session = ProcessSession(ready(attached), LetGo(), stdin=True, half_closes=True)
        pumping = asyncio.create_task(session.pump(client))
        await attached.half_closed.wait()
        attached._pieces.append((1, b"late"))
        attached.over.set()
        await pumping
        assert attached.given == b"input"
        assert client.heard[0] == (1, b"a")

    told(story())


def test_the_end_of_input_is_kept_from_a_process_that_others_feed_too() -> None:
    async def story() -> None:
        attached, client = Attached(over=False), Client(b"x")
        pumping = asyncio.create_task(
            ProcessSession(ready(attached), LetGo(), stdin=True, half_closes=False).pump(client)
        )
        await asyncio.sleep(0.01)
        assert attached.given == b"x"
        assert not attached.half_closed.is_set()
        attached.over.set()
        await pumping

    told(story())


def test_a_half_closed_client_that_waits_for_the_start_is_served_then() -> None:
    async def story() -> None:
        waiting: Waiting[Attached] = Waiting()
        client, attached = Client(b"echo hi\n"), Attached((1, b"hi"), over=False)
        session = ProcessSession(waiting.register("c1"), LetGo(), stdin=True, half_closes=True)
        pumping = asyncio.create_task(session.pump(client))
        await asyncio.sleep(0.01)
        await waiting.connect("c1", lambda: ready_attach(attached))
        await attached.half_closed.wait()
        attached.over.set()
        await pumping
        assert attached.given == b"echo hi\n"
        assert client.heard == [(1, b"hi")]

    told(story())


async def ready_attach(attached: Attached) -> Attached:
    return attached


def test_detaching_ends_the_session_and_not_the_process() -> None:
    async def story() -> None:
        attached, let_go = Attached(over=False), LetGo()
        client = Client(b"ls\x10", b"\x11more", stays=True)
        session = ProcessSession(ready(attached), let_go, stdin=True, half_closes=True, detach_keys=DetachKeys(""))
        await session.pump(client)
        assert attached.given == b"ls"
        assert not attached.half_closed.is_set()
        assert let_go.calls == [(attached, True)]

    told(story())


def test_a_client_that_is_gone_ends_the_session() -> None:
    async def story() -> None:
        attached, let_go = Attached((1, b"x"), over=False), LetGo()
        await ProcessSession(ready(attached), let_go, stdin=False, half_closes=False).pump(Client(gone=True))
        assert let_go.calls == [(attached, False)]

    told(story())


def test_a_process_that_reads_no_more_is_still_heard() -> None:
    async def story() -> None:
        attached, client = Attached(over=False), Client(b"a", b"b", stays=True)
        attached.reads_no_more = True
        pumping = asyncio.create_task(
            ProcessSession(ready(attached), LetGo(), stdin=True, half_closes=True).pump(client)
        )
        await asyncio.sleep(0.01)
        attached._pieces.append((1, b"still here"))
        attached.over.set()
        await pumping
        assert not attached.half_closed.is_set()

    told(story())


def test_a_session_whose_container_did_not_start_ends_without_output() -> None:
    async def story() -> None:
        waiting: Waiting[Attached] = Waiting()
        client, let_go = Client(), LetGo()
        session = ProcessSession(waiting.register("c1"), let_go, stdin=False, half_closes=False)
        pumping = asyncio.create_task(session.pump(client))
        await asyncio.sleep(0)
        waiting.give_up("c1")
        await pumping
        assert (client.heard, let_go.calls) == ([], [])

    told(story())


def test_a_client_that_leaves_during_the_earlier_output_lets_the_process_go() -> None:
    """conmon blocks on an attachment that nobody reads."""

    async def earlier() -> AsyncIterator[LogLine]:
        yield LogLine(stream=1, time=0, data=b"old\n")

    async def story() -> None:
        attached, let_go = Attached(over=False), LetGo()
        session = ProcessSession(ready(attached), let_go, stdin=False, half_closes=False, earlier=earlier())
        with pytest.raises(ConnectionResetError):
            await session.pump(Client(gone=True))
        assert let_go.calls == [(attached, False)]

    told(story())


def test_a_client_that_leaves_at_the_very_moment_of_the_start_lets_the_process_go() -> None:
    async def story() -> None:
        waiting: Waiting[Attached] = Waiting()
        attached, let_go = Attached(over=False), LetGo()
        session = ProcessSession(waiting.register("c1"), let_go, stdin=False, half_closes=False)
        pumping = asyncio.create_task(session.pump(Client()))
        await asyncio.sleep(0)
        await waiting.connect("c1", lambda: ready_attach(attached))
        pumping.cancel()
        await asyncio.wait([pumping])
        assert let_go.calls == [(attached, False)]

    told(story())


# --- those who wait -----------------------------------------------------------------------------------------------


def test_a_client_that_left_before_the_start_is_not_attached() -> None:
    async def story() -> None:
        waiting: Waiting[Attached] = Waiting()
        session = ProcessSession(waiting.register("c1"), LetGo(), stdin=False, half_closes=False)
        pumping = asyncio.create_task(session.pump(Client()))
        await asyncio.sleep(0)
        pumping.cancel()
        await asyncio.wait([pumping])

        async def attach() -> Attached:
            raise AssertionError("nobody waits")

        await waiting.connect("c1", attach)

    told(story())


def test_everybody_who_waits_gets_an_attachment_of_their_own() -> None:
    async def story() -> None:
        waiting: Waiting[Attached] = Waiting()
        first, second, other = (waiting.register(identity) for identity in ("c1", "c1", "c2"))

        async def attach() -> Attached:
            return Attached()

        await waiting.connect("c1", attach)
        assert first.result() is not second.result()
        assert not other.done()

    told(story())


def test_nobody_waits_on_when_attaching_fails() -> None:
    async def story() -> None:
        waiting: Waiting[Attached] = Waiting()
        futures = [waiting.register("c1") for _ in range(3)]

        async def attach() -> Attached:
            if futures[0].done():
                raise RuntimeFailure("conmon is gone")
            return Attached()

        with pytest.raises(RuntimeFailure):
            await waiting.connect("c1", attach)
        assert [future.result() is None for future in futures] == [False, True, True]

    told(story())
