"""What scenarios of names look at: questions asked inside a container's namespace, servers that we ask, constant load.

``NamesHost`` is a machine whose /etc/resolv.conf a test may change: this machine's own stays as it is.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from daemons import LINKSPAN, Daemon
from engine_api import EngineApi
from linkspan.runtime.mountspace import root_is_mount_point
from namespaces import Namespace

RESOLVER = "127.0.0.11"
CLONE_NEWNET = 0x40000000  # linux/sched.h
SECONDS = 5.0
"""As long as glibc waits for an answer (RES_TIMEOUT in resolv.conf(5))."""
ETC = """
mount --make-rprivate / || exit 1
mount -t tmpfs none /run && mkdir /run/etc /run/work /run/root || exit 1
mount -t overlay none -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/work /etc || exit 1
echo ready; exec sleep 3600
"""


class NamesHost(Namespace):
    """A network namespace with an /etc and a /run of its own, for a daemon and its clients."""

    def __init__(self) -> None:
        super().__init__()
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--", "sh", "-c", ETC], stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"

    def prefix(self) -> Sequence[str]:
        return (*super().prefix()[:-1], f"--mount=/proc/{self._holder.pid}/ns/mnt", "--")

    def resolv_conf(self, *lines: str, path: str = "/etc/resolv.conf", in_place: bool = False) -> None:
        """Writes the file as programs do: a new one in the place of the old, or into the same one."""
        text = "".join(f"{line}\n" for line in lines)
        script = 'mkdir -p "$(dirname $1)" && ' + (
            'printf %s "$2" > $1' if in_place else 'printf %s "$2" > $1.new && mv $1.new $1'
        )
        self.run("sh", "-c", script, "sh", path, text)

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdout is not None:
            self._holder.stdout.close()
        super().close()


# --- asking --------------------------------------------------------------------------------------------------------


class Inside(Namespace):
    """Asks from within a network namespace; the calling thread enters it only to open a socket."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def opened(
        self, kind: socket.SocketKind = socket.SOCK_DGRAM, family: socket.AddressFamily = socket.AF_INET
    ) -> socket.socket:
        """A socket of the namespace. Close it."""
        with self.entered():
            opened = socket.socket(family, kind)
        opened.settimeout(SECONDS)
        return opened

    def connected(self) -> socket.socket:
        """A TCP connection to the resolver. Close it."""
        opened = self.opened(socket.SOCK_STREAM)
        try:
            opened.connect((RESOLVER, 53))
        except OSError:
            opened.close()
            raise
        return opened

    def ask(
        self, name: str, kind: str = "A", *, tcp: bool = False, edns: int | None = None, seconds: float = SECONDS
    ) -> dns.message.Message:
        """The answer over UDP or TCP; ``edns`` is the size that is offered. dns.exception.Timeout and OSError."""
        query = dns.message.make_query(name, kind, use_edns=edns is not None, payload=edns)
        if tcp:
            with self.connected() as connection:
                connection.setblocking(False)
                return dns.query.tcp(query, RESOLVER, timeout=seconds, sock=connection)
        with self.opened() as opened:
            opened.setblocking(False)
            return dns.query.udp(query, RESOLVER, timeout=seconds, sock=opened)


@contextmanager
def within(daemon: Daemon, container: str) -> Iterator[Inside]:
    """The namespace of a running container."""
    pid = EngineApi(daemon.socket)("GET", f"/containers/{container}/json")["State"]["Pid"]
    with Inside(f"/proc/{pid}/ns/net") as inside:
        yield inside


def ask(daemon: Daemon, container: str, name: str, kind: str = "A", **options: object) -> dns.message.Message:
    """One question from a container: see ``Inside.ask``."""
    with within(daemon, container) as inside:
        return inside.ask(name, kind, **options)  # type: ignore[arg-type]


def found(daemon: Daemon, container: str, name: str, kind: str = "A", **options: object) -> list[str]:
    """The data of all answers, in their order; none also when the name does not exist."""
    return texts(ask(daemon, container, name, kind, **options))


def texts(message: dns.message.Message) -> list[str]:
    """The data of all answers of a message."""
    return [data.to_text() for records in message.answer for data in records]


def code(message: dns.message.Message) -> str:
    """``NOERROR`` and its like."""
    return dns.rcode.to_text(message.rcode())


def lookup(daemon: Daemon, container: str, name: str) -> str:
    """The IPv4 address that a program inside the container gets for a name, by its C library; empty: none."""
    done = daemon.run(LINKSPAN, "exec", container, "ping", "-4", "-c1", "-w1", name)
    head = done.stdout.partition("\n")[0]
    return head.partition("(")[2].partition(")")[0]


def contents(daemon: Daemon, container: str, path: str) -> str:
    """What a file says inside the container."""
    return daemon.linkspan("exec", container, "cat", path)


def figures(daemon: Daemon, container: str) -> Mapping[str, int]:
    """The resolver's figures of a container; zeros only, when it has none."""
    resolvers = EngineApi(daemon.socket)("GET", "/linkspan/names")["Resolvers"]
    found: Mapping[str, int] = next((item for item in resolvers if item["Name"] == container), {})
    return found


def keeper_pid(daemon: Daemon) -> int:
    """The keeper's process: it names the daemon's exec-root on its command line."""
    for line in daemon.processes():
        if "linkspan.keeper" in line:
            return int(line.split()[0])
    raise AssertionError("there is no keeper")


# --- servers that are asked ----------------------------------------------------------------------------------------

