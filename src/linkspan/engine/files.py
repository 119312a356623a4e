"""The three files that a sandbox gives to its containers: /etc/hosts, /etc/hostname and /etc/resolv.conf.

They are bind mounts, and a bind mount follows the inode: so they are edited in place, never replaced.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Sequence, Set
from pathlib import Path

import msgspec

from linkspan.errors import RuntimeFailure

FALLBACK_SERVERS = {4: ("8.8.8.8", "8.8.4.4"), 6: ("2001:4860:4860::8888", "2001:4860:4860::8844")}
"""Docker's by family, for hosts whose only name servers listen on loopback."""

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


def most_dots(options: Iterable[str]) -> int:
    """The ``ndots`` of resolv.conf(5): names with fewer dots are tried with the search domains first; 0: not said."""
    said = [item.removeprefix("ndots:") for item in options if item.startswith("ndots:")]
    return int(said[-1]) if said and said[-1].isascii() and said[-1].isdigit() else 0


def reachable_servers(host: Resolver, versions: Set[int]) -> tuple[str, ...]:
    """The host's name servers that a container with addresses of these versions can reach.

    Not those on the host's loopback, behind a zone, or of another family.
    """
    usable = tuple(server for server in host.servers if _reachable(server, versions))
    return usable or tuple(server for version in sorted(versions or {4}) for server in FALLBACK_SERVERS[version])


def resolver_text(host: Resolver, wanted: Resolver, versions: Set[int] | None) -> str:
    """/etc/resolv.conf of a sandbox: what was asked for, else the host's, less what it could not reach.

    ``versions`` of its addresses; None: it is the host's own.
    """
    inherited = host.servers if versions is None else reachable_servers(host, versions)
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


def write_unless_edited(path: Path, text: str, *, instead_of: str | None) -> bool:
    """The same for a file that is left alone when it is not ``instead_of``, what we wrote last. Whether it was written.

    RuntimeFailure.
    """
    if instead_of is not None:
        try:
            descriptor = _opened(path)
            try:
                present = os.read(descriptor, MOST_BYTES)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise RuntimeFailure(f"cannot read {path}: {error.strerror}") from error
        if present != instead_of.encode():
            return False
    write_in_place(path, text)
    return True


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


def _reachable(server: str, versions: Set[int]) -> bool:
    try:
        address = ipaddress.ip_address(server)
    except ValueError:
        return False
    return "%" not in server and not address.is_loopback and address.version in versions
