"""The three files that a sandbox gives to its containers: /etc/hosts, /etc/hostname and /etc/resolv.conf.

They are bind mounts, and a bind mount follows the inode: so they are edited in place, never replaced.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from linkspan.errors import RuntimeFailure

FALLBACK_SERVERS = ("8.8.8.8", "8.8.4.4")
"""Docker's, for hosts whose only name servers listen on loopback."""

LOOPBACK_LINES = (
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
)


class HostsEntry(msgspec.Struct, frozen=True):
    """One line of /etc/hosts."""

    address: str
    names: tuple[str, ...]


class Resolver(msgspec.Struct, frozen=True, kw_only=True):
    """What resolv.conf(5) says."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def hosts_text(extra: Iterable[HostsEntry], own: Iterable[HostsEntry]) -> str:
    """/etc/hosts: loopback names, ``--add-host`` entries, then the sandbox's own addresses."""
    lines = [*LOOPBACK_LINES]
    lines += [f"{entry.address}\t{' '.join(entry.names)}" for entry in (*extra, *own)]
    return "\n".join(lines) + "\n"


def parse_resolver(text: str) -> Resolver:
    """Reads resolv.conf(5); later ``search`` and ``domain`` lines win, as in glibc."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0][0] in "#;":
            continue
        match words[0]:
            case "nameserver":
                servers.append(words[1])
            case "search" | "domain":
                search = tuple(words[1:])
            case "options":
                options += words[1:]
            case _:
                pass
    return Resolver(servers=tuple(servers), search=search, options=tuple(options))


def reachable_servers(host: Resolver) -> tuple[str, ...]:
    """The host's name servers that a container can reach: not those on the host's loopback."""
    usable = tuple(server for server in host.servers if not _is_loopback(server))
    return usable or FALLBACK_SERVERS


def resolver_text(host: Resolver, wanted: Resolver, *, own_namespace: bool) -> str:
    """/etc/resolv.conf of a sandbox: what was asked for, else the host's, less what it could not reach."""
    inherited = reachable_servers(host) if own_namespace else host.servers
    servers = wanted.servers or inherited
    search = wanted.search or host.search
    options = wanted.options or host.options
    return _resolver_lines(servers, search, options)


def _resolver_lines(servers: Sequence[str], search: Sequence[str], options: Sequence[str]) -> str:
    lines = [f"nameserver {server}" for server in servers]
    if search and tuple(search) != (".",):
        lines.append(f"search {' '.join(search)}")
    if options:
        lines.append(f"options {' '.join(options)}")
    return "\n".join(lines) + "\n"


def own_resolver_text(host: Resolver, wanted: Resolver, server: str) -> str:
    """/etc/resolv.conf of a sandbox that has a resolver of its own: who is asked about the rest is none of its lines.

    ``ndots:0`` as with Docker, unless somebody says otherwise: container names have no dots.
    """
    options = wanted.options or host.options
    if not any(item.startswith("ndots:") for item in options):
        options = (*options, "ndots:0")
    return _resolver_lines((server,), wanted.search or host.search, options)


def merged(present: str, before: str, now: str) -> str:
    """``present`` with the lines taken out that only ``before`` has, and those added that only ``now`` has."""
    if present == before:
        return now
    gone = set(before.splitlines()) - set(now.splitlines())
    kept = [line for line in present.splitlines() if line not in gone]
    return "\n".join([*kept, *(line for line in now.splitlines() if line not in kept)]) + "\n"


MOST_BYTES = 1 << 20
"""What we read of a file that a container may have filled; a longer one is written anew."""


def write_in_place(path: Path, text: str, *, instead_of: str | None = None) -> None:
    """Writes a file without changing its inode. Readers may see it empty for an instant, as with Docker.

    Containers write into these files too, so what is there may be any bytes, and any number. With ``instead_of``,
    what we wrote last, a container's own lines stay. RuntimeFailure.
    """
    data = text.encode()
    try:
        descriptor = _opened(path)
        try:
            if instead_of is not None and len(present := os.read(descriptor, MOST_BYTES)) < MOST_BYTES:
                data = merged(present.decode(errors="surrogateescape"), instead_of, text).encode(
                    errors="surrogateescape"
                )
                os.lseek(descriptor, 0, os.SEEK_SET)
            if os.read(descriptor, len(data) + 1) != data:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, data, 0)
                os.fchmod(descriptor, 0o644)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RuntimeFailure(f"cannot write {path}: {error.strerror}") from error


def _opened(path: Path) -> int:
    """A descriptor of the file, which is made with its folder where it is missing."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o644)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o644)


def extra_entries(extra_hosts: Sequence[str], host_gateway: Sequence[str]) -> tuple[HostsEntry, ...]:
    """``--add-host`` texts (``name:address``) as entries; the address ``host-gateway`` stands for the gateways."""
    entries: list[HostsEntry] = []
    for text in extra_hosts:
        name, _, address = text.partition(":")
        address = address.strip("[]")
        targets = host_gateway if address == "host-gateway" else (address,)
        entries += [HostsEntry(target, (name,)) for target in targets]
    return tuple(entries)


def _is_loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False
