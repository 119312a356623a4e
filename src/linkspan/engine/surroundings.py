"""What the host has that automatic subnets must keep clear of: its on-link routes and its name servers."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from linkspan.engine.files import parse_resolver
from linkspan.model.address import IPAddress

RESOLVER_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""The second one names the servers behind systemd-resolved's stub."""


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


def resolver_stamp() -> tuple[int, int, int]:
    """Changes when the host's resolv.conf does: its inode, size and time of change; zeros when there is none."""
    try:
        found = RESOLVER_FILES[0].stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)
