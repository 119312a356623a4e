"""One daemon a network namespace: a second one would take the first one's firewall for garbage and remove it.

An abstract unix socket belongs to the network namespace that it was bound in (unix(7), network_namespaces(7)), so a
fixed name tells, whatever folders, chroot or mount namespace a daemon has. It goes with its process.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import struct
from collections.abc import Iterator

from linkspan.errors import Conflict

LOG = logging.getLogger(__name__)

NAME = "linkspan.daemon"
_CREDENTIALS = struct.Struct("iII")
"""struct ucred: pid, uid, gid (unix(7), SO_PEERCRED)."""
_PATIENCE = 2.0
"""Seconds until a holder that does not listen counts as none of ours."""


@contextlib.contextmanager
def sole_daemon(name: str = NAME) -> Iterator[None]:
    """Holds this network namespace while the body runs. Conflict names the daemon that has it.

    Anybody may bind an abstract name, so what is held by another user than root only costs us the check.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as guard:
        try:
            guard.bind("\0" + name)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _refuse_second(name)
        else:
            guard.listen()
        yield


def _refuse_second(name: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as question:
        question.settimeout(_PATIENCE)
        try:
            question.connect("\0" + name)
        except OSError:
            LOG.warning("somebody who does not listen holds the socket @%s: a second daemon is not noticed here", name)
            return
        raw = question.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    if uid != 0:
        LOG.warning("user %d (process %d) holds the socket @%s: a second daemon is not noticed here", uid, pid, name)
        return
    raise Conflict(
        f"another Linkspan daemon (process {pid}) works in this network namespace",
        remedy="stop that one, or start this one in a namespace of its own",
    )
