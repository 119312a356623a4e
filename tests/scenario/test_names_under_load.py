"""Names go on: while the daemon is killed, stopped, upgraded, and when the keeper itself dies."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dns.exception
import pytest

from daemons import Daemon, Launch, eventually
from names_lab import (
    Inside,
    Load,
    NameServer,
    ask,
    code,
    figures,
    found,
    keeper_pid,
    loaded,
    measured,
    on_names_host,
    texts,
    within,
)
from network_lab import address4, sleeper

pytestmark = pytest.mark.scenario

STUB = "127.0.0.53"
PORT = 18080
BACK = 3.0
"""Seconds in which a keeper that was killed is followed by one that answers; it should take one."""


@pytest.fixture
def town(launch: Launch) -> Daemon:
    """A daemon with a server on its host's loopback, ``web`` with a published port, and ``ann``, who asks."""
    daemon = launch(prepare=on_names_host(f"nameserver {STUB}"))
    daemon.linkspan("network", "create", "--ipv6", "one")
    sleeper(daemon, "web", "--network", "one", "--network-alias", "www", "-p", f"{PORT}:80")
    sleeper(daemon, "ann", "--network", "one")
    return daemon


@pytest.fixture
def stub(town: Daemon) -> Iterator[NameServer]:
    with NameServer(town.namespace, STUB, "192.0.2.1") as server:
        yield server


def test_no_look_up_fails_while_the_daemon_is_killed_and_started_again(town: Daemon, stub: NameServer) -> None:
    """aardvark-dns#389, #500 and #711: look-ups that were lost with each reload, or from some time on for good."""
    keeper = keeper_pid(town)
    questions = {"web": address4(town, "web", "one"), "www.one": address4(town, "web", "one"), "far.test": "192.0.2.1"}
    with within(town, "ann") as inside, ExitStack() as stack:
        loads = loaded(stack, inside, questions)
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            town.kill(number)
            time.sleep(0.3)
            town.start()
            assert found(town, "ann", "web") == [address4(town, "web", "one")]
        stack.close()
    assert not [text for load in loads for text in load.failures], measured(loads)
    assert sum(load.count for load in loads) > 1000, measured(loads)
    assert keeper_pid(town) == keeper, "one keeper for all of them"


def test_no_look_up_fails_while_names_change_all_the_time(town: Daemon) -> None:
    """aardvark-dns#389: sockets that were rebuilt with each change of any name."""
    with within(town, "ann") as inside, ExitStack() as stack:
        loads = loaded(stack, inside, {"web": address4(town, "web", "one")})
        for number in range(6):
            sleeper(town, f"other{number}", "--network", "one", "--network-alias", "many")
            town.linkspan("rename", f"other{number}", f"renamed{number}")
            town.linkspan("network", "create", f"net{number}")
            town.linkspan("network", "connect", f"net{number}", "ann")
        town.linkspan("rm", "-f", *(f"renamed{number}" for number in range(6)))
        stack.close()
    assert not [text for load in loads for text in load.failures], measured(loads)


def test_answers_go_on_while_the_daemon_is_away_and_what_happened_meanwhile_is_caught_up(
    town: Daemon, stub: NameServer
) -> None:
    """An upgrade is a stop and a start."""
    here = address4(town, "web", "one")
    before = figures(town, "ann")["Queries"]
    ending = int(town.linkspan("inspect", "--format", "{{.State.Pid}}", "web"))
    with within(town, "ann") as inside:
        town.stop()
        for _ in range(20):
            assert texts(inside.ask("web")) == [here]
        assert texts(inside.ask("elsewhere.test")) == ["192.0.2.1"]
        os.kill(ending, signal.SIGKILL)
        town.start()
    eventually(lambda: here not in found(town, "ann", "web"), "who ended meanwhile is forgotten")
    assert figures(town, "ann")["Queries"] > before + 20, "figures go on"


