"""Further processes in a running container: create, start, resize, inspect."""

from __future__ import annotations

import asyncio
import contextlib
import secrets

import msgspec

from linkspan.engine.config import DaemonConfig
from linkspan.engine.events import Events
from linkspan.engine.face import Channel, Session
from linkspan.engine.intent import Intent
from linkspan.engine.launching import Launching
from linkspan.engine.outcomes import exit_code_of
from linkspan.engine.streams import DetachKeys, ProcessSession
from linkspan.engine.views import ExecRequest, ExecView
from linkspan.errors import Conflict, InvalidRequest, LinkspanError, NotFound
from linkspan.images.rootfs import RootFileSystems
from linkspan.model.container import Container
from linkspan.model.image import ImageConfig
from linkspan.runtime.containers import Runtime
from linkspan.runtime.exec_process import ExecInput, build_exec
from linkspan.runtime.execution import ExecLaunch, ExecSession

SETTLING = 0.5
KEPT = 256
"""Ended execs that stay inspectable."""


class SettledSession:
    """An exec's session that ends only once the exit code is known, since clients ask for it at once.

    A process may close its output and go on: then the session ends after ``SETTLING`` seconds all the same.
    """

    def __init__(self, session: ProcessSession[ExecSession], ended: asyncio.Task[None]) -> None:
        self._session = session
        self._ended = ended

    async def pump(self, channel: Channel) -> None:
        """See ``ProcessSession.pump``."""
        await self._session.pump(channel)
        await asyncio.wait([self._ended], timeout=SETTLING)


class FailedSession:
    """The session of an exec whose program cannot be run: it says why, and ends."""

    def __init__(self, error: LinkspanError) -> None:
        self._error = error

    async def pump(self, channel: Channel) -> None:
        """See ``ProcessSession.pump``."""
        await channel.write(2, f"{self._error}\r\n".encode())


