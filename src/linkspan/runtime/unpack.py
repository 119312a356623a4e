"""A tar stream that somebody sent, made into files inside a container's root, or refused.

First ``check`` reads the whole stream: a torn, malformed or hostile one is refused before anything is written.
Then ``unpack`` writes it, resolving every name inside the root anew (``rooted``), so that neither a link in the
archive nor one that the container makes meanwhile leads out. Parents are followed through links within the root,
as in Docker: ``bin/tool`` for ``/`` lands in ``/usr/bin`` where ``/bin`` is a link to it.
"""

from __future__ import annotations

import errno
import os
import posixpath
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from lzma import LZMAError
from typing import IO

from linkspan.errors import InvalidRequest
from linkspan.runtime.rooted import Root

Owner = tuple[int, int]
"""User and group number."""

CHUNK = 256 * 1024
EXTENSION_LIMIT = 1024 * 1024
"""Largest pax or long-name header in bytes: they are read into memory."""
LAST_ID = 2**32 - 2
LAST_TIME = 2**33
CAPABILITIES = "security.capability"


EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
"""Headers that describe the entry after them."""


class StrictInfo(tarfile.TarInfo):
    """A header that does not pass over damage: ``tarfile`` alone takes a broken header for the end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> StrictInfo:
        """The next header. Raises InvalidRequest when it is torn, and at an end without its zero block."""
        try:
            return super().fromtarfile(archive)
        except tarfile.HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":  # the regular end; typeshed does not know the class
                raise
            raise InvalidRequest(f"the archive is truncated or damaged: {error}") from None

    def _block(self, count: int) -> int:
        """Bytes rounded up to blocks; ``tarfile`` asks before it reads.

        Refuses to go backwards, which loops in Pythons of before August 2025 (CVE-2025-8194), and extension headers
        that would fill the memory.
        """
        if count < 0 or (self.type in EXTENSIONS and count > EXTENSION_LIMIT):
            raise InvalidRequest(f"the archive holds a header that claims {count} bytes")
        return -(-count // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


class Stream(tarfile.TarFile):
    """An archive that is read once, from the front."""

    members: list[tarfile.TarInfo]

    def entries(self) -> Iterator[tarfile.TarInfo]:
        """The entries in their order; forgets each, or a million of them would fill the memory."""
        while (info := self.next()) is not None:
            self.members = []
            yield info


@contextmanager
def opened(stream: IO[bytes]) -> Iterator[Stream]:
    """The stream from its beginning; whatever the decoders say of it becomes InvalidRequest."""
    stream.seek(0)
    try:
        with Stream.open(fileobj=stream, mode="r|*", tarinfo=StrictInfo, errorlevel=2) as archive:
            yield archive
    except (tarfile.TarError, zlib.error, LZMAError, EOFError, UnicodeError, OverflowError, ValueError) as error:
        raise InvalidRequest(f"the body is no whole tar archive: {error}") from error


def check(stream: IO[bytes]) -> None:
    """Reads everything. Raises InvalidRequest naming the first entry that cannot be unpacked."""
    with opened(stream) as archive:
        for info in archive.entries():
            inside(info.name)
            if info.islnk():
                inside(info.linkname)
            check_entry(info)
            content = archive.extractfile(info) if info.isreg() else None
            while content is not None and content.read(CHUNK):
                pass


def check_entry(info: tarfile.TarInfo) -> None:
    """Raises InvalidRequest for a kind, an owner or a time that no file may have."""
    if info.isdev() and not info.isfifo():
        raise InvalidRequest(f"the archive holds a device node, {info.name!r}")
    if not (info.isreg() or info.isdir() or info.issym() or info.islnk() or info.isfifo()) or info.issparse():
        raise InvalidRequest(f"the archive holds an entry of an unknown kind, {info.name!r}")
    if not (0 <= info.uid <= LAST_ID and 0 <= info.gid <= LAST_ID):
        raise InvalidRequest(f"the archive gives {info.name!r} to user {info.uid}:{info.gid}")
    if not -LAST_TIME < info.mtime < LAST_TIME:  # false for nan too
        raise InvalidRequest(f"the archive dates {info.name!r} to second {info.mtime}")
    if info.issym() and (not info.linkname or "\0" in info.linkname):
        raise InvalidRequest(f"the archive holds an empty link, {info.name!r}")


def inside(name: str) -> str:
    """The name below the target folder, ``.`` for the folder itself. Absolute names count from the folder.

    Raises InvalidRequest for a name that climbs out with ``..``, or holds a NUL byte.
    """
    clean = posixpath.normpath(name.lstrip("/") or ".")
    if clean == ".." or clean.startswith("../"):
        raise InvalidRequest(f"the archive holds {name!r}, which is outside of the target")
    if "\0" in clean:
        raise InvalidRequest(f"the archive holds a name with a NUL byte, {name!r}")
    return clean


def unpack(root: Root, target: str, stream: IO[bytes], no_overwrite_dir: bool, owner: Owner | None) -> None:
    """Writes a checked stream below ``target``, a clean absolute path of the container.

    Raises InvalidRequest when a file would replace a folder or the other way round and ``no_overwrite_dir`` is set,
    Forbidden on a read-only file system, Conflict for a mount point in the way, RuntimeFailure when the disk is full.
    """
    folders: list[tarfile.TarInfo] = []
    with opened(stream) as archive:
        for info in archive.entries():
            name = inside(info.name)
            if name == ".":
                continue
            path = posixpath.join(target, name)
            with root.refusals(path):
                parent = open_parent(root, target, posixpath.dirname(name), owner)
                try:
                    leaf = posixpath.basename(name)
                    make_room(parent, leaf, path, info, no_overwrite_dir)
                    write_entry(root, target, parent, leaf, archive, info, owner)
                finally:
                    os.close(parent)
            if info.isdir():
                folders.append(info)
    # Last, and the deepest first: every file written into a folder has moved its time.
    for info in sorted(folders, key=lambda item: item.name, reverse=True):
        path = posixpath.join(target, inside(info.name))
        with suppress(OSError):  # gone again, or a link now: nothing of ours
            date(root, path, info)


def open_parent(root: Root, target: str, below: str, owner: Owner | None) -> int:
    """A descriptor of the folder that an entry goes into; folders that the archive left out are made, 0755."""
    path = target
    current = root.open_directory(path)
    for part in below.split("/") if below else ():
        path = posixpath.join(path, part)
        try:
            following = root.open_directory(path)
        except FileNotFoundError:
            try:
                os.mkdir(part, 0o755, dir_fd=current)
                os.chown(part, *(owner or (0, 0)), dir_fd=current, follow_symlinks=False)
                following = root.open_directory(path)
            except OSError:
                os.close(current)
                raise
        except OSError:
            os.close(current)
            raise
        os.close(current)
        current = following
    return current


def make_room(parent: int, leaf: str, path: str, info: tarfile.TarInfo, no_overwrite_dir: bool) -> None:
    """Removes what stands in the way of an entry; a folder under a folder stays."""
    try:
        facts = os.stat(leaf, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    there = stat.S_ISDIR(facts.st_mode)
    if there and info.isdir():
        return
    if no_overwrite_dir and there:
        raise InvalidRequest(f"cannot overwrite directory {path!r} with a file")
    if no_overwrite_dir and info.isdir():
        raise InvalidRequest(f"cannot overwrite non-directory {path!r} with a directory")
    if there:
        shutil.rmtree(leaf, dir_fd=parent)
    else:
        os.unlink(leaf, dir_fd=parent)


def write_entry(
    root: Root,
    target: str,
    parent: int,
    leaf: str,
    archive: Stream,
    info: tarfile.TarInfo,
    owner: Owner | None,
) -> None:
    """Makes one file, folder, link or pipe. The owner comes before the mode, since chown(2) clears set-uid bits."""
    user, group = owner or (info.uid, info.gid)
    if info.islnk():
        link(root, target, parent, leaf, info)
    elif info.issym():
        os.symlink(info.linkname, leaf, dir_fd=parent)
        os.chown(leaf, user, group, dir_fd=parent, follow_symlinks=False)
    elif info.isdir():
        with suppress(FileExistsError):
            os.mkdir(leaf, 0o700, dir_fd=parent)
        settle(parent, leaf, os.O_DIRECTORY, info, user, group)
    elif info.isfifo():
        os.mkfifo(leaf, 0o600, dir_fd=parent)
        settle(parent, leaf, os.O_NONBLOCK, info, user, group)
    else:
        write_file(parent, leaf, archive, info, user, group)


def link(root: Root, target: str, parent: int, leaf: str, info: tarfile.TarInfo) -> None:
    """A hard link to an entry that came before; the link itself when that is a symbolic one."""
    source = inside(info.linkname)
    folder = root.open_directory(posixpath.join(target, posixpath.dirname(source)))
    try:
        os.link(posixpath.basename(source), leaf, src_dir_fd=folder, dst_dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(folder)


def settle(parent: int, leaf: str, flags: int, info: tarfile.TarInfo, user: int, group: int) -> None:
    """Owner and mode through a descriptor, so that nothing swapped in meanwhile is changed instead."""
    descriptor = os.open(leaf, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=parent)
    try:
        os.fchown(descriptor, user, group)
        os.fchmod(descriptor, stat.S_IMODE(info.mode))
    finally:
        os.close(descriptor)


def write_file(parent: int, leaf: str, archive: Stream, info: tarfile.TarInfo, user: int, group: int) -> None:
    """A new regular file; a half-written one is taken back."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(leaf, flags, 0o600, dir_fd=parent)
    try:
        content = archive.extractfile(info)
        while content is not None and (data := content.read(CHUNK)):
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        os.fchown(descriptor, user, group)
        os.fchmod(descriptor, stat.S_IMODE(info.mode))
        grant_capabilities(descriptor, info)
        os.utime(descriptor, (info.mtime, info.mtime))
    except OSError:
        os.unlink(leaf, dir_fd=parent)
        raise
    finally:
        os.close(descriptor)


def grant_capabilities(descriptor: int, info: tarfile.TarInfo) -> None:
    """File capabilities (capabilities(7)) from the pax record that tar and Docker use for them."""
    value = info.pax_headers.get(f"SCHILY.xattr.{CAPABILITIES}")
    if value is None:
        return
    try:
        os.setxattr(descriptor, CAPABILITIES, value.encode("utf-8", "surrogateescape"))
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EINVAL):
            raise


def date(root: Root, path: str, info: tarfile.TarInfo) -> None:
    """A folder's time of change."""
    descriptor = root.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.utime(descriptor, (info.mtime, info.mtime))
    finally:
        os.close(descriptor)
