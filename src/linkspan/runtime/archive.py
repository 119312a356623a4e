"""``docker cp`` and ``docker export``: tar streams out of and into a container's root.

What the names in the streams mean follows Docker's Engine API (``/containers/{id}/archive``) and moby's
``container/archive.go``: a folder ``/srv/data`` travels as ``data/...``, ``/srv/data/.`` as ``./...``, the root
as ``/...``. A stream that comes in is kept on disk and checked whole, before the container sees any of it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import tarfile
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import contextmanager, suppress

import msgspec

from linkspan.errors import InvalidRequest, TooLarge
from linkspan.openat2 import RESOLVE_NO_XDEV, openat2
from linkspan.runtime.rooted import Root, normal
from linkspan.runtime.unpack import Owner, check, unpack

CHUNK = 256 * 1024
"""Bytes that leave at once: one thread hop (70 µs) for each."""
SPOOLED_IN_MEMORY = 4 * 1024 * 1024
DEPTH = 256
"""Folders within folders that are followed: each holds a descriptor open."""
CAPABILITIES = "security.capability"


class PathStat(msgspec.Struct, frozen=True, kw_only=True):
    """One path of a container. ``mode`` as in stat(2), ``mtime`` in Unix seconds, ``size`` in bytes.

    ``link_target`` is where a symbolic link ends, as an absolute path of the container.
    """

    name: str
    size: int
    mode: int
    mtime: float
    link_target: str = ""


def path_stat(root: Root, path: str) -> PathStat:
    """Describes a path; a link itself, unless written with a final slash. Raises NotFound, InvalidRequest."""
    clean, _ = normal(path)
    with opened(root, path) as descriptor:
        facts = os.fstat(descriptor)
    return PathStat(
        name="." if path.endswith("/.") else clean.rpartition("/")[2] or "/",
        size=facts.st_size,
        mode=facts.st_mode,
        mtime=facts.st_mtime,
        link_target=root.canonical(clean) if stat.S_ISLNK(facts.st_mode) else "",
    )


async def read_archive(root: Root, path: str) -> AsyncGenerator[bytes, None]:
    """A file or a folder as a tar stream; closes the root at its end.

    Raises NotFound or InvalidRequest with its first bytes; ``path_stat`` tells before.
    """
    facts = await asyncio.to_thread(path_stat, root, path)
    async for chunk in in_thread(pack(root, path, "" if facts.name == "/" else facts.name)):
        yield chunk


async def export(root: Root) -> AsyncGenerator[bytes, None]:
    """The whole root as a tar stream with relative names; closes the root at its end.

    What is mounted inside the root stays an empty folder or file, as with Docker.
    """
    async for chunk in in_thread(pack(root, "/", None, resolve=RESOLVE_NO_XDEV)):
        yield chunk


async def write_archive(
    root: Root,
    path: str,
    body: AsyncIterator[bytes],
    *,
    no_overwrite_dir: bool = False,
    owner: Owner | None = None,
    limit: int = 0,
) -> None:
    """Unpacks a tar stream (plain, gzip, bzip2 or xz) into the folder ``path``.

    ``no_overwrite_dir`` refuses to put a file over a folder or a folder over a file. ``owner`` (uid, gid) gives
    everything to one user; None keeps the numbers in the stream. ``limit`` is in bytes, 0 for none.

    Raises NotFound when the folder is missing; InvalidRequest when ``path`` is no folder, or for a stream that is
    truncated, holds devices, or names that lead out (nothing is written then); TooLarge; Forbidden on a read-only
    file system.
    """
    with root.refusals(path):
        target = root.open_directory(normal(path)[0])
    os.close(target)
    with tempfile.SpooledTemporaryFile(max_size=SPOOLED_IN_MEMORY) as spool:
        async for chunk in body:
            if limit and spool.tell() + len(chunk) > limit:
                raise TooLarge(f"the archive for {path!r} is larger than {limit} bytes")
            await asyncio.to_thread(spool.write, chunk)
        await asyncio.to_thread(check, spool)
        await asyncio.to_thread(unpack, root, normal(path)[0], spool, no_overwrite_dir, owner)


async def in_thread(chunks: Generator[bytes, None, None]) -> AsyncGenerator[bytes, None]:
    """Draws each item in a thread: reading files may wait for a disk. A cancelled reader waits for its thread."""
    step: asyncio.Future[bytes] | None = None
    try:
        while True:
            step = asyncio.ensure_future(asyncio.to_thread(next, chunks, b""))
            chunk = await asyncio.shield(step)
            if not chunk:
                return
            yield chunk
    finally:
        if step is not None and not step.done():
            await asyncio.wait((step,))
        chunks.close()


def pack(root: Root, path: str, name: str | None, *, resolve: int = 0) -> Generator[bytes, None, None]:
    """Yields a path as a tar stream (pax) in chunks of about ``CHUNK`` bytes; closes the root at the end.

    ``name`` stands for the top in the stream: empty makes absolute names, None relative ones without a top.
    ``resolve`` holds more RESOLVE flags for what lies below. Raises NotFound, InvalidRequest, RuntimeFailure.
    """
    waiting: list[bytes] = []
    size = 0
    with root, root.refusals(path), opened(root, path) as top:
        for piece in entries(top, name, resolve):
            waiting.append(piece)
            size += len(piece)
            if size >= CHUNK:
                yield b"".join(waiting)
                waiting, size = [], 0
        yield b"".join((*waiting, bytes(2 * tarfile.BLOCKSIZE)))


@contextmanager
def opened(root: Root, path: str) -> Iterator[int]:
    """An ``O_PATH`` descriptor of what a person named: a link itself, unless written with a final slash."""
    clean, as_directory = normal(path)
    with root.refusals(path):
        descriptor = root.open_directory(clean) if as_directory else root.open(clean)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def entries(top: int, name: str | None, resolve: int) -> Iterator[bytes]:
    """The pieces of an entry and of all below it. A loop, not a recursion: whoever runs inside chooses the depth."""
    seen: dict[tuple[int, int], str] = {}
    if name is not None:
        yield from entry(top, name, seen)
    if not stat.S_ISDIR(os.fstat(top).st_mode):
        return
    levels = [(top, name, iter(names(top)))]
    try:
        while levels:
            directory, label, children = levels[-1]
            child = next(children, None)
            if child is None:
                levels.pop()
                if levels:
                    os.close(directory)
                continue
            child_label = child if label is None else f"{label}/{child}"
            try:
                below = open_below(directory, child, resolve)
            except FileNotFoundError:  # it went while we read the folder
                continue
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                yield mount_point(child_label, os.stat(child, dir_fd=directory, follow_symlinks=False))
                continue
            levels.append((below, child_label, iter(())))  # from here on the loop closes it
            yield from entry(below, child_label, seen)
            if not stat.S_ISDIR(os.fstat(below).st_mode):
                continue
            if len(levels) > DEPTH:
                raise InvalidRequest(f"folders are nested deeper than {DEPTH} at {child_label[:80]!r}")
            levels[-1] = (below, child_label, iter(names(below)))
    finally:
        for directory, _, _ in levels[1:]:
            os.close(directory)


def open_below(directory: int, child: str, resolve: int) -> int:
    """Opens one name of a directory, never through a link."""
    if not resolve:
        return os.open(child, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    return openat2(directory, child, os.O_PATH | os.O_NOFOLLOW, resolve)


def names(descriptor: int) -> list[str]:
    """The names in a directory, sorted, so that equal trees give equal streams."""
    return sorted(os.listdir(f"/proc/self/fd/{descriptor}"))


def entry(descriptor: int, name: str, seen: dict[tuple[int, int], str]) -> Iterator[bytes]:
    """Header and content of one file, folder, link, pipe or device node.

    ``seen`` maps (device, inode) to the name that carried the data. Sockets are left out: tar knows none.
    """
    facts = os.fstat(descriptor)
    info = header(name, facts)
    if stat.S_ISSOCK(facts.st_mode):
        return
    if stat.S_ISDIR(facts.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(facts.st_mode):
        info.type = tarfile.SYMTYPE
        info.linkname = os.readlink("", dir_fd=descriptor)
    elif facts.st_nlink > 1 and (facts.st_dev, facts.st_ino) in seen:
        info.type = tarfile.LNKTYPE
        info.linkname = seen[facts.st_dev, facts.st_ino]
    elif stat.S_ISFIFO(facts.st_mode):
        info.type = tarfile.FIFOTYPE
    elif stat.S_ISREG(facts.st_mode):
        seen[facts.st_dev, facts.st_ino] = name
        yield from regular(descriptor, info, facts.st_size)
        return
    else:
        info.type = tarfile.CHRTYPE if stat.S_ISCHR(facts.st_mode) else tarfile.BLKTYPE
        info.devmajor, info.devminor = os.major(facts.st_rdev), os.minor(facts.st_rdev)
    yield rendered(info)


def header(name: str, facts: os.stat_result) -> tarfile.TarInfo:
    """Name, owner, mode and time; whole seconds, as Docker sends them."""
    info = tarfile.TarInfo(name or "/")
    info.mode = stat.S_IMODE(facts.st_mode)
    info.uid, info.gid = facts.st_uid, facts.st_gid
    info.mtime = int(facts.st_mtime)
    return info


def mount_point(name: str, facts: os.stat_result) -> bytes:
    """An empty folder or file in the place where another file system is mounted."""
    info = header(name, facts)
    if stat.S_ISDIR(facts.st_mode):
        info.type = tarfile.DIRTYPE
    return rendered(info)


def regular(descriptor: int, info: tarfile.TarInfo, size: int) -> Iterator[bytes]:
    """A file's header and exactly ``size`` bytes: one that shrinks meanwhile is filled with zeros."""
    source = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # no capabilities set, or a file system without attributes
            value = os.getxattr(source, CAPABILITIES).decode("utf-8", "surrogateescape")
            info.pax_headers = {f"SCHILY.xattr.{CAPABILITIES}": value}
        info.size = size
        yield rendered(info)
        left = size
        while left:
            data = os.read(source, min(left, CHUNK)) or bytes(min(left, CHUNK))
            left -= len(data)
            yield data
        yield bytes(-size % tarfile.BLOCKSIZE)
    finally:
        os.close(source)


def rendered(info: tarfile.TarInfo) -> bytes:
    """The header blocks."""
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
