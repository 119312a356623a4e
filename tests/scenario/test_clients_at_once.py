"""Several clients ask for the same container at once: each hears the truth, and one state comes of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from daemons import Daemon
from engine_api import EngineApi

pytestmark = pytest.mark.scenario


@pytest.fixture
def api(daemon: Daemon) -> EngineApi:
    return EngineApi(daemon.socket)


def create(api: EngineApi, name: str, *command: str, **host: object) -> None:
    body = {"Image": "busybox", "Cmd": command, "StopTimeout": 0, "HostConfig": host}
    api("POST", f"/containers/create?name={name}", body)


def at_once(api: EngineApi, requests: Sequence[str]) -> None:
    with ThreadPoolExecutor(len(requests)) as clients:
        list(clients.map(lambda target: api("POST", target), requests))


def test_restarts_at_once_leave_one_running_container_with_its_address(daemon: Daemon, api: EngineApi) -> None:
    create(api, "web", "sleep", "1000")
    api("POST", "/containers/web/start")
    address = daemon.address("web")

    at_once(api, ["/containers/web/restart"] * 4)

    assert api("GET", "/containers/web/json")["State"]["Status"] == "running"
    assert daemon.address("web") == address
    assert daemon.linkspan("exec", "web", "echo", "here").strip() == "here"


def test_a_restart_beside_a_start_harms_neither(daemon: Daemon, api: EngineApi) -> None:
    create(api, "web", "sleep", "1000")
    at_once(api, ["/containers/web/start", "/containers/web/restart"] * 3)
    assert daemon.linkspan("exec", "web", "echo", "here").strip() == "here"


def test_a_stop_holds_at_whatever_moment_a_falling_container_hears_it(api: EngineApi) -> None:
    names = [f"falls{number}" for number in range(8)]
    for number, name in enumerate(names):
        create(api, name, "false", RestartPolicy={"Name": "always"})
        api("POST", f"/containers/{name}/start")
        time.sleep(0.11 + 0.01 * number)  # about when its policy starts it again
        api("POST", f"/containers/{name}/stop")
    time.sleep(1)
    assert {name: api("GET", f"/containers/{name}/json")["State"]["Status"] for name in names} == dict.fromkeys(
        names, "exited"
    )


def test_a_falling_container_is_removed_by_force_at_whatever_moment(api: EngineApi) -> None:
    for number in range(8):
        create(api, "falls", "false", RestartPolicy={"Name": "always"})
        api("POST", "/containers/falls/start")
        time.sleep(0.11 + 0.01 * number)
        api("DELETE", "/containers/falls?force=1")
    assert api("GET", "/containers/json?all=1") == []
