"""A house with containers that live: processes that are entries in a dictionary, and end when a test says so.

The processes and the mounted roots go on when the daemon is restarted, as real ones do.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine_house import House
from linkspan.engine import lifecycle
from linkspan.engine.containers import Containers
from linkspan.engine.lifecycle import Lifecycle
from linkspan.engine.signals import signal_number
from linkspan.engine.streams import Waiting
from linkspan.engine.volumes import Volumes
from linkspan.errors import Conflict, NotFound
from linkspan.model.container import Container, ContainerSpec, ContainerState, NetworkMode, RestartPolicy
from linkspan.model.endpoint import EndpointRequest
from linkspan.model.image import Image, ImageConfig
from linkspan.runtime.conmon import Created
from linkspan.runtime.facts import Facts
from linkspan.runtime.monitor import Exit

IMAGE = Image(
    id="sha256:0", created=0.0, architecture="amd64", os="linux", size=0, config=ImageConfig(command=("sleep", "9"))
)
PATIENCE = 5.0


class Process:
    """A container's first process, and what was done to it."""

    def __init__(self, created: Created) -> None:
        self.created = created
        self.started = False
        self.frozen = False
        self.signals: list[int] = []
        self.deaf = frozenset[int]()
        self.exit: Exit | None = None
        self.over: asyncio.Future[Exit] | None = None


class FakeRuntime:
    """``linkspan.runtime.containers.Runtime`` as far as lives need it. ``refuse`` makes a verb fail once."""

    machine = SimpleNamespace(facts=Facts(), init_path="/sbin/tini", runtime_name="fake", seccomp=None)

    def __init__(self) -> None:
        self.processes: dict[str, Process] = {}
        self.refuse: dict[str, list[Exception]] = {}
        self.deaf = frozenset[int]()
        """Signals that new processes do not hear."""
        self.slow_start = 0.0
        self.attached: list[str] = []
        self._known: set[str] = set()
        self._pids = itertools.count(1000)

    def forget(self) -> None:
        """The daemon has gone; the processes have not."""
        self._known.clear()

    def lose(self) -> None:
        """The host has been started anew."""
        self.processes.clear()

    def end(self, container: str, code: int = 0, *, oom_killed: bool = False) -> None:
        """The process ends."""
        process = self.processes[container]
        if process.exit is None:
            process.exit = Exit(code=code, oom_killed=oom_killed, finished=time.time())
            if process.over is not None and not process.over.done():
                process.over.set_result(process.exit)

    async def create(self, launch: Any) -> Created:
        self._maybe_refuse("create")
        if launch.id in self.processes:
            raise Conflict(f"container {launch.id[:12]} exists already in the runtime")
        pid = next(self._pids)
        process = Process(Created(pid=pid, pid_start=1, monitor_pid=pid + 100_000, monitor_start=1))
        process.deaf = self.deaf
        self.processes[launch.id] = process
        self._know(launch.id)
        return process.created

    async def start(self, container: str) -> None:
        await asyncio.sleep(self.slow_start)
        self._maybe_refuse("start")
        self.processes[container].started = True

    async def attach(self, container: str) -> object:
        self._maybe_refuse("attach")
        self.attached.append(container)
        return object()

    async def adopt(self, container: str, created: Created) -> bool:
        process = self.processes.get(container)
        if process is None or process.created != created:
            return False
        self._know(container)
        return True

    def ended(self, container: str) -> Exit | None:
        return self._of(container).exit

    async def wait(self, container: str) -> Exit:
        over = self._of(container).over
        assert over is not None
        return await asyncio.shield(over)

    async def kill(self, container: str, number: int) -> None:
        process = self._of(container)
        self._maybe_refuse("kill")
        if process.exit is not None:
            raise Conflict(f"container {container[:12]} is not running")
        process.signals.append(number)
        deadly = number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT) and number not in process.deaf
        if deadly and (number == signal.SIGKILL or not process.frozen):
            self.end(container, 128 + number)

    async def pause(self, container: str) -> None:
        self._of(container).frozen = True

    async def unpause(self, container: str) -> None:
        process = self._of(container)
        process.frozen = False
        if signal.SIGTERM in process.signals and signal.SIGTERM not in process.deaf:
            self.end(container, 143)

    async def delete(self, container: str) -> None:
        self._maybe_refuse("delete")
        if container in self.processes:
            self.end(container, 137)
            del self.processes[container]
        self._known.discard(container)

    def _know(self, container: str) -> None:
        process = self.processes[container]
        process.over = asyncio.get_running_loop().create_future()
        if process.exit is not None:
            process.over.set_result(process.exit)
        self._known.add(container)

    def _of(self, container: str) -> Process:
        if container not in self._known:
            raise NotFound(f"container {container[:12]} has no process")
        return self.processes[container]

    def _maybe_refuse(self, verb: str) -> None:
        if self.refuse.get(verb):
            raise self.refuse[verb].pop(0)


