"""The Engine API as clients of all ages meet it: versions, events, waits, refusals, docker-py and Compose."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from container_lab import SLEEP, Client, conversation, line_of, raw, received, running
from daemons import Daemon

pytestmark = pytest.mark.scenario

OLD_DOCKER = os.environ.get("LINKSPAN_OLD_DOCKER", "")
"""Path of a docker client of the 20.10 series, Debian 12's own, to test with besides the one that is installed."""


# --- versions --------------------------------------------------------------------------------------------------------


def test_the_version_is_negotiated(docker: Client) -> None:
    shown = json.loads(docker("version", "--format", "{{json .}}"))
    assert shown["Server"]["MinAPIVersion"] == "1.24"
    assert shown["Client"]["ApiVersion"] <= shown["Server"]["ApiVersion"]
    status, headers, body = raw(docker.daemon, "GET", "/_ping")
    assert (status, body) == (200, b"OK")
    assert headers["api-version"] == shown["Server"]["ApiVersion"]
    assert headers["ostype"] == "linux"
    status, _, body = raw(docker.daemon, "HEAD", "/_ping")
    assert (status, body) == (200, b"")


@pytest.mark.parametrize("version", ["1.24", "1.38", "1.41", "1.48"])
def test_every_version_of_the_client_does_a_days_work(docker: Client, version: str, tmp_path: Path) -> None:
    days_work([docker.program], docker, {"DOCKER_API_VERSION": version}, tmp_path)


@pytest.mark.skipif(not OLD_DOCKER, reason="no docker client of 20.10: name one in LINKSPAN_OLD_DOCKER")
@pytest.mark.parametrize("version", ["", "1.24"])
def test_the_client_of_debian_12_does_a_days_work(docker: Client, version: str, tmp_path: Path) -> None:
    days_work([OLD_DOCKER], docker, {"DOCKER_API_VERSION": version} if version else {}, tmp_path)


def days_work(program: list[str], client: Client, environment: dict[str, str], folder: Path) -> None:
    """What a person does in a day, with one version of the API."""

    def run(*words: str, stdin: str | None = None, status: int = 0) -> str:
        words = ("env", *(f"{key}={value}" for key, value in environment.items()), *program, *words)
        done = client.daemon.run(*words, stdin=stdin)
        assert done.returncode == status, f"{' '.join(words)}: {done.returncode} {done.stdout} {done.stderr}"
        return done.stdout

    assert run("run", "--rm", "busybox", "echo", "hello") == "hello\n"
    run("run", "--rm", "busybox", "sh", "-c", "exit 9", status=9)
    assert run("run", "--rm", "-i", "busybox", "cat", stdin="typed") == "typed"
    run("network", "create", "--subnet", "10.66.0.0/24", "web")
    run("volume", "create", "data")
    run("run", "-d", "--name", "it", "--network", "web", "--ip", "10.66.0.9", "-v", "data:/d", *SLEEP)
    assert run("exec", "it", "hostname", "-i").strip() == "10.66.0.9"
    run("exec", "it", "sh", "-c", "exit 3", status=3)
    assert run("exec", "-i", "it", "cat", stdin="typed") == "typed"
    assert run("inspect", "--format", "{{.State.Status}}", "it") == "running\n"
    assert run("ps", "--format", "{{.Names}}") == "it\n"
    run("top", "it")
    run("stats", "--no-stream", "it")
    (folder / "file").write_text("content")
    run("cp", str(folder / "file"), "it:/d/file")
    assert run("exec", "it", "cat", "/d/file") == "content"
    run("cp", "it:/d/file", str(folder / "back"))
    run("network", "disconnect", "web", "it")
    run("network", "connect", "bridge", "it")
    run("rename", "it", "renamed")
    run("update", "--memory", "64m", "--memory-swap", "64m", "renamed")
    run("pause", "renamed")
    run("unpause", "renamed")
    run("restart", "-t", "0", "renamed")
    run("logs", "renamed")
    run("kill", "renamed")
    assert run("wait", "renamed") == "137\n"
    run("diff", "renamed")
    run("rm", "-v", "renamed")
    run("network", "rm", "web")
    run("volume", "rm", "data")
    run("images")
    run("history", "busybox")
    run("info")
    run("tag", "busybox", "mine:1")
    run("rmi", "mine:1")
    run("events", "--since", "1h", "--until", "0s")
    run("network", "ls")
    if environment.get("DOCKER_API_VERSION") != "1.24":  # which has none of these
        run("system", "df")
        run("network", "prune", "-f")
        run("container", "prune", "-f")


