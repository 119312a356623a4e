"""The daemon's composition root: settings, lock, engine, server, signals.

``main`` runs in the foreground until SIGTERM or SIGINT, which leave all containers running.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from linkspan.api import config as settings
from linkspan.api.router import Application
from linkspan.api.routes import router
from linkspan.api.server import Server
from linkspan.api.sole_daemon import sole_daemon
from linkspan.engine.config import DaemonConfig
from linkspan.errors import Conflict, LinkspanError

LOG = logging.getLogger(__name__)

PID_FILE = "linkspan.pid"
"""Below the exec-root, unless ``--pidfile`` names another."""

MOST_FILES = 1 << 20

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}


def main(arguments: Sequence[str]) -> int:
    """Runs the daemon; its exit status. Mistakes are one line on standard error."""
    try:
        config, validate = settings.parse(arguments)
        if validate:
            print("configuration OK")
            return 0
        _start_logging(config.log_level)
        os.chdir("/")  # no folder of the caller's is held or written to
        _raise_file_limit()
        with _locked(config), sole_daemon(), _pid_file(config.pid_file or config.exec_root / PID_FILE):
            _run(config)
    except LinkspanError as error:
        print(f"linkspan: {error}", file=sys.stderr)
        return 1
    except BaseExceptionGroup as group:
        ours, bugs = group.split(LinkspanError)
        if bugs is not None:
            raise
        for each in ours.exceptions if ours else ():
            print(f"linkspan: {each}", file=sys.stderr)
        return 1
    return 0


def _raise_file_limit() -> None:
    """Two descriptors a container soon use up a shell's limit; our service file asks for as much as this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _run(config: DaemonConfig) -> None:
    """On uvloop where it is installed: it halves the time of a request."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(config))
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config))


async def _serve(config: DaemonConfig) -> None:
    from linkspan.engine import Engine

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, LOG.info, "SIGHUP ignored: settings are read at the start")
    engine = Engine(config)
    await engine.start()
    try:
        server = Server(Application(engine, router()), group=config.group)
        await server.start(config.hosts)
        try:
            gc.collect()
            gc.freeze()  # what exists now stays: later collections need not look at it
            print(f"linkspan: listening on {', '.join(config.hosts)}", file=sys.stderr, flush=True)
            _notify("READY=1")
            await stop.wait()
            _notify("STOPPING=1")
        finally:
            await server.stop(config.shutdown_timeout)
    finally:
        await engine.stop()


def _start_logging(level: str) -> None:
    logging.basicConfig(
        level=_LEVELS[level], stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


@contextlib.contextmanager
def _locked(config: DaemonConfig) -> Iterator[None]:
    """One daemon an exec-root (flock(2)); the store locks the data-root. Conflict when it is taken."""
    folder = config.exec_root
    try:
        for each in (folder, config.data_root):
            each.mkdir(mode=0o711, parents=True, exist_ok=True)
        file = (folder / "daemon.lock").open("a", encoding="ascii")
    except OSError as error:
        raise Conflict(f"cannot use {error.filename or folder}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"exec-root {folder} is in use by another Linkspan daemon",
                remedy="stop that one or give this one another --exec-root",
            ) from None
        yield


@contextlib.contextmanager
def _pid_file(path: Path) -> Iterator[None]:
    try:
        path.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as error:
        raise Conflict(f"cannot write the pid file {path}: {error.strerror}") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _notify(state: str) -> None:
    """Tells systemd (sd_notify(3)) when it asked for it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    target = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier, contextlib.suppress(OSError):
        notifier.connect(target)
        notifier.sendall(state.encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