class FakeRoots:
    """Root file systems: which exist, which are mounted."""

    def __init__(self) -> None:
        self.present: set[str] = set()
        self.mounted: set[str] = set()
        self.refuse: list[Exception] = []

    async def create(self, container: str, image: Image) -> None:
        self._maybe_refuse()
        self.present.add(container)

    async def remove(self, container: str) -> None:
        self._maybe_refuse()
        self.present.discard(container)
        self.mounted.discard(container)

    async def size(self, container: str) -> int:
        return 10

    def _maybe_refuse(self) -> None:
        if self.refuse:
            raise self.refuse.pop(0)


class FakeLaunching:
    """``linkspan.engine.launching.Launching`` without files."""

    def __init__(self, roots: FakeRoots) -> None:
        self._roots = roots
        self.refuse: list[Exception] = []

    async def mount(self, container: Container) -> object:
        self._roots.mounted.add(container.id)
        return object()

    async def unmount(self, container_id: str) -> None:
        self._roots.mounted.discard(container_id)

    async def launch(self, container: Container, sandbox: object, root: object) -> object:
        if self.refuse:
            raise self.refuse.pop(0)
        return SimpleNamespace(id=container.id)

    def stop_signal(self, container: Container) -> int:
        return signal_number(container.spec.stop_signal or "SIGTERM")