@pytest.mark.parametrize(("version", "said"), [("1.23", "is too old"), ("1.99", "is too new"), ("9.1", "is too new")])
def test_an_unknown_version_is_refused_with_the_range(docker: Client, version: str, said: str) -> None:
    status, _, body = raw(docker.daemon, "GET", f"/v{version}/containers/json")
    assert status == 400
    assert said in json.loads(body)["message"]


# --- what is not there -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/swarm"),
        ("POST", "/swarm/init"),
        ("GET", "/services"),
        ("GET", "/nodes"),
        ("GET", "/tasks"),
        ("GET", "/secrets"),
        ("GET", "/configs"),
        ("GET", "/plugins"),
        ("POST", "/build"),
        ("POST", "/session"),
        ("POST", "/commit?container=it"),
        ("GET", "/distribution/busybox/json"),
        ("GET", "/images/search?term=x"),
        ("GET", "/containers/it/attach/ws"),
        ("POST", "/containers/it/checkpoints"),
        ("PUT", "/volumes/data"),
    ],
)
def test_what_is_not_built_says_so_in_one_sentence(linkspan: Client, method: str, target: str) -> None:
    for version in ("", "/v1.24", "/v1.48"):
        status, _, body = raw(linkspan.daemon, method, f"{version}{target}")
        assert status == 501, body
        message = json.loads(body)["message"]
        assert "not supported" in message
        assert "\n" not in message


def test_a_path_that_nobody_knows_is_not_found(linkspan: Client) -> None:
    assert raw(linkspan.daemon, "GET", "/v1.44/nonsense")[0] == 404
    assert raw(linkspan.daemon, "PATCH", "/v1.44/containers/json")[0] in (404, 405)


def test_docker_says_what_is_not_built(docker: Client) -> None:
    for words in (("swarm", "init"), ("service", "ls"), ("plugin", "ls"), ("commit", "x")):
        assert "not supported" in docker.refused(*words)


# --- events ----------------------------------------------------------------------------------------------------------


def test_the_life_of_a_container_in_events(client: Client) -> None:
    begin = f"{time.time():.3f}"
    assert client.status("run", "--name", "it", "--label", "tier=front", "busybox", "sh", "-c", "exit 3") == 3
    client("rm", "it")
    words = ("events", "--since", begin, "--until", f"{time.time():.3f}", "--filter", "type=container")
    lines = [json.loads(line) for line in client(*words, "--format", "{{json .}}").splitlines()]
    actions = [line["Action"] for line in lines]
    assert actions == ["create", "attach", "start", "die", "destroy"]
    attributes = lines[3]["Actor"]["Attributes"]
    assert (attributes["name"], attributes["exitCode"], attributes["image"]) == ("it", "3", "busybox")
    assert attributes["tier"] == "front"
    assert [line["timeNano"] for line in lines] == sorted(line["timeNano"] for line in lines)


def test_die_comes_before_destroy_for_what_removes_itself(client: Client) -> None:
    begin = f"{time.time():.3f}"
    for _ in range(3):
        client("run", "--rm", "busybox", "true")
    client.sleeper("it", "--rm")
    client("rm", "-f", "it")
    words = ("events", "--since", begin, "--until", f"{time.time() + 0.2:.3f}", "--filter", "type=container")
    seen: dict[str, list[str]] = {}
    for line in client(*words, "--format", "{{.Action}} {{.Actor.ID}}").splitlines():
        action, identity = line.split()
        seen.setdefault(identity, []).append(action)
    assert len(seen) == 4
    for actions in seen.values():
        assert actions[-2:] == ["die", "destroy"], actions


def test_events_are_filtered(client: Client) -> None:
    begin = f"{time.time():.3f}"
    client("network", "create", "web")
    client.sleeper("one", "--network", "web", "--label", "tier=front")
    client.sleeper("two", "-v", "data:/d")
    client("pause", "two")
    client("exec", "one", "true")
    client("network", "disconnect", "web", "one")
    client("stop", "one")
    client("rm", "-f", "one", "two")
    client("volume", "rm", "data")
    client("network", "rm", "web")
    end = f"{time.time():.3f}"

    def seen(*filters: str) -> list[str]:
        words = [word for each in filters for word in ("--filter", each)]
        shown = client("events", "--since", begin, "--until", end, *words, "--format", "{{.Type}} {{.Action}}")
        return shown.splitlines()

    assert seen("event=pause") == ["container pause"]
    assert seen("container=two", "event=start", "event=pause") == ["container start", "container pause"]
    assert seen("label=tier=front", "event=die") == ["container die"]
    assert seen("type=volume") == ["volume create", "volume destroy"]
    network = seen("type=network", "network=web")
    assert network[0] == "network create"
    assert network[-1] == "network destroy"
    assert network[1:-1] == ["network connect", "network disconnect"], "at its start, and by hand"
    assert seen("image=busybox", "event=create") == ["container create", "container create"]
    assert any(line.startswith("container exec_create: true") for line in seen("container=one"))
    assert "container exec_die" in seen("container=one", "event=exec_die")
    assert seen("type=nonsense") == []


