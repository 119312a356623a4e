"""A daemon's containers that serve, and who asks them: the neighbour, the host, other containers.

Servers are threads with sockets that were made inside a container's network namespace; they tell each client who it
is and which port it came to. A client is a socket made where it asks from.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from daemons import Daemon, Done, eventually
from linkspan.model.port import Transport
from namespaces import CLONE_NEWNET, Namespace, checked, libc
from network_lab import HOST4, HOST6, OUTSIDE4, OUTSIDE6, UPLINK, Json, Outside, sandbox_of
from port_lab import KIND, PATIENCE, REFUSED, SILENCE, answer, ended, family

HOST = {4: HOST4, 6: HOST6}
LAN = {4: OUTSIDE4, 6: OUTSIDE6}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}

Place = str | Namespace | None
"""A container by its name, a namespace, or (None) the daemon's host."""


class Scene:
    """A daemon's host with a neighbour who has routes to everything there."""

    def __init__(self, daemon: Daemon, outside: Namespace, stack: ExitStack) -> None:
        self.daemon = daemon
        self.outside = outside
        self._stack = stack

    @contextmanager
    def inside(self, where: Place) -> Iterator[None]:
        """This thread there."""
        if not isinstance(where, str):
            with (where or self.daemon.namespace).entered():
                yield
            return
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(sandbox_of(self.daemon, where), os.O_RDONLY)
        try:
            checked(libc.setns(there, CLONE_NEWNET))
            yield
        finally:
            checked(libc.setns(here, CLONE_NEWNET))
            os.close(here)
            os.close(there)

    def serve(
        self, where: Place, *ports: int, address: str = "::", protocols: tuple[Transport, ...] = ("tcp",)
    ) -> None:
        """Answers on these ports with the client's address and the port that was asked; on ``::`` both families."""
        if isinstance(where, str):
            self.meet_container(where)
        with self.inside(where):
            made = [(socket.socket(family(address), KIND[protocol]), port) for port in ports for protocol in protocols]
        for server, port in made:
            if address == "::":
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((address, port))
            if server.type == socket.SOCK_STREAM:
                server.listen()
            thread = threading.Thread(target=answer, args=(server, server.type), daemon=True)
            thread.start()
            self._stack.callback(ended, server, thread)

    def ask(
        self,
        where: Place,
        address: str,
        port: int,
        protocol: Transport = "tcp",
        *,
        source: str = "",
        patience: float = PATIENCE,
    ) -> str:
        """What the server says: who we are to it and which port it is, or how we failed.

        ``source`` is one of several addresses there. A UDP client is connected: it hears answers from the address
        that it asked alone.
        """
        with self.inside(where), socket.socket(family(address), KIND[protocol]) as client:
            client.settimeout(patience)
            if source:
                client.bind((source, 0))
            try:
                client.connect((address, port))
                client.sendall(b"who am I")
                return client.recv(200).decode() or SILENCE
            except ConnectionRefusedError:
                return REFUSED
            except OSError:
                return SILENCE

    def give(self, where: Namespace | None, *given: str) -> None:
        """More addresses for the host (None) or the neighbour, on the link between them."""
        here, there = (where, None) if where else (None, self.outside)
        for address in given:
            length, nodad = (64, ["nodad"]) if ":" in address else (24, [])
            link = "eth0" if here else UPLINK
            self._on(here)("ip", "addr", "add", f"{address}/{length}", "dev", link, *nodad)
            self.meet(there, address)

    def _on(self, where: Namespace | None) -> Callable[..., Done]:
        return (where or self.daemon.namespace).run

    def meet_container(self, name: str) -> None:
        """Waits until a container's IPv6 addresses answer the host."""
        found: Json = self.daemon.inspect(name)
        for place in found["NetworkSettings"]["Networks"].values():
            if place["GlobalIPv6Address"]:
                self.meet(None, place["GlobalIPv6Address"])

    def meet(self, where: Namespace | None, address: str) -> None:
        """Waits until an address answers. The kernel joins an IPv6 address to its group a little later (addrconf.c),
        and who asks for it before that asks again after a second.
        """
        ping = ("ping", "-n", "-c1", "-W1", address)
        eventually(lambda: self._on(where)(*ping, check=False).returncode == 0, f"{address} answers")

    def run(self, *words: str) -> str:
        """What a program of this machine prints on the daemon's host."""
        return self.daemon.namespace.run(*words).stdout

    def set(self, name: str, value: str) -> None:
        """Writes a sysctl of the daemon's host; it gets its old value back in the end."""
        path = "net/" + name.replace(".", "/")
        before = self.run("cat", f"/proc/sys/{path}").strip()
        self._stack.callback(self._write, path, before)
        self._write(path, value)

    def _write(self, path: str, value: str) -> None:
        with self.inside(None):
            Path(f"/proc/sys/{path}").write_text(value + "\n", encoding="ascii")


