"""Containers as lives: start, stop, restart, what happens when a process ends, and what a new daemon finds.

One lock a container: whoever holds it may change what the container is doing. The end of a process is noticed by a
watcher task, which takes the same lock, writes down how it ended, and then cleans up, restarts or removes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

import msgspec

from linkspan.engine.events import Events
from linkspan.engine.face import WaitCondition
from linkspan.engine.intent import Intent
from linkspan.engine.launching import Launching
from linkspan.engine.outcomes import created_of, ended, failed, wanted_after_boot, wanted_again
from linkspan.engine.sandboxes import Sandboxes
from linkspan.engine.signals import SIGKILL, signal_number
from linkspan.engine.streams import Waiting
from linkspan.engine.waiters import Waiters
from linkspan.errors import Conflict, LinkspanError, NotModified, RuntimeFailure, StoreFailure
from linkspan.model.container import Container, ContainerState
from linkspan.runtime.attachment import Attachment
from linkspan.runtime.containers import Runtime
from linkspan.runtime.monitor import Exit

log = logging.getLogger(__name__)

STOP_TIMEOUT = 10
"""Seconds between the stop signal and SIGKILL."""
KILL_TIMEOUT = 30
"""Seconds that we wait for the kernel to end a killed process."""
FIRST_DELAY, LONGEST_DELAY = 0.1, 60.0
"""Seconds before a restart, doubled each time (Docker's)."""
WRITE_AGAIN = 1.0
"""Seconds until an end that the store refused is written down again."""
STEADY = 10.0
"""Seconds after which a run counts as good and the delay starts over."""


class Lifecycle:
    """The use cases of running."""

    def __init__(
        self,
        intent: Intent,
        sandboxes: Sandboxes,
        runtime: Runtime,
        launching: Launching,
        waiting: Waiting[Attachment],
        events: Events,
        remove: Callable[[Container], Awaitable[None]],
    ) -> None:
        self._intent = intent
        self._sandboxes = sandboxes
        self._runtime = runtime
        self._launching = launching
        self._waiting = waiting
        self._events = events
        self._remove = remove
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """As long as somebody has it or waits for it."""
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._restarts: dict[str, asyncio.Task[None]] = {}
        self._held: Counter[str] = Counter()
        """Containers that keep their sandbox over a restart, and how many restarts are going on."""
        self._delays: dict[str, float] = {}
        self._waiters = Waiters()
        self._restarting = False
        """Policies start containers from ``resume`` to ``close``."""

    def lock(self, container_id: str) -> asyncio.Lock:
        """The container's lock."""
        return self._locks.setdefault(container_id, asyncio.Lock())

    def forget(self, container_id: str, exit_code: int) -> None:
        """The container is gone: whoever waits for its removal hears of it."""
        self._waiters.settle(container_id, exit_code, "next-exit", "not-running", "removed")
        self._delays.pop(container_id, None)

    def wait(self, reference: str, condition: WaitCondition) -> Awaitable[int]:
        """Registered at once; the future gives the exit code."""
        container = self._intent.container(reference)
        future = self._waiters.register(container.id, condition)
        state = self._intent.state(container.id)
        if not state.running and state.status != "restarting":
            self._waiters.settle(container.id, state.exit_code, "not-running")
        return future

    async def start(self, reference: str) -> None:
        """NotModified when it runs already. What failed has been undone, and is told by the state's ``error``."""
        container = self._intent.container(reference)
        async with self.lock(container.id):
            container = self._intent.container(container.id)
            state = self._intent.state(container.id)
            if state.status == "paused":
                raise Conflict("cannot start a paused container", whose=container.id, remedy="try unpause instead")
            if state.running:
                raise NotModified(f"container {container.name} is running already")
            await self._launch_anew(container)

    async def stop(self, reference: str, *, timeout: int | None, signal: str = "") -> None:
        """Sends the stop signal, then SIGKILL after ``timeout`` seconds (negative: never). All is clean afterwards.

        A container that is being started is stopped when it has started. NotModified when it does not run.
        """
        container = self._intent.container(reference)
        async with self.lock(container.id):
            state = self._intent.state(container.id)
            if not state.running and state.status != "restarting":
                raise NotModified(f"container {container.name} is not running")
        await self._halt(container, timeout, signal)
        self._publish(container, "stop")

    async def restart(self, reference: str, *, timeout: int | None, signal: str = "") -> None:
        """Stop and start; the sandbox with its addresses stays, and so do its partners' connections."""
        container = self._intent.container(reference)
        self._held[container.id] += 1
        try:
            await self._halt(container, timeout, signal)
            async with self.lock(container.id):
                container = self._intent.container(container.id)
                if not self._intent.state(container.id).running:  # else somebody has just started it
                    await self._launch_anew(container)
        finally:
            async with self.lock(container.id):
                self._held[container.id] -= 1
                if not self._held[container.id]:
                    del self._held[container.id]
                if not self._intent.state(container.id).running:
                    await self._leave(container.id)
        self._publish(container, "restart")

    async def kill(self, reference: str, signal: str) -> None:
        """Sends a signal. Conflict when the container does not run."""
        container = self._intent.container(reference)
        number = signal_number(signal or "SIGKILL")
        async with self.lock(container.id):
            state = self._intent.state(container.id)
            ends = number == SIGKILL or number == self._launching.stop_signal(container)
            if state.status == "restarting" and ends:
                await self._give_up_restarting(container)
            elif not state.running:
                raise Conflict(f"cannot kill container: {reference}: container {container.id} is not running")
            else:
                await self._signal(container, state, number, ends=ends)
            watcher = self._watchers.get(container.id)
        self._publish(container, "kill", signal=str(number))
        if number == SIGKILL and watcher is not None:
            await asyncio.wait([watcher], timeout=KILL_TIMEOUT)

    async def pause(self, reference: str) -> None:
        """Freezes all processes of the container."""
        container = self._intent.container(reference)
        async with self.lock(container.id):
            state = self._intent.state(container.id)
            if state.status != "running":
                what = "is already paused" if state.status == "paused" else "is not running"
                raise Conflict(f"container {container.name} {what}")
            await self._runtime.pause(container.id)
            self._put(container.id, msgspec.structs.replace(state, status="paused"))
        self._publish(container, "pause")

    async def unpause(self, reference: str) -> None:
        """Thaws them."""
        container = self._intent.container(reference)
        async with self.lock(container.id):
            state = self._intent.state(container.id)
            if state.status != "paused":
                raise Conflict(f"container {container.name} is not paused")
            await self._runtime.unpause(container.id)
            self._put(container.id, msgspec.structs.replace(state, status="running"))
        self._publish(container, "unpause")

    async def end_for_removal(self, container: Container) -> None:
        """Kills the container, if it runs or is about to, and waits until its end is written down."""
        await self._halt(container, 0, "SIGKILL")

    async def recover(self) -> None:
        """After a start of the daemon: goes on watching who still runs, and writes down and cleans up who ended."""
        for container in list(self._intent.containers.values()):
            identity, state = container.id, self._intent.state(container.id)
            if state.running and await self._runtime.adopt(identity, created_of(state)):
                outcome = self._runtime.ended(identity)
                if outcome is None:
                    self._watch(identity)
                else:
                    await self._ended(container, outcome)
                continue
            if state.running:
                lost = Exit(code=255, oom_killed=False, finished=time.time())
                self._put(identity, ended(state, lost))
            await self._tidy(identity, self._runtime.delete, self._launching.unmount, self._sandboxes.leave)
            if state.status == "removing" or (container.spec.auto_remove and state.status != "created"):
                await self._tidy(identity, self._removed)

    def resume(self) -> None:
        """Starts, in the background, every container whose policy wants it to run; from now on those that end too."""
        self._restarting = True
        for container in list(self._intent.containers.values()):
            state = self._intent.state(container.id)
            if not state.running and wanted_after_boot(container.spec.restart, state):
                self._restart_later(container.id, state, delay=0.0)

    async def close(self) -> None:
        """Lets go of everything that runs; nothing is stopped."""
        self._restarting = False
        tasks = [*self._watchers.values(), *self._restarts.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _launch_anew(self, container: Container) -> None:
        """What a person asked for; the caller holds the lock. With ``--rm`` a container that does not start goes."""
        if self._intent.state(container.id).status == "removing":
            raise Conflict(f"container {container.name} is marked for removal and cannot be started")
        self._cancel_restart(container.id)
        try:
            await self._launch(container, restart_count=0)
        except LinkspanError:
            if container.spec.auto_remove:
                await self._remove(container)
            raise

    async def _launch(self, container: Container, *, restart_count: int) -> None:
        """Sandbox, root file system, process; undone from the last to the first when one of them fails."""
        identity = container.id
        async with contextlib.AsyncExitStack() as undo:
            undo.callback(self._waiting.give_up, identity)
            try:
                sandbox = await self._sandboxes.enter(container)
                undo.push_async_callback(self._leave, identity)
                root = await self._launching.mount(container)
                undo.push_async_callback(self._launching.unmount, identity)
                created = await self._runtime.create(await self._launching.launch(container, sandbox, root))
                undo.push_async_callback(self._runtime.delete, identity)
                await self._waiting.connect(identity, lambda: self._runtime.attach(identity))
                await self._runtime.start(identity)
            except LinkspanError as error:
                self._put(identity, failed(self._intent.state(identity), error))
                raise
            except OSError as error:
                failure = RuntimeFailure(f"container {container.name} cannot be started: {error}")
                self._put(identity, failed(self._intent.state(identity), failure))
                raise failure from error
            state = ContainerState(
                status="running",
                pid=created.pid,
                pid_start=created.pid_start,
                monitor_pid=created.monitor_pid,
                monitor_start=created.monitor_start,
                started=time.time(),
                finished=self._intent.state(identity).finished,
                restart_count=restart_count,
            )
            self._put(identity, state)
            undo.pop_all()
        self._publish(container, "start")
        self._watch(identity)

    def _watch(self, container_id: str) -> None:
        self._watchers[container_id] = asyncio.create_task(self._watched(container_id), name=f"watch {container_id}")

    async def _watched(self, container_id: str) -> None:
        outcome = await self._runtime.wait(container_id)
        while True:
            async with self.lock(container_id):
                container = self._intent.containers.get(container_id)
                try:
                    if container is not None:
                        await self._ended(container, outcome)
                    self._watchers.pop(container_id, None)
                    return
                except StoreFailure as error:
                    log.error("the end of container %s cannot be written down yet: %s", container_id[:12], error)
            await asyncio.sleep(WRITE_AGAIN)

    async def _ended(self, container: Container, outcome: Exit) -> None:
        """Writes the end down first, then tells, then cleans up: whoever asks meanwhile hears the truth.

        StoreFailure when it cannot be written down; then nothing was done.
        """
        before = self._intent.state(container.id)
        state = ended(before, outcome)
        again = container.id not in self._held and wanted_again(container.spec.restart, state)
        if again:
            state = msgspec.structs.replace(state, status="restarting")
        self._put(container.id, state)
        if outcome.oom_killed:
            self._publish(container, "oom")
        took = int(state.finished - state.started)
        self._publish(container, "die", exitCode=str(outcome.code), execDuration=str(max(0, took)))
        self._waiters.settle(container.id, outcome.code, "next-exit", *(() if again else ("not-running",)))
        await self._tidy(container.id, self._runtime.delete, self._launching.unmount)
        if again:
            self._restart_later(container.id, state, delay=self._next_delay(container.id, state))
            return
        await self._tidy(container.id, self._leave)
        if container.spec.auto_remove and container.id not in self._held:
            await self._tidy(container.id, self._removed)

    async def _tidy(self, container_id: str, *deeds: Callable[[str], Awaitable[None]]) -> None:
        """Does all of this, whatever fails: nobody waits for it, and what is left is found at the next start."""
        for deed in deeds:
            try:
                await deed(container_id)
            except LinkspanError as error:
                log.error("cleaning up after container %s: %s", self._intent.name_of(container_id), error)

    async def _removed(self, container_id: str) -> None:
        await self._remove(self._intent.containers[container_id])

    async def _leave(self, container_id: str) -> None:
        if container_id not in self._held:
            await self._sandboxes.leave(container_id)

    async def _halt(self, container: Container, timeout: int | None, signal: str) -> None:
        """Ends the container, whatever it is doing now: starting, running, paused, or waiting for a restart."""
        while True:
            async with self.lock(container.id):
                state = self._intent.state(container.id)
                if state.status == "restarting":
                    await self._give_up_restarting(container)
                    return
                watcher = self._watchers.get(container.id)
                if not state.running or watcher is None:
                    self._cancel_restart(container.id)
                    return
                number = signal_number(signal) if signal else self._launching.stop_signal(container)
                with contextlib.suppress(Conflict):  # it has just ended by itself: the watcher is about to say so
                    await self._signal(container, state, number, ends=True)
            self._publish(container, "kill", signal=str(number))
            await self._until_ended(container, watcher, self._patience(container, timeout, number))

    async def _signal(self, container: Container, state: ContainerState, number: int, *, ends: bool) -> None:
        """``ends``: the signal is meant to end the container, so its policy does not start it again."""
        if ends:
            self._put(container.id, msgspec.structs.replace(state, stopped_by_user=True))
        await self._runtime.kill(container.id, number)
        if ends and state.status == "paused" and number != SIGKILL:
            await self._runtime.unpause(container.id)
            self._put(container.id, msgspec.structs.replace(self._intent.state(container.id), status="running"))

    async def _until_ended(self, container: Container, watcher: asyncio.Task[None], patience: float | None) -> None:
        done, _ = await asyncio.wait([watcher], timeout=patience)
        if not done:
            with contextlib.suppress(Conflict):
                await self._runtime.kill(container.id, SIGKILL)
            done, _ = await asyncio.wait([watcher], timeout=KILL_TIMEOUT)
        if not done:
            raise Conflict(f"container {container.name} does not end, though it was killed")

    @staticmethod
    def _patience(container: Container, timeout: int | None, number: int) -> float | None:
        """Seconds until SIGKILL follows; None: never."""
        if number == SIGKILL:
            return KILL_TIMEOUT
        asked = timeout if timeout is not None else container.spec.stop_timeout
        seconds = STOP_TIMEOUT if asked is None else asked
        return None if seconds < 0 else seconds

    async def _give_up_restarting(self, container: Container) -> None:
        """The container waits for its next start, which shall not come. The caller holds the lock."""
        self._cancel_restart(container.id)
        state = self._intent.state(container.id)
        self._put(container.id, msgspec.structs.replace(state, status="exited", stopped_by_user=True))
        await self._tidy(container.id, self._leave)
        self._waiters.settle(container.id, state.exit_code, "not-running")

    def _restart_later(self, container_id: str, state: ContainerState, *, delay: float) -> None:
        if self._restarting:
            self._restarts[container_id] = asyncio.create_task(self._restarted(container_id, state, delay))

    async def _restarted(self, container_id: str, state: ContainerState, delay: float) -> None:
        await asyncio.sleep(delay)
        async with self.lock(container_id):
            self._restarts.pop(container_id, None)
            container = self._intent.containers.get(container_id)
            if container is None:
                return
            count = state.restart_count + 1
            try:
                await self._launch(container, restart_count=count)
            except LinkspanError as error:
                log.warning("container %s does not restart: %s", container.name, error)
                now = msgspec.structs.replace(self._intent.state(container_id), restart_count=count)
                if wanted_again(container.spec.restart, now):
                    now = msgspec.structs.replace(now, status="restarting")
                    self._put(container_id, now)
                    self._restart_later(container_id, now, delay=self._next_delay(container_id, now))
                else:
                    self._put(container_id, now)
                    self._waiters.settle(container_id, now.exit_code, "not-running")

    def _cancel_restart(self, container_id: str) -> None:
        task = self._restarts.pop(container_id, None)
        if task is not None:
            task.cancel()

    def _next_delay(self, container_id: str, state: ContainerState) -> float:
        steady = state.finished - state.started >= STEADY
        delay = FIRST_DELAY if steady else self._delays.get(container_id, FIRST_DELAY)
        self._delays[container_id] = min(delay * 2, LONGEST_DELAY)
        return delay

    def _put(self, container_id: str, state: ContainerState) -> None:
        if container_id in self._intent.containers:
            self._intent.commit(states={container_id: state})

    def _publish(self, container: Container, action: str, **attributes: str) -> None:
        name = self._intent.name_of(container.id)
        known = {"image": container.spec.image, "name": name, **container.spec.labels}
        self._events.publish("container", action, container.id, {**known, **attributes})