def test_events_come_as_they_happen(client: Client) -> None:
    with running(client.start("events", "--filter", "type=container", "--format", "{{.Action}}")) as process:
        time.sleep(0.4)
        client.sleeper("it")
        assert [line_of(process), line_of(process)] == ["create", "start"]
        client("kill", "it")
        assert [line_of(process), line_of(process)] == ["kill", "die"]


# --- wait ------------------------------------------------------------------------------------------------------------


def test_wait_sends_its_headers_at_once(linkspan: Client) -> None:
    linkspan("create", "--name", "it", *SLEEP)
    request = b"POST /v1.44/containers/it/wait?condition=removed HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    with conversation(linkspan.daemon, request) as connection:
        connection.settimeout(2)
        head = received(connection, b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        linkspan("rm", "it")
        connection.settimeout(5)
        assert b'"StatusCode":0' in received(connection, b"}")


def test_removed_comes_when_nothing_is_left_of_the_container(linkspan: Client) -> None:
    lab = linkspan.daemon
    linkspan("network", "create", "web")
    standing = left_of_containers(lab)
    for _ in range(5):
        words = ("--rm", "--network", "web", "--ip", "172.18.0.77", "-v", "/anonymous", "--tmpfs", "/t")
        identity = linkspan(
            "create", "--name", "it", *words, "busybox", "sh", "-c", "touch /file /anonymous/file"
        ).strip()
        found: list[set[str]] = []

        def wait(identity: str = identity, found: list[set[str]] = found) -> None:
            status, _, _ = raw(lab, "POST", f"/v1.44/containers/{identity}/wait?condition=removed")
            found.append(left_of_containers(lab) - standing | ({f"status {status}"} if status != 200 else set()))

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.05)
        linkspan("start", "it")
        thread.join(10)
        assert found == [set()], f"left of {identity[:12]}: {found}"


def left_of_containers(lab: Daemon) -> set[str]:
    """Everything that a container has on this host, looked at in an instant."""
    found = {f"mount {point}" for point in lab.mounts() if "/netns/" not in point or "spare" not in point}
    found |= {f"cgroup {path}" for path in lab.cgroups() if path.name != f"linkspan-{lab.instance}"}
    found |= {f"folder {path}" for path in (lab.data_root / "containers").glob("*")}
    found |= {f"root {path}" for path in lab.data_root.glob("*/containers/[0-9a-f]*")}
    found |= {f"volume {path}" for path in (lab.data_root / "volumes").glob("[0-9a-f]*")}
    found |= {f"bundle {path}" for path in (lab.exec_root / "c").glob("*")}
    found |= {f"process {line}" for line in lab.processes() if "conmon" in line}
    status, _, body = raw(lab, "GET", "/containers/json?all=1")
    assert status == 200
    return found | {f"container {item['Id']}" for item in json.loads(body)}


# --- bodies and connections ------------------------------------------------------------------------------------------


def test_bad_bodies_are_refused_and_the_daemon_lives_on(linkspan: Client) -> None:
    lab = linkspan.daemon
    for text, status in ((b"{", 400), (b"[]", 400), (b'{"Image": 5}', 400), (b"\xff\xfe", 400), (b"", 400)):
        head = f"POST /v1.44/containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: {len(text)}\r\n\r\n"
        with conversation(lab, head.encode() + text) as connection:
            assert received(connection, b"\r\n").startswith(f"HTTP/1.1 {status} ".encode()), text
    big = b"POST /v1.44/containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
    with conversation(lab, big) as connection:
        assert received(connection, b"\r\n").startswith(b"HTTP/1.1 413 ")
    with conversation(
        lab, b"POST /v1.44/containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    ) as half:
        half.shutdown(socket.SHUT_WR)
        assert received(half, b"\r\n").startswith(b"HTTP/1.1 400 ")
    with conversation(lab, b"\x16\x03\x01\x02\x00\x01 this is no HTTP\r\n\r\n") as other:
        assert received(other, b"\r\n").startswith(b"HTTP/1.1 400 ")
    assert lab.answers()


def test_one_connection_carries_many_requests(linkspan: Client) -> None:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(linkspan.daemon.socket))
    try:
        for target in ("/_ping", "/v1.44/nonsense", "/v1.30/containers/json", "/v1.44/version"):
            connection.request("GET", target)
            response = connection.getresponse()
            response.read()
            assert response.status in (200, 404)
    finally:
        connection.close()
