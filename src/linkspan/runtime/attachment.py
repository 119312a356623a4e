"""A connection to a container's stdio: conmon's ``attach`` socket.

conmon(8): AF_UNIX SEQPACKET; each packet to us is one byte (2 stdout, 3 stderr; a terminal has only 2) and data;
packets from us are stdin. conmon writes without a limit of time, so an attachment that is not read holds the
container up, as with Docker. Several may be open at once.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Literal

from linkspan.errors import Conflict
from linkspan.runtime.descriptors import Stream

INPUT_PIECE = 8192
"""Bytes in one packet of input; conmon cuts off what its buffer does not hold."""


class Attachment:
    """One attached client. ``parked`` takes the connection over in ``leave``; None: there is no need to."""

    def __init__(self, stream: Stream, parked: list[Stream] | None) -> None:
        self._stream = stream
        self._parked = parked
        self._half_closed = False
        self._left = False

    async def read(self) -> tuple[Literal[1, 2], bytes] | None:
        """The next output (1 stdout, 2 stderr); None when the container has ended or the client has gone."""
        while not self._left:
            packet = await self._stream.read()
            if not packet:
                return None
            if len(packet) > 1 and packet[0] in (2, 3):
                return (1 if packet[0] == 2 else 2), packet[1:]
        return None

    async def write(self, data: bytes) -> None:
        """Gives bytes to the container's stdin. BrokenPipeError when it has ended or input was half-closed."""
        await self._stream.write(data, INPUT_PIECE)

    def half_close(self) -> None:
        """The end of input: the container's stdin closes if it was made so (``stdin_once``, no terminal)."""
        self._half_closed = True
        _shutdown(self._stream, socket.SHUT_WR)

    def leave(self) -> None:
        """Goes away without ending the container's input: a detached client, or one that only looked on.

        conmon closes a ``stdin_once`` container's stdin whenever any connection ends. So there the connection is
        only made deaf (conmon drops it from its writers at the next output) and stays until the container ends.
        """
        if self._left:
            return
        self._left = True
        if self._parked is None or self._half_closed or not _shutdown(self._stream, socket.SHUT_RD):
            self._stream.close()
        else:
            self._parked.append(self._stream)

    def cut(self) -> None:
        """Takes no more from conmon, which may wait for a client that reads nothing; what has arrived is still read."""
        _shutdown(self._stream, socket.SHUT_RD)

    def close(self) -> None:
        """Goes away for good; this ends the container's input if it was made so."""
        if not self._left:
            self._left = True
            self._stream.close()


def connect(bundle: Path, parked: list[Stream] | None) -> Attachment:
    """Attaches to the container of a bundle. Conflict when conmon is gone.

    The path goes through an open folder, since a socket's own path may have only 107 bytes (unix(7)).
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        folder = os.open(bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{folder}/attach")
        finally:
            os.close(folder)
    except OSError as error:
        connection.close()
        raise Conflict(f"container {bundle.name[:12]} is not running") from error
    return Attachment(Stream(connection.detach()), parked)


def _shutdown(stream: Stream, how: int) -> bool:
    """shutdown(2) on a stream's socket; False when it is closed or not connected any more."""
    if stream.descriptor < 0:
        return False
    duplicate = socket.socket(fileno=os.dup(stream.descriptor))
    try:
        duplicate.shutdown(how)
    except OSError:
        return False
    finally:
        duplicate.close()
    return True
