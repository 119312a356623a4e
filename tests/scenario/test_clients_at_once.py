"""Several clients ask for the same container at once: each hears the truth, and one state comes of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from daemons import Daemon
from engine_api import EngineApi, Refused

pytestmark = pytest.mark.scenario


@pytest.fixture
def api(daemon: Daemon) -> EngineApi:
    return EngineApi(daemon.socket)


def create(api: EngineApi, name: str, *command: str, **host: object) -> str:
    body = {"Image": "busybox", "Cmd": command, "StopTimeout": 0, "HostConfig": host}
    identity: str = api("POST", f"/containers/create?name={name}", body)["Id"]
    return identity


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


def test_a_container_that_is_renamed_while_it_is_removed_leaves_both_names_free(api: EngineApi) -> None:
    for _ in range(10):
        box = create(api, "before", "true")
        with ThreadPoolExecutor(2) as clients:
            removal = clients.submit(api, "DELETE", f"/containers/{box}")
            for _ in range(5):
                with contextlib.suppress(Refused):
                    api("POST", "/containers/before/rename?name=after")
            removal.result()
        for name in ("before", "after"):
            create(api, name, "true")
            api("DELETE", f"/containers/{name}")


def test_creations_beside_prunes_are_whole_or_pruned(api: EngineApi) -> None:
    with ThreadPoolExecutor(2) as clients:
        pruning = [clients.submit(api, "POST", "/containers/prune") for _ in range(30)]
        for number in range(15):
            create(api, f"box{number}", "sleep", "1000")
        for each in pruning:
            each.result()
    for container in api("GET", "/containers/json?all=1&size=1"):
        api("POST", f"/containers/{container['Id']}/start")


def test_an_update_beside_a_connect_loses_neither(api: EngineApi) -> None:
    api("POST", "/networks/create", {"Name": "web"})
    for number in range(5):
        create(api, f"box{number}", "sleep", "1000")
        api("POST", f"/containers/box{number}/start")
        with ThreadPoolExecutor(1) as clients:
            update = clients.submit(api, "POST", f"/containers/box{number}/update", {"Memory": 64 << 20})
            api("POST", "/networks/web/connect", {"Container": f"box{number}"})
            update.result()
        shown = api("GET", f"/containers/box{number}/json")
        assert shown["HostConfig"]["Memory"] == 64 << 20
        api("POST", f"/containers/box{number}/restart")
        api("POST", "/networks/web/disconnect", {"Container": f"box{number}"})
