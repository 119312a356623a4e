"""What the host has that automatic subnets must keep clear of: its on-link routes and its name servers."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from linkspan.engine.files import Resolver, parse_resolver
from linkspan.model.address import IPAddress

RESOLVER_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""The second one names the servers behind systemd-resolved's stub."""
STUBS = frozenset({"127.0.0.53", "127.0.0.54"})
"""Where systemd-resolved(8) listens on the host's loopback."""


def name_servers() -> tuple[IPAddress, ...]:
    """The host's name servers; malformed and loopback ones are left out."""
    found: list[IPAddress] = []
    for path in RESOLVER_FILES:
        for server in parse_resolver(text_of(path)).servers:
            try:
                address = ipaddress.ip_address(server.partition("%")[0])
            except ValueError:
                continue
            if not address.is_loopback:
                found.append(address)
    return tuple(found)


def text_of(path: Path) -> str:
    """What a file of the host says; nothing when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def host_resolver(*, behind_stub: bool = False) -> Resolver:
    """What the host's resolv.conf says.

    ``behind_stub``: for who cannot reach the host's loopback, what is behind systemd-resolved's stub (Docker's rule).
    """
    found = parse_resolver(text_of(RESOLVER_FILES[0]))
    if behind_stub and found.servers and STUBS.issuperset(found.servers):
        behind = parse_resolver(text_of(RESOLVER_FILES[1]))
        return behind if behind.servers else found
    return found


Stamp = tuple[tuple[int, int, int], ...]


def resolver_stamp() -> Stamp:
    """Changes when the host's servers do: inode, size and time of change of each file; zeros for one that is none."""
    return tuple(_stamp(path) for path in RESOLVER_FILES)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)
