"""Whatever somebody does to the host's side of our networks is noticed at once and led back, and nothing else is.

Regression tests for moby#12294 (a flushed firewall stays flushed) and for its kin.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from healing_lab import PATIENCE, QUIET, Lab, inside, run, sandbox, sandboxes, sh, watched
from linkspan.errors import KernelFailure
from linkspan.kernel import netns
from linkspan.kernel.healing import Deviation
from linkspan.kernel.multicast import Listener
from linkspan.kernel.observe import NETLINK_NETFILTER
from linkspan.kernel.state import Address, Namespace, Table
from linkspan.kernel.wire import nftables
from linkspan.kernel.wire.message import Message, messages

pytestmark = pytest.mark.kernel


def told(found: tuple[Deviation, ...]) -> set[tuple[str, ...]]:
    """The keys of what was not only a consequence, with how they deviated."""
    return {(each.state, *each.object.key) for each in found if not each.implied}


DAMAGE: dict[str, tuple[Callable[[Lab], object], set[tuple[str, ...]]]] = {
    "the ruleset is flushed": (
        lambda lab: sh("nft", "flush ruleset"),
        {("missing", "table", "", "inet", "linkspan")},
    ),
    "our table is deleted": (
        lambda lab: sh("nft", "delete table inet linkspan"),
        {("missing", "table", "", "inet", "linkspan")},
    ),
    "a chain is flushed": (
        lambda lab: sh("nft", "flush chain inet linkspan forward"),
        {("different", "table", "", "inet", "linkspan")},
    ),
    "a rule is added to our chain": (
        lambda lab: sh("nft", "insert rule inet linkspan forward accept"),
        {("different", "table", "", "inet", "linkspan")},
    ),
    "a chain is added to our table": (
        lambda lab: sh("nft", "add chain inet linkspan mine"),
        {("different", "table", "", "inet", "linkspan")},
    ),
    "an element is deleted": (
        lambda lab: sh("nft", "delete element inet linkspan bridges { br-web }"),
        {("missing", "element", "", "inet", "linkspan", "bridges", "br-web")},
    ),
    "an element is added": (
        lambda lab: sh("nft", "add element inet linkspan bridges { eth7 }"),
        {("unwanted", "element", "", "inet", "linkspan", "bridges", "eth7")},
    ),
    "a verdict is changed": (
        lambda lab: sh(
            "nft",
            "delete element inet linkspan pair { br-web . br-web };"
            "add element inet linkspan pair { br-web . br-web : drop }",
        ),
        {("different", "element", "", "inet", "linkspan", "pair", "br-web", "br-web")},
    ),
    "the bridge is deleted": (
        lambda lab: sh("ip", "link", "del", "br-web"),
        {("missing", "link", "", "br-web")},
    ),
    "the bridge is set down": (
        lambda lab: sh("ip", "link", "set", "br-web", "down"),
        {
            ("different", "link", "", "br-web"),
            ("missing", "address", "", "br-web", "fd00:9::1/64"),
            ("missing", "route", "", "254", "10.79.0.0/16", "0"),
        },
    ),
    "the bridge gets another MTU": (
        lambda lab: sh("ip", "link", "set", "br-web", "mtu", "1400"),
        {("different", "link", "", "br-web")},
    ),
    "the bridge gets another MAC": (
        lambda lab: sh("ip", "link", "set", "br-web", "address", "02:42:00:00:00:99"),
        {("different", "link", "", "br-web")},
    ),
    "a port gets another MTU": (
        lambda lab: sh("ip", "link", "set", "ls-0", "mtu", "1400"),
        {("different", "link", "", "ls-0")},
    ),
    "a port is set down": (
        lambda lab: sh("ip", "link", "set", "ls-0", "down"),
        {("different", "link", "", "ls-0")},
    ),
    "a port leaves its bridge": (
        lambda lab: sh("ip", "link", "set", "ls-0", "nomaster"),
        {("different", "link", "", "ls-0")},
    ),
    "a port is isolated": (
        lambda lab: sh("bridge", "link", "set", "dev", "ls-0", "isolated", "on"),
        {("different", "link", "", "ls-0")},
    ),
    "a port reflects": (
        lambda lab: sh("bridge", "link", "set", "dev", "ls-0", "hairpin", "on"),
        {("different", "link", "", "ls-0")},
    ),
    "an alias is changed within our mark": (
        lambda lab: sh("ip", "link", "set", "ls-0", "alias", "linkspan:0badcafe:other"),
        {("different", "link", "", "ls-0")},
    ),
    "an address is deleted": (
        lambda lab: sh("ip", "addr", "del", "10.9.0.1/16", "dev", "br-web"),
        {("missing", "address", "", "br-web", "10.9.0.1/16")},
    ),
    "addresses are flushed": (
        lambda lab: sh("ip", "addr", "flush", "dev", "br-web"),
        {
            ("missing", "address", "", "br-web", "10.9.0.1/16"),
            ("missing", "address", "", "br-web", "fd00:9::1/64"),
        },
    ),
    "a route is deleted": (
        lambda lab: sh("ip", "route", "del", "10.79.0.0/16"),
        {("missing", "route", "", "254", "10.79.0.0/16", "0")},
    ),
    "forwarding is switched off": (
        lambda lab: sh("sysctl", "-qw", "net.ipv4.ip_forward=0"),
        {("different", "sysctl", "", "net/ipv4/ip_forward")},
    ),
    "a pair of veths is deleted": (
        lambda lab: sh("ip", "link", "del", "ls-0"),
        {("missing", "link", "", "ls-0")},
    ),
    "a pair of veths is deleted from inside": (
        lambda lab: inside(lab, "s0", "ip", "link", "del", "eth0"),
        {("missing", "link", "", "ls-0")},
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_repaired_once_and_told(tmp_path: Path, name: str) -> None:
    damage, expected = DAMAGE[name]

    async def story() -> None:
        async with watched(tmp_path) as lab:
            started = time.monotonic()
            damage(lab)
            await lab.until(lambda: len(lab.heals) > 0)
            assert time.monotonic() - started < 1.0
            assert told(await lab.healed_once()) == expected

    run(story())


def test_the_cause_of_a_flush_is_known(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            nft = await asyncio.create_subprocess_exec("nft", "flush ruleset")
            await nft.wait()
            await lab.healed_once()
            (notice,) = lab.bursts[0]
            assert (notice.kind, notice.name, notice.deleted) == ("firewall", "inet linkspan", True)
            assert notice.cause == f"nft (pid {nft.pid})"

    run(story())


def test_what_others_have_on_the_host_stays(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            sh("ip", "link", "add", "br-docker", "type", "bridge")
            sh("ip", "addr", "add", "172.17.0.1/16", "dev", "br-docker")
            sh("ip", "addr", "add", "10.9.77.77/32", "dev", "br-web")
            sh("nft", "add table ip filter { chain forward { type filter hook forward priority 0; policy drop; }; }")
            sh("ip", "link", "set", "br-docker", "up")
            await lab.calm()
            foreign = sh("nft", "list table ip filter") + sh("ip", "-o", "addr", "show", "br-docker")
            sh("nft", "delete table inet linkspan")
            await lab.until(lambda: len(lab.heals) > 0)
            await lab.worker.heal(everything=True)
            assert sh("nft", "list table ip filter") + sh("ip", "-o", "addr", "show", "br-docker") == foreign
            assert "10.9.77.77/32" in sh("ip", "-o", "addr", "show", "br-web")
            assert await lab.live() == {
                **lab.want,
                ("address", "", "br-web", "10.9.77.77/32"): Address(link="br-web", address="10.9.77.77/32"),
            }

    run(story())


def test_somebody_elses_bridge_under_our_name_is_told_and_left_alone(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            sh("ip", "link", "del", "br-web")
            sh("ip", "link", "add", "br-web", "type", "bridge")
            sh("ip", "addr", "add", "192.0.2.1/24", "dev", "br-web")
            before = sh("ip", "-o", "addr", "show", "br-web")
            await lab.until(lambda: len(lab.heals) > 0)
            await asyncio.sleep(QUIET)
            (bridge,) = [each for each in lab.heals[-1] if each.object.key == ("link", "", "br-web")]
            assert not bridge.repaired
            assert "an interface br-web exists that is not ours" in str(bridge.failure)
            assert sh("ip", "-o", "addr", "show", "br-web") == before
            assert "br-web" not in sh("nft", "list set inet linkspan bridges")
            assert lab.worker.applied(("network", "web")) == {}
            lab.heals.clear()
            sh("ip", "link", "del", "br-web")
            await lab.until(lambda: len(lab.heals) > 0)
            await asyncio.sleep(QUIET)
            await lab.is_as_wanted()

    run(story())


def test_what_was_given_up_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            lab.healing = False
            sh("ip", "link", "set", "br-web", "mtu", "1400")
            sh("ip", "link", "del", "ls-0")
            found = await lab.worker.heal(given_up=[("link", "", "br-web"), ("link", "", "ls-0")])
            assert told(found) == {("different", "link", "", "br-web"), ("missing", "link", "", "ls-0")}
            assert not any(each.repaired for each in found)
            assert "mtu 1400" in sh("ip", "-o", "link", "show", "br-web")
            assert told(await lab.worker.audit()) == told(found)
            assert all(each.repaired for each in await lab.worker.heal())
            await lab.is_as_wanted()

    run(story())


def test_a_deviation_that_is_known_is_no_news(tmp_path: Path) -> None:
    """Somebody insists on it: the bridge tells of itself with every port that comes, and nobody reads the kernel."""

    async def story() -> None:
        async with watched(tmp_path) as lab:
            lab.healing = False
            given_up = [("link", "", "br-web"), ("sysctl", "", "net/ipv4/ip_forward")]
            sh("ip", "link", "set", "br-web", "address", "02:42:00:00:00:99")
            sh("sysctl", "-qw", "net.ipv4.ip_forward=0")
            await lab.until(lambda: lab.bursts != [])
            await lab.worker.heal(given_up=given_up)
            await asyncio.sleep(QUIET)
            lab.bursts.clear()
            assert not await lab.worker.settings_differ()
            await lab.make(sandbox(1))
            await lab.calm()
            sh("ip", "link", "set", "br-web", "down")
            await lab.until(lambda: lab.bursts != [])
            assert {each.object.key for each in await lab.worker.audit()} >= set(given_up)
            assert all(each.repaired for each in await lab.worker.heal())
            await lab.is_as_wanted()

    run(story())


def test_changes_inside_are_told_and_repaired_when_asked(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            inside(lab, "s0", "ip", "addr", "del", "10.9.1.2/16", "dev", "eth0")
            inside(lab, "s0", "ip", "addr", "add", "192.0.2.7/24", "dev", "eth0")
            inside(lab, "s0", "ip", "link", "set", "eth0", "mtu", "1300")
            await lab.calm()
            assert await lab.worker.heal() == ()
            wrong = told(await lab.worker.audit())
            assert wrong == {
                ("missing", "address", "s0", "eth0", "10.9.1.2/16"),
                ("unwanted", "address", "s0", "eth0", "192.0.2.7/24"),
                ("different", "link", "", "ls-0"),
            }
            assert told(await lab.worker.heal(everything=True)) == wrong
            await lab.is_as_wanted()
            assert await lab.worker.audit() == ()

    run(story())


def test_what_a_sandbox_did_to_its_end_outlives_the_repair_of_its_bridge(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            inside(lab, "s0", "ip", "link", "set", "eth0", "mtu", "1300")
            sh("ip", "link", "del", "br-web")
            await lab.until(lambda: len(lab.heals) > 0)
            await asyncio.sleep(QUIET)
            assert "master br-web" in sh("ip", "-o", "link", "show", "ls-0")
            assert "mtu 1300" in inside(lab, "s0", "ip", "-o", "link", "show", "eth0")

    run(story())


def test_values_without_events_are_found_by_asking(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            assert not await lab.worker.settings_differ()
            sh("sysctl", "-qw", "net.ipv6.conf.br-web.accept_ra=2")
            assert await lab.worker.settings_differ()
            assert told(await lab.worker.heal()) == {("different", "sysctl", "", "net/ipv6/conf/br-web/accept_ra")}
            assert not await lab.worker.settings_differ()

    run(story())


def test_what_belongs_to_no_scope_is_garbage(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            assert await lab.worker.garbage() == ()
            sh("ip", "link", "add", "br-old", "type", "bridge")
            sh("ip", "link", "set", "br-old", "alias", "linkspan:0badcafe:network:old")
            sh("nft", "add table bridge linkspan")
            await lab.worker.call(lambda: lab.kernel.namespaces.keep("s-old", netns.create()))
            (tmp_path / "netns" / "s-broken").touch()
            await lab.calm()
            names = {
                ("link", "", "br-old"),
                ("table", "", "bridge", "linkspan"),
                ("namespace", "s-old"),
                ("namespace", "s-broken"),
            }
            assert {each.object.key for each in await lab.worker.garbage()} == names
            assert await lab.worker.heal() == ()
            collected = await lab.worker.collect()
            assert {each.object.key for each in collected if each.repaired} == names
            assert await lab.worker.garbage() == ()
            assert sorted(os.listdir(tmp_path / "netns")) == ["s0"]
            await lab.worker.drain()
            await lab.is_as_wanted()

    run(story())


def test_a_lost_pin_is_told_and_made_again_when_asked(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            sh("umount", str(tmp_path / "netns" / "s0"))
            found = await lab.worker.heal()
            assert told(found) == {("missing", "namespace", "s0")}
            assert not any(each.repaired for each in found)
            await lab.worker.heal(everything=True)
            await lab.is_as_wanted()
            assert isinstance(lab.worker.applied(("sandbox", "s0"))["namespace", "s0"], Namespace)

    run(story())


def test_a_table_comes_back_whole_with_many_endpoints(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            await lab.make(sandboxes(100))
            await lab.calm()
            started = time.monotonic()
            sh("nft", "flush ruleset")
            await lab.until(lambda: len(lab.heals) > 0)
            assert time.monotonic() - started < 1.0
            found = await lab.healed_once()
            assert len(found) == 103
            assert isinstance(found[0].object, Table)

    run(story())


def test_a_table_is_replaced_without_a_moment_of_openness(tmp_path: Path) -> None:
    """Listened to, the old table goes and the new one comes in one transaction, with all its elements."""

    async def story() -> None:
        async with watched(tmp_path) as lab:
            sh("nft", "flush chain inet linkspan forward")
            listener = Listener(NETLINK_NETFILTER, (nftables.GROUP,))
            await lab.healed_once()
            heard = [nftables.decode(message) for message in received(listener)]
            listener.close()
            assert len([each for each in heard if isinstance(each, nftables.Generation)]) == 1
            assert nftables.TableChange("inet", "linkspan", deleted=True) in heard

    run(story())


def test_attaching_fifty_containers_is_no_news_and_reads_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            lab.reads = 0
            for number in range(1, 51):
                await lab.make(sandbox(number))
            await lab.calm()
            for number in range(1, 26):
                await lab.worker.converge({scope: {} for scope in sandbox(number)}, eager=number % 2 == 0)
            await lab.worker.drain()
            await lab.calm()
            assert (lab.reads, lab.heals) == (0, [])

    run(story())


def test_damage_in_the_middle_of_attaching_is_repaired(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            for number in range(1, 31):
                try:
                    await lab.make(sandbox(number))
                except KernelFailure:  # the table was away in this very moment, which the error says
                    await asyncio.sleep(QUIET)
                    await lab.make(sandbox(number))
                if number == 10:
                    sh("ip", "link", "del", "ls-5")
                    sh("nft", "flush ruleset")
                if number == 12:
                    await asyncio.sleep(PATIENCE / 6)
            await lab.until(lambda: len(lab.heals) > 0)
            await asyncio.sleep(QUIET)
            await lab.is_as_wanted()

    run(story())


def received(listener: Listener) -> Iterator[Message]:
    """All that a listener heard."""
    while (datagram := listener.read()) is not None:
        yield from messages(datagram)
