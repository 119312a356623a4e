"""The command line: it starts the daemon, completes words in real shells, and prints and fails as Docker's does."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from container_lab import SLEEP, Client
from daemons import LINKSPAN, eventually
from linkspan.runtime.mountspace import root_is_mount_point

pytestmark = pytest.mark.scenario

FOLDERS = ("/run", "/var/lib", "/var/log", "/etc/linkspan")
"""Where a daemon with default settings works and looks: an empty tmpfs each, as far as they exist."""


# --- starting the daemon ---------------------------------------------------------------------------------------------


class Machine:
    """A mount and a network namespace in which a daemon with default paths touches nothing of this machine."""

    def __init__(self) -> None:
        mounts = [f"mount -t tmpfs none {folder}" for folder in FOLDERS if Path(folder).is_dir()]
        text = "; ".join(["mount --make-rprivate /", *mounts, "ip link set lo up; echo ready; exec sleep 600"])
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--net", "--", "sh", "-c", text], stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"

    def start(self, *words: str) -> subprocess.Popen[str]:
        pid = str(self._holder.pid)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("LINKSPAN", "DOCKER"))}
        return subprocess.Popen(
            ["nsenter", "--target", pid, "--mount", "--net", "--", *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        out, error = process.communicate(timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, out, error)

    def daemons(self) -> list[int]:
        """The pids of daemons in this network namespace."""
        own = os.readlink(f"/proc/{self._holder.pid}/ns/net")
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                is_daemon = b"linkspan.api.daemon" in (entry / "cmdline").read_bytes()
                if is_daemon and os.readlink(entry / "ns/net") == own:
                    found.append(int(entry.name))
        return found

    def close(self) -> None:
        for pid in self.daemons():
            os.kill(pid, 15)
        eventually(lambda: not self.daemons(), "the daemon has ended")
        self._holder.kill()
        self._holder.wait()


@pytest.fixture
def machine() -> Iterator[Machine]:
    if not root_is_mount_point():
        pytest.skip("in a plain chroot mounts cannot be kept from the rest of the machine")
    machine = Machine()
    yield machine
    machine.close()


def test_the_first_command_starts_the_daemon_and_later_ones_use_it(
    machine: Machine, image_archives: list[Path]
) -> None:
    done = machine.run(LINKSPAN, "ps")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("CONTAINER ID")
    (pid,) = machine.daemons()
    assert machine.run("stat", "-c", "%a", "/run/linkspan/linkspan.sock").stdout.strip() in ("600", "660")
    assert machine.run(LINKSPAN, "load", "-q", "-i", str(image_archives[0])).returncode == 0
    assert machine.run(LINKSPAN, "run", "--rm", "busybox", "echo", "hello").stdout == "hello\n"
    assert machine.daemons() == [pid]
    assert os.getsid(pid) != os.getsid(0), "it lives in a session of its own"
    assert "listening on unix:///run/linkspan/linkspan.sock" in machine.run("cat", "/var/log/linkspan.log").stdout
    assert "Traceback" not in machine.run("cat", "/var/log/linkspan.log").stdout
    os.kill(pid, 9)
    assert machine.run(LINKSPAN, "images", "--format", "{{.Repository}}").stdout == "busybox\n"


def test_many_first_commands_at_once_start_one_daemon(machine: Machine) -> None:
    processes = [machine.start(LINKSPAN, "network", "ls", "-q") for _ in range(8)]
    outputs = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 8
    assert len(outputs) == 1
    assert len(machine.daemons()) == 1


def test_a_daemon_that_cannot_start_is_explained(machine: Machine) -> None:
    machine.run("sh", "-c", 'echo \'{"mtu": "x"}\' > /etc/linkspan/daemon.json')
    if not Path("/etc/linkspan").exists():
        machine.run("sh", "-c", "touch /var/lib/linkspan")
    done = machine.run(LINKSPAN, "ps")
    assert done.returncode == 1
    assert "the daemon ended at its start" in done.stderr
    assert "/var/lib/linkspan" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_socket_starts_nothing(machine: Machine) -> None:
    for environment in ("LINKSPAN_AUTOSTART=0", "DOCKER_HOST=unix:///run/other.sock"):
        done = machine.run("env", environment, LINKSPAN, "ps")
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1
    assert machine.daemons() == []


# --- shells ----------------------------------------------------------------------------------------------------------


def completed(client: Client, *words: str) -> list[str]:
    """What bash offers for the last of the words, with the script that a person sources."""
    quoted = " ".join(f"'{word}'" for word in ("linkspan", *words))
    text = f"""source <(linkspan completion bash)
        COMP_WORDS=({quoted}) COMP_CWORD={len(words)} COMP_LINE="${{COMP_WORDS[*]}}"
        COMP_POINT=${{#COMP_LINE}}
        _linkspan
        printf '%s\\n' "${{COMPREPLY[@]}}" """
    path = f"{Path(LINKSPAN).parent}:{os.environ['PATH']}"
    done = client.daemon.run("env", f"PATH={path}", "bash", "--norc", "-c", text)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_options_and_names(linkspan: Client) -> None:
    linkspan("network", "create", "web")
    linkspan.sleeper("runner")
    linkspan("create", "--name", "resting", *SLEEP)
    assert {"network"} == set(completed(linkspan, "netw"))
    assert {"run", "rm", "rmi", "rename", "restart"} <= set(completed(linkspan, "r"))
    assert set(completed(linkspan, "network", "")) >= {
        "create",
        "ls",
        "inspect",
        "connect",
        "disconnect",
        "rm",
        "prune",
    }
    assert completed(linkspan, "network", "rm", "w") == ["web"]
    assert completed(linkspan, "run", "--netw") == ["--network", "--network-alias"]
    assert "web" in completed(linkspan, "run", "--network", "")
    assert completed(linkspan, "stop", "r") == ["runner"]
    assert completed(linkspan, "start", "r") == ["resting"]
    assert set(completed(linkspan, "rm", "r")) == {"runner", "resting"}
    assert completed(linkspan, "run", "--rm", "bus") in (["busybox"], ["busybox", "busybox:latest"], ["busybox:latest"])
    assert completed(linkspan, "run", "--restart", "un") == ["unless-stopped"]


def test_bash_completes_what_is_typed_in_a_terminal(linkspan: Client) -> None:
    path = f"{Path(LINKSPAN).parent}:{os.environ['PATH']}"
    shell = Client(linkspan.daemon, "env")
    linkspan("network", "create", "thisnetwork")
    with shell.terminal(f"PATH={path}", "PS1=> ", "bash", "--norc", "--noprofile", columns=200) as terminal:
        terminal.expect("> ")
        terminal.type("source <(linkspan completion bash)\n")
        terminal.expect("> ")
        terminal.type("linkspan netw\tinsp\tthisn\t --format '{{.Driver}}'\n")
        assert "linkspan network inspect thisnetwork " in terminal.expect("bridge\r\n")
        terminal.expect("> ")
        terminal.type("linkspan run --network=thisn\t")
        terminal.expect("--network=thisnetwork")
        terminal.type(" --rm bus\t")
        terminal.expect("busybox")
        terminal.type("\x15linkspan rmi busybox:lat\t")
        terminal.expect("busybox:latest")
        terminal.type("\x15exit\n")
        terminal.end()


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_takes_the_script(linkspan: Client) -> None:
    path = f"{Path(LINKSPAN).parent}:{os.environ['PATH']}"
    text = "autoload -Uz compinit; compinit -D; source <(linkspan completion zsh); echo $_comps[linkspan]"
    done = linkspan.daemon.run("env", f"PATH={path}", "zsh", "-f", "-c", text)
    assert (done.stdout.strip(), done.stderr) == ("_linkspan", "")


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_takes_the_script(linkspan: Client) -> None:
    path = f"{Path(LINKSPAN).parent}:{os.environ['PATH']}"
    text = "linkspan completion fish | source; complete -C 'linkspan netw'"
    done = linkspan.daemon.run("env", f"PATH={path}", "fish", "--no-config", "-c", text)
    assert done.stdout.startswith("network"), done.stderr


# --- help, formats, mistakes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("nonsense",), 1, "nonsense"),
        (("rnu", "busybox"), 1, "run"),
        (("ps", "--nonsense"), 125, "nonsense"),
        (("run",), 1, "at least 1 argument"),
        (("run", "--memory", "busybox"), 125, ""),
        (("stop",), 1, "at least 1 argument"),
        (("rename", "a"), 1, "2 arguments"),
        (("inspect", "nothing-here"), 1, "nothing-here"),
        (("inspect", "--format", "{{.Nope", "x"), 64, "template parsing error"),
        (("ps", "--format", "{{.Nope"), 1, "template parsing error"),
        (("exec", "nothing-here", "true"), 1, "No such container"),
        (("network", "rm", "nothing-here"), 1, "not found"),
    ],
)
def test_mistakes_have_dockers_exit_status_and_say_what_is_wrong(
    linkspan: Client, docker: Client, words: tuple[str, ...], status: int, said: str
) -> None:
    done = linkspan.run(*words)
    assert done.returncode == docker.run(*words).returncode
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_templates_print_what_dockers_print(linkspan: Client, docker: Client) -> None:
    linkspan("network", "create", "--label", "tier=front", "web")
    linkspan.sleeper("it", "--network", "web", "--label", "a=b", "-e", "X=y z", "-v", "data:/d")
    for words in (
        ("ps", "--format", "{{.ID}}: {{.Names}}"),
        ("ps", "--format", "table {{.Names}}\t{{.Image}}\t{{.State}}"),
        ("ps", "--no-trunc", "--format", "{{json .Names}} {{json .Labels}}"),
        ("network", "ls", "--format", "{{.Name}}:{{.Driver}}:{{.Labels}}"),
        ("network", "ls", "-q", "--no-trunc"),
        ("volume", "ls", "--format", "{{.Name}} {{.Mountpoint}}"),
        ("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}"),
        ("inspect", "it", "--format", '{{json .Config.Labels}} {{index .Config.Labels "a"}}'),
        ("inspect", "it", "--format", "{{range .Config.Env}}{{println .}}{{end}}"),
        ("inspect", "it", "--format", '{{range $i, $e := .Config.Cmd}}{{if $i}}, {{end}}{{$e | printf "%q"}}{{end}}'),
        ("inspect", "it", "--format", "{{with .HostConfig}}{{.Memory}}{{else}}none{{end}} {{len .Mounts}}"),
        ("inspect", "it", "--format", '{{if eq .State.Status "running"}}up{{else}}down{{end}} {{not .State.Paused}}'),
        ("inspect", "it", "--format", '{{join .Config.Cmd " "}} {{title .State.Status}} {{lower .Name}}'),
        ("network", "inspect", "web", "--format", "{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}{{end}}"),
        ("network", "inspect", "web", "--format", "{{range $id, $c := .Containers}}{{$c.Name}} {{end}}"),
        ("version", "--format", "{{.Server.MinAPIVersion}}"),
        ("info", "--format", "{{.Driver}} {{.ContainersRunning}} {{.ID}}"),
        ("system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}}"),
    ):
        assert without_builds(linkspan(*words)) == without_builds(docker(*words)), words


def without_builds(text: str) -> str:
    """Docker's client knows of a build cache that we do not have."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("Build Cache"))


def test_disk_usage_counts_what_is_in_use(linkspan: Client, docker: Client) -> None:
    linkspan.sleeper("it", "-v", "data:/d")
    linkspan("exec", "it", "sh", "-c", "head -c 100000 /dev/zero > /d/file; head -c 200000 /dev/zero > /file")
    for client in (linkspan, docker):
        shown = client(
            "system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}} {{.Reclaimable}}"
        ).splitlines()
        assert re.match(r"Images 2 1 [\d.]+MB \(8\d%\)", shown[0]), shown
        assert shown[1].startswith("Containers 1 1 0B")
        assert shown[2].startswith("Local Volumes 1 1 0B")
    document = json.loads(
        linkspan.daemon.run("curl", "-s", "--unix-socket", str(linkspan.daemon.socket), "http://x/system/df").stdout
    )
    assert sorted(image["Containers"] for image in document["Images"]) == [0, 1]
    assert {image["SharedSize"] for image in document["Images"]} == {0}
    assert "it" in linkspan("system", "df", "-v")


def test_inspect_finds_everything_by_name_or_id(linkspan: Client, docker: Client) -> None:
    linkspan("network", "create", "web")
    linkspan("volume", "create", "data")
    identity = linkspan.sleeper("it")
    for client in (linkspan, docker):
        assert json.loads(client("inspect", identity[:8]))[0]["Name"] == "/it"
        assert json.loads(client("inspect", "web"))[0]["Driver"] == "bridge"
        assert json.loads(client("inspect", "data"))[0]["Mountpoint"]
        assert json.loads(client("inspect", "busybox"))[0]["RepoTags"] == ["busybox:latest"]
        assert "o such" in client.refused("inspect", "--type", "volume", "it")
        done = client.run("inspect", "it", "missing")
        assert done.returncode == 1
        assert len(json.loads(done.stdout)) == 1
        assert "missing" in done.stderr


def test_the_module_runs_too(linkspan: Client) -> None:
    done = linkspan.daemon.run(sys.executable, "-m", "linkspan.cli.main", "version", "--format", "{{.Client.Version}}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == linkspan("version", "--format", "{{.Server.Version}}").strip()
