"""Starting the daemon when none listens on the default socket, so that the first command just works."""

from __future__ import annotations

import fcntl
import os
import sys
import time

from linkspan.cli.client import DEFAULT_SOCKET, Client
from linkspan.cli.failure import Unreachable

RUN_FOLDER = os.path.dirname(DEFAULT_SOCKET)
LOG = "/var/log/linkspan.log"
UNIT = "linkspan.service"
PATIENCE = 10.0
"""Seconds until a daemon that does not answer counts as failed."""


def daemon_command() -> list[str]:
    """The words that run a daemon: this interpreter, with its site-packages, whatever the launcher left out."""
    return [os.environ.get("LINKSPAN_PYTHON") or sys.executable, "-m", "linkspan.api.daemon"]


def daemon_environment() -> dict[str, str]:
    """The environment for it. A launcher that runs Python with ``-S`` found this package by a path of its own."""
    environment = dict(os.environ)
    if sys.flags.no_site:
        environment["PYTHONPATH"] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return environment


def start_daemon(client: Client) -> None:
    """Starts one daemon and waits until it answers; a second caller waits for the first. Raises Unreachable."""
    if os.geteuid() != 0:
        raise Unreachable(
            f"linkspan: no daemon runs at unix://{client.path}, and only root may start one: use sudo once, or ask"
            " the administrator to start it"
        )
    os.makedirs(RUN_FOLDER, mode=0o755, exist_ok=True)
    lock = os.open(os.path.join(RUN_FOLDER, "start.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _answers(client):
            _start(client)
    finally:
        os.close(lock)


def _start(client: Client) -> None:
    if _managed_by_systemd():
        status = os.spawnvp(os.P_WAIT, "systemctl", ["systemctl", "start", UNIT])
        if status != 0:
            raise Unreachable(f"linkspan: systemctl start {UNIT} failed: see 'journalctl -u {UNIT}'")
        _wait(client, 0, "")
        return
    log = _open_log()
    begin = os.path.getsize(log)
    _wait(client, _spawn(log), log, begin)


def _managed_by_systemd() -> bool:
    if not os.path.isdir("/run/systemd/system"):
        return False
    folders = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
    return any(os.path.exists(os.path.join(folder, UNIT)) for folder in folders)


def _open_log() -> str:
    for path in (LOG, os.path.join(RUN_FOLDER, "daemon.log")):
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640))
        except OSError:
            continue
        return path
    raise Unreachable(f"linkspan: neither {LOG} nor {RUN_FOLDER}/daemon.log can be written, so no daemon was started")


def _spawn(log: str) -> int:
    """The daemon in a session of its own, without our terminal or working folder. Returns its pid."""
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        os.chdir("/")
        nothing = os.open(os.devnull, os.O_RDONLY)
        output = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, 256)
        command = daemon_command()
        os.execve(command[0], command, daemon_environment())
    finally:
        os._exit(127)


def _wait(client: Client, child: int, log: str, begin: int = 0) -> None:
    end = time.monotonic() + PATIENCE
    pause = 0.01
    while time.monotonic() < end:
        if _answers(client):
            return
        if child and os.waitpid(child, os.WNOHANG)[0] == child:
            raise Unreachable(_told("linkspan: the daemon ended at its start", log, begin))
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    raise Unreachable(_told(f"linkspan: the daemon does not answer after {PATIENCE:.0f} seconds", log, begin))


def _told(sentence: str, log: str, begin: int) -> str:
    if not log:
        return f"{sentence}: see 'journalctl -u {UNIT}'"
    with open(log, "rb") as file:
        file.seek(begin)
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return "\n".join([f"{sentence}; the end of {log}:", *(f"  {line}" for line in lines[-5:])])


def _answers(client: Client) -> bool:
    try:
        connection = client.connect()
    except OSError:
        return False
    try:
        connection.settimeout(5)
        connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: linkspan\r\nConnection: close\r\n\r\n")
        return connection.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
    finally:
        connection.close()
