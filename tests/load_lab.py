"""Constant load for scenarios: who asks without pause, of whom, and which requests failed and when."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple

from namespaces import CLONE_NEWNET, checked, libc

RESOLVER = ("127.0.0.11", 53)
HEADER = struct.Struct("!6H")
"""Of a DNS message (RFC 1035, section 4.1.1)."""
PATIENCE = 3.0
"""Seconds until a request without an answer has failed: longer than TCP's first retransmission of a SYN."""
PAUSE = 0.01
LINE = b"are you there\n"


class Failure(NamedTuple):
    """One request that was not answered; times as ``time.monotonic`` tells."""

    began: float
    ended: float
    why: str


Ask = Callable[[], None]
"""One request. OSError when it is not answered."""


@contextmanager
def within(path: str) -> Iterator[None]:
    """This thread in the network namespace at a path; sockets that it makes there stay there."""
    here = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        checked(libc.setns(there, CLONE_NEWNET))
        yield
    finally:
        checked(libc.setns(here, CLONE_NEWNET))
        os.close(here)
        os.close(there)


class Echo:
    """Sends back what it gets on a TCP and a UDP port, to any number of clients, in one namespace."""

    def __init__(self, path: str, port: int) -> None:
        self.port = port
        with within(path):
            self._tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)
            self._udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self._udp.bind(("::", port))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._tcp, selectors.EVENT_READ)
            selector.register(self._udp, selectors.EVENT_READ)
            while not self._ended.is_set():
                for key, _ in selector.select(0.1):
                    ready = key.fileobj
                    assert isinstance(ready, socket.socket)
                    with contextlib.suppress(OSError):
                        self._answer(ready, selector)
            for key in list(selector.get_map().values()):
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.close()

    def _answer(self, ready: socket.socket, selector: selectors.BaseSelector) -> None:
        if ready is self._tcp:
            selector.register(ready.accept()[0], selectors.EVENT_READ)
        elif ready is self._udp:
            data, peer = ready.recvfrom(2048)
            ready.sendto(data, peer)
        else:
            try:
                data = ready.recv(2048)
            except OSError:
                data = b""
            if data:
                ready.sendall(data)
            else:
                selector.unregister(ready)
                ready.close()

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()


class Load:
    """Asks from a namespace again and again, in several threads, and notes what failed."""

    def __init__(self, path: str, ask: Ask, *, threads: int = 2, pause: float = PAUSE) -> None:
        self._path = path
        self._ask = ask
        self._pause = pause
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        self.answered = 0
        self.failures: list[Failure] = []

    def _run(self) -> None:
        with within(self._path):
            while not self._ended.wait(self._pause):
                began = time.monotonic()
                try:
                    self._ask()
                    self.answered += 1
                except OSError as error:
                    self.failures.append(Failure(began, time.monotonic(), str(error) or type(error).__name__))

    def outside(self, began: float, ended: float) -> list[Failure]:
        """The failures of requests that did not meet this span of time."""
        return [each for each in self.failures if each.ended < began or each.began > ended]

    def goes_on(self, more: int = 20) -> None:
        """Waits for that many further answers. AssertionError when they do not come."""
        goal, deadline = self.answered + more, time.monotonic() + 10
        while self.answered < goal:
            assert time.monotonic() < deadline, f"no more answers; {self.failures[-3:]}"
            time.sleep(0.005)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.goes_on(5)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def tcp(address: str, port: int) -> Ask:
    """A connection of its own for each request."""

    def ask() -> None:
        with socket.create_connection((address, port), timeout=PATIENCE) as client:
            client.sendall(LINE)
            if client.recv(2048) != LINE:
                raise ConnectionError("broken off")

    return ask


def kept(address: str, port: int) -> Ask:
    """Requests on one connection that never pauses; after a failure, on another."""
    held: list[socket.socket] = []

    def ask() -> None:
        if not held:
            held.append(socket.create_connection((address, port), timeout=PATIENCE))
        try:
            held[0].sendall(LINE)
            if held[0].recv(2048) != LINE:
                raise ConnectionError("broken off")
        except OSError:
            held.pop().close()
            raise

    return ask


def udp(address: str, port: int) -> Ask:
    """One datagram there and back, from a new port each time."""

    def ask() -> None:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(1.0)
            client.connect((address, port))
            client.send(LINE)
            client.recv(2048)

    return ask


def name(wanted: str, address: str) -> Ask:
    """A look-up of an IPv4 address at the resolver that containers have."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in wanted.split("."))
    query = HEADER.pack(7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)

    def ask() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(1.0)
            client.connect(RESOLVER)
            client.send(query)
            answer = client.recv(2048)
        if not answer.endswith(socket.inet_aton(address)):
            raise ConnectionError(f"{wanted} is not {address}")

    return ask


class Conversation:
    """One TCP connection that is kept."""

    def __init__(self, path: str, address: str, port: int) -> None:
        with within(path):
            self._socket = socket.create_connection((address, port), timeout=PATIENCE)

    def goes_on(self) -> bool:
        """Whether a line comes back."""
        try:
            self._socket.sendall(LINE)
            return self._socket.recv(2048) == LINE
        except OSError:
            return False

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()
