"""Load goes on while the daemon or its keeper is killed, and damage done meanwhile is found at the start.

Pain 17: moby#20398, moby#31389, moby#33470, podman#3759 (what a crash leaves). The promise: a dead daemon fails no
request and no look-up; a dead keeper fails no request to a port that the kernel translates.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from container_lab import raw
from daemons import Daemon, eventually
from healing_town import INNER, PORT, SOON, Hole, Town, command, drift, objects, running, town
from load_lab import Conversation, Echo, Load, tcp
from network_lab import HOST4, address4, pings, sleeper

pytestmark = pytest.mark.scenario


PORTS_A_SECOND = 100
"""A bridge that is made again takes its ports back one by one: 2 ms each on an idle machine."""
DAMAGES = (
    "nft flush ruleset",
    "ip link del BRIDGE",
    "ip link del VETH; sysctl -w net.ipv4.ip_forward=0 net.ipv4.conf.BRIDGE.route_localnet=0",
    "ip addr flush dev BRIDGE",
)


@pytest.fixture
def here(lab: Daemon) -> Iterator[Town]:
    with town(lab) as built:
        yield built


def keeper(daemon: Daemon) -> int:
    """The process that is the keeper."""
    (pid,) = [int(line.split()[0]) for line in daemon.processes() if "linkspan.keeper" in line]
    return pid


def test_a_killed_daemon_fails_no_request_and_no_look_up(here: Town) -> None:
    loads = [*here.inner(), *here.outer()]
    with running(loads), Conversation(here.outside.namespace.path, HOST4, PORT) as talk:
        for _ in range(2):
            here.daemon.kill(signal.SIGKILL)
            for load in loads:
                load.goes_on(50)
            here.daemon.start()
            for load in loads:
                load.goes_on(50)
        assert talk.goes_on()
    assert [load.failures for load in loads] == [[]] * 8
    assert drift(here.daemon) == []


def test_a_killed_keeper_fails_no_request_to_a_published_port(here: Town) -> None:
    inner, outer = here.inner(), here.outer()
    requests = [*inner[:2], *outer]
    with running([*requests, inner[2]]), Conversation(here.outside.namespace.path, HOST4, PORT) as talk:
        first = keeper(here.daemon)
        hole = Hole(here.daemon)
        os.kill(first, signal.SIGKILL)
        for load in (*requests, inner[2]):
            load.goes_on(100)
        hole.ended = time.monotonic()
        assert talk.goes_on()
    assert [load.failures for load in requests] == [[]] * 7
    assert inner[2].outside(hole.began, hole.ended) == [], "names are away only while the keeper is"
    assert keeper(here.daemon) != first


def test_damage_done_while_the_daemon_is_dead_is_repaired_at_its_start(here: Town) -> None:
    before = here.everybody()
    for line in DAMAGES:
        line = here.filled(line)
        here.daemon.kill(signal.SIGKILL)
        here.host.run("sh", "-ec", line)
        here.daemon.start()
        assert drift(here.daemon) == [], line
        eventually(lambda: here.everybody() == before, f"the containers see what they saw after {line}")
        with running([*here.inner(), *here.outer()]):
            pass
        here.restore_theirs()


def test_damage_done_while_the_daemon_starts_is_repaired(here: Town) -> None:
    """The watch begins before the daemon reads what is there: nothing falls between the two."""
    here.daemon.kill(signal.SIGKILL)
    ended = threading.Event()

    def damage() -> None:
        while not ended.wait(0.15):
            here.host.run(
                "sh", "-c", f"nft delete table inet linkspan; ip link set {here.bridge} mtu 1400", check=False
            )

    thread = threading.Thread(target=damage)
    thread.start()
    try:
        here.daemon.start()
    finally:
        ended.set()
        thread.join()
    Hole(here.daemon).wait()


def test_a_flush_while_containers_start_and_end_fails_none_of_them(here: Town) -> None:
    """Pain 2: moby#12294: after a flush ``docker run -p`` fails with no chain by that name."""
    ended = threading.Event()

    def life(worker: int) -> int:
        number = 0
        while not ended.is_set():
            name = f"w{worker}-{number}"
            sleeper(here.daemon, name, "--network", "web", "-p", "80")
            here.daemon.linkspan("rm", "-f", name)
            number += 1
        return number

    with ThreadPoolExecutor(2) as workers:
        lives = [workers.submit(life, worker) for worker in range(2)]
        try:
            for number in range(12):
                time.sleep(0.37)
                here.host.run("sh", "-c", ("nft flush ruleset", f"ip link del {here.bridge}")[number % 2])
                if number % 3 == 2:
                    time.sleep(0.6)
                    raw(here.daemon, "POST", "/linkspan/repair")
        finally:
            ended.set()
        assert all(life.result() > 3 for life in lives)
    Hole(here.daemon).wait()
    assert command(here.daemon, "gc", "--dry-run") == (0, "Nothing to remove: all that carries our mark is in use.\n")
    here.restore_theirs()


def test_twenty_containers_survive_a_flush_and_the_loss_of_their_bridge(here: Town) -> None:
    survive(here, 20)


@pytest.mark.long
def test_a_hundred_containers_survive_a_flush_and_the_loss_of_their_bridge(here: Town) -> None:
    survive(here, 100)


def survive(here: Town, count: int) -> None:
    """The last container's own published port is asked without pause."""
    last = f"many{count - 1}"
    for number in range(count):
        sleeper(here.daemon, f"many{number}", "--network", "web", "-p", f"{9000 + number}:{INNER}")
    ask = tcp(HOST4, 9000 + count - 1)
    place = here.outside.namespace.path
    with Echo(here.place(last), INNER), Load(place, ask) as load, running(here.inner()):
        hole = Hole(here.daemon)
        here.host.run("nft", "flush", "ruleset")
        assert set(objects(hole.repaired(events=2))) == {"table inet linkspan", "table bridge linkspan"}
        load.goes_on()
        assert load.outside(hole.began, hole.ended) == []
        load.failures.clear()
        raw(here.daemon, "POST", "/linkspan/repair")
        hole = Hole(here.daemon)
        here.host.run("ip", "link", "del", here.bridge)
        assert set(objects(hole.repaired(seconds=SOON + count / PORTS_A_SECOND))) == {f"bridge {here.bridge}"}
        load.goes_on()
        assert load.outside(hole.began, hole.ended) == []
    assert all(pings(here.daemon, "one", address4(here.daemon, f"many{n}", "web")) for n in (0, count // 2, count - 1))
    here.restore_theirs()
