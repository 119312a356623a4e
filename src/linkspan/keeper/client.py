"""The daemon's end of the keeper: says everything, and remembers all that it said.

The memory holds duplicates of every descriptor and every value, so a keeper that dies is followed by one that is told
all of it again. That is why most calls only write and do not wait: what got lost was not told to a living keeper.
What is to be known of names is remembered even while there is none, though the caller hears of it: who takes something
back then says so too.
They take effect in their order, and within a millisecond; who must know that they did asks for ``figures`` after them.
Calls after which something must be closed (``stop_serving``, ``release``) wait for the answer, or for the keeper's
death, which closes as well.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from linkspan.dns.names import Client, Figures, Host, Zone
from linkspan.errors import KeeperFailure
from linkspan.keeper import protocol, starting
from linkspan.keeper.channel import Channel
from linkspan.keeper.face import Relay
from linkspan.keeper.holdings import close_all
from linkspan.keeper.memory import Memory
from linkspan.kernel.low_descriptors import moved_up

PATIENCE = 10.0
"""Seconds that a living keeper may take for an answer: it has no work that takes long."""
DYING = 1.0
"""Seconds from the end of the connection to that of the process; a keeper that lives on let go of us, and is met again.
"""
HEALTHY = 5.0
"""Seconds of life after which a keeper's death is no sign that the next one dies too."""
TOLERATED = 3
"""Deaths in a row after which callers hear of it."""
PAUSES = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Seconds before the first, second, ... start after deaths in a row; the last goes on."""

log = logging.getLogger(__name__)


class KeeperClient:
    """``face.Keeper`` for the daemon. ``start`` it first; ``close`` it at the end.

    ``instance`` is the daemon's id: a keeper of another one in the same exec-root is ended. ``command`` starts a
    keeper; tests give their own.
    """

    def __init__(self, exec_root: Path, instance: str, command: Sequence[str] = ()) -> None:
        self._exec_root = exec_root
        self._instance = instance
        self._command = tuple(command) or starting.command(exec_root, instance)
        self._memory = Memory()
        self._channel: Channel | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[tuple[Figures, ...] | None]] = {}
        self._failure = ""
        self._deaths = 0
        self._since = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._restart: asyncio.Task[None] | None = None
        self.pid = 0
        """Of the keeper that is there, for people; 0: there is none now."""

    @property
    def connected(self) -> bool:
        """Whether a keeper is there that knows all that we know."""
        return self._channel is not None

    async def start(self) -> None:
        """Finds the keeper that an earlier daemon left, with what it has, or starts one. KeeperFailure."""
        try:
            await self._connect()
        except (OSError, KeeperFailure) as error:
            raise self._failed(error) from error

    async def put_zone(self, zone: Zone) -> None:
        self._memory.put_zone(zone)
        self._check()
        self._say(protocol.PutZone(zone=zone))

    async def drop_zone(self, network_id: str) -> None:
        self._memory.drop_zone(network_id)
        self._say(protocol.DropZone(network=network_id))

    async def put_hosts(self, hosts: Sequence[tuple[str, Host]]) -> None:
        for network, host in hosts:
            self._memory.put_host(network, host)
        self._check()
        self._say(protocol.PutHosts(hosts=tuple(hosts)))

    async def drop_hosts(self, hosts: Sequence[tuple[str, str]]) -> None:
        for network, endpoint in hosts:
            self._memory.drop_host(network, endpoint)
        self._say(protocol.DropHosts(hosts=tuple(hosts)))

    async def put_client(self, client: Client) -> None:
        self._memory.put_client(client)
        self._check()
        self._say(protocol.PutClient(client=client))

    async def serve(self, client: Client, udp: int, tcp: int, namespace: int) -> None:
        self._check()
        mine = duplicates((udp, tcp, namespace))
        self._say(protocol.Serve(client=client), mine)
        close_all(self._memory.serve(client, mine))

    async def stop_serving(self, sandbox_id: str) -> None:
        gone = self._memory.stop_serving(sandbox_id)
        close_all(gone)
        if gone:
            await self._ask(lambda number: protocol.StopServing(sandbox=sandbox_id, request=number))

    async def hold(self, key: str, sockets: Sequence[int], relay: Relay | None = None) -> None:
        self._check()
        mine = duplicates(sockets)
        self._say(protocol.Hold(key=key, relay=relay), mine)
        close_all(self._memory.hold(key, mine, relay))

    async def release(self, keys: Sequence[str]) -> None:
        known = tuple(key for key in keys if key in self._memory.held)
        for key in known:
            close_all(self._memory.release(key))
        if known:
            await self._ask(lambda number: protocol.Release(keys=known, request=number))

    def held(self) -> Mapping[str, tuple[int, ...]]:
        return {key: held.sockets for key, held in self._memory.held.items()}

    def relay(self, key: str) -> Relay | None:
        held = self._memory.held.get(key)
        return held.relay if held is not None else None

    def served(self) -> frozenset[str]:
        return frozenset(self._memory.served)

    def zones(self) -> frozenset[str]:
        """Ids of networks with a zone: after a restart, those that the keeper knew."""
        return frozenset(self._memory.zones)

    async def figures(self) -> tuple[Figures, ...]:
        self._check()
        if self._channel is None:
            return ()
        return await self._ask(lambda number: protocol.AskFigures(request=number)) or ()

    async def close(self, *, end: bool) -> None:
        """Returns when the connection is closed; with ``end``, when the process has gone."""
        restart, self._restart = self._restart, None
        if restart is not None:
            restart.cancel()
            await asyncio.gather(restart, return_exceptions=True)
        channel, self._channel = self._channel, None
        if channel is not None and end:
            await _end(channel, self.pid)
        elif channel is not None:
            channel.close()
        self._settle()
        self._memory.close()
        if end:
            if self._process is not None:
                self._process.kill()  # one that was being started; nothing happens to one that ended
                await asyncio.to_thread(self._process.wait)
            (self._exec_root / protocol.SOCKET).unlink(missing_ok=True)

    def _check(self) -> None:
        if self._failure:
            raise KeeperFailure(
                f"the keeper, which answers names and holds ports, does not run: {self._failure}",
                remedy=f"see {self._exec_root / starting.LOG}; it is being started again",
            )

    def _failed(self, error: Exception) -> KeeperFailure:
        reason = error.what if isinstance(error, KeeperFailure) else str(error)
        return KeeperFailure(
            f"the keeper, which answers names and holds ports, cannot be reached or started: {reason}",
            remedy=f"see {self._exec_root / starting.LOG}",
        )

    def _say(self, order: protocol.Order, descriptors: Sequence[int] = ()) -> None:
        if self._channel is not None:
            self._channel.send(protocol.encode(order), descriptors)

    async def _ask(self, question: Callable[[int], protocol.Order]) -> tuple[Figures, ...] | None:
        """Says something and waits for the answer; a keeper that dies meanwhile answers with None.

        One that hangs is ended, so that the next one can go on: what it held is held here too.
        """
        if self._channel is None:
            return None
        pid = self.pid
        number = next(self._numbers)
        answer: asyncio.Future[tuple[Figures, ...] | None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._say(question(number))
        try:
            async with asyncio.timeout(PATIENCE):
                return await answer
        except TimeoutError:
            log.error("the keeper (process %d) does not answer for %.0f seconds and is killed", pid, PATIENCE)
            await starting.kill(pid, PATIENCE)
            return None
        finally:
            self._waiting.pop(number, None)

    def _arrived(self, body: bytes, descriptors: list[int]) -> None:
        close_all(descriptors)
        answer = protocol.decode_answer(body)
        if isinstance(answer, protocol.Inventory):
            return
        waiting = self._waiting.get(answer.request)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer.figures if isinstance(answer, protocol.FiguresAre) else None)

    def _lost(self) -> None:
        """The keeper is gone, or let go of us."""
        channel, self._channel = self._channel, None
        if channel is None:
            return
        loop = asyncio.get_running_loop()
        self._deaths = 1 if loop.time() - self._since > HEALTHY else self._deaths + 1
        log.error("the keeper (process %d) is gone; another one takes over", self.pid)
        if self._deaths > TOLERATED:
            self._failure = f"it ended {self._deaths} times in a row"
        self._restart = loop.create_task(self._start_again(self.pid))

    async def _start_again(self, pid: int) -> None:
        await starting.ended(pid, DYING)
        self._settle()
        while True:
            await asyncio.sleep(PAUSES[min(self._deaths, len(PAUSES)) - 1])
            try:
                await self._connect()
            except (OSError, KeeperFailure) as error:
                self._deaths += 1
                self._failure = error.what if isinstance(error, KeeperFailure) else str(error)
                log.error("no keeper can be started: %s", self._failure)
            else:
                return

    def _settle(self) -> None:
        """Nobody waits for the answer of a keeper that is gone: what it had is closed."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(None)

    async def _connect(self) -> None:
        """Connects to the keeper that is there, or to a new one, and brings it to know what we know."""
        connection = starting.connect(self._exec_root)
        if connection is not None and await self._greet(connection):
            return
        if self._process is not None:
            self._process.poll()  # reaps the one before
        self._process = starting.start(self._exec_root, self._command)
        connection = starting.connect(self._exec_root)
        if connection is None or not await self._greet(connection):
            raise KeeperFailure("it ends right after its start")

    async def _greet(self, connection: socket.socket) -> bool:
        """Says hello and takes over what the keeper has. False when it is none for us; it is ended then."""
        met: asyncio.Future[tuple[protocol.Inventory, list[int]] | None] = asyncio.get_running_loop().create_future()

        def arrived(body: bytes, descriptors: list[int]) -> None:
            answer = protocol.decode_answer(body)
            if isinstance(answer, protocol.Inventory) and not met.done():
                met.set_result((answer, descriptors))

        pid = starting.listener(connection)
        channel = Channel(connection, arrived, lambda: None if met.done() else met.set_result(None))
        channel.send(protocol.encode(protocol.Hello(version=protocol.VERSION, instance=self._instance)))
        try:
            async with asyncio.timeout(PATIENCE):
                outcome = await met
        except TimeoutError:
            log.error("a keeper that does not answer is killed; another one takes over")
            outcome = None
        except BaseException:
            channel.close()
            raise
        if channel.cut_off:
            raise KeeperFailure("it holds more than this process may have open (RLIMIT_NOFILE)")
        if outcome is None:
            channel.close()
            await starting.kill(pid, PATIENCE)
            return False
        return await self._meet(channel, *outcome)

    async def _meet(self, channel: Channel, inventory: protocol.Inventory, descriptors: list[int]) -> bool:
        ours = inventory.instance == self._instance and len(descriptors) == protocol.descriptors_of(inventory)
        fresh = not self._memory
        if ours and fresh:
            self._memory.adopt(inventory, [moved_up(each) for each in descriptors])
        else:
            close_all(descriptors)
        if not ours or inventory.version != protocol.VERSION:
            log.warning("the keeper (process %d) is of another daemon or version and is replaced", inventory.pid)
            await _end(channel, inventory.pid)
            return False
        channel.arrived, channel.lost = self._arrived, self._lost
        self._channel, self.pid = channel, inventory.pid
        self._since = asyncio.get_running_loop().time()
        self._failure = ""
        if not fresh:
            for order, duplicated in (*self._memory.beyond(inventory), *self._memory.everything()):
                self._say(order, duplicated)
        return True


async def _end(channel: Channel, pid: int) -> None:
    """Asks a keeper to end; returns when its process has gone, which it must by itself or by force."""
    channel.send(protocol.encode(protocol.End()))
    if not await starting.ended(pid, PATIENCE):
        await starting.kill(pid, PATIENCE)
    channel.close()


def duplicates(descriptors: Sequence[int]) -> tuple[int, ...]:
    """New descriptors of the same files. OSError, and none of them is left then."""
    made: list[int] = []
    try:
        for descriptor in descriptors:
            made.append(moved_up(os.dup(descriptor)))  # noqa: PERF401
    except OSError:
        close_all(made)
        raise
    return tuple(made)
