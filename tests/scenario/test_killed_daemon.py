"""SIGKILL at any moment: what was acknowledged is there, what was not is whole or absent, and nothing is left over."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemons import Daemon, eventually
from engine_api import EngineApi, Refused, Unacknowledged

pytestmark = pytest.mark.scenario

LONGEST_LIFE = 0.7
"""Seconds that a daemon may live between two kills."""


class Story:
    """What a client did and what it was told. ``doubtful`` names are those whose last request got no answer."""

    def __init__(self, api: EngineApi, chance: random.Random) -> None:
        self.api = api
        self.chance = chance
        self.networks: set[str] = set()
        self.containers: dict[str, bool] = {}
        """Name -> whether it runs."""
        self.doubtful: set[str] = set()
        self.count = 0

    def step(self) -> None:
        """One random request; what is learned from its answer is noted."""
        idle = [name for name, runs in self.containers.items() if not runs]
        running = [name for name, runs in self.containers.items() if runs]
        free = sorted(self.networks)
        choices: list[Callable[[], None]] = [self.create_network]
        if free:
            choices += [self.create_container] * 4
        if idle:
            choices += [lambda: self.start(self.chance.choice(idle))] * 4
            choices += [lambda: self.remove(self.chance.choice(idle))]
        if running:
            choices += [lambda: self.stop(self.chance.choice(running))] * 2
            choices += [lambda: self.remove(self.chance.choice(running))]
            choices += [lambda: self.connect(self.chance.choice(running))] * 2
        if len(free) > 3:
            choices += [lambda: self.remove_network(self.chance.choice(free))] * 3
        if len(self.containers) > 8:
            choices = [lambda: self.remove(self.chance.choice(list(self.containers)))]
        self.chance.choice(choices)()

    def create_network(self) -> None:
        name = self.fresh("net")
        self.ask(name, "POST", "/networks/create", {"Name": name})
        self.networks.add(name)

    def remove_network(self, name: str) -> None:
        if self.ask(name, "DELETE", f"/networks/{name}", tolerated=403):  # refused while somebody is on it
            self.networks.discard(name)

    def create_container(self) -> None:
        name = self.fresh("box")
        network = self.chance.choice(sorted(self.networks))
        body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": network}, "StopTimeout": 0}
        self.ask(name, "POST", f"/containers/create?name={name}", body)
        self.containers[name] = False

    def start(self, name: str) -> None:
        if self.ask(name, "POST", f"/containers/{name}/start", tolerated=404):  # its network may be gone
            self.containers[name] = True

    def stop(self, name: str) -> None:
        self.ask(name, "POST", f"/containers/{name}/stop?t=0")
        self.containers[name] = False

    def connect(self, name: str) -> None:
        network = self.chance.choice(sorted(self.networks))
        self.ask(name, "POST", f"/networks/{network}/connect", {"Container": name}, tolerated=403)  # it may be on it

    def remove(self, name: str) -> None:
        self.ask(name, "DELETE", f"/containers/{name}?force=1")
        del self.containers[name]

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def ask(self, name: str, method: str, target: str, body: object = None, *, tolerated: int = 0) -> bool:
        """Whether it was done; a refusal with the ``tolerated`` status is an answer too."""
        try:
            self.api(method, target, body)
        except Unacknowledged:
            self.doubtful.add(name)
            raise
        except Refused as refusal:
            if refusal.status != tolerated:
                raise
            return False
        return True

    def settle(self) -> None:
        """After a restart: what is there agrees with what was acknowledged; doubts are resolved by looking."""
        networks = {item["Name"] for item in self.api("GET", "/networks")} - {"bridge", "host", "none"}
        listed = self.api("GET", "/containers/json?all=1")
        containers = {item["Names"][0].lstrip("/"): item["State"] == "running" for item in listed}
        for item in listed:
            self.api("GET", f"/containers/{item['Id']}/json")
        certain = (self.networks | self.containers.keys()) - self.doubtful
        assert {name for name in certain if name not in networks and name not in containers} == set()
        assert (networks | containers.keys()) - self.doubtful <= certain
        for name in self.containers.keys() - self.doubtful:
            assert containers[name] == self.containers[name], f"{name} runs: {containers[name]}"
        self.networks, self.containers = networks, containers
        self.doubtful = set()


@pytest.fixture
def story(daemon: Daemon, request: pytest.FixtureRequest) -> Story:
    seed = int(os.environ.get("LINKSPAN_SEED", random.randrange(10**9)))
    print(f"LINKSPAN_SEED={seed}")
    return Story(EngineApi(daemon.socket), random.Random(seed))


def test_a_daemon_killed_in_the_middle_of_its_work_forgets_nothing(daemon: Daemon, story: Story) -> None:
    killed(daemon, story, rounds=15)


@pytest.mark.long
def test_a_daemon_killed_two_hundred_times_forgets_nothing(daemon: Daemon, story: Story) -> None:
    killed(daemon, story, rounds=200)


def killed(daemon: Daemon, story: Story, rounds: int) -> None:
    for _ in range(rounds):
        pid = daemon.pid
        timer = threading.Timer(story.chance.uniform(0.0, LONGEST_LIFE), os.kill, (pid, signal.SIGKILL))
        timer.start()
        try:
            while True:
                story.step()
        except Unacknowledged:
            timer.join()
        daemon.restart_killed()
        story.settle()
        with contextlib.suppress(AssertionError):
            eventually(lambda: not strangers(daemon, story), "nothing left over", seconds=5)
        assert strangers(daemon, story) == []


def strangers(daemon: Daemon, story: Story) -> list[str]:
    """What is in the kernel or on disk beyond what the running containers and the networks account for."""
    return list(differences(daemon, story))


def differences(daemon: Daemon, story: Story) -> Iterator[str]:
    api = story.api
    running = {item["Id"] for item in api("GET", "/containers/json")}
    details = [api("GET", f"/containers/{identity}/json") for identity in running]
    sandboxes = {item["NetworkSettings"]["SandboxID"][:12] for item in details}
    endpoints = sum(len(item["NetworkSettings"]["Networks"]) for item in details)
    yield from unequal("namespaces", set(os.listdir(daemon.exec_root / "netns")), sandboxes)
    yield from unequal("bundles", set(os.listdir(daemon.exec_root / "c")), running)
    yield from unequal("cgroups", {path.name for path in daemon.cgroups() if len(path.name) == 64}, running)
    links = [line.split()[0] for line in daemon.namespace.run("ip", "-br", "link").stdout.splitlines()]
    veths = [name for name in links if name.startswith("veth")]
    if len(veths) != endpoints:
        yield f"{len(veths)} veths for {endpoints} endpoints"
    bridges = {name for name in links if name.startswith("br-")}
    known = {item["Id"] for item in api("GET", "/networks")}
    yield from unequal("bridges", {name for name in bridges if not any(name[3:] == item[:12] for item in known)}, set())
    all_ids = {item["Id"] for item in api("GET", "/containers/json?all=1")}
    folders = {path.name for path in (daemon.data_root / "containers").glob("*")}
    yield from unequal("folders", folders - all_ids, set())
    monitors = [line for line in daemon.processes() if "conmon" in line]
    if len(monitors) != len(running):
        yield f"{len(monitors)} conmons for {len(running)} running containers"
    mounts = [point for point in daemon.mounts() if "/overlay/" in point or "merged" in point]
    if len(mounts) > len(all_ids):
        yield f"{len(mounts)} root mounts for {len(all_ids)} containers"


def unequal(what: str, found: set[str], expected: set[str]) -> Iterator[str]:
    if found - expected:
        yield f"{what} too many: {sorted(found - expected)}"
    if expected - found:
        yield f"{what} missing: {sorted(expected - found)}"


def test_containers_run_on_while_the_daemon_is_away(daemon: Daemon, tmp_path: Path) -> None:
    daemon.linkspan("run", "-d", "--name", "counter", "busybox", "sh", "-c", "while :; do echo tick; sleep 0.1; done")
    daemon.linkspan("run", "-d", "--name", "brief", "busybox", "sh", "-c", "sleep 1; echo done; exit 3")
    address = daemon.address("counter")

    daemon.kill()
    time.sleep(1.5)
    assert daemon.namespace.run("ping", "-c1", "-W1", address).returncode == 0
    daemon.start()

    assert (
        daemon.linkspan("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "brief").strip() == "exited 3"
    )
    assert daemon.linkspan("logs", "brief").strip() == "done"
    ticks = daemon.linkspan("logs", "counter").count("tick")
    assert ticks >= 12, "the log went on while the daemon was away"
    assert daemon.address("counter") == address
    assert daemon.linkspan("exec", "counter", "echo", "here").strip() == "here"
