"""What is not as it should be is told, and somebody who insists on it wins until ``linkspan repair``.

Pain 17, leftovers (moby#20398, moby#31389, moby#33470, nerdctl#1259, nerdctl#3253, nerdctl#3488, nerdctl#4253,
containerd#5768, podman#3759): ``gc`` collects them. Pain 27 (moby#5618, moby#18156): a lost pin of a namespace is made
again, and nothing waits for it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from daemons import Daemon, eventually
from healing_town import PORT, Hole, Json, Town, command, drift, events, running, town
from load_lab import within
from network_lab import HOST4, address4, fetches, inside, pings, sandbox_of, sleeper

pytestmark = pytest.mark.scenario

INSISTENCE = 0.1
"""Seconds between two deeds of somebody who insists."""


@contextmanager
def insisting(daemon: Daemon, line: str) -> Iterator[None]:
    """Somebody does this again and again."""
    ended = threading.Event()

    def insist() -> None:
        while not ended.wait(INSISTENCE):
            daemon.namespace.run("sh", "-c", line, check=False)

    thread = threading.Thread(target=insist)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def given_up(hole: Hole) -> list[Json]:
    """The events that say so."""
    return hole.events("drift")


INSISTED = {
    "table": ("nft delete table inet linkspan", "table inet linkspan", "missing"),
    "element": (f"nft delete element inet linkspan anyport4 '{{ tcp . {PORT} }}'", str(PORT), "missing"),
    "addition": ("nft add element inet linkspan bridges '{ theirs0 }'", "theirs0", "unwanted"),
    "address": ("ip addr del ADDRESS4 dev BRIDGE", "address ADDRESS4 on BRIDGE", "missing"),
    "setting": ("sysctl -w net.ipv4.ip_forward=0", "net/ipv4/ip_forward", "different"),
}


@pytest.fixture
def here(lab: Daemon) -> Iterator[Town]:
    with town(lab) as built:
        yield built


@pytest.mark.parametrize("what", INSISTED)
def test_somebody_who_insists_wins_and_repair_tries_again(here: Town, what: str) -> None:
    line, name, state = (here.filled(text) for text in INSISTED[what])
    hole = Hole(here.daemon)
    with insisting(here.daemon, line), running(here.inner()):
        eventually(lambda: given_up(hole), "it is given up", seconds=30)
        eventually(lambda: drift(here.daemon), "it stays away")
        time.sleep(1.5)
        told = hole.events()
        found = drift(here.daemon)
        (entry,) = [each for each in found if name in each["Object"] and each["State"] == state]
        assert entry["Status"] == "drifted"
    (last,) = given_up(hole)
    assert last["Actor"]["Attributes"]["cause"] == "somebody undoes every repair"
    repairs = [each["timeNano"] / 1e9 for each in told if each["Action"] == "repair"]
    assert len(repairs) == 5, "it fought a while"
    gaps = [after - before for before, after in pairwise(repairs)]
    assert gaps[-1] > gaps[0], "with back-off"

    status, shown = command(here.daemon, "drift")
    assert status == 1
    assert name in shown
    assert "drifted" in shown
    assert "drifted" in here.daemon.linkspan("network", "show", "web")
    assert "drifted" not in json.dumps(here.daemon.inspect("web")), "Docker's clients are not disturbed"

    assert name in here.daemon.linkspan("repair")
    assert drift(here.daemon) == []
    assert "drifted" not in here.daemon.linkspan("network", "show", "web")
    with running([*here.inner(), *here.outer()]):
        pass
    here.host.run("sh", "-c", line)
    Hole(here.daemon).wait()


def test_a_fight_about_one_object_delays_no_other_ones_repair(here: Town) -> None:
    hole = Hole(here.daemon)
    with insisting(here.daemon, here.filled("ip addr del ADDRESS4 dev BRIDGE")):
        eventually(lambda: given_up(hole), "it is given up", seconds=30)
        eventually(lambda: drift(here.daemon), "it stays away")
        for _ in range(2):
            flush = Hole(here.daemon)
            here.host.run("nft", "flush", "ruleset")
            for each in flush.told(2):
                assert each["timeNano"] / 1e9 - flush.since < 1.0
    assert here.daemon.linkspan("repair")
    here.restore_theirs()


def test_who_gives_in_by_himself_is_forgiven_without_repair(here: Town) -> None:
    hole = Hole(here.daemon)
    address = here.filled("ADDRESS4")
    with insisting(here.daemon, here.filled("ip addr del ADDRESS4 dev BRIDGE")):
        eventually(lambda: given_up(hole), "it is given up", seconds=30)
        eventually(lambda: drift(here.daemon), "it stays away")
    here.host.run("ip", "addr", "add", address, "dev", here.bridge)
    assert command(here.daemon, "drift")[0] == 0
    eventually(lambda: "drifted" not in here.daemon.linkspan("network", "show", "web"), "it is no more drifted")


def test_what_a_container_does_inside_is_reported_and_repaired_when_asked(here: Town) -> None:
    address = address4(here.daemon, "two", "web")
    hole = Hole(here.daemon)
    inside(here.daemon, "two", "ip", "addr", "flush", "dev", "eth0", "scope", "global")
    time.sleep(1.5)
    assert hole.events() == [], "its processes may have meant it"
    status, shown = command(here.daemon, "drift")
    assert status == 1
    assert address in shown
    assert "endpoint of two on web" in shown
    status, script = command(here.daemon, "drift", "--commands")
    assert status == 1
    assert f"addr add {address}" in script

    repaired = here.daemon.linkspan("repair")
    assert address in repaired
    assert command(here.daemon, "drift") == (0, "No drift: all is as it should be.\n")
    assert pings(here.daemon, "two", here.one)
    assert any(address in each["Actor"]["Attributes"]["object"] for each in hole.events("repair"))


def test_a_repair_of_the_host_s_side_lets_alone_what_a_container_did_inside(here: Town) -> None:
    inside(here.daemon, "two", "ip", "route", "add", "192.0.2.0/24", "dev", "eth0")
    inside(here.daemon, "two", "ip", "addr", "add", "10.9.9.9/32", "dev", "lo")
    hole = Hole(here.daemon)
    here.host.run("nft", "flush", "ruleset")
    here.host.run("ip", "addr", "flush", "dev", here.bridge)
    eventually(lambda: len(hole.events()) >= 4, "the host's side is repaired")
    assert "192.0.2.0/24" in inside(here.daemon, "two", "ip", "route")
    assert "10.9.9.9" in inside(here.daemon, "two", "ip", "addr", "show", "dev", "lo")
    here.restore_theirs()


def test_what_carries_our_mark_and_belongs_to_nobody_is_collected(lab: Daemon) -> None:
    lab.linkspan("network", "create", "web")
    sleeper(lab, "one", "--network", "web")
    link = json.loads(lab.namespace.run("ip", "-j", "-d", "link", "show", "type", "veth").stdout)[0]
    alias, group = link["ifalias"], link["group"]
    run = lab.namespace.run
    run("ip", "link", "add", "veth0000stale", "type", "veth", "peer", "name", "other0")
    run("ip", "link", "set", "veth0000stale", "alias", alias, "group", group)
    run("ip", "link", "add", "br-stale", "type", "bridge")
    run("ip", "link", "set", "br-stale", "alias", alias, "group", group)
    run("ip", "link", "add", "foreign0", "type", "bridge")
    pin = lab.exec_root / "netns" / "0123456789ab"
    pin.touch()

    would = lab.linkspan("gc", "--dry-run")
    for name in ("veth0000stale", "br-stale", "0123456789ab"):
        assert name in would
        assert name not in lab.linkspan("drift"), "what is left over is no drift"
    assert pin.exists()
    done = lab.linkspan("gc")
    assert done.count("removed ") == would.count("would remove ") == 3
    names = run("ip", "-br", "link").stdout
    assert "foreign0" in names
    assert "br-stale" not in names
    eventually(lambda: "veth0000stale" not in run("ip", "-br", "link").stdout, "the pair is gone")
    assert not pin.exists()
    assert lab.linkspan("gc").startswith("Nothing to remove")
    assert pings(lab, "one", "127.0.0.1")
    run("ip", "link", "del", "foreign0")


def test_a_table_of_ours_that_nobody_wants_any_more_is_collected(lab: Daemon) -> None:
    lab.namespace.run("nft", "add table ip6 linkspan; add table inet theirs")
    before = lab.linkspan("gc", "--dry-run")
    lab.linkspan("gc")
    after = lab.namespace.run("nft", "list", "tables").stdout
    assert "table inet theirs" in after
    assert ("table ip6 linkspan" in after) == ("table ip6 linkspan" not in before)
    lab.namespace.run("nft", "flush", "ruleset")


def test_a_lost_pin_is_told_and_made_again_when_asked(lab: Daemon) -> None:
    """Pain 27: moby#5618, moby#18156: nobody hangs on a namespace that cannot be reached by its name."""
    lab.linkspan("network", "create", "web")
    sleeper(lab, "one", "--network", "web")
    pin = Path(sandbox_of(lab, "one"))
    before = pin.stat().st_ino
    lab.run("umount", "-l", str(pin))
    status, shown = command(lab, "drift")
    assert status == 1
    assert "one" in shown
    lab.linkspan("repair")
    assert command(lab, "drift")[0] == 0
    assert pin.stat().st_ino == before, "it is the same namespace"
    with within(str(pin)):
        pass
    lab.linkspan("rm", "-f", "one")
    assert not pin.exists()


def test_an_empty_day_has_no_events(here: Town) -> None:
    began = time.time()
    with running([*here.inner(), *here.outer()]):
        here.daemon.linkspan("run", "-d", "--name", "guest", "-p", "81:80", "--network", "web", "busybox", "sleep", "9")
        here.daemon.linkspan("network", "create", "other")
        here.daemon.linkspan("network", "connect", "other", "guest")
        here.daemon.linkspan("rm", "-f", "guest")
        here.daemon.linkspan("network", "rm", "other")
        time.sleep(1)
    told = [each for each in events(here.daemon, began) if each["Action"] in ("repair", "drift")]
    assert told == []
    assert command(here.daemon, "drift")[0] == 0
    assert fetches(here.daemon, "two", HOST4, 1) == ""
