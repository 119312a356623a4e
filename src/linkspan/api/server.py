"""Listening sockets: made, protected, served, and taken away again."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

from linkspan.api.connection import Connection
from linkspan.api.router import Application
from linkspan.errors import Conflict, InvalidRequest, NotSupported

LOG = logging.getLogger(__name__)

BACKLOG = 256
_FIRST_PASSED = 3
"""Number of the first descriptor that systemd passes (sd_listen_fds(3))."""
_PATH_LIMIT = 107
"""Bytes of a unix socket's path, less its final zero (unix(7))."""


class Server:
    """Serves an application on any number of sockets."""

    def __init__(self, application: Application, *, group: str) -> None:
        self._application = application
        self._group = group
        self._listeners: list[asyncio.AbstractServer] = []
        self._paths: dict[Path, int] = {}
        """The sockets that we made, with their inodes."""
        self._connections: set[Connection] = set()

    async def start(self, hosts: Sequence[str]) -> None:
        """Listens on all of ``hosts`` or on none. InvalidRequest, NotSupported or Conflict names the bad one."""
        sockets: list[socket.socket] = []
        try:
            for host in hosts:
                sockets.extend(self._open(host))
        except BaseException:
            for each in sockets:
                each.close()
            self._unlink()
            raise
        loop = asyncio.get_running_loop()
        for each in sockets:
            self._listeners.append(await loop.create_unix_server(self._connect, sock=each, backlog=BACKLOG))

    async def stop(self, grace: float) -> None:
        """No new clients; idle and streaming ones end; those that change something have ``grace`` seconds.

        After that they are cancelled, and undo what they had begun before this returns.
        """
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._unlink()
        connections = set(self._connections)
        for connection in connections:
            connection.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                for connection in connections:
                    await connection.wait_closed()
        for connection in connections:
            connection.cancel()
        for connection in connections:
            await connection.wait_closed()

    def _connect(self) -> Connection:
        connection = Connection(self._application, self._connections.discard)
        self._connections.add(connection)
        return connection

    def _open(self, host: str) -> list[socket.socket]:
        scheme, separator, rest = host.partition("://")
        if scheme == "tcp":
            raise NotSupported(f"cannot listen on {host}: TCP needs mutual TLS, which is not there yet")
        if scheme == "fd" and separator:
            return _passed(host)
        if scheme != "unix" or not rest.startswith("/"):
            raise InvalidRequest(f"invalid host {host!r}: it must look like unix:///path/of/socket or fd://")
        path = Path(rest)
        listening = _listen(path, self._group)
        self._paths[path] = path.stat().st_ino
        return [listening]

    def _unlink(self) -> None:
        """Removes our sockets, and not one that another daemon has put in the same place since."""
        for path, inode in self._paths.items():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == inode:
                    path.unlink()
        self._paths.clear()


def _listen(path: Path, group: str) -> socket.socket:
    """A socket at ``path`` for root and ``group`` alone (0660)."""
    if len(os.fsencode(path)) > _PATH_LIMIT:
        raise InvalidRequest(f"invalid host unix://{path}: a socket's path has at most {_PATH_LIMIT} bytes")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise Conflict(f"cannot listen on {path}: {error.strerror}") from error
    _clear(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)  # from its first moment the socket is nobody else's
    try:
        listening.bind(str(path))
    except OSError as error:
        listening.close()
        raise Conflict(f"cannot listen on {path}: {error.strerror}") from error
    finally:
        os.umask(mask)
    try:
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
        path.chmod(0o660)
    except KeyError:
        LOG.info("there is no group %r: root alone can use %s", group, path)
    except OSError as error:
        listening.close()
        path.unlink(missing_ok=True)
        raise Conflict(f"cannot give {path} to the group {group}: {error.strerror}") from error
    return listening


def _clear(path: Path) -> None:
    """Removes a socket that nobody listens on. Conflict when somebody does, or when it is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise Conflict(f"cannot listen on {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"cannot listen on {path}: there is something else, which is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise Conflict(f"cannot listen on {path}: {error}") from error
    raise Conflict(f"a daemon listens on {path} already", remedy="stop it, or choose another socket with --host")


def _passed(host: str) -> list[socket.socket]:
    """The sockets that systemd opened for us (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise InvalidRequest(f"cannot listen on {host}: systemd passed no socket to this process")
    count = int(os.environ.get("LISTEN_FDS", "0"))
    sockets = [socket.socket(fileno=_FIRST_PASSED + index) for index in range(count)]
    for each in sockets:
        each.set_inheritable(False)
        if each.family != socket.AF_UNIX:
            raise NotSupported(f"cannot listen on {host}: the socket that systemd passed is not a unix socket")
    return sockets
