"""The one kernel thread: a queue beside the event loop, since rtnetlink works inside send() and under one lock.

Changes that wait together are made together (one netlink batch, one nft transaction); when that fails, each is
made alone, so nobody pays for another's mistake. When the queue has been quiet for a while the thread collects
what was discarded and does the idle work. More threads would be slower: 1, 2 and 4 writers gave 525, 201 and 158
attaches a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Generic, ParamSpec, Protocol, TypeVar

from linkspan.errors import KernelFailure
from linkspan.kernel.applied import Applied
from linkspan.kernel.diff import Step
from linkspan.kernel.face import Kernel
from linkspan.kernel.healing import Deviation
from linkspan.kernel.memory import Memory
from linkspan.kernel.state import Key, Scope, State

T = TypeVar("T")
P = ParamSpec("P")

QUIET = 0.05
"""Seconds without work before the thread does idle work."""
TOGETHER = 16
"""Changes made in one go at most."""

NAME = "linkspan-kernel"
"""The thread's name, also for the kernel, which keeps 15 letters (prctl(2), PR_SET_NAME)."""

log = logging.getLogger(__name__)


class Worker:
    """The kernel for the event loop. Everything but ``preview`` and ``applied`` runs on the kernel thread, in order.

    ``idle`` is called on that thread when nothing else is to be done: one small piece of work (a spare namespace),
    True when there is more. A caller that is cancelled while its change waits withdraws it; once begun, a change is
    finished and remembered all the same, and ``applied`` tells.
    """

    def __init__(self, kernel: Kernel, *, idle: Callable[[], bool] | None = None) -> None:
        self._applied = Applied(kernel)
        self._idle = idle
        self._queue: queue.SimpleQueue[_Queued | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
            self._thread.start()

    async def stop(self) -> None:
        """Finishes what is queued and ends the thread. What was discarded stays for ``resync``, or ``drain`` first."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(thread.join)

    @property
    def memory(self) -> Memory:
        """What ``Observer`` judges by. Only what is said to be for any thread may be looked at."""
        return self._applied.memory

    def thread_id(self) -> int:
        """The kernel's id of the kernel thread (gettid(2)), 0 when it is not running. For any thread."""
        thread = self._thread
        return (thread.native_id or 0) if thread is not None else 0

    def applied(self, scope: Scope) -> State:
        """What was last put into a scope. Not to be changed."""
        return self._applied.scope(scope)

    def preview(self, wants: Mapping[Scope, State]) -> tuple[Step, ...]:
        """The steps that ``converge`` would take now. Nothing is done. Raises Conflict."""
        return self._applied.preview(wants)

    async def converge(self, wants: Mapping[Scope, State], *, eager: bool = False) -> tuple[Step, ...]:
        """Makes exactly these scopes hold exactly these objects, all or nothing; see ``Applied.converge``."""
        return await self._submit(_Change(self._applied, dict(wants), eager))

    async def resync(self, wants: Mapping[Scope, State], namespaces: Collection[str]) -> tuple[Step, ...]:
        """Makes the whole kernel hold exactly these scopes, best effort; see ``Applied.resync``."""
        return await self.call(self._applied.resync, dict(wants), frozenset(namespaces))

    async def heal(self, *, everything: bool = False, given_up: Collection[Key] = ()) -> tuple[Deviation, ...]:
        """Leads the kernel back to what is wanted, and tells what deviated; see ``Applied.heal``."""
        return await self.call(self._applied.heal, everything=everything, given_up=frozenset(given_up))

    async def audit(self) -> tuple[Deviation, ...]:
        """What deviates, on the host and inside; nothing is changed. See ``Applied.audit``."""
        return await self.call(self._applied.audit)

    async def garbage(self) -> tuple[Deviation, ...]:
        """What carries our mark and belongs to nobody; see ``Applied.garbage``."""
        return await self.call(self._applied.garbage)

    async def collect(self) -> tuple[Deviation, ...]:
        """Removes the garbage; see ``Applied.collect``."""
        return await self.call(self._applied.collect)

    async def settings_differ(self) -> bool:
        """Whether a value of the host's is not as we set it: cheap; see ``Applied.settings_differ``."""
        return await self.call(self._applied.settings_differ)

    async def needs_healing(self) -> bool:
        """Whether that is so, or something was healed that ``heal`` has not told yet."""
        return await self.call(self._applied.needs_healing)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a function on the kernel thread and returns what it returns."""
        return await self._submit(_Work(lambda: function(*args, **kwargs)))

    async def drain(self) -> None:
        """Collects everything that was discarded. Raises KernelFailure."""
        while await self.call(self._applied.sweep):
            pass

    async def _submit(self, work: _Work[T]) -> T:
        if self._thread is None:
            raise KernelFailure("the kernel thread is not running")
        self._queue.put(work)
        return await work.future

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            Path("/proc/thread-self/comm").write_text(NAME)
        waiting: deque[_Queued | None] = deque()
        while True:
            waiting.append(self._next())
            with contextlib.suppress(queue.Empty):
                while True:
                    waiting.append(self._queue.get_nowait())
            while waiting:
                first = waiting.popleft()
                if first is None:
                    return
                if isinstance(first, _Change):
                    self._change_together([first, *_companions(first, waiting)])
                else:
                    first.run()

    def _next(self) -> _Queued | None:
        """What came next; idle work is done while nothing comes."""
        more = True
        while more:
            try:
                return self._queue.get(timeout=QUIET)
            except queue.Empty:
                more = self._idle_work()
        return self._queue.get()

    def _idle_work(self) -> bool:
        """One piece of idle work. Returns whether there is more; after a failure, not before the next call."""
        outcome = _attempt(self._applied.sweep)
        if not outcome and self._idle is not None:
            outcome = _attempt(self._idle)
        if isinstance(outcome, Exception):
            log.warning("idle work on the kernel failed: %s", outcome, exc_info=outcome)
            return False
        return bool(outcome)

    def _change_together(self, asked: list[_Change]) -> None:
        changes = [change for change in asked if not change.future.cancelled()]
        if len(changes) > 1:
            wants = {scope: state for change in changes for scope, state in change.wants.items()}
            had = [change.keys(self._applied) for change in changes]
            steps = _attempt(lambda: self._applied.converge(wants, eager=changes[0].eager))
            if not isinstance(steps, Exception):
                for change, keys in zip(changes, had, strict=True):
                    change.succeed(tuple(step for step in steps if step.object.key in keys))
                return
        for change in changes:
            change.run()


class _Queued(Protocol):
    def run(self) -> None: ...


class _Work(Generic[T]):
    """A function for the kernel thread, and the future of the coroutine that waits for it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self.function = function
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future()

    def run(self) -> None:
        if self.future.cancelled():
            return
        outcome = _attempt(self.function)
        if isinstance(outcome, Exception):
            self._tell(lambda: self.future.set_exception(outcome))
        else:
            self.succeed(outcome)

    def succeed(self, result: T) -> None:
        self._tell(lambda: self.future.set_result(result))

    def _tell(self, settle: Callable[[], None]) -> None:
        """Hands the outcome to the loop; a loop that was closed meanwhile has nobody who waits."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(lambda: None if self.future.done() else settle())


class _Change(_Work[tuple[Step, ...]]):
    """A ``converge`` that waits."""

    def __init__(self, applied: Applied, wants: Mapping[Scope, State], eager: bool) -> None:
        super().__init__(lambda: applied.converge(wants, eager=eager))
        self.wants = wants
        self.eager = eager

    def keys(self, applied: Applied) -> set[Key]:
        """All that it may touch: what its scopes hold, and what they shall hold."""
        return {key for scope, state in self.wants.items() for key in (*applied.scope(scope), *state)}


def _companions(first: _Change, waiting: deque[_Queued | None]) -> list[_Change]:
    """Takes the changes that wait right behind ``first`` and can be made together with it."""
    taken: list[_Change] = []
    scopes = set(first.wants)
    while waiting and len(taken) + 1 < TOGETHER:
        change = waiting[0]
        if not isinstance(change, _Change) or change.eager != first.eager or not scopes.isdisjoint(change.wants):
            break
        taken.append(change)
        scopes.update(change.wants)
        waiting.popleft()
    return taken


def _attempt(function: Callable[[], T]) -> T | Exception:
    """The boundary of the thread: whatever goes wrong goes to who asked, and the thread lives on."""
    try:
        return function()
    except Exception as error:  # noqa: BLE001
        return error
