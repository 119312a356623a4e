"""Starting a daemon from the command line, with a stand-in for the daemon's interpreter and folders of our own."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the daemon")

DAEMON = """#!{python}
import os, socket, sys, time
if "{mode}" == "broken":
    print("the data-root is read-only", file=sys.stderr)
    sys.exit(1)
with open("{folder}/started", "a") as file:
    file.write(str(os.getpid()) + "\\n")
time.sleep(0.2)
listener = socket.socket(socket.AF_UNIX)
listener.bind("{folder}/run/linkspan.sock")
listener.listen(16)
listener.settimeout(20)
served = 0
while served < {expected}:
    connection, _ = listener.accept()
    request = connection.recv(65536)
    served += b"/networks" in request
    body = b"" if b"_ping" in request else b"[]"
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
    connection.close()
"""

PROGRAM = """
import sys
from linkspan.cli import autostart, client
client.DEFAULT_SOCKET = "{folder}/run/linkspan.sock"
autostart.RUN_FOLDER = "{folder}/run"
autostart.LOG = "{folder}/daemon.log"
from linkspan.cli.main import main
sys.exit(main(["network", "ls"]))
"""


def command_lines(folder: Path, *, count: int, mode: str = "works") -> list[subprocess.Popen[str]]:
    interpreter = folder / "python"
    interpreter.write_text(DAEMON.format(python=sys.executable, folder=folder, expected=count, mode=mode))
    interpreter.chmod(interpreter.stat().st_mode | stat.S_IXUSR)
    environment = {**os.environ, "LINKSPAN_PYTHON": str(interpreter), "LINKSPAN_HOST": "", "DOCKER_HOST": ""}
    program = PROGRAM.format(folder=folder)
    return [
        subprocess.Popen(
            [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(count)
    ]


def test_two_command_lines_start_one_daemon(tmp_path: Path) -> None:
    running = command_lines(tmp_path, count=2)
    said = [process.communicate(timeout=20) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert all("NETWORK ID" in out for out, _ in said)
    (pid,) = (tmp_path / "started").read_text().split()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/status").exists() and time.monotonic() < deadline:
        if "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
            break
        time.sleep(0.05)


def test_a_daemon_that_cannot_start_says_why(tmp_path: Path) -> None:
    (process,) = command_lines(tmp_path, count=1, mode="broken")
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said.startswith("linkspan: the daemon ended at its start; the end of ")
    assert "the data-root is read-only" in said
    assert "Traceback" not in said
