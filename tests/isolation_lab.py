"""What scenarios of isolation look with: a container's network from inside, servers that tell who asks, raw frames."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Mapping

import frames
from daemons import LINKSPAN, Daemon, eventually
from namespaces import Namespace
from network_lab import Json, sandbox_of

SILENCE, REFUSED = "silence", "refused"
PATIENCE = 1.3
"""Seconds until silence is an answer: longer than the one after which TCP asks again (RFC 6298), since a new link may
lose the first packet."""
QUIET = 0.3
"""Seconds in which a frame would have crossed a bridge many times."""
EVERYTHING = 3
"""ETH_P_ALL in linux/if_ether.h."""

Target = tuple[str, int]


class Room(Namespace):
    """The network namespace of a running container, as long as this object is open."""

    def __init__(self, daemon: Daemon, container: str) -> None:
        self.descriptor = os.open(sandbox_of(daemon, container), os.O_RDONLY | os.O_CLOEXEC)


# --- who reaches whom ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(where: Namespace, *ports: int, address: str = "::") -> Iterator[None]:
    """Answers on TCP ports with the client's address and the port; on ``::`` in both families."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for port in ports:
            with where.entered():
                server = stack.enter_context(socket.socket(family))
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if address == "::":
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            server.bind((address, port))
            server.listen(64)
            server.setblocking(False)
            selector.register(server, selectors.EVENT_READ)
        wake, sleep = socket.socketpair()
        stack.enter_context(wake)
        stack.enter_context(sleep)
        selector.register(sleep, selectors.EVENT_READ)
        thread = threading.Thread(target=_serve, args=(selector, sleep), daemon=True)
        thread.start()
        try:
            yield
        finally:
            wake.send(b"x")
            thread.join()


def _serve(selector: selectors.BaseSelector, ended: socket.socket) -> None:
    while True:
        for key, _ in selector.select():
            if key.fileobj is ended:
                return
            assert isinstance(key.fileobj, socket.socket)
            with contextlib.suppress(OSError):
                connection, peer = key.fileobj.accept()
                with connection:
                    connection.sendall(f"{peer[0].removeprefix('::ffff:')} at {connection.getsockname()[1]}".encode())


def answers(where: Namespace, *targets: Target) -> dict[Target, str]:
    """What each server says, or ``silence`` or ``refused``; all are asked at once, from inside a namespace."""
    found = dict.fromkeys(targets, SILENCE)
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for target in targets:
            family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
            with where.entered():
                client = stack.enter_context(socket.socket(family))
            client.setblocking(False)
            try:
                failure = client.connect_ex(target)
            except OSError:
                failure = 0
            if failure in (0, 115):  # EINPROGRESS
                selector.register(client, selectors.EVENT_READ, target)
        deadline = time.monotonic() + PATIENCE
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                assert isinstance(key.fileobj, socket.socket)
                selector.unregister(key.fileobj)
                try:
                    found[key.data] = key.fileobj.recv(200).decode() or REFUSED
                except (ConnectionRefusedError, ConnectionResetError):
                    found[key.data] = REFUSED
                except OSError:  # no route, or a router that says so
                    continue
    return found


def ask(where: Namespace, address: str, port: int) -> str:
    """What one server says."""
    return answers(where, (address, port))[address, port]


def reached(where: Namespace, *targets: Target) -> set[Target]:
    """Those of the servers that answer."""
    return {target for target, said in answers(where, *targets).items() if said not in (SILENCE, REFUSED)}


def ready(where: Namespace, *targets: Target) -> None:
    """Waits until all of these servers answer: links of a new container may need a moment."""
    eventually(lambda: reached(where, *targets) == set(targets), f"{targets} answer")


# --- frames --------------------------------------------------------------------------------------------------------


def send(where: Namespace, *sent: bytes, link: str = "eth0") -> None:
    """Raw frames, byte by byte."""
    with where.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as mouth:
        mouth.bind((link, 0))
        for frame in sent:
            mouth.send(frame)


class Ear:
    """Everything that comes in by an interface while it is open, each frame with the time of its arrival."""

    def __init__(self, where: Namespace, link: str = "eth0") -> None:
        with where.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERYTHING))
        self._socket.bind((link, EVERYTHING))

    def heard(self, seconds: float = QUIET) -> list[tuple[float, bytes]]:
        """What has come until so many seconds from now."""
        found = []
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                frame, place = self._socket.recvfrom(4096)
            except TimeoutError:
                break
            if place[2] != socket.PACKET_OUTGOING:
                found.append((time.monotonic(), frame))
        return found

    def __enter__(self) -> Ear:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def arriving(sender: Namespace, receiver: Namespace, sent: Mapping[str, bytes]) -> set[str]:
    """The names of those frames that another container hears."""
    with Ear(receiver) as ear:
        send(sender, *sent.values())
        heard = {frame for _, frame in ear.heard()}
    return {name for name, frame in sent.items() if frame in heard}


def known_mac(where: Namespace, address: str) -> str:
    """The MAC under which a neighbour is known; empty where it is not."""
    for item in json.loads(where.run("ip", "-j", "neigh", "show").stdout or "[]"):
        if item["dst"] == address:
            return str(item.get("lladdr", ""))
    return ""


def greet(where: Namespace, address: str) -> None:
    """Makes a namespace look for a neighbour: a datagram to a port where nobody listens."""
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    with where.entered(), socket.socket(family, socket.SOCK_DGRAM) as out:
        out.sendto(b"hello", (address, 9))
    eventually(lambda: known_mac(where, address), f"{address} is known")


def mac_of(where: Namespace, link: str = "eth0") -> str:
    """The MAC of an interface."""
    return str(json.loads(where.run("ip", "-j", "link", "show", "dev", link).stdout)[0]["address"])


def advertisement(source: str, target: str, mac: str) -> bytes:
    """An unsolicited neighbour advertisement with the override flag, to all nodes (RFC 4861 section 7.2.6)."""
    body = frames.neighbour(target, frames.option(frames.TARGET_OPTION, mac), flags=0x20000000)
    packet = frames.icmp6(source, "ff02::1", frames.ADVERTISEMENT, body)
    return frames.ethernet(mac, frames.ALL_NODES_MAC, frames.IPV6, packet)


# --- the daemon's words --------------------------------------------------------------------------------------------


def findings(daemon: Daemon) -> list[Json]:
    """What ``linkspan doctor`` finds."""
    found: list[Json] = json.loads(daemon.run(LINKSPAN, "doctor", "--format", "json").stdout)["Findings"]
    return found


def said_by_doctor(daemon: Daemon, *words: str) -> bool:
    """Whether some finding of the doctor has all of these words."""
    return any(all(word in item["Text"] for word in words) for item in findings(daemon))


def bridge_netfilter(daemon: Daemon, value: int) -> None:
    """Sets whether bridged frames pass the host's IP hooks, in the daemon's network namespace."""
    for name in ("iptables", "ip6tables"):
        daemon.namespace.run("sysctl", "-w", f"net.bridge.bridge-nf-call-{name}={value}")
