"""Clients that do not read, or go before they are served: the container is not theirs to hold."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator

import pytest

from daemons import Daemon, eventually
from engine_api import EngineApi

pytestmark = pytest.mark.scenario


@pytest.fixture
def api(daemon: Daemon) -> EngineApi:
    return EngineApi(daemon.socket)


@contextlib.contextmanager
def silent_client(daemon: Daemon, *requests: tuple[str, str, object]) -> Iterator[socket.socket]:
    """Sends requests and reads no answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(daemon.socket))
        for method, target, body in requests:
            text = json.dumps(body)
            head = f"{method} /v1.44{target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            client.sendall(f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode())
            time.sleep(0.02)
        yield client


def run(api: EngineApi, name: str, *command: str) -> None:
    host = {"LogConfig": {"Type": "none"}}
    api("POST", f"/containers/create?name={name}", {"Image": "busybox", "Cmd": command, "HostConfig": host})
    api("POST", f"/containers/{name}/start")


def exec_in(api: EngineApi, name: str, *command: str) -> str:
    identity: str = api("POST", f"/containers/{name}/exec", {"Cmd": command, "AttachStdout": True})["Id"]
    return identity


def test_a_client_that_does_not_read_keeps_no_container_from_being_removed(daemon: Daemon, api: EngineApi) -> None:
    run(api, "box", "yes")
    with silent_client(daemon, ("POST", "/containers/box/attach?stream=1&stdout=1", {})):
        time.sleep(1)
        EngineApi(daemon.socket, timeout=8)("DELETE", "/containers/box?force=1")


def test_an_exec_whose_output_nobody_reads_keeps_no_container_from_being_killed(daemon: Daemon, api: EngineApi) -> None:
    run(api, "box", "sleep", "1000")
    with silent_client(daemon, ("POST", f"/exec/{exec_in(api, 'box', 'yes')}/start", {"Detach": False})):
        time.sleep(1)
        EngineApi(daemon.socket, timeout=8)("POST", "/containers/box/kill")
        eventually(lambda: api("GET", "/containers/box/json")["State"]["Status"] == "exited", "the container ends")


def test_what_a_client_asked_for_is_let_go_when_it_left_before_it_was_served(daemon: Daemon, api: EngineApi) -> None:
    run(api, "box", "sleep", "1000")

    def sockets() -> int:
        links = [os.path.join(f"/proc/{daemon.pid}/fd", name) for name in os.listdir(f"/proc/{daemon.pid}/fd")]
        return sum(os.readlink(link).startswith("socket:") for link in links if os.path.islink(link))

    before = sockets()
    for _ in range(20):
        start = ("POST", f"/exec/{exec_in(api, 'box', 'yes')}/start", {"Detach": False})
        with silent_client(daemon, ("GET", "/version", {}), start):
            pass  # an unread answer makes the end of a unix socket a reset (unix(7))
    eventually(lambda: sockets() < before + 10, "their connections are closed")
    EngineApi(daemon.socket, timeout=8)("DELETE", "/containers/box?force=1")
