"""The keeper itself: one event loop that answers names, holds ports, relays, and hears one daemon at a time.

A daemon that connects takes the place of the one before. When it goes, the keeper stays as it is, until another one
comes and asks for the inventory. It ends when told; and without a daemon when it has nothing to keep, or when its
socket was removed: nobody would ever find it again, and what it holds would be lost to everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from pathlib import Path

import msgspec

from linkspan.keeper import protocol
from linkspan.keeper.channel import Channel
from linkspan.keeper.holdings import Holdings, close_all
from linkspan.keeper.names import Names

LOOK_SECONDS = 10.0
"""How often it looks whether it is still of use."""
MOST_FILES = 1 << 20
LONGEST_LOG = 1 << 20
"""Bytes. A longer log starts again: what goes wrong because of a hostile client must not fill the file system."""

log = logging.getLogger(__name__)


def main(exec_root: Path, instance: str) -> None:
    """Runs until told to end. Standard input is the listening socket, standard error the log."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(
        handlers=[BoundedLog(sys.stderr)], level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )
    raise_file_limit()
    listener = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    asyncio.run(run(listener, exec_root / protocol.SOCKET, instance))


async def run(listener: socket.socket, path: Path, instance: str) -> None:
    """Serves daemons on a listening socket, which is bound to ``path``, until told to end."""
    ended = asyncio.Event()
    keeper = Process(listener, path, instance, ended)
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await ended.wait()
        keeper.end_if_useless()
    keeper.close()


class Process:
    """What the keeper has, and the daemon that it hears. Sets ``ended`` when its time is over."""

    def __init__(self, listener: socket.socket, path: Path, instance: str, ended: asyncio.Event) -> None:
        self._path = path
        self._place = place_of(path)
        self._instance = instance
        self._ended = ended
        self._names = Names()
        self._holdings = Holdings()
        self._daemon: Channel | None = None
        self._listener = listener
        listener.setblocking(False)
        listener.listen()  # again: from now on SO_PEERCRED tells our pid, for a daemon that has to end us
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept)

    def close(self) -> None:
        """Ends all relays; what else is open goes with the process."""
        asyncio.get_running_loop().remove_reader(self._listener.fileno())
        self._listener.close()
        self._holdings.close()
        if self._daemon is not None:
            self._daemon.close()

    def end_if_useless(self) -> None:
        """Ends when there is no daemon, and either nothing to keep or no way for a daemon to come."""
        if self._daemon is not None:
            return
        kept = self._names.content() or self._holdings.content()
        if not kept or place_of(self._path) != self._place:
            self._ended.set()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                log.error("a daemon cannot connect: %s", error)
            return
        if self._daemon is not None:
            self._daemon.close()
        self._daemon = Channel(connection, self._arrived, self._lost)

    def _lost(self) -> None:
        """A daemon is gone. The next one may have come before this is told."""
        if self._daemon is not None and not self._daemon.open:
            self._daemon = None
            self.end_if_useless()

    def _arrived(self, body: bytes, descriptors: list[int]) -> None:
        try:
            order = protocol.decode_order(body)
        except msgspec.DecodeError as error:
            close_all(descriptors)
            log.error("the daemon said what is not understood here: %s", error)
            return
        match order:
            case protocol.Serve(client=client) if len(descriptors) == protocol.SERVED_DESCRIPTORS:
                self._names.serve(client, *descriptors)
            case protocol.Hold(key=key, relay=relay):
                self._holdings.hold(key, descriptors, relay)
            case _:
                close_all(descriptors)
                self._obey(order)

    def _obey(self, order: protocol.Order) -> None:
        """The orders that bring no descriptors."""
        names = self._names
        match order:
            case protocol.Hello():
                self._tell_inventory()
            case protocol.PutZone(zone=zone):
                names.directory.put_zone(zone)
            case protocol.DropZone(network=network):
                names.directory.drop_zone(network)
            case protocol.PutHosts(hosts=hosts):
                names.directory.put_hosts(hosts)
            case protocol.DropHosts(hosts=gone):
                names.directory.drop_hosts(gone)
            case protocol.PutClient(client=client):
                names.put_client(client)
            case protocol.StopServing(sandbox=sandbox, request=request):
                names.stop(sandbox, lambda: self._answer(protocol.Done(request=request)))
            case protocol.Release(keys=keys, request=request):
                for key in keys:
                    self._holdings.release(key)
                self._answer(protocol.Done(request=request))
            case protocol.AskFigures(request=request):
                self._answer(protocol.FiguresAre(request=request, figures=names.figures()))
            case protocol.End():
                self._ended.set()
            case _:
                log.error("the daemon said %s with the wrong number of descriptors", type(order).__name__)

    def _tell_inventory(self) -> None:
        held, served = self._holdings.content(), self._names.content()
        inventory = protocol.Inventory(
            version=protocol.VERSION,
            instance=self._instance,
            pid=os.getpid(),
            held=tuple(
                protocol.Held(key=key, sockets=len(sockets), relay=protocol.part(relay))
                for key, (sockets, relay) in held.items()
            ),
            served=tuple(protocol.Served(id=client.id, client=protocol.part(client)) for client, _ in served.values()),
            zones=tuple(protocol.part(zone) for zone in self._names.zones()),
        )
        descriptors = [each for sockets, _ in held.values() for each in sockets]
        descriptors += [each for _, three in served.values() for each in three]
        self._answer(inventory, descriptors)

    def _answer(self, answer: protocol.Answer, descriptors: list[int] | None = None) -> None:
        if self._daemon is not None:
            self._daemon.send(protocol.encode(answer), descriptors or ())


class BoundedLog(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to a file that was opened for appending, and empties it when it is too long."""

    def emit(self, record: logging.LogRecord) -> None:
        descriptor = self.stream.fileno()
        if os.fstat(descriptor).st_size > LONGEST_LOG:
            os.ftruncate(descriptor, 0)
        super().emit(record)


def place_of(path: Path) -> tuple[int, int]:
    """Which file this is now: device and number, both 0 when there is none."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def raise_file_limit() -> None:
    """Three descriptors a sandbox and one a port soon use up a shell's limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
