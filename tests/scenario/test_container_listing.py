"""``ps`` and ``inspect``: filters and formats, the same with ``linkspan`` and with the real ``docker``."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import pytest

from container_lab import SLEEP, Client
from daemons import LINKSPAN, Daemon

pytestmark = [
    pytest.mark.scenario,
    pytest.mark.skipif(shutil.which("docker") is None, reason="no docker client here to compare with"),
]


@pytest.fixture(scope="module")
def crowd(module_daemon: Daemon) -> Iterator[Daemon]:
    """Containers in all states."""
    run = module_daemon.linkspan
    run("network", "create", "web")
    run("volume", "create", "data")
    run("run", "-d", "--name", "runner", "--network", "web", "--label", "tier=front", "--expose", "80", *SLEEP)
    run("run", "-d", "--name", "frozen", "--label", "tier=back", "-v", "data:/data", *SLEEP)
    run("pause", "frozen")
    run("create", "--name", "fresh", "--label", "bare", "nginx")
    for name, code in (("good", 0), ("bad", 3)):
        module_daemon.run(LINKSPAN, "run", "--name", name, "-v", "/etc:/host:ro", "busybox", "sh", "-c", f"exit {code}")
    yield module_daemon
    run("rm", "-f", "-v", "runner", "frozen", "fresh", "good", "bad")
    run("network", "rm", "web")
    run("volume", "rm", "data")


@pytest.mark.parametrize("program", [LINKSPAN, "docker"], ids=["linkspan", "docker"])
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "frozen runner"),
        (("-a",), "bad good fresh frozen runner"),
        (("-n", "2"), "bad good"),
        (("-l",), "bad"),
        (("-f", "status=exited"), "bad good"),
        (("-f", "status=paused"), "frozen"),
        (("-f", "status=created", "-f", "status=running"), "fresh runner"),
        (("-f", "exited=3"), "bad"),
        (("-f", "name=^r"), "runner"),
        (("-f", "name=o"), "frozen"),
        (("-a", "-f", "name=oo"), "good"),
        (("-f", "label=tier"), "frozen runner"),
        (("-f", "label=tier=back"), "frozen"),
        (("-a", "-f", "label=bare"), "fresh"),
        (("-f", "network=web"), "runner"),
        (("-f", "network=bridge"), "frozen"),
        (("-f", "volume=data"), "frozen"),
        (("-f", "volume=/data"), "frozen"),
        (("-a", "-f", "volume=/host"), "bad good"),
        (("-a", "-f", "ancestor=nginx"), "fresh"),
        (("-a", "-f", "before=frozen"), "runner"),
        (("-a", "-f", "since=fresh"), "bad good"),
        (("-f", "expose=80"), "runner"),
        (("-f", "expose=70-90/tcp"), "runner"),
        (("-f", "expose=80/udp"), ""),
        (("-a", "-f", "health=none", "-f", "name=good"), "good"),
        (("-a", "-f", "is-task=true"), ""),
    ],
)
def test_ps_filters(crowd: Daemon, program: str, words: tuple[str, ...], expected: str) -> None:
    client = Client(crowd, program)
    assert " ".join(client("ps", *words, "--format", "{{.Names}}").split()) == expected


def test_ps_shows_what_docker_shows(crowd: Daemon) -> None:
    ours, theirs = Client(crowd, LINKSPAN), Client(crowd, "docker")
    for words in (
        ("ps", "-a", "--format", "{{.Names}} {{.Image}} {{.Command}} {{.State}} {{.Networks}} {{.Mounts}} {{.Labels}}"),
        ("ps", "-a", "--no-trunc", "--format", '{{.ID}}|{{.Command}}|{{.LocalVolumes}}|{{.Label "tier"}}'),
        ("ps", "-aq"),
        ("ps", "-a", "--format", "table {{.Names}}\t{{.Ports}}"),
        (
            "inspect",
            "runner",
            "frozen",
            "fresh",
            "bad",
            "--format",
            "{{json .HostConfig.Binds}}{{json .Config.Cmd}}{{.State.Status}}",
        ),
        (
            "inspect",
            "runner",
            "--format",
            "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}};{{end}}",
        ),
        ("inspect", "--type", "container", "--size", "--format", "{{.SizeRw}} {{.Name}}", "bad"),
        ("inspect", "frozen", "--format", '{{index .Config.Labels "tier"}} {{len .Mounts}} {{upper .Name}}'),
    ):
        assert ours(*words) == theirs(*words), words
    first, *rows = ours("ps", "-a").splitlines()
    assert re.split(r"\s{2,}", first) == ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert len(rows) == 5
    assert json.loads(ours("inspect", "runner", "frozen"))[1]["Name"] == "/frozen"
    sized = ours("ps", "-as", "--format", "{{.Size}}").splitlines()
    assert all(re.match(r"[\d.]+k?M?B \(virtual [\d.]+[kMG]B\)$", line) for line in sized), sized


def test_ps_refuses_filters_that_mean_nothing(crowd: Daemon) -> None:
    for program in (LINKSPAN, "docker"):
        client = Client(crowd, program)
        client.refused("ps", "-f", "nonsense=1")
        client.refused("ps", "-f", "status=nonsense")
        client.refused("ps", "-f", "before=nobody")
        client.refused("ps", "-f", "expose=x")