Records = Mapping[tuple[str, str], Sequence[str]]
"""Data by name and type: ``("example.org.", "A"): ["192.0.2.1"]``."""


class NameServer:
    """A name server in a namespace, UDP and TCP on one address and port; it remembers who asked it what.

    ``address4`` is what it says to every A question that ``records`` does not answer.
    """

    def __init__(
        self,
        namespace: Namespace | Inside,
        address: str,
        address4: str = "",
        records: Records | None = None,
        *,
        both: bool = False,
    ) -> None:
        """``both``: an IPv6 server for IPv4 too."""
        self.asked: list[tuple[str, str, str]] = []
        """Name, type, and the asker's address."""
        self.address4 = address4
        self.records = records or {}
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with namespace.entered():
            self._udp, self._tcp = (socket.socket(family, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM))
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for each in (self._udp, self._tcp):
            if family == socket.AF_INET6:
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
            each.bind((address, 53))
        self._tcp.listen()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._datagrams, self._streams)]
        for thread in self._threads:
            thread.start()

    def names(self) -> list[str]:
        """The names that were asked for, in their order."""
        return [name for name, _, _ in self.asked]

    def close(self) -> None:
        for each in (self._udp, self._tcp):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(timeout=5)

    def __enter__(self) -> NameServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _said(self, data: bytes, peer: str, limit: int) -> bytes:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, peer))
        message = dns.message.make_response(query, recursion_available=True)
        records = self.records.get((name, kind)) or ([self.address4] if self.address4 and kind == "A" else [])
        if records:
            message.answer = [dns.rrset.from_text(question.name, 60, "IN", kind, *records)]
        else:
            message.set_rcode(dns.rcode.NXDOMAIN)
        wire = message.to_wire(max_size=65535)
        if len(wire) > limit:
            message.answer.clear()
            message.flags |= dns.flags.TC
            wire = message.to_wire()
        return wire

    def _datagrams(self) -> None:
        while True:
            try:
                data, peer = self._udp.recvfrom(4096)
                if not data:
                    return
                size = dns.message.from_wire(data).payload or 512
                self._udp.sendto(self._said(data, peer[0], size), peer)
            except OSError:
                return

    def _streams(self) -> None:
        while True:
            try:
                connection, peer = self._tcp.accept()
            except OSError:
                return
            with connection, suppress(OSError, dns.exception.DNSException):
                connection.settimeout(2)
                stream = connection.makefile("rb")
                while head := stream.read(2):
                    answer = self._said(stream.read(int.from_bytes(head)), peer[0], 65535)
                    connection.sendall(len(answer).to_bytes(2) + answer)


# --- constant load -------------------------------------------------------------------------------------------------


class Load:
    """Asks without a pause, one question after another, until it is left; over UDP, or over one TCP connection each.

    ``failures`` are answers that were not ``wanted``, and questions that nobody answered within ``seconds``.
    """

    def __init__(
        self, inside: Inside, name: str, wanted: str, *, tcp: bool = False, seconds: float = 2.0, pause: float = 0.002
    ) -> None:
        self.count = 0
        self.failures: list[str] = []
        self.slowest = 0.0
        self._inside, self._name, self._wanted = inside, name, wanted
        self._tcp, self._seconds, self._pause = tcp, seconds, pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            try:
                said = texts(self._inside.ask(self._name, tcp=self._tcp, seconds=self._seconds))
                if self._wanted not in said:
                    self.failures.append(f"at {time.time():.3f}: {said}")
            except (OSError, dns.exception.DNSException) as error:
                self.failures.append(f"at {time.time():.3f}: {type(error).__name__} {error}")
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.count += 1
            self._over.wait(self._pause)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(timeout=30)


def loaded(stack: ExitStack, inside: Inside, questions: Mapping[str, str], **options: object) -> list[Load]:
    """Loads of these questions with their answers, over both protocols; they end with the stack."""
    return [
        stack.enter_context(Load(inside, name, wanted, tcp=tcp, **options))  # type: ignore[arg-type]
        for name, wanted in questions.items()
        for tcp in (False, True)
    ]


def measured(loads: Sequence[Load]) -> str:
    """For messages: how much was asked, and what failed."""
    failures = [text for load in loads for text in load.failures]
    slowest = max(load.slowest for load in loads)
    return f"{sum(load.count for load in loads)} asked, {len(failures)} failed, slowest {slowest:.3f} s: {failures[:5]}"


Prepare = Callable[[Daemon], None]


def on_names_host(*lines: str) -> Prepare:
    """For ``launch(prepare=...)``: the daemon's host has this resolv.conf."""

    def prepare(daemon: Daemon) -> None:
        if not root_is_mount_point():
            pytest.skip("in a plain chroot mounts cannot be kept from the rest of the machine")
        daemon.namespace.close()
        host = NamesHost()
        host.resolv_conf(*lines)
        daemon.namespace = host

    return prepare


def host_of(daemon: Daemon) -> NamesHost:
    """The daemon's host, which ``on_names_host`` made."""
    assert isinstance(daemon.namespace, NamesHost)
    return daemon.namespace


def resolv_conf_of(daemon: Daemon, container: str) -> Path:
    """The file that the container sees as its /etc/resolv.conf, as the host has it."""
    return Path(EngineApi(daemon.socket)("GET", f"/containers/{container}/json")["ResolvConfPath"])


def resolver_figures(daemon: Daemon) -> list[dict[str, object]]:
    """What ``linkspan names --format json`` prints, a line a container."""
    return [json.loads(line) for line in daemon.linkspan("names", "--format", "{{json .}}").splitlines()]