class Lives(House):
    """``life`` and ``containers`` are the real ones."""

    def __init__(self, folder: Path) -> None:
        self.runtime = FakeRuntime()
        self.roots = FakeRoots()
        super().__init__(folder)

    async def _open(self) -> None:
        await super()._open()
        self.runtime.forget()
        self.launching = FakeLaunching(self.roots)
        self.waiting: Waiting[Any] = Waiting()
        self.volumes = Volumes(self.config.data_root, self.intent, self.events)
        self.life = Lifecycle(
            self.intent,
            self.sandboxes,
            self.runtime,  # type: ignore[arg-type]
            self.launching,  # type: ignore[arg-type]
            self.waiting,
            self.events,
            self._remove_ended,
        )
        self.containers = Containers(
            self.networking,
            self.volumes,
            SimpleNamespace(get=lambda reference: IMAGE),  # type: ignore[arg-type]
            self.roots,  # type: ignore[arg-type]
            self.runtime,  # type: ignore[arg-type]
            SimpleNamespace(),  # type: ignore[arg-type]
            SimpleNamespace(forget=self.waiting.give_up),  # type: ignore[arg-type]
            self.life,
        )
        await self.life.recover()
        self.life.resume()

    async def _close(self) -> None:
        await self.life.close()
        await super()._close()

    async def _remove_ended(self, container: Container) -> None:
        await self.containers.remove_stopped(container, volumes=True)

    # --- what people do -----------------------------------------------------------------------------------------

    def create(
        self,
        name: str,
        *networks: str,
        restart: RestartPolicy | None = None,
        auto_remove: bool = False,
        stop_timeout: int | None = None,
        owner: Container | None = None,
    ) -> Container:
        """``docker create``."""
        mode = NetworkMode(raw=networks[0] if networks else "default")
        if owner is not None:
            mode = NetworkMode(kind="container", raw=f"container:{owner.name}", container=owner.id)
        spec = ContainerSpec(
            image="busybox",
            network_mode=mode,
            endpoints=tuple(EndpointRequest(network=item) for item in networks),
            restart=restart or RestartPolicy(),
            auto_remove=auto_remove,
            stop_timeout=stop_timeout,
        )
        return self.intent.containers[self.run(self.containers.create(name, spec)).id]

    def start(self, container: Container) -> None:
        self.run(self.containers.start(container.id))

    def stop(self, container: Container, timeout: int | None = None) -> None:
        self.run(self.containers.stop(container.id, timeout=timeout))

    def rm(self, container: Container, *, force: bool = False) -> None:
        self.run(self.containers.remove(container.id, force=force, volumes=False))

    # --- what can be seen ---------------------------------------------------------------------------------------

    def state(self, container: Container) -> ContainerState:
        return self.intent.state(container.id)

    def status(self, container: Container) -> str:
        return self.state(container).status if container.id in self.intent.containers else "gone"

    def until(self, container: Container, status: str) -> None:
        """Waits until the container has that status, and its lock is free."""
        self.run(self.eventually(lambda: self.status(container) == status and self._idle(container.id), status))

    def until_restarted(self, container: Container, count: int) -> None:
        """Waits until its policy has started the container so many times."""

        def restarted() -> bool:
            state = self.state(container)
            return state.running and state.restart_count == count and self._idle(container.id)

        self.run(self.eventually(restarted, f"started again {count} times"))

    def settle(self) -> None:
        """Waits until every end has been dealt with."""

        def settled() -> bool:
            processes = self.runtime.processes.values()
            return all(map(self._idle, self.intent.containers)) and all(item.exit is None for item in processes)

        self.run(self.eventually(settled, "everything is dealt with"))

    async def eventually(self, condition: Callable[[], bool], what: str) -> None:
        """AssertionError naming ``what`` when the condition never holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"after {PATIENCE:g} seconds still not: {what}"
            await asyncio.sleep(0.001)

    def _idle(self, container_id: str) -> bool:
        return not self.life.lock(container_id).locked()

    def told(self, kind: str = "container") -> list[str]:
        """The actions of all events of a kind."""
        return [event.action for event in self.events._past if event.kind == kind]

    def check_lives(self) -> None:
        """Whoever runs has a process, a mounted root and a place in a sandbox; nobody else has anything."""
        self.settle()
        self.check()
        running = {identity for identity, state in self.intent.states.items() if state.running}
        waiting = {identity for identity, state in self.intent.states.items() if state.status == "restarting"}
        members = {member for sandbox in self.intent.sandboxes.values() for member in sandbox.members}
        assert set(self.runtime.processes) == running
        assert self.roots.mounted == running
        assert self.roots.present == set(self.intent.containers)
        assert running <= members <= running | waiting


@contextlib.contextmanager
def quick_lives(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Lives]:
    """A house with a network called web and short waits; in the end everything must be in order."""
    patch.setattr(lifecycle, "FIRST_DELAY", 0.001)
    patch.setattr(lifecycle, "WRITE_AGAIN", 0.001)
    with Lives(folder) as opened:
        opened.network("web", "10.5.0.0/24")
        yield opened
        opened.check_lives()


def at_once(lives: Lives, *stories: Coroutine[object, object, object]) -> list[object]:
    async def story() -> list[object]:
        async with asyncio.timeout(5):
            return await asyncio.gather(*stories, return_exceptions=True)

    return lives.run(story())
