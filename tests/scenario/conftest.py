"""For scenarios: a real daemon with the images busybox and nginx, and the proof that it left nothing."""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from container_lab import Client
from daemons import LINKSPAN, Daemon, Launch
from engine_api import EngineApi
from network_lab import idle, sleeper
from port_scenes import Scene, scene_of

NEWER_DOCKER = 28
SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="session")
def image_archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """docker-archives of busybox and nginx; scripts/base-images makes them once and keeps them in its cache."""
    folder = tmp_path_factory.mktemp("images")
    subprocess.run([sys.executable, SCRIPTS / "base-images", "--out", folder], check=True, capture_output=True)
    return sorted(folder.glob("*.tar"))


@pytest.fixture
def bare_daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon without images, in a network namespace of its own."""
    yield from supervised(Daemon(tmp_path / "d"))


@pytest.fixture
def daemon(bare_daemon: Daemon, image_archives: list[Path]) -> Daemon:
    """A daemon with the images busybox and nginx, in a network namespace of its own."""
    for archive in image_archives:
        bare_daemon.linkspan("load", "--quiet", "--input", str(archive))
    return bare_daemon


@pytest.fixture(scope="module")
def module_daemon(tmp_path_factory: pytest.TempPathFactory, image_archives: list[Path]) -> Iterator[Daemon]:
    """One daemon with images for all tests of a module."""
    with contextlib.contextmanager(supervised)(Daemon(tmp_path_factory.mktemp("m") / "d")) as daemon:
        for archive in image_archives:
            daemon.linkspan("load", "--quiet", "--input", str(archive))
        yield daemon


@functools.cache
def docker_release() -> int:
    """The major version of the docker client, 0 where there is none."""
    if shutil.which("docker") is None:
        return 0
    text = subprocess.run(["docker", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)", text)
    return int(found.group(1)) if found else 0


@pytest.fixture(autouse=True)
def new_enough_docker(request: pytest.FixtureRequest) -> None:
    """Skips what an old docker client cannot say; the same test with ``linkspan`` runs."""
    if request.node.get_closest_marker("newer_docker") is None or docker_release() >= NEWER_DOCKER:
        return
    parameters = request.node.callspec.params.values() if hasattr(request.node, "callspec") else ("docker",)
    if "docker" in parameters:
        pytest.skip(f"needs a docker client of release {NEWER_DOCKER} or later, this is {docker_release()}")


@pytest.fixture(params=["linkspan", "docker"])
def client(request: pytest.FixtureRequest, lab: Daemon) -> Client:
    """Each of the two command lines, at the module's daemon."""
    if request.param == "docker" and shutil.which("docker") is None:
        pytest.skip("no docker client here")
    return Client(lab, LINKSPAN if request.param == "linkspan" else "docker")


@pytest.fixture
def linkspan(lab: Daemon) -> Client:
    """The command line ``linkspan`` at the module's daemon."""
    return Client(lab, LINKSPAN)


@pytest.fixture
def docker(lab: Daemon) -> Client:
    """The real ``docker`` at the module's daemon."""
    if shutil.which("docker") is None:
        pytest.skip("no docker client here")
    return Client(lab, "docker")


@pytest.fixture
def lab(module_daemon: Daemon) -> Iterator[Daemon]:
    """The module's daemon, empty before each test: no containers, no networks but the predefined ones."""
    yield module_daemon
    emptied(module_daemon)


@pytest.fixture
def several(lab: Daemon) -> Daemon:
    """The module's daemon with four networks: ``web1`` in use, ``web2`` named by a stopped container, two unused."""
    lab.linkspan("network", "create", "--label", "tier=front", "web1")
    lab.linkspan("network", "create", "--label", "tier=back", "--internal", "web2")
    lab.linkspan("network", "create", "--ipv6", "lone10")
    lab.linkspan("network", "create", "--ipv4=false", "--ipv6", "lone9")
    sleeper(lab, "user", "--network", "web1")
    idle(lab, "sleeping", "--network", "web2")
    return lab


@pytest.fixture
def launch(tmp_path: Path, image_archives: list[Path]) -> Iterator[Launch]:
    """Starts daemons with options, each in a namespace of its own; ``prepare`` gets each before it starts."""
    with contextlib.ExitStack() as stack:
        names = iter("abcdef")

        def start(*options: str, prepare: Callable[[Daemon], None] | None = None, images: bool = True) -> Daemon:
            daemon = Daemon(tmp_path / next(names), *options)
            if prepare:
                prepare(daemon)
            stack.enter_context(contextlib.contextmanager(supervised)(daemon))
            for archive in image_archives if images else ():
                daemon.linkspan("load", "--quiet", "--input", str(archive))
            return daemon

        yield start


def emptied(daemon: Daemon) -> None:
    """Removes all containers, networks and volumes."""
    api = EngineApi(daemon.socket)
    for item in api("GET", "/containers/json?all=1"):
        api("DELETE", f"/containers/{item['Id']}?force=1&v=1")
    for item in api("GET", "/networks?filters=%7B%22type%22%3A%5B%22custom%22%5D%7D"):
        api("DELETE", f"/networks/{item['Id']}")
    for item in api("GET", "/volumes")["Volumes"]:
        api("DELETE", f"/volumes/{item['Name']}")


def supervised(daemon: Daemon) -> Iterator[Daemon]:
    """Starts it, and in the end takes it down. Fails the test when something is left, or the daemon met a bug.

    Its log is shown on failure.
    """
    try:
        daemon.start()
        yield daemon
        left = daemon.take_down()
        assert not left, "left behind:\n" + "\n".join(left)
        assert "Traceback" not in daemon.log_text, f"the daemon met a bug:\n{daemon.log_text[-8000:]}"
    finally:
        print(daemon.log_end())
        daemon.erase()


@pytest.fixture
def scene(lab: Daemon) -> Iterator[Scene]:
    """The module's daemon with a neighbour beside its host."""
    with scene_of(lab) as made:
        yield made