def test_a_killed_keeper_is_followed_within_a_second_or_two_and_ports_stay_reserved(
    town: Daemon, stub: NameServer
) -> None:
    here = address4(town, "web", "one")
    with within(town, "ann") as inside, Load(inside, "web", here, seconds=0.5) as load:
        for _ in range(2):
            time.sleep(6)  # a death soon after another is answered later
            assert not load.failures, measured([load])
            before = keeper_pid(town)
            os.kill(before, signal.SIGKILL)
            killed = time.monotonic()
            while not is_answered(inside, "web"):
                assert is_taken(town, PORT)
                assert time.monotonic() - killed < BACK
            assert is_taken(town, PORT)
            assert keeper_pid(town) != before
            time.sleep(0.5)
            load.failures.clear()
        assert found(town, "ann", "far.test") == ["192.0.2.1"]
        assert code(ask(town, "ann", "web", tcp=True)) == "NOERROR"
        town.linkspan("rename", "web", "shop")
        assert found(town, "ann", "shop") == [here], "it hears the daemon"


@pytest.mark.parametrize("first", ["daemon", "keeper"])
def test_daemon_and_keeper_both_killed_come_back_with_all_names(town: Daemon, stub: NameServer, first: str) -> None:
    here = address4(town, "web", "one")
    keeper = keeper_pid(town)
    if first == "keeper":
        os.kill(keeper, signal.SIGKILL)
    town.kill()
    with contextlib.suppress(ProcessLookupError):
        os.kill(keeper, signal.SIGKILL)
    for line in town.processes():
        if "linkspan.keeper" in line:  # the killed daemon had just started it
            os.kill(int(line.split()[0]), signal.SIGKILL)
    town.start()
    for name in ("web", "www", "web.one"):
        assert found(town, "ann", name) == [here]
        assert found(town, "ann", name, tcp=True) == [here]
    assert found(town, "ann", "far.test") == ["192.0.2.1"]
    assert found(town, "web", "ann") == [address4(town, "ann", "one")]
    assert is_taken(town, PORT)
    sleeper(town, "late", "--network", "one")
    assert found(town, "ann", "late") == [address4(town, "late", "one")]


def test_a_keeper_of_an_older_version_is_replaced_with_all_that_it_held(launch: Launch, tmp_path: Path) -> None:
    """A daemon upgrade whose keeper speaks otherwise."""
    (tmp_path / "sitecustomize.py").write_text(OLDER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")])))
        daemon = launch(prepare=on_names_host(f"nameserver {STUB}"))
    daemon.linkspan("network", "create", "one")
    sleeper(daemon, "web", "--network", "one", "--network-alias", "www", "-p", f"{PORT}:80")
    sleeper(daemon, "ann", "--network", "one")
    here, older = address4(daemon, "web", "one"), keeper_pid(daemon)
    assert found(daemon, "ann", "web") == [here]
    with within(daemon, "ann") as inside, Load(inside, "web", here, seconds=5) as load:
        daemon.restart()
        for name in ("web", "www"):
            assert found(daemon, "ann", name) == [here]
            assert found(daemon, "ann", name, tcp=True) == [here]
    assert keeper_pid(daemon) != older
    assert not [line for line in daemon.processes() if line.startswith(f"{older} ")]
    assert is_taken(daemon, PORT)
    assert not load.failures, measured([load])


# --- what the stories need -----------------------------------------------------------------------------------------

OLDER = """
import sys

if "linkspan.api.daemon" in sys.orig_argv:
    from linkspan.keeper import protocol, starting

    text = "from linkspan.keeper import protocol; protocol.VERSION = 0; import runpy"
    text += "; runpy.run_module('linkspan.keeper', run_name='__main__')"
    protocol.VERSION = 0
    starting.command = lambda root, instance: (sys.executable, "-I", "-c", text, str(root), instance)
"""
"""A daemon and its keeper of version 0 of the protocol: read by Python as it starts."""


def is_answered(inside: Inside, name: str) -> bool:
    try:
        return bool(texts(inside.ask(name, seconds=0.2)))
    except (OSError, dns.exception.Timeout):
        return False


def is_taken(daemon: Daemon, port: int) -> bool:
    """Whether the host's port is kept from other programs, also from those with SO_REUSEADDR."""
    with daemon.namespace.entered(), socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("0.0.0.0", port))
            other.listen()
        except OSError:
            return True
        return False
