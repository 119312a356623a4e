"""Reads the facts of this host that ``doctor`` judges and nobody else keeps. Blocking; changes nothing.

What the engine knows itself (networks, publications) and what the kernel package reads (settings, routes, abilities,
foreign firewalls) is put beside it by the caller.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path

from linkspan.insight.doctor import NameServer
from linkspan.kernel import xtables
from linkspan.kernel.probe import Settings

PROGRAMS = {"NetworkManager": "NetworkManager", "systemd-network": "systemd-networkd"}
"""Names in /proc/PID/comm, which holds 15 bytes, and what people call them."""
CONFIGURATION = {
    "NetworkManager": ("/etc/NetworkManager/conf.d", "/usr/lib/NetworkManager/conf.d", "/run/NetworkManager/conf.d"),
    "systemd-networkd": ("/etc/systemd/network", "/usr/lib/systemd/network", "/run/systemd/network"),
}
UNMANAGED = {"NetworkManager": "unmanaged-devices", "systemd-networkd": "Unmanaged=yes"}
QUESTION = bytes.fromhex("4c53 0100 0001 0000 0000 0000 00 0002 0001")
"""A DNS query for the name servers of the root (RFC 1035): every recursive server answers it."""
DNS_PORT = 53


def bridge_calls(settings: Settings) -> dict[int, bool]:
    """Whether br_netfilter passes bridged frames on, by IP version; empty where it is not loaded."""
    names = {4: "iptables", 6: "ip6tables"}
    return {version: settings.bridge_calls[name] for version, name in names.items() if name in settings.bridge_calls}


def forwarding(settings: Settings) -> dict[int, bool]:
    """Whether the host forwards, by IP version."""
    return {4: settings.forward4 is True, 6: settings.forward6 is True}


def reverse_path(settings: Settings, uplinks: Iterable[str]) -> dict[str, int]:
    """rp_filter in force, by uplink: the larger one of ``all`` and its own (ip-sysctl)."""
    values = settings.rp_filter
    return {name: max(values.get("all", 0), values[name]) for name in uplinks if name in values}


def legacy_tables() -> tuple[str, ...]:
    """Tables of the old iptables that are in use, of both families."""
    return tuple(dict.fromkeys(xtables.tables(4) + xtables.tables(6)))


def bridge_ports(bridges: Iterable[tuple[str, str]]) -> tuple[tuple[str, int], ...]:
    """Network and number of ports, from pairs of network and bridge; bridges that are gone have none."""
    found = []
    for network, bridge in bridges:
        with contextlib.suppress(FileNotFoundError):
            found.append((network, sum(1 for _ in Path(f"/sys/class/net/{bridge}/brif").iterdir())))
    return tuple(found)


def managers() -> tuple[str, ...]:
    """Other programs that manage interfaces and run now."""
    found = set()
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.add(comm.read_text(errors="replace").strip())
    return tuple(name for comm, name in PROGRAMS.items() if comm in found)


def unmanaged(names: Iterable[str], root: Path = Path("/")) -> frozenset[str]:
    """Those of the managers that some file of their configuration tells to leave bridges or veth pairs alone."""
    return frozenset(name for name in names if any(leaves_alone(name, root / each[1:]) for each in CONFIGURATION[name]))


def leaves_alone(manager: str, folder: Path) -> bool:
    """Whether a file of the folder takes our kind of interfaces out of the manager's hands."""
    if not folder.is_dir():
        return False
    texts = (path.read_text(errors="replace") for path in sorted(folder.iterdir()) if path.is_file())
    return any(UNMANAGED[manager] in text and ("br-" in text or "veth" in text) for text in texts)


def name_servers(path: Path = Path("/etc/resolv.conf"), *, patience: float = 1.0) -> tuple[NameServer, ...]:
    """The host's name servers, all asked at once; ``patience`` is in seconds. None where there is no such file."""
    with contextlib.suppress(FileNotFoundError):
        words = [line.split() for line in path.read_text(errors="replace").splitlines()]
        named = [each[1] for each in words if each[:1] == ["nameserver"] and len(each) > 1]
        servers = [address for address in dict.fromkeys(named) if is_address(address)]
        answering = answers(servers, patience)
        return tuple(
            NameServer(address=each, loopback=ip_address(each.partition("%")[0]).is_loopback, answers=each in answering)
            for each in servers
        )
    return ()


def is_address(text: str) -> bool:
    """Whether resolv.conf names an address, perhaps with a zone (``fe80::1%eth0``)."""
    with contextlib.suppress(ValueError):
        ip_address(text.partition("%")[0])
        return True
    return False


def answers(servers: Sequence[str], patience: float) -> set[str]:
    """Which of the servers answer a query by UDP in time; whatever they answer shows that they can be reached."""
    with contextlib.ExitStack() as open_sockets:
        waiting: dict[socket.socket, str] = {}
        for address in servers:
            with contextlib.suppress(OSError):
                ((family, kind, protocol, _, place), *_) = socket.getaddrinfo(
                    address, DNS_PORT, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
                )
                asking = open_sockets.enter_context(socket.socket(family, kind, protocol))
                asking.connect(place)
                asking.send(QUESTION)
                waiting[asking] = address
        return heard(waiting, time.monotonic() + patience)


def heard(waiting: dict[socket.socket, str], until: float) -> set[str]:
    """Whose answer arrives before a moment of the monotonic clock. A refused port is no answer."""
    found: set[str] = set()
    with selectors.DefaultSelector() as selector:
        for each in waiting:
            selector.register(each, selectors.EVENT_READ)
        while selector.get_map() and (left := until - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                asking = key.fileobj
                selector.unregister(asking)
                if isinstance(asking, socket.socket):
                    with contextlib.suppress(OSError):
                        if asking.recv(4096)[:2] == QUESTION[:2]:
                            found.add(waiting[asking])
    return found