@contextmanager
def scene_of(daemon: Daemon) -> Iterator[Scene]:
    """A scene around a daemon that runs."""
    with ExitStack() as stack:
        outside = stack.enter_context(Outside(daemon))
        eventually(lambda: outside.answering(HOST4, HOST6) == {HOST4, HOST6}, "the neighbour reaches the host")
        yield Scene(daemon, outside.namespace, stack)


def bridge_calls(value: str) -> Callable[[Daemon], None]:
    """Prepares a daemon's host: whether br_netfilter passes bridged packets to the firewall. The daemon looks once."""

    def prepare(daemon: Daemon) -> None:
        for name in ("iptables", "ip6tables"):
            daemon.namespace.run("sysctl", "-qw", f"net.bridge.bridge-nf-call-{name}={value}")

    return prepare


def host_ports(daemon: Daemon, container: str) -> dict[str, list[tuple[str, str]]]:
    """``80/tcp`` to (host address, host port) pairs, as inspect shows them; exposed ones have none."""
    found: Json = json.loads(daemon.linkspan("inspect", "--format", "{{json .NetworkSettings.Ports}}", container))
    return {port: [(each["HostIp"], each["HostPort"]) for each in pairs or ()] for port, pairs in found.items()}


BATCH = 300
"""Doors that are knocked at together."""

Door = tuple[Transport, str, int]
"""Protocol, address and port that somebody may knock at."""


class Echoes:
    """Answers on many ports of a container at once, TCP and UDP, v4 and v6, from one thread."""

    def __init__(self, scene: Scene, container: str, ports: Iterable[int]) -> None:
        self._selector = selectors.DefaultSelector()
        with scene.inside(container):
            made = [(socket.socket(socket.AF_INET6, kind), port) for port in ports for kind in KIND.values()]
        for server, port in made:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            server.bind(("::", port))
            if server.type == socket.SOCK_STREAM:
                server.listen(64)
            self._selector.register(server, selectors.EVENT_READ)
        self._ended = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select(0.1):
                server = key.fileobj
                assert isinstance(server, socket.socket)
                with contextlib.suppress(OSError):
                    if server.type == socket.SOCK_DGRAM:
                        server.sendto(b"here", server.recvfrom(100)[1])
                    else:
                        client, _peer = server.accept()
                        with client:
                            client.sendall(b"here")

    def close(self) -> None:
        self._ended = True
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()


def open_doors(where: Namespace, source: Mapping[int, str], doors: Iterable[Door]) -> set[Door]:
    """Those of the doors that are answered, knocked at from a namespace and from these addresses of it."""
    found: set[Door] = set()
    ordered = sorted(doors)
    for start in range(0, len(ordered), BATCH):
        with where.entered(), ExitStack() as knocking, selectors.DefaultSelector() as selector:
            for door in ordered[start : start + BATCH]:
                client = knocking.enter_context(_knock(source, door))
                selector.register(client, selectors.EVENT_READ, door)
            deadline = time.monotonic() + PATIENCE
            while (left := deadline - time.monotonic()) > 0 and (ready := selector.select(left)):
                for key, _ in ready:
                    selector.unregister(key.fileobj)
                    assert isinstance(key.fileobj, socket.socket)
                    with contextlib.suppress(OSError):
                        if key.fileobj.recv(100) == b"here":
                            found.add(key.data)
                            deadline = time.monotonic() + PATIENCE
    return found


def _knock(source: Mapping[int, str], door: Door) -> socket.socket:
    protocol, address, port = door
    version = 6 if ":" in address else 4
    client = socket.socket(family(address), KIND[protocol])
    client.setblocking(False)
    client.bind((source[version], 0))
    client.connect_ex(socket.getaddrinfo(address, port)[0][4])  # it knows the interface in a scoped address
    if protocol == "udp":
        with contextlib.suppress(OSError):
            client.send(b"who is there")
    return client
