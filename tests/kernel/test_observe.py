"""What the observer tells of the host's network, and what it keeps to itself."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from healing_lab import QUIET, Lab, run, sandbox, sandboxes, sh, union, watched
from linkspan.kernel import probe
from linkspan.kernel.multicast import Listener, Overrun
from linkspan.kernel.netlink import NetlinkError
from linkspan.kernel.notices import Notice
from linkspan.kernel.observe import NETLINK_NETFILTER, Observer, process_of
from linkspan.kernel.wire import nftables
from namespaces import Namespace

pytestmark = pytest.mark.kernel


def host_link(name: str = "up0") -> None:
    """A device of the host that is none of ours."""
    sh("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}-far")
    sh("ip", "link", "set", f"{name}-far", "up")
    sh("ip", "link", "set", name, "up")


async def news(lab: Lab, deed: Callable[[], object]) -> list[Notice]:
    """What is told about the host because of a deed; nothing of ours may be in it."""
    await lab.calm()
    lab.foreign.clear()
    deed()
    await asyncio.sleep(QUIET)
    assert lab.bursts == []
    return list(lab.foreign)


def test_an_address_that_the_host_gets_or_loses_is_news(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            host_link()
            came = await news(lab, lambda: sh("ip", "addr", "add", "192.0.2.9/24", "dev", "up0"))
            assert Notice(kind="address", name="192.0.2.9/24", link="up0", ours=False) in came
            went = await news(lab, lambda: sh("ip", "addr", "del", "192.0.2.9/24", "dev", "up0"))
            assert Notice(kind="address", name="192.0.2.9/24", link="up0", ours=False, deleted=True) in went

    run(story())


def test_a_default_route_and_its_devices_mtu_are_news_for_the_facts(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            host_link()
            sh("ip", "addr", "add", "192.0.2.9/24", "dev", "up0")
            came = await news(lab, lambda: sh("ip", "route", "add", "default", "via", "192.0.2.1"))
            assert came == [Notice(kind="route", name="default", link="up0", ours=False)]
            assert probe.default_mtu() == 1500
            changed = await news(lab, lambda: sh("ip", "link", "set", "up0", "mtu", "1450"))
            assert changed == [Notice(kind="link", name="up0", ours=False)]
            assert probe.default_mtu() == 1450
            gone = await news(lab, lambda: sh("ip", "link", "set", "up0", "down"))
            assert Notice(kind="link", name="up0", ours=False) in gone

    run(story())


def test_a_route_across_one_of_our_subnets_is_news_and_others_are_not(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            host_link()
            across = await news(lab, lambda: sh("ip", "route", "add", "10.9.128.0/17", "dev", "up0"))
            assert across == [Notice(kind="route", name="10.9.128.0/17", link="up0", ours=False)]
            assert await news(lab, lambda: sh("ip", "route", "add", "10.200.0.0/16", "dev", "up0")) == []

    run(story())


def test_an_advertised_route_is_told_with_its_uplink(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            host_link()
            await asyncio.sleep(QUIET)
            route = ("ip", "-6", "route", "add", "2001:db8:5::/64", "dev", "up0", "proto", "ra")
            told = await news(lab, lambda: sh(*route))
            assert told == [Notice(kind="route", name="2001:db8:5::/64", link="up0", ours=False, advertised=True)]
            assert probe.advertised_links() == ("up0",)

    run(story())


def test_a_foreign_table_is_news_with_its_cause(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            (notice,) = await news(lab, lambda: sh("nft", "add table ip filter"))
            assert (notice.kind, notice.name, notice.ours) == ("firewall", "ip filter", False)
            assert notice.cause.startswith("nft (pid ")

    run(story())


def test_links_of_others_that_come_and_go_on_their_bridges_are_no_news(tmp_path: Path) -> None:
    def deed() -> None:
        sh("ip", "link", "add", "br-docker", "type", "bridge")
        sh("ip", "link", "add", "veth-d", "type", "veth", "peer", "name", "veth-e")
        sh("ip", "link", "set", "veth-d", "master", "br-docker")

    async def story() -> None:
        async with watched(tmp_path) as lab:
            assert await news(lab, deed) == []

    run(story())


def test_a_bridge_that_is_renamed_is_missed(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            lab.healing = False
            sh("ip", "link", "set", "br-web", "name", "br-mine")
            await lab.until(lambda: lab.bursts != [])
            assert Notice(kind="link", name="br-web", deleted=True) in lab.bursts[0]

    run(story())


def test_events_that_were_lost_are_told_and_the_damage_is_found(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            sh("ip", "link", "del", "ls-0")
            listener = lab.observer._listeners[0]
            read, failures = listener.read, iter([True])

            def lossy() -> bytes | None:
                if next(failures, False):
                    while read() is not None:
                        pass
                    raise Overrun
                return read()

            listener.read = lossy  # type: ignore[method-assign]
            await lab.until(lambda: len(lab.heals) > 0)
            assert lab.bursts[0] == (Notice(kind="overrun", name=""),)
            await asyncio.sleep(QUIET)
            await lab.is_as_wanted()

    run(story())


def test_interfaces_that_cannot_be_read_after_a_loss_are_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            learn, failures = lab.observer._learn_links, iter([True, True])

            def unlucky() -> None:
                if next(failures, False):
                    raise NetlinkError(errno.EINTR, "the kernel's table kept changing while it was read")
                learn()

            monkeypatch.setattr(lab.observer, "_learn_links", unlucky)
            lab.observer._overrun = True
            sh("ip", "link", "del", "ls-0")
            await lab.until(lambda: len(lab.heals) > 0)
            assert (Notice(kind="overrun", name=""),) in lab.bursts
            await asyncio.sleep(QUIET)
            await lab.is_as_wanted()

    run(story())


def test_a_full_buffer_is_an_overrun(private_netns: Namespace) -> None:
    listener = Listener(NETLINK_NETFILTER, (nftables.GROUP,))
    try:
        listener._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for number in range(50):
            sh("nft", f"add table ip overflow{number}")
        with pytest.raises(Overrun):
            read_all(listener)
    finally:
        listener.close()


def read_all(listener: Listener) -> None:
    while listener.read() is not None:
        pass


def test_own_changes_of_the_firewall_are_known_by_their_thread(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            thread = await lab.worker.call(threading.get_native_id)
            assert lab.worker.thread_id() == thread
            assert process_of(thread) == os.getpid()
            lab.reads = 0
            await lab.make(sandbox(1))
            await lab.calm()
            assert lab.reads == 0

    run(story())


def test_in_a_pid_namespace_own_changes_are_known_by_name(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            lab.observer._thread = lambda: 0
            lab.observer._by_name = True
            await lab.make(sandbox(1))
            await lab.calm()
            sh("nft", "flush ruleset")
            await lab.healed_once()

    run(story())


def test_a_closed_observer_hears_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with watched(tmp_path) as lab:
            lab.observer.close()
            sh("nft", "flush ruleset")
            await lab.calm()
            lab.observer.close()

    run(story())


def test_listening_costs_little_while_many_attach(tmp_path: Path) -> None:
    """About ten events an attachment; the loop may spend a tenth of the time on them, on a machine that is busy."""

    async def story() -> None:
        async with watched(tmp_path) as lab:
            spent = 0.0
            look = Observer._look

            def timed(observer: Observer) -> None:
                nonlocal spent
                started = time.thread_time()
                look(observer)
                spent += time.thread_time() - started

            lab.observer._look = timed.__get__(lab.observer)  # type: ignore[method-assign]
            await lab.worker.converge(sandboxes(100))
            lab.want |= union(sandboxes(100))
            await lab.calm()
            assert spent < 0.1

    run(story())
