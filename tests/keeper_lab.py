"""For tests of the keeper: sockets, questions about names by hand, and small servers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from linkspan.keeper.client import KeeperClient

INSTANCE = "0badcafe"


def bound(kind: socket.SocketKind, address: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A bound socket, as reservations of host ports are: alone with its port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made


def port_of(bound_socket: socket.socket) -> int:
    found: int = bound_socket.getsockname()[1]
    return found


def pair() -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on one port."""
    while True:
        udp = bound(socket.SOCK_DGRAM)
        try:
            return udp, bound(socket.SOCK_STREAM, port=port_of(udp))
        except OSError:  # somebody has that port over TCP
            udp.close()


def is_free(port: int, address: str = "127.0.0.1", kind: socket.SocketKind = socket.SOCK_STREAM) -> bool:
    """Whether somebody else can bind the port now."""
    try:
        bound(kind, address, port).close()
    except OSError:
        return False
    return True


def asked(name: str, number: int = 4711) -> bytes:
    """A query for an A record (RFC 1035, section 4.1)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)


def answer_in(reply: bytes) -> str:
    """The address at the end of a reply, or its code in words."""
    code = reply[3] & 15
    if code or not reply[7]:
        return f"code {code}"
    return socket.inet_ntoa(reply[-4:])


def ask(name: str, server: str = "127.0.0.11", port: int = 53, *, over_tcp: bool = False) -> str:
    """What a name means, asked in the calling thread's namespace. OSError when nobody answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if over_tcp else socket.SOCK_DGRAM) as client:
        client.settimeout(3)
        client.connect((server, port))
        query = asked(name)
        if not over_tcp:
            client.send(query)
            return answer_in(client.recv(4096))
        client.sendall(len(query).to_bytes(2, "big") + query)
        data = b""
        while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
            more = client.recv(4096)
            if not more:
                raise ConnectionError("closed without an answer")
            data += more
        return answer_in(data[2:])


async def asking(name: str, server: str, port: int, *, over_tcp: bool = False) -> str:
    """``ask`` beside a running loop."""
    return await asyncio.to_thread(ask, name, server, port, over_tcp=over_tcp)


@asynccontextmanager
async def keeper(exec_root: Path) -> AsyncIterator[KeeperClient]:
    """A keeper of one's own, which ends with the block."""
    client = KeeperClient(exec_root, INSTANCE)
    await client.start()
    try:
        yield client
    finally:
        await client.close(end=True)


async def until(pid: int, client: KeeperClient) -> int:
    """Waits until a keeper other than ``pid`` is there; its pid."""
    async with asyncio.timeout(10):
        while client.pid in (0, pid) or not client.connected:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return client.pid


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def soon(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether a condition comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.01)
    return False


def canary(namespace: int, name: str = "canary") -> Callable[[], bool]:
    """Puts one end of a veth pair into a namespace: it goes with it, and the other end here tells. Has it gone?"""
    path = f"/proc/{os.getpid()}/fd/{namespace}"
    words = f"ip link add {name} type veth peer name inside netns {path}".split()
    subprocess.run(words, check=True)

    def gone() -> bool:
        return name not in {link for _, link in socket.if_nameindex()}

    assert not gone()
    return gone


@contextmanager
def echo_server(address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Sends back what it is sent over TCP and UDP, prefixed with the asker's address; half-closes as it is told."""
    tcp = bound(socket.SOCK_STREAM, address, port)
    udp = bound(socket.SOCK_DGRAM, address, port_of(tcp))
    tcp.listen(64)

    def converse(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            data = b""
            while more := connection.recv(65536):
                data += more
            connection.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=converse, args=(tcp.accept()[0],), daemon=True).start()

    def reply() -> None:
        with contextlib.suppress(OSError):
            while True:
                data, peer = udp.recvfrom(65536)
                if data == b"end":
                    return
                udp.sendto(data, peer)

    threads = [threading.Thread(target=work, daemon=True) for work in (accept, reply)]
    for thread in threads:
        thread.start()
    try:
        yield port_of(tcp)
    finally:
        tcp.shutdown(socket.SHUT_RDWR)
        with bound(socket.SOCK_DGRAM, "::1" if ":" in address else "127.0.0.1") as last:
            last.sendto(b"end", udp.getsockname())
        for thread in threads:
            thread.join(5)
        tcp.close()
        udp.close()
