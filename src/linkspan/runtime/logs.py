"""Reading the log that conmon writes: one line a write, ``TIME stream F|P text``.

Format: Kubernetes' CRI log format (``k8s-file``). ``F`` ends a line; ``P`` is a piece that the process wrote
without a newline, or that did not fit conmon's buffer. Pieces are joined again, up to ``LONGEST`` bytes as Docker
does. When a log reaches its size limit, conmon begins a new file under the same name.
"""

from __future__ import annotations

import asyncio
import calendar
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

import msgspec

from linkspan.runtime.file_changes import FileChanges

T = TypeVar("T")

LONGEST = 16384
"""Bytes of one entry; longer lines come as several (moby, ``daemon/logger/copier.go``)."""
CHUNK = 32768


class Entry(msgspec.Struct, frozen=True):
    """A line of output. ``time`` in Unix nanoseconds; ``data`` ends with its newline if the process wrote one."""

    stream: Literal[1, 2]
    time: int
    data: bytes


class Assembler:
    """Turns the log's lines into entries, joining pieces per stream."""

    def __init__(self) -> None:
        self._pending: dict[int, tuple[int, bytes]] = {}
        self._minute = b""
        self._minute_seconds = 0

    def feed(self, line: bytes) -> Entry | None:
        """Takes one line without its newline; the entry that it completes, if any. Torn lines are skipped."""
        fields = line.split(b" ", 3)
        if len(fields) < 4 or fields[1] not in (b"stdout", b"stderr"):
            return None
        stream: Literal[1, 2] = 1 if fields[1] == b"stdout" else 2
        try:
            moment = self._nanoseconds(fields[0])
        except ValueError:
            return None
        begun, before = self._pending.pop(stream, (moment, b""))
        data = before + fields[3]
        if fields[2] == b"F":
            return Entry(stream, begun, data + b"\n")
        if len(data) >= LONGEST:
            return Entry(stream, begun, data)
        self._pending[stream] = (begun, data)
        return None

    def rest(self) -> list[Entry]:
        """Pieces that no newline followed, oldest first."""
        found = [Entry(1 if stream == 1 else 2, begun, data) for stream, (begun, data) in self._pending.items()]
        self._pending.clear()
        return sorted(found, key=lambda entry: entry.time)

    def _nanoseconds(self, text: bytes) -> int:
        """RFC 3339 with nine digits and a numeric offset. Most lines share their minute with the one before."""
        minute = text[:16] + text[29:]
        if minute != self._minute:
            sign = -1 if text[29:30] == b"-" else 1
            offset = sign * (int(text[30:32]) * 3600 + int(text[33:35]) * 60) if text[29:30] in (b"+", b"-") else 0
            date = (int(text[0:4]), int(text[5:7]), int(text[8:10]), int(text[11:13]), int(text[14:16]), 0)
            self._minute_seconds = calendar.timegm(date) - offset
            self._minute = minute
        return (self._minute_seconds + int(text[17:19])) * 1_000_000_000 + int(text[20:29])


async def read_log(
    path: Path,
    *,
    over: asyncio.Future[T] | None = None,
    tail: int | None = None,
    since: float = 0.0,
    until: float = 0.0,
) -> AsyncIterator[Entry]:
    """The entries of a log, oldest first; a missing file is empty.

    ``over``: follow the log until this is done and all is read. ``tail``: only so many of the last entries that
    exist now. ``since``, ``until``: Unix seconds, 0 for no bound; following ends when ``until`` has passed.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    # A float of seconds is exact to a quarter of a microsecond; the bounds are a microsecond wider.
    first, last = int(since * 1e6 - 1) * 1000, int(until * 1e6 + 2) * 1000 if until else 0
    changes = FileChanges(path) if over is not None else None
    assembler = Assembler()
    try:
        if tail is not None:
            for entry in _tail(file, tail, assembler):
                if entry.time >= first and not (last and entry.time > last):
                    yield entry
        remainder = b""
        while True:
            finished = over is None or over.done() or (last > 0 and time.time_ns() > last)
            chunk = file.read(CHUNK)
            if chunk:
                *lines, remainder = (remainder + chunk).split(b"\n")
                for line in lines:
                    entry_read = assembler.feed(line)
                    if entry_read is None or entry_read.time < first:
                        continue
                    if last and entry_read.time > last:
                        return
                    yield entry_read
            elif _replaced(file, path):
                file.close()
                file = path.open("rb")
                if changes is not None:
                    changes.renew()
            elif finished or changes is None or over is None:
                break
            else:
                await changes.wait(over, max(0.0, until - time.time()) if last else None)
        for entry in assembler.rest():
            if entry.time >= first and not (last and entry.time > last):
                yield entry
    finally:
        file.close()
        if changes is not None:
            changes.close()


def _tail(file: BinaryIO, count: int, assembler: Assembler) -> Iterator[Entry]:
    """The last ``count`` entries; leaves the file at its end and unfinished pieces in the assembler."""
    end = file.seek(0, os.SEEK_END)
    start, lines_seen = end, 0
    while start > 0 and lines_seen <= count:
        size = min(CHUNK, start)
        start -= size
        file.seek(start)
        lines_seen += sum(1 for line in file.read(size).split(b"\n") if b" F " in line[:48])
    file.seek(start)
    text = file.read(end - start)
    whole = text.rpartition(b"\n")[0]
    file.seek(start + len(whole) + (1 if len(whole) < len(text) else 0))
    lines = whole.split(b"\n")
    if start > 0:
        # The window begins anywhere: leave out what may be the end of an entry that began before it.
        cut = next((number for number, line in enumerate(lines) if b" F " in line[:48]), len(lines))
        lines = lines[cut + 1 :]
    found: deque[Entry] = deque(maxlen=count)
    for line in lines:
        entry = assembler.feed(line)
        if entry is not None:
            found.append(entry)
    yield from found


def _replaced(file: BinaryIO, path: Path) -> bool:
    """Whether another file has the name now."""
    try:
        return not os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
