"""Files to and from containers as tar streams.

An archive that comes out of a container was written by whatever runs in it, so unpacking trusts nothing: no absolute
names, no ``..``, no writing through a symbolic link, no devices, no set-user-id bits.
"""

from __future__ import annotations

import io
import os
import stat as modes
import tarfile
from binascii import Error, a2b_base64

from linkspan.cli.documents import Json, number, text
from linkspan.cli.failure import Failure
from linkspan.cli.jsontext import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import WriteableBuffer as Buffer

GO_FOLDER = 1 << 31
GO_LINK = 1 << 27
"""Bits of Go's io/fs.FileMode, which the path's header carries."""
_PIECE = 1 << 18


class PathStat:
    """What ``X-Docker-Container-Path-Stat`` tells of a path in a container."""

    def __init__(self, document: Json) -> None:
        self.name = text(document, "name")
        self.link_target = text(document, "linkTarget")
        mode = number(document, "mode")
        self.is_folder = bool(mode & GO_FOLDER)
        self.is_link = bool(mode & GO_LINK)


def path_stat(headers: dict[str, str]) -> PathStat:
    """Raises Failure when the daemon did not say what stands at the path."""
    try:
        return PathStat(decode(a2b_base64(headers.get("x-docker-container-path-stat", "").encode())))
    except (Error, ValueError) as reason:
        raise Failure("linkspan: the daemon's answer does not say what stands at the path") from reason


class _Stream(io.RawIOBase):
    """An iterator of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def extract(pieces: Iterator[bytes], folder: str, name: str, *, keep_owner: bool = False) -> None:
    """Unpacks below ``folder``, the archive's top entry under ``name`` (its contents when that is empty).

    Raises Failure for a hostile or broken archive.
    """
    folders: list[tuple[str, int, float]] = []
    files: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=io.BufferedReader(_Stream(pieces), _PIECE), mode="r|") as archive:
            top = None
            for member in archive:
                parts = [part for part in member.name.split("/") if part not in ("", ".")]
                if ".." in parts or member.name.startswith("/"):
                    raise Failure(f"linkspan: the archive holds a name that leads outside: {member.name}")
                if top is None:
                    top = parts[:1]
                parts = parts[1:] if top and parts[:1] == top else parts
                place = [name, *parts] if name else parts
                if not place:
                    continue
                path = _parent(folder, place)
                if member.isdir():
                    _make_folder(path)
                    folders.append((path, member.mode & 0o1777, member.mtime))
                else:
                    _remove_file(path)
                    _write(archive, member, path, files)
                if keep_owner and os.geteuid() == 0:
                    os.lchown(path, member.uid, member.gid)
    except tarfile.TarError as reason:
        raise Failure(f"linkspan: the archive cannot be read: {reason}") from reason
    for path, mode, mtime in reversed(folders):
        os.chmod(path, mode)
        os.utime(path, (mtime, mtime))


def _parent(folder: str, place: list[str]) -> str:
    """The path of an entry, its folders made. Raises Failure when one of them is a link or a file."""
    path = folder
    for part in place[:-1]:
        path = os.path.join(path, part)
        mode = _mode(path)
        if mode is None:
            os.mkdir(path)
        elif not modes.S_ISDIR(mode):
            raise Failure(f"linkspan: the archive writes through {path}, which is no folder")
    return os.path.join(path, place[-1])


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str, files: dict[str, str]) -> None:
    """``files`` knows what was written, by its name in the archive: hard links lead to nothing else."""
    if member.islnk() and member.linkname in files:
        os.link(files[member.linkname], path, follow_symlinks=False)
    elif member.issym():
        os.symlink(member.linkname, path)
    elif member.isreg():
        content = archive.extractfile(member)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            while content is not None and (piece := content.read(_PIECE)):
                file.write(piece)
            os.fchmod(file.fileno(), member.mode & 0o1777)
            os.utime(file.fileno(), (member.mtime, member.mtime))
        files[member.name] = path
    elif member.isfifo():
        os.mkfifo(path, member.mode & 0o777)
    else:
        raise Failure(f"linkspan: {member.name} is a device or a link out of the archive and is not copied")


def _mode(path: str) -> int | None:
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return None


def _make_folder(path: str) -> None:
    found = _mode(path)
    if found is None:
        os.mkdir(path)
    elif not modes.S_ISDIR(found):
        raise Failure(f"linkspan: cannot put a folder where {path} is")


def _remove_file(path: str) -> None:
    found = _mode(path)
    if found is None:
        return
    if modes.S_ISDIR(found):
        raise Failure(f"linkspan: cannot put a file where the folder {path} is")
    os.unlink(path)


def pack(path: str, name: str, *, keep_owner: bool = False) -> Iterator[bytes]:
    """A local file or folder as a tar stream, called ``name`` in it. Sockets are left out. Raises Failure."""
    archive = tarfile.TarFile(fileobj=io.BytesIO(), mode="w")  # for its reading of stat(2); nothing is written to it
    for source, target in _walk(path, name):
        if modes.S_ISSOCK(os.lstat(source).st_mode):
            continue
        member = archive.gettarinfo(source, target)
        if not keep_owner:
            member.uid = member.gid = 0
            member.uname = member.gname = ""
        yield member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if member.isreg():
            yield from _content(source, member.size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _content(path: str, size: int) -> Iterator[bytes]:
    """``size`` bytes of a file and the padding to whole blocks. Raises Failure when the file became shorter."""
    left = size
    with open(path, "rb") as file:
        while left:
            piece = file.read(min(_PIECE, left))
            if not piece:
                raise Failure(f"linkspan: {path} became shorter while it was copied")
            left -= len(piece)
            yield piece
    yield bytes(-size % tarfile.BLOCKSIZE)


def _walk(path: str, name: str) -> Iterator[tuple[str, str]]:
    yield path, name
    if os.path.isdir(path) and not os.path.islink(path):
        for entry in sorted(os.listdir(path)):
            yield from _walk(os.path.join(path, entry), f"{name}/{entry}")
