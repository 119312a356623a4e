"""What scenarios of containers use: both clients, terminals, cgroup files, and raw requests."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from daemons import PATIENCE, Daemon, Done, eventually

Json = Any
SLEEP = ("busybox", "sleep", "1000")
TRUE = ("busybox", "true")


class Client:
    """One of the two command lines, ``linkspan`` or ``docker``, at one daemon."""

    def __init__(self, daemon: Daemon, program: str) -> None:
        self.daemon = daemon
        self.program = program

    @property
    def is_docker(self) -> bool:
        return Path(self.program).name == "docker"

    def __call__(self, *words: str, stdin: str | None = None, timeout: float = 60.0) -> str:
        """What it prints. AssertionError when it fails."""
        done = self.run(*words, stdin=stdin, timeout=timeout)
        assert done.returncode == 0, f"{' '.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run(self, *words: str, stdin: str | None = None, timeout: float = 60.0) -> Done:
        return self.daemon.run(self.program, *words, stdin=stdin, timeout=timeout)

    def status(self, *words: str) -> int:
        """Its exit status."""
        return self.run(*words).returncode

    def refused(self, *words: str, status: int = 1) -> str:
        """Its standard error; it must fail with ``status``."""
        done = self.run(*words)
        assert done.returncode == status, f"{' '.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stderr.strip()

    def sleeper(self, name: str, *options: str) -> str:
        """Runs a container that does nothing and ends at once when it is stopped; its id."""
        return self("run", "-d", "--name", name, "--stop-signal", "KILL", *options, *SLEEP).strip()

    def script(self, name: str, text: str, *options: str) -> str:
        """Runs a shell script in the background; its id."""
        return self("run", "-d", "--name", name, *options, "busybox", "sh", "-c", text).strip()

    def output(self, text: str, *options: str) -> str:
        """What a shell script prints in a new container."""
        return self("run", "--rm", *options, "busybox", "sh", "-c", text)

    def format(self, name: str, template: str) -> str:
        """``inspect --format``."""
        return self("inspect", "--format", template, name).strip()

    def inspect(self, name: str) -> Json:
        return json.loads(self("inspect", name))[0]

    def state(self, name: str) -> str:
        return self.format(name, "{{.State.Status}}")

    def until(self, name: str, status: str) -> None:
        """Waits until the container has this status."""
        eventually(lambda: self.state(name) == status, f"{name} is {status}")

    def start(self, *words: str, stdin: int | None = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Begins a command; its output is read through pipes. End it."""
        return subprocess.Popen(
            [*self.daemon.namespace.prefix(), self.program, *words],
            env=self.daemon.environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(self.daemon.namespace.descriptor,),
        )

    def terminal(self, *words: str, rows: int = 24, columns: int = 80) -> Terminal:
        """Begins a command on a terminal of its own."""
        return Terminal(self.daemon, [self.program, *words], rows, columns)


class Terminal:
    """A command on a pseudo-terminal, as a person has it."""

    def __init__(self, daemon: Daemon, words: list[str], rows: int, columns: int) -> None:
        self._master, slave = pty.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *daemon.namespace.prefix(), *words],
            env={**daemon.environment, "TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            pass_fds=(daemon.namespace.descriptor,),
        )
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """As when the window changes: the kernel tells the foreground process (tty_ioctl(4))."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def expect(self, text: str) -> str:
        """Reads until ``text`` has been shown; all that came since the last call."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            if time.monotonic() > deadline or not self._read(deadline):
                raise AssertionError(f"not shown: {text!r}, but {self.seen!r}")
        shown, _, self.seen = self.seen.partition(text)
        return shown + text

    def end(self) -> int:
        """Waits for the command's end; its exit status. What it showed is in ``seen``."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self.process.wait(timeout=PATIENCE)

    def settings(self) -> list[Any]:
        """termios(3) of the terminal."""
        return termios.tcgetattr(self._master)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # nobody holds the other side any more
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        finish(self.process)
        os.close(self._master)


@contextlib.contextmanager
def running(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Ends it at the end of the block, if it has not ended."""
    try:
        yield process
    finally:
        finish(process)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def finish(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait(timeout=PATIENCE)


def line_of(process: subprocess.Popen[bytes], seconds: float = PATIENCE) -> str:
    """The next line that it prints. AssertionError when none comes."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    text, deadline = b"", time.monotonic() + seconds
    while not text.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"no line within {seconds:g} seconds, only {text!r}"
        data = os.read(descriptor, 1)
        assert data, f"it ended after {text!r}"
        text += data
    return text.decode().rstrip("\n")


def one_sentence(said: str) -> None:
    """An error says what is wrong in one line; the clients' hints at their help, and their own log, do not count."""
    own = ("Usage:", 'time="')
    lines = [line for line in said.splitlines() if line and "--help" not in line and not line.startswith(own)]
    assert len(lines) == 1, said


# --- the host's side -----------------------------------------------------------------------------------------------


def pid_of(client: Client, name: str) -> int:
    """The host's pid of the container's first process."""
    return int(client.format(name, "{{.State.Pid}}"))


def process_status(pid: int) -> dict[str, str]:
    """/proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def mounts_inside(pid: int) -> dict[str, tuple[str, set[str]]]:
    """Mount point -> (file system, its options), as a process sees them; the topmost of several."""
    found = {}
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        words, kind = before.split(), after.split()
        found[words[4]] = (kind[0], {*words[5].split(","), *kind[2].split(",")})
    return found


def cgroup_value(pid: int, controller: str, name1: str, name2: str) -> str:
    """The content of a file in the group that a process is in: of v1's or hybrid's controller, or of v2's tree."""
    hierarchies = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    for _, names, path in hierarchies:
        if controller in names.split(","):
            return (Path("/sys/fs/cgroup") / controller / path.lstrip("/") / name1).read_text().strip()
    unified = next(path for _, names, path in hierarchies if not names)
    return (Path("/sys/fs/cgroup") / unified.lstrip("/") / name2).read_text().strip()


def gone(client: Client, identity: str) -> Callable[[], bool]:
    """Whether nobody knows the container any more."""
    return lambda: identity[:12] not in client("ps", "-a", "--format", "{{.ID}}").split()


# --- raw requests --------------------------------------------------------------------------------------------------


def raw(daemon: Daemon, method: str, target: str, body: object = None) -> tuple[int, dict[str, str], bytes]:
    """One request as it is, its path with a version or without: status, headers (lower case), body."""
    connection = http.client.HTTPConnection("localhost", timeout=30)
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(30)
        connection.sock.connect(str(daemon.socket))
        text = None if body is None else json.dumps(body)
        connection.request(method, target, text, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def conversation(daemon: Daemon, request: bytes) -> socket.socket:
    """A connection on which ``request`` was sent. Close it."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    connection.connect(str(daemon.socket))
    connection.sendall(request)
    return connection


def received(connection: socket.socket, mark: bytes) -> bytes:
    """All that arrives up to ``mark``, and no byte more."""
    data = b""
    while not data.endswith(mark):
        byte = connection.recv(1)
        assert byte, f"the daemon closed after {data!r}"
        data += byte
    return data
