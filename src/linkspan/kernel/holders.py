"""Who holds a port of the host: sockets by sock_diag(7), and the programs that have them open.

Two sockets stand in each other's way when they have the port in common and their addresses overlap: equal, or one of
them is the wildcard; and an IPv6 wildcard holds IPv4 as well unless it says otherwise (IPV6_V6ONLY, ipv6(7)).

A TCP socket that is bound and does not listen shows since Linux 6.8 only. On older kernels nobody can tell who holds
it; its port is then in use by nobody that we could name. Blocking.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import time
from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal

import msgspec

from linkspan.kernel import sysctls
from linkspan.kernel.netlink import Netlink, NetlinkError
from linkspan.kernel.wire import sockets
from linkspan.kernel.wire.sockets import Socket

NETLINK_SOCK_DIAG: Final = 4
"""linux/netlink.h."""
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
EPHEMERAL = (32768, 60999)
"""The kernel's default of ip_local_port_range (ip-sysctl)."""

PATIENCE = 0.1
"""Seconds of looking for who has a socket open; who is not found by then is not named."""

_INODE = re.compile(r"socket:\[([0-9]+)\]")

Address = IPv4Address | IPv6Address
Condition = Literal["listening", "bound", "connected", "time-wait"]


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """One socket in the way. ``pid`` is 0 and ``program`` empty where no process is found that has it open."""

    address: str
    port: int
    state: Condition
    """``listening``: it serves (for UDP: it has no peer); ``bound``: it keeps others away; ``connected``: it has a
    peer; ``time-wait``: nobody has it open, it goes by itself within a minute."""
    pid: int = 0
    program: str = ""

    def __str__(self) -> str:
        if self.state == "time-wait":
            return "a connection that ended less than a minute ago"
        return f"{self.program or 'a process'} (pid {self.pid})" if self.pid else "a socket that no process shows"


def holders(protocol: str, address: Address, port: int, *, except_pids: Collection[int] = ()) -> tuple[Holder, ...]:
    """What stands in the way of binding this port, those that serve first. NetlinkError.

    ``protocol`` is ``tcp`` or ``udp``. Sockets that this process or one of ``except_pids`` has open are left out.
    """
    with _diagnosing() as asking:
        found = [item for item in _sockets(asking, protocol, port, port) if _overlaps(item, address)]
    ours = {os.getpid(), *except_pids}
    processes = _processes({item.inode for item in found if item.inode}, first=ours)
    return tuple(
        sorted(
            (
                _holder(item, protocol, processes.get(item.inode, ()))
                for item in found
                if not ours.intersection(processes.get(item.inode, ()))
            ),
            key=lambda holder: (_ORDER.index(holder.state), holder.pid),
        )
    )


_ORDER: tuple[Condition, ...] = ("listening", "bound", "connected", "time-wait")


def in_use(protocol: str, address: Address, first: int, last: int) -> tuple[int, ...]:
    """Ports from ``first`` to ``last`` that somebody serves on or keeps bound, in order. NetlinkError.

    For ranges too large to be reserved by sockets of ours. Connections that merely have a port of the range as their
    own do not count: they are tracked already and go on.
    """
    with _diagnosing() as asking:
        found = [item for item in _sockets(asking, protocol, first, last) if _overlaps(item, address)]
    return tuple(sorted({item.port for item in found if _condition(item, protocol) in ("listening", "bound")}))


def ephemeral_range() -> tuple[int, int]:
    """First and last port that the kernel chooses from for outgoing connections. OSError."""
    words = (sysctls.read("net/ipv4/ip_local_port_range") or "").split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else EPHEMERAL


@contextlib.contextmanager
def _diagnosing() -> Iterator[Netlink]:
    asking = Netlink(NETLINK_SOCK_DIAG)
    try:
        yield asking
    finally:
        asking.close()


def _sockets(asking: Netlink, protocol: str, first: int, last: int) -> list[Socket]:
    """Sockets of both IP versions with a port of the range. A kernel without IPv6 has none of that version."""
    found: list[Socket] = []
    for version in (4, 6):
        request = sockets.dump(version=version, protocol=PROTOCOLS[protocol], first=first, last=last)
        try:
            found += [sockets.decode(body) for body in asking.dump(request)]
        except NetlinkError as error:
            if error.errno != errno.ENOENT or version == 4:
                raise
    return [item for item in found if first <= item.port <= last]


def _overlaps(item: Socket, address: Address) -> bool:
    """Whether the socket's address leaves no room for one at ``address``."""
    held: Address = item.address
    if isinstance(held, IPv6Address):
        if held.ipv4_mapped is not None:
            held = held.ipv4_mapped
        elif held.is_unspecified and address.version == 4:
            return not item.only_ipv6
    if held.version != address.version:
        return False
    return held == address or held.is_unspecified or address.is_unspecified


def _condition(item: Socket, protocol: str) -> Condition:
    if item.state == sockets.TIME_WAIT:
        return "time-wait"
    if item.state == sockets.LISTEN:
        return "listening"
    if item.state in (sockets.CLOSE, sockets.BOUND_INACTIVE):
        return "listening" if protocol == "udp" else "bound"
    return "connected"


def _holder(item: Socket, protocol: str, pids: Iterable[int]) -> Holder:
    """Of several processes that share a socket the oldest is named: the others are its workers."""
    pid = min(pids, default=0)
    return Holder(
        address=str(item.address),
        port=item.port,
        state=_condition(item, protocol),
        pid=pid,
        program=_program(pid) if pid else "",
    )


def _processes(inodes: Collection[int], first: Collection[int]) -> dict[int, list[int]]:
    """Pids by socket, by what each process has open (proc(5), ``/proc/PID/fd``). One that ends meanwhile has none.

    ``first``, then from the oldest on, until each socket has one, but not for long: a hundred thousand descriptors
    take a second, in which the caller's event loop stands still.
    """
    found: dict[int, list[int]] = {}
    wanted, latest = set(inodes), time.monotonic() + PATIENCE
    pids = (int(name) for name in os.listdir("/proc") if name.isdecimal())
    for pid in sorted(pids, key=lambda pid: (pid not in first, pid)):
        if wanted <= found.keys() or time.monotonic() > latest:
            break
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            for inode in _open_sockets(pid) & wanted:
                found.setdefault(inode, []).append(pid)
    return found


def _open_sockets(pid: int) -> set[int]:
    folder = f"/proc/{pid}/fd"
    found = set()
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            match = _INODE.fullmatch(os.readlink(f"{folder}/{name}"))
            if match:
                found.add(int(match[1]))
    return found


def _program(pid: int) -> str:
    """The program's name as ps(1) shows it."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/comm", "rb") as file:
        return file.read().decode(errors="replace").strip()
    return ""
