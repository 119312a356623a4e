"""Programs that speak Docker's API: docker-py, and Compose 1.29 on top of an older one."""

from __future__ import annotations

import io
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from container_lab import Client
from daemons import Daemon, eventually

pytestmark = pytest.mark.scenario


# --- docker-py -------------------------------------------------------------------------------------------------------


@pytest.fixture
def python_client(lab: Daemon) -> Iterator[Any]:
    docker = pytest.importorskip("docker", reason="docker-py is not installed")
    client = docker.DockerClient(base_url=f"unix://{lab.socket}")
    yield client
    client.close()


def test_docker_py_runs_and_inspects(python_client: Any) -> None:
    client = python_client
    assert client.ping() is True
    assert client.containers.run("busybox", ["echo", "hello"], remove=True) == b"hello\n"
    container = client.containers.run("busybox", ["sleep", "1000"], detach=True, name="it", stop_signal="KILL")
    assert container.status in ("created", "running")
    container.reload()
    assert container.status == "running"
    code, output = container.exec_run(["sh", "-c", "echo out; exit 4"])
    assert (code, output) == (4, b"out\n")
    code, (out, err) = container.exec_run(["sh", "-c", "echo out; echo err >&2"], demux=True)
    assert (code, out, err) == (0, b"out\n", b"err\n")
    assert [each.name for each in client.containers.list(filters={"name": "it"})] == ["it"]
    assert container.stats(stream=False)["pids_stats"]["current"] == 1
    assert container.top()["Processes"]
    container.put_archive("/", tar_of("file", b"content"))
    chunks, stat = container.get_archive("/file")
    assert stat["size"] == 7
    assert b"content" in b"".join(chunks)
    container.pause()
    container.unpause()
    container.rename("other")
    container.stop()
    assert container.wait()["StatusCode"] == 137
    assert container.logs() == b""
    container.remove(v=True)


def test_docker_py_makes_networks_volumes_and_hears_events(python_client: Any) -> None:
    docker = pytest.importorskip("docker")
    client = python_client
    pool = docker.types.IPAMPool(subnet="10.67.0.0/24", gateway="10.67.0.1")
    network = client.networks.create("web", driver="bridge", ipam=docker.types.IPAMConfig(pool_configs=[pool]))
    volume = client.volumes.create("data", labels={"a": "b"})
    events = client.events(decode=True, filters={"type": "container"})
    mount = docker.types.Mount("/data", "data")
    container = client.containers.create("busybox", ["sh", "-c", "cat; exit 2"], stdin_open=True, mounts=[mount])
    network.connect(container, ipv4_address="10.67.0.9")
    sent = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    sent._sock.sendall(b"typed\n")
    sent._sock.shutdown(socket.SHUT_WR)
    assert container.wait()["StatusCode"] == 2
    assert b"typed" in sent.read(1000)
    sent.close()
    container.reload()
    assert container.attrs["Mounts"][0]["Name"] == "data"
    assert next(events)["Action"] == "create"
    events.close()
    assert container.logs(stdout=True) == b"typed\n"
    container.remove()
    network.remove()
    volume.remove()
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("missing")
    with pytest.raises(docker.errors.ImageNotFound):
        client.containers.create("missing-image", "true")


def tar_of(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


# --- Compose ---------------------------------------------------------------------------------------------------------

PROJECT = """
version: "2.4"
services:
  web:
    image: nginx
    volumes: ["data:/data"]
    networks: [front]
  job:
    image: busybox
    command: sh -c "echo working; exec sleep 1000"
    environment: {COLOUR: red}
    stop_signal: KILL
    networks: {front: {aliases: [worker]}}
    depends_on: [web]
networks: {front: {}}
volumes: {data: {}}
"""


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose (1.29) is not installed")
def test_a_compose_project_comes_up_and_goes(linkspan: Client, tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text(PROJECT)

    def compose(*words: str) -> subprocess.CompletedProcess[str]:
        file = str(tmp_path / "docker-compose.yml")
        done = linkspan.daemon.run("docker-compose", "-p", "shop", "-f", file, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    compose("up", "-d")
    assert set(linkspan("ps", "--format", "{{.Names}}").split()) == {"shop_web_1", "shop_job_1"}
    assert linkspan("ps", "-q", "--filter", "label=com.docker.compose.service=web").count("\n") == 1
    shown = compose("ps").stdout
    assert "shop_job_1" in shown
    assert "Up" in shown
    eventually(lambda: "working" in compose("logs", "--no-color", "job").stdout, "the job says that it works")
    assert compose("exec", "-T", "job", "sh", "-c", "echo $COLOUR").stdout == "red\n"
    address = linkspan.daemon.address("shop_web_1")
    assert "nginx" in compose("exec", "-T", "job", "wget", "-qO-", f"http://{address}/").stdout
    compose("up", "-d")  # nothing changes
    compose("restart", "-t", "0", "job")
    compose("stop", "job")
    compose("start", "job")
    compose("down", "-v")
    assert linkspan("ps", "-aq") == ""
    assert linkspan("volume", "ls", "-q") == ""
    assert "shop" not in linkspan("network", "ls")
