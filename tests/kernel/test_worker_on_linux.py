"""The kernel thread with the real kernel behind it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from linkspan import libc
from linkspan.errors import Conflict
from linkspan.kernel import netns
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.state import Address, Bridge, Element, Namespace, Route, Scope, State, Table, Veth, state_of
from linkspan.kernel.worker import Worker

pytestmark = pytest.mark.kernel

INSTANCE = "0dd0cafe"
GROUP = 0x0DD0CAF
NETWORK: Scope = ("network", "web")
SANDBOX: Scope = ("sandbox", "s1")
ENDPOINT: Scope = ("endpoint", "e1")
BRIDGE = Bridge(name="br-web", mac="02:42:00:00:00:01", alias=f"linkspan:{INSTANCE}:network:web", group=GROUP)
PORT = Veth(
    name="ls-1",
    master="br-web",
    alias=f"linkspan:{INSTANCE}:endpoint:e1",
    group=GROUP,
    peer_namespace="s1",
    peer_name="eth0",
    peer_mac="02:42:00:00:00:02",
)
WANTS: dict[Scope, State] = {
    ENDPOINT: state_of([PORT, Address(namespace="s1", link="eth0", address="10.0.0.2/24")]),
    SANDBOX: state_of(
        [Namespace(name="s1"), Route(namespace="s1", link="eth0", destination="0.0.0.0/0", gateway="10.0.0.1")]
    ),
    NETWORK: state_of(
        [
            Table(family="inet", name="linkspan", ruleset="set bridges { type ifname; }"),
            Element(family="inet", table="linkspan", set="bridges", item=("br-web",)),
            BRIDGE,
            Address(link="br-web", address="10.0.0.1/24"),
        ]
    ),
}


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[LinuxKernel]:
    home = netns.own()
    libc.unshare(libc.CLONE_NEWNET)
    netns.prepare(tmp_path)
    made = LinuxKernel(tmp_path, INSTANCE, GROUP)
    try:
        yield made
    finally:
        made.close()
        netns.release(tmp_path)
        libc.setns(home, libc.CLONE_NEWNET)
        os.close(home)


def links() -> set[str]:
    shown = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    return {line.split(": ")[1].partition("@")[0] for line in shown.splitlines()} - {"lo"}


def test_a_sandbox_lives_and_is_collected_when_all_is_quiet(kernel: LinuxKernel) -> None:
    async def story() -> None:
        worker = Worker(kernel, idle=lambda: kernel.fill(2) > 0)
        worker.start()
        await worker.converge(WANTS)
        assert links() == {"br-web", "ls-1"}
        await worker.converge({SANDBOX: {}, ENDPOINT: {}})
        live = await worker.call(kernel.read, ["s1"])
        assert live == WANTS[NETWORK]
        for _ in range(100):
            if links() == {"br-web"}:
                break
            await asyncio.sleep(0.05)
        assert links() == {"br-web"}
        await worker.converge({NETWORK: {}}, eager=True)
        assert links() == set()
        await worker.stop()

    asyncio.run(story())


def test_a_sandbox_restarts_while_its_old_links_still_wait(kernel: LinuxKernel) -> None:
    async def story() -> None:
        worker = Worker(kernel)
        worker.start()
        await worker.converge(WANTS)
        for _ in range(3):
            await worker.converge({SANDBOX: {}, ENDPOINT: {}})
            await worker.converge(WANTS)
        live = await worker.call(kernel.read, ["s1"])
        assert live == {key: item for state in WANTS.values() for key, item in state.items()}
        await worker.stop()

    asyncio.run(story())


def test_a_name_that_somebody_else_has_is_refused_and_left_alone(kernel: LinuxKernel) -> None:
    async def story() -> None:
        subprocess.run(["ip", "link", "add", "br-web", "type", "bridge"], check=True)
        worker = Worker(kernel)
        worker.start()
        with pytest.raises(Conflict, match="cannot create bridge br-web: an interface br-web exists that is not ours"):
            await worker.converge(WANTS)
        assert links() == {"br-web"}
        assert await worker.call(kernel.read, ["s1"]) == {}
        await worker.stop()

    asyncio.run(story())


def test_a_restarted_daemon_adopts_what_lives(kernel: LinuxKernel, tmp_path: Path) -> None:
    async def story() -> None:
        before = Worker(kernel)
        before.start()
        await before.converge(WANTS)
        await before.stop()
        again = LinuxKernel(tmp_path, INSTANCE, GROUP)
        after = Worker(again)
        after.start()
        assert await after.resync(WANTS, []) == ()
        subprocess.run(["ip", "link", "del", "br-web"], check=True)
        await after.resync(WANTS, [])
        live = await after.call(again.read, ["s1"])
        assert live == {key: item for state in WANTS.values() for key, item in state.items()}
        await after.resync({}, ["s1"])
        await after.drain()
        assert links() == set()
        await after.stop()
        again.close()

    asyncio.run(story())


def test_the_default_route_moves_at_once_when_its_link_is_collected_later(kernel: LinuxKernel) -> None:
    """As after a daemon that died while it disconnected a running container."""
    second = replace(PORT, name="ls-2", peer_name="eth1", peer_mac="02:42:00:00:00:03")
    other: dict[Scope, State] = {
        ("endpoint", "e2"): state_of([second, Address(namespace="s1", link="eth1", address="10.0.0.3/24")])
    }
    moved = Route(namespace="s1", link="eth1", destination="0.0.0.0/0", gateway="10.0.0.1")

    async def story() -> None:
        worker = Worker(kernel)
        worker.start()
        await worker.converge({**WANTS, **other})
        left = {NETWORK: WANTS[NETWORK], SANDBOX: state_of([Namespace(name="s1"), moved]), **other}
        await worker.resync(left, [])
        live = await worker.call(kernel.read, ["s1"])
        assert live == {key: item for state in left.values() for key, item in state.items()}
        await worker.stop()

    asyncio.run(story())
