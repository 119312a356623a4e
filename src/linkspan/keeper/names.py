"""The answering of names in the keeper: sandboxes with their sockets and namespaces, joined with ``dns``."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping

from linkspan.dns.names import Client, Figures, Server, Zone
from linkspan.dns.resolver import Resolver
from linkspan.dns.server import Serving
from linkspan.dns.table import Directory
from linkspan.keeper.holdings import close_all
from linkspan.kernel import netns

log = logging.getLogger(__name__)


class Names:
    """All sandboxes that are answered. ``directory`` holds the zones."""

    def __init__(self) -> None:
        self.directory = Directory()
        self._resolver = Resolver(self.directory)
        self._served: dict[str, _Sandbox] = {}
        self._returning: dict[str, tuple[Client, int, int, int]] = {}
        """What comes back as soon as it has gone."""
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def serve(self, client: Client, udp: int, tcp: int, namespace: int) -> None:
        """Takes over three descriptors and answers. A sandbox that is on its way out comes back when it is out."""
        if client.id in self._stopping:
            self._give_up(client.id)
            self._returning[client.id] = (client, udp, tcp, namespace)
            return
        before = self._served.pop(client.id, None)
        place = Place(namespace)
        asker = self._resolver.put_client(client, place.open_socket)
        serving = Serving(self._resolver, asker, socket.socket(fileno=udp), socket.socket(fileno=tcp))
        self._served[client.id] = _Sandbox(client, serving, place)
        try:
            serving.start()
        except OSError as error:
            log.error("names for the sandbox of %s are not answered: %s", client.name, error)
        if before is not None:
            self._leave(before)

    def put_client(self, client: Client) -> None:
        """Changes what a sandbox sees; one that is not served has nobody who asks."""
        if client.id in self._returning:
            self._returning[client.id] = (client, *self._returning[client.id][1:])
        sandbox = self._served.get(client.id)
        if sandbox is not None:
            self._resolver.put_client(client)
            sandbox.client = client

    def stop(self, sandbox_id: str, stopped: Callable[[], None]) -> None:
        """Ends the answering; ``stopped`` is called when all descriptors are closed. Absence is success."""
        self._give_up(sandbox_id)
        sandbox = self._served.pop(sandbox_id, None)
        stopping = self._stopping.get(sandbox_id)
        if sandbox is not None:
            stopping = self._stopping[sandbox_id] = asyncio.get_running_loop().create_task(
                self._stop(sandbox_id, sandbox)
            )
        if stopping is None:
            stopped()
        else:
            stopping.add_done_callback(lambda _: stopped())

    async def _stop(self, sandbox_id: str, sandbox: _Sandbox) -> None:
        try:
            await sandbox.serving.close()
            await self._resolver.drop_client(sandbox_id)
        finally:
            sandbox.place.close()
            del self._stopping[sandbox_id]
            returning = self._returning.pop(sandbox_id, None)
            if returning is not None:
                self.serve(*returning)

    def _give_up(self, sandbox_id: str) -> None:
        """What was to come back does not."""
        returning = self._returning.pop(sandbox_id, None)
        if returning is not None:
            close_all(returning[1:])

    def _leave(self, sandbox: _Sandbox) -> None:
        """Closes what was replaced."""
        task = asyncio.get_running_loop().create_task(sandbox.serving.close())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        sandbox.place.close()

    def content(self) -> Mapping[str, tuple[Client, tuple[int, int, int]]]:
        """What is served, by sandbox: the client and its three descriptors."""
        served = {key: (sandbox.client, sandbox.descriptors()) for key, sandbox in self._served.items()}
        return served | {key: (client, (udp, tcp, place)) for key, (client, udp, tcp, place) in self._returning.items()}

    def zones(self) -> list[Zone]:
        """All zones as they are now."""
        return [
            Zone(id=key, name=table.name, hosts=tuple(table.hosts.values()))
            for key, table in self.directory.tables.items()
        ]

    def figures(self) -> tuple[Figures, ...]:
        """What each sandbox has asked."""
        return self._resolver.figures()


class Place:
    """Where a sandbox's queries leave from: its namespace, whose descriptor belongs to this object."""

    def __init__(self, namespace: int) -> None:
        self.namespace = namespace

    def close(self) -> None:
        """Lets the namespace go; no socket is opened there any more."""
        descriptor, self.namespace = self.namespace, -1
        if descriptor >= 0:
            os.close(descriptor)

    def open_socket(self, server: Server, kind: socket.SocketKind) -> socket.socket:
        """An unconnected socket for queries to a server. OSError (EBADF: the sandbox is on its way out)."""
        family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
        if server.from_host:
            return socket.socket(family, kind)
        with netns.entered(self.namespace):
            return socket.socket(family, kind)


class _Sandbox:
    """A sandbox that is being answered."""

    def __init__(self, client: Client, serving: Serving, place: Place) -> None:
        self.client = client
        self.serving = serving
        self.place = place

    def descriptors(self) -> tuple[int, int, int]:
        return (self.serving.udp.fileno(), self.serving.tcp.fileno(), self.place.namespace)
