"""A real daemon for scenarios: in a network namespace of its own, with folders and a socket of its own.

The namespace is held by the test, so that the daemon can be killed and started again in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from namespaces import Namespace

LINKSPAN = str(Path(sys.executable).with_name("linkspan"))
PATIENCE = 20.0
"""Seconds until something that should happen counts as not happening."""
LOG_LINES = 60

Done = subprocess.CompletedProcess[str]


def eventually(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Waits until the condition holds. AssertionError naming ``what`` when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} seconds still not: {what}")
        time.sleep(0.05)


class Daemon:
    """``folder`` holds everything of it. ``options`` are further words for ``linkspan daemon``."""

    def __init__(self, folder: Path, *options: str, namespace: Namespace | None = None) -> None:
        self.folder = folder
        self.options = options
        self.data_root = folder / "data"
        self.exec_root = folder / "run"
        self.socket = folder / "s"
        self.log = folder / "daemon.log"
        self.namespace = namespace or Namespace()
        self.instance = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._log_text = ""
        folder.mkdir(parents=True, exist_ok=True)

    # --- the process -------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Of the running daemon."""
        if self._process is None:
            raise AssertionError("the daemon is not running")
        return self._process.pid

    def start(self) -> None:
        """Starts it and waits until it answers. AssertionError with its log when it does not."""
        words = (
            *self.namespace.prefix(),
            *(sys.executable, "-m", "linkspan.api.daemon"),
            *(
                "--data-root",
                str(self.data_root),
                "--exec-root",
                str(self.exec_root),
                "--host",
                f"unix://{self.socket}",
            ),
            *self.options,
        )
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(self.namespace.descriptor,)
            )
        process = self._process
        try:
            eventually(lambda: process.poll() is not None or self.answers(), "the daemon answers /_ping")
            if process.poll() is not None:
                raise AssertionError(f"the daemon ended with status {process.returncode}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_end()}") from None
        self.instance = self.linkspan("info", "--format", "{{.ID}}").strip()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Sends a signal and waits for the end; its exit status, negative for a signal."""
        if self._process is None:
            raise AssertionError("the daemon is not running")
        process, self._process = self._process, None
        process.send_signal(number)
        return process.wait(timeout=PATIENCE)

    def stop(self) -> int:
        """SIGTERM: containers run on."""
        return self.kill(signal.SIGTERM)

    def restart(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends it in the given way and starts it again."""
        self.kill(number)
        self.start()

    def restart_killed(self) -> None:
        """Starts it again after somebody else has killed it."""
        if self._process is not None:
            self._process.wait(timeout=PATIENCE)
            self._process = None
        self.start()

    def answers(self) -> bool:
        """Whether ``/_ping`` gives OK."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            try:
                client.connect(str(self.socket))
                client.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return client.recv(4096).startswith(b"HTTP/1.1 200 ")
            except OSError:
                return False

    @property
    def log_text(self) -> str:
        """Its log; kept when its folder is gone."""
        if self.log.exists():
            self._log_text = self.log.read_text(errors="replace")
        return self._log_text

    def log_end(self) -> str:
        """The last lines of its log."""
        return "\n".join(["--- the end of the daemon's log:", *self.log_text.splitlines()[-LOG_LINES:]])

    # --- its clients -------------------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """What clients need in their environment."""
        host = f"unix://{self.socket}"
        return {**os.environ, "DOCKER_HOST": host, "LINKSPAN_HOST": host, "LINKSPAN_AUTOSTART": "0"}

    def run(self, *words: str, stdin: str | None = None, timeout: float = 60.0) -> Done:
        """Any program inside the daemon's network namespace, as its clients are."""
        return subprocess.run(
            [*self.namespace.prefix(), *words],
            env=self.environment,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            pass_fds=(self.namespace.descriptor,),
        )

    def linkspan(self, *words: str, stdin: str | None = None, timeout: float = 60.0) -> str:
        """What ``linkspan WORDS`` prints. AssertionError when it fails."""
        return self._checked(self.run(LINKSPAN, *words, stdin=stdin, timeout=timeout))

    def docker(self, *words: str, stdin: str | None = None, timeout: float = 60.0) -> str:
        """What the real ``docker WORDS`` prints. AssertionError when it fails."""
        return self._checked(self.run("docker", *words, stdin=stdin, timeout=timeout))

    def refused(self, *words: str, status: int | None = None) -> str:
        """The standard error of a ``linkspan`` command that must fail."""
        done = self.run(LINKSPAN, *words)
        if done.returncode == 0 or (status is not None and done.returncode != status):
            raise AssertionError(f"{' '.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stderr.strip()

    def inspect(self, *words: str) -> Mapping[str, object]:
        """The one document that ``linkspan inspect WORDS`` prints."""
        documents: list[dict[str, object]] = json.loads(self.linkspan("inspect", *words))
        return documents[0]

    def address(self, container: str, network: str = "") -> str:
        """The container's IPv4 address, on the named network or on its only one."""
        which = f'(index .NetworkSettings.Networks "{network}").IPAddress' if network else ""
        every = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return self.linkspan("inspect", "--format", f"{{{{{which}}}}}" if which else every, container).strip()

    def _checked(self, done: Done) -> str:
        if done.returncode:
            words = " ".join(str(word) for word in done.args[len(self.namespace.prefix()) :])
            raise AssertionError(f"{words}: status {done.returncode}\n{done.stdout}{done.stderr}\n{self.log_end()}")
        return done.stdout

    # --- the end -----------------------------------------------------------------------------------------------

    def take_down(self) -> list[str]:
        """Removes all containers and networks, stops the daemon, and says what is left of it that should not be."""
        if self._process is None or self._process.poll() is not None:
            self.start()
        containers = self.linkspan("ps", "-aq").split()
        if containers:
            self.linkspan("rm", "-f", *containers)
        self.linkspan("network", "prune", "-f")
        self.stop()
        found: list[str] = []
        with contextlib.suppress(AssertionError):
            eventually(lambda: not self.left_over(), "nothing left", seconds=5)
        found += self.left_over()
        self.erase()
        return found

    def left_over(self) -> list[str]:
        """Links in the daemon's namespace, namespace pins and container mounts, processes that name its folder."""
        links = self.namespace.run("ip", "-br", "link").stdout.splitlines()
        return [
            *(f"link {line}" for line in links if not line.startswith(("lo ", "linkspan0 "))),
            *(f"mount {path}" for path in self.mounts() if path not in self.standing_mounts()),
            *(f"cgroup {path}" for path in self.cgroups()),
            *(f"process {line}" for line in self.processes()),
        ]

    def standing_mounts(self) -> set[str]:
        """The shared binds that a stopped daemon leaves for the next one: they hold nothing."""
        return {str(self.data_root), str(self.exec_root), str(self.exec_root / "netns")}

    def mounts(self) -> list[str]:
        """Mount points below its folder, innermost last."""
        points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        return [point for point in points if point.startswith(f"{self.folder}/")]

    def processes(self) -> Iterator[str]:
        """Processes whose command line names its folder."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if f"{self.folder}/" in command:
                        yield f"{entry.name} {command[:120]}"

    def erase(self) -> None:
        """Ends and removes whatever there is, so that a failed test does not spoil the next one."""
        if self._process is not None:
            self.kill()
        self._log_text = self.log_text
        for line in list(self.processes()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line.split()[0]), signal.SIGKILL)
        for point in reversed(self.mounts()):
            subprocess.run(["umount", "-l", point], check=False, capture_output=True)
        for cgroup in self.cgroups():
            with contextlib.suppress(OSError):
                cgroup.rmdir()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.namespace.close()

    def cgroups(self) -> list[Path]:
        """Its folders in every cgroup hierarchy, innermost first: one for the daemon, below it one a container."""
        if not self.instance:
            return []
        own = f"linkspan-{self.instance}"
        folders = (Path(folder) for folder, _, _ in os.walk("/sys/fs/cgroup"))  # others' folders may go meanwhile
        return sorted((folder for folder in folders if own in folder.parts), key=lambda path: -len(path.parts))


Launch = Callable[..., Daemon]
"""Starts a daemon with options of ``linkspan daemon``."""
