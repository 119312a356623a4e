"""A hijacked connection and this terminal: bytes both ways until the output ends.

Output without a terminal comes in frames (one byte stream number, three of zero, four of length, big-endian), with a
terminal raw. One loop with poll(2) serves both directions; input that the daemon does not take yet waits, so that a
program which echoes more than it reads cannot lock both sides.
"""

from __future__ import annotations

import os
import sys
from select import POLLERR, POLLHUP, POLLIN, POLLOUT, poll

from linkspan.cli.client import Query, Reply
from linkspan.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

DETACH_KEYS = "ctrl-p,ctrl-q"
_PIECE = 65536
_ENDED = POLLIN | POLLHUP | POLLERR


class Detached(Exception):
    """The person typed the detach keys."""


def detach_sequence(text: str) -> bytes:
    """``ctrl-p,ctrl-q`` or ``a,ctrl-@`` as the bytes that a terminal sends. Raises Failure."""
    keys = bytearray()
    for key in (text or DETACH_KEYS).split(","):
        if len(key) == 1 and key.isascii():
            keys += key.encode()
        elif key.startswith("ctrl-") and len(key) == 6 and key[5] in "@abcdefghijklmnopqrstuvwxyz[\\]^_":
            keys.append(ord(key[5].upper()) - 64)
        else:
            raise Failure(f"linkspan: invalid detach keys ({text}): unknown character '{key}'", 125)
    return bytes(keys)


class DetachFilter:
    """Holds back what may become the detach keys, so that a program never sees half of them."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """(what to pass on, whether the keys are complete)."""
        passed = bytearray()
        for byte in typed:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    return bytes(passed), True
                continue
            passed += self._keys[: self._matched]
            self._matched = 1 if byte == self._keys[0] else 0
            if not self._matched:
                passed.append(byte)
        return bytes(passed), False


class Demultiplexer:
    """Turns framed output into (stream, bytes) pairs; frames may be cut anywhere."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Raises Failure when the bytes are no frames, or the daemon says that the stream broke (stream 3)."""
        self._buffer += data
        found = []
        while len(self._buffer) >= 8:
            stream, length = self._buffer[0], int.from_bytes(self._buffer[4:8], "big")
            if stream > 3 or any(self._buffer[1:4]):
                raise Failure("linkspan: the daemon sent output that is not framed as expected")
            if len(self._buffer) < 8 + length:
                break
            content = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            if stream == 3:
                raise Failure(f"linkspan: error from daemon in stream: {content.decode('utf-8', 'replace')}")
            found.append((2 if stream == 2 else 1, content))
        return found


def write_all(descriptor: int, data: bytes) -> None:
    """Raises BrokenPipeError when nobody reads any more."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            waiting = poll()
            waiting.register(descriptor, POLLOUT)
            waiting.poll()


def attach_query(*, stdin: bool, stdout: bool = True, stderr: bool = True, keys: str = "") -> Query:
    """The query of a container's attach call."""
    return {"stream": True, "stdin": stdin, "stdout": stdout, "stderr": stderr, "detachKeys": keys}


def carry(reply: Reply, *, stdin: bool, tty: bool, keys: bytes) -> bool:
    """Runs a hijacked connection to its end, the terminal raw when it is one. False when the person detached."""
    pump = Pump(reply, stdin=stdin, tty=tty, keys=keys if tty else b"")
    try:
        if tty and stdin:
            from linkspan.cli.terminal import RawTerminal

            with RawTerminal():
                pump.run()
        else:
            pump.run()
    except Detached:
        print("read escape sequence", file=sys.stderr)
        return False
    return True


class Pump:
    """Carries bytes between a hijacked connection and descriptors 0, 1 and 2."""

    def __init__(self, reply: Reply, *, stdin: bool, tty: bool, keys: bytes = b"") -> None:
        self._connection, self._early = reply.hijacked()
        self._reading = stdin
        self._demultiplexer = None if tty else Demultiplexer()
        self._filter = DetachFilter(keys) if keys and stdin else None
        self._waiting = b""
        self._detached = False

    def run(self) -> None:
        """Returns when the output has ended. Raises Detached."""
        self._output(self._early)
        connection = self._connection
        connection.setblocking(False)
        try:
            while True:
                events = self._poll(connection)
                if events.get(connection.fileno(), 0) & _ENDED and not self._receive(connection):
                    return
                if self._waiting and events.get(connection.fileno(), 0) & POLLOUT:
                    self._send(connection)
                if events.get(0, 0) & _ENDED and self._reading and not self._waiting:
                    self._read(connection)
        finally:
            connection.close()

    def _poll(self, connection: socket) -> dict[int, int]:
        waiting = poll()
        waiting.register(connection.fileno(), POLLIN | (POLLOUT if self._waiting else 0))
        if self._reading and not self._waiting:
            waiting.register(0, POLLIN)
        return dict(waiting.poll())

    def _receive(self, connection: socket) -> bool:
        try:
            data = connection.recv(_PIECE)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        self._output(data)
        return bool(data)

    def _output(self, data: bytes) -> None:
        if self._demultiplexer is None:
            write_all(1, data)
            return
        for stream, content in self._demultiplexer.feed(data):
            write_all(stream, content)

    def _read(self, connection: socket) -> None:
        try:
            typed = os.read(0, _PIECE)
        except OSError:
            typed = b""  # a terminal that hung up
        if not typed:
            self._reading = False
            self._half_close(connection)
            return
        if self._filter is not None:
            typed, self._detached = self._filter.feed(typed)
        self._waiting = typed
        self._send(connection)
        if self._detached:
            raise Detached

    def _send(self, connection: socket) -> None:
        try:
            if self._waiting:
                self._waiting = self._waiting[connection.send(self._waiting) :]
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            self._waiting, self._reading = b"", False

    def _half_close(self, connection: socket) -> None:
        try:
            connection.shutdown(1)
        except OSError:
            return  # the other side ended first
