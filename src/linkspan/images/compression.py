"""Reads a stream in whatever compression it comes, and counts and hashes what passes.

The kind is told by the first bytes (RFC 1952 gzip; bzip2; the .xz file format; RFC 8878 zstd). zstd needs Debian's
``zstd`` program, since Python 3.11 has no module for it. Standard library only: the unpacking child starts quickly.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import shutil
import subprocess
import threading
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

CHUNK = 1 << 20
"""Bytes moved at a time."""

GZIP = b"\x1f\x8b\x08"
_BZIP2 = b"BZh"
_XZ = b"\xfd7zXZ\x00"
_ZSTD = b"\x28\xb5\x2f\xfd"


class ArchiveRefused(Exception):
    """The archive is damaged or hostile; the text is one sentence for the person who sent it."""


class Readable(Protocol):
    """Something to read bytes from."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; empty at the end."""
        ...


class CountingReader(io.RawIOBase):
    """Passes bytes on, and tells ``report`` how many went by, once a megabyte."""

    def __init__(self, source: BinaryIO, report: Callable[[int], None]) -> None:
        super().__init__()
        self._source = source
        self._report = report
        self._count = 0
        self._told = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        data = self._source.read(len(view))
        view[: len(data)] = data
        self._count += len(data)
        if self._count - self._told >= CHUNK:
            self._told = self._count
            self._report(self._count)
        return len(data)


class HashingReader:
    """Passes uncompressed bytes on and hashes them. Damage in the compression becomes ArchiveRefused."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self.count = 0

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; empty at the end."""
        try:
            data = self._source.read(size)
        except EOFError:
            raise ArchiveRefused("the archive is truncated: its compressed data ends too early") from None
        except (lzma.LZMAError, zlib.error, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ArchiveRefused(f"the archive's compression is damaged: {error}") from None
        self._hash.update(data)
        self.count += len(data)
        return data

    def drain(self) -> None:
        """Reads to the end, so that the digest covers everything."""
        while self.read(CHUNK):
            pass

    @property
    def digest(self) -> str:
        """``sha256:…`` of all that was read."""
        return f"sha256:{self._hash.hexdigest()}"


def decompressed(source: BinaryIO, report: Callable[[int], None]) -> Readable:
    """The plain content of ``source``. ArchiveRefused when nothing here reads its compression."""
    buffered = io.BufferedReader(CountingReader(source, report), CHUNK)
    head = buffered.peek(8)[:8]
    if head.startswith(GZIP):
        return gzip.GzipFile(fileobj=buffered, mode="rb")
    if head.startswith(_BZIP2):
        return bz2.BZ2File(buffered, "rb")
    if head.startswith(_XZ):
        return lzma.LZMAFile(buffered, "rb")
    if head.startswith(_ZSTD):
        return _zstd(buffered)
    return buffered


class _ZstdReader(io.RawIOBase):
    """The output of a zstd program that a thread feeds. A bad exit status at the end is damage."""

    def __init__(self, program: str, source: BinaryIO) -> None:
        super().__init__()
        self._process = subprocess.Popen(
            [program, "-dcq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        threading.Thread(target=self._feed, args=(source,), daemon=True).start()

    def _feed(self, source: BinaryIO) -> None:
        sink = self._process.stdin
        if sink is None:
            return
        # A zstd that gave up closes its end: its exit status then tells.
        with contextlib.suppress(BrokenPipeError), sink:
            shutil.copyfileobj(source, sink, CHUNK)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        output = self._process.stdout
        if output is None:
            return 0
        view = memoryview(buffer)
        data = output.read(len(view))
        view[: len(data)] = data
        if not data and self._process.wait() != 0:
            raise EOFError
        return len(data)


def _zstd(source: BinaryIO) -> Readable:
    program = shutil.which("zstd")
    if program is None:
        raise ArchiveRefused("the archive is compressed with zstd, and this host has no zstd program; install zstd")
    return io.BufferedReader(_ZstdReader(program, source), CHUNK)