class Execs:
    """The use cases of exec. An exec lives in memory: it ends, for its client, with the daemon."""

    def __init__(
        self,
        config: DaemonConfig,
        intent: Intent,
        runtime: Runtime,
        launching: Launching,
        events: Events,
        roots: RootFileSystems,
    ) -> None:
        self._config = config
        self._intent = intent
        self._runtime = runtime
        self._launching = launching
        self._events = events
        self._roots = roots
        self._views: dict[str, ExecView] = {}
        self._sessions: dict[str, ExecSession] = {}
        self._watchers: set[asyncio.Task[None]] = set()

    def ids_of(self, container_id: str) -> tuple[str, ...]:
        """The execs of a container that have not ended."""
        return tuple(
            item.id for item in self._views.values() if item.container_id == container_id and item.exit_code is None
        )

    async def create(self, container: str, request: ExecRequest) -> str:
        """Checks and remembers a request. Conflict unless the container runs."""
        found = self._intent.container(container)
        if not request.command:
            raise InvalidRequest("no exec command specified", remedy="name the program to run")
        self._check_running(found)
        if request.detach_keys:
            DetachKeys(request.detach_keys)
        self._forget_old()
        identity = secrets.token_hex(32)
        self._views[identity] = ExecView(id=identity, container_id=found.id, request=request)
        self._publish(found, "exec_create", identity, request)
        return identity

    def get(self, reference: str) -> ExecView:
        """One exec. NotFound."""
        view = self._views.get(reference)
        if view is None:
            raise NotFound(f"No such exec instance: {reference}")
        return view

    async def start(self, reference: str, *, tty: bool) -> Session:
        """Starts the process with the streams that its request attaches.

        What cannot be run is told in the stream and by the exit code, 126 or 127: Docker's clients look there.
        """
        view = self._unstarted(reference)
        request = msgspec.structs.replace(view.request, tty=tty or view.request.tty)
        try:
            session, ended = await self._begin(view, request, attached=True)
        except LinkspanError as error:
            if self._views[view.id].exit_code is None:
                raise
            return FailedSession(error)
        ready: asyncio.Future[ExecSession | None] = asyncio.get_running_loop().create_future()
        ready.set_result(session)
        pumped = ProcessSession(
            ready,
            lambda held, detached: held.close(),
            stdin=request.attach_stdin,
            half_closes=True,
            detach_keys=DetachKeys(request.detach_keys) if request.tty and request.attach_stdin else None,
        )
        return SettledSession(pumped, ended)

    async def start_detached(self, reference: str) -> None:
        """Starts the process with nothing attached."""
        view = self._unstarted(reference)
        await self._begin(view, view.request, attached=False)

    async def resize(self, reference: str, rows: int, columns: int) -> None:
        """Tells a running exec's terminal its size."""
        view = self.get(reference)
        session = self._sessions.get(view.id)
        if session is None:
            raise Conflict(f"exec {reference[:12]} is not running")
        session.resize(rows, columns)

    async def close(self) -> None:
        """Lets go of all processes; they go on."""
        for task in self._watchers:
            task.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)

    async def _begin(
        self, view: ExecView, request: ExecRequest, *, attached: bool
    ) -> tuple[ExecSession, asyncio.Task[None]]:
        container = self._intent.container(view.container_id)
        self._check_running(container)
        self._views[view.id] = msgspec.structs.replace(view, request=request, running=True)
        try:
            session = await self._runtime.execute(container.id, await self._order(container, request, attached))
        except LinkspanError as error:
            code = exit_code_of(error)
            self._views[view.id] = msgspec.structs.replace(view, request=request, running=False, exit_code=code)
            raise
        self._views[view.id] = msgspec.structs.replace(view, request=request, running=True, pid=session.pid)
        self._sessions[view.id] = session
        self._publish(container, "exec_start", view.id, request)
        task = asyncio.create_task(self._watched(view.id, container, session))
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)
        return session, task

    async def _order(self, container: Container, request: ExecRequest, attached: bool) -> ExecLaunch:
        config = self._intent.image_configs.get(container.id, ImageConfig())
        sandbox = self._intent.sandbox_of(container.id)
        user = request.user or container.spec.user or config.user
        root = await self._roots.mount(container.id)
        process = build_exec(
            ExecInput(
                spec=container.spec,
                image=config,
                hostname=sandbox.hostname if sandbox else container.id[:12],
                command=request.command,
                env=request.env,
                working_dir=request.working_dir,
                identity=self._launching.identity(container, root, user),
                tty=request.tty,
                privileged=request.privileged,
                console_size=request.console_size,
                default_ulimits=self._config.default_ulimits,
                no_new_privileges=self._config.no_new_privileges,
                facts=self._runtime.machine.facts,
            )
        )
        return ExecLaunch(
            process=process,
            program=request.command[0],
            tty=request.tty,
            stdin=attached and request.attach_stdin,
            stdout=attached and request.attach_stdout,
            stderr=attached and request.attach_stderr,
            console_size=request.console_size,
        )

    async def _watched(self, identity: str, container: Container, session: ExecSession) -> None:
        code = await session.exit_code()
        self._sessions.pop(identity, None)
        self._views[identity] = msgspec.structs.replace(self._views[identity], running=False, exit_code=code, pid=0)
        self._events.publish(
            "container",
            "exec_die",
            container.id,
            {"image": container.spec.image, "name": container.name, "execID": identity, "exitCode": str(code)},
        )
        self._forget_old()

    def _forget_old(self) -> None:
        """Keeps the latest of those that ended; one that was never started goes with its container's run."""
        for item in list(self._views.values()):
            if not item.running and item.exit_code is None and not self._intent.state(item.container_id).running:
                del self._views[item.id]
        over = [item.id for item in self._views.values() if item.exit_code is not None]
        for identity in over[:-KEPT]:
            with contextlib.suppress(KeyError):
                del self._views[identity]

    def _unstarted(self, reference: str) -> ExecView:
        view = self.get(reference)
        if view.running or view.exit_code is not None:
            raise Conflict(f"exec {reference[:12]} was started before", remedy="create another one")
        return view

    def _check_running(self, container: Container) -> None:
        status = self._intent.state(container.id).status
        if status == "paused":
            raise Conflict(f"container {container.name} is paused", remedy="unpause the container before exec")
        if status != "running":
            raise Conflict(f"container {container.id} is not running", whose=container.id, remedy="start it first")

    def _publish(self, container: Container, action: str, identity: str, request: ExecRequest) -> None:
        self._events.publish(
            "container",
            f"{action}: {' '.join(request.command)}",
            container.id,
            {"image": container.spec.image, "name": container.name, "execID": identity, **container.spec.labels},
        )
