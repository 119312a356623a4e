"""A watched kernel that heals itself: LinuxKernel, worker and observer, in a namespace of the test's own."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

from linkspan.kernel.healing import Deviation
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.notices import Notice
from linkspan.kernel.observe import Observer
from linkspan.kernel.state import (
    Address,
    Bridge,
    Element,
    Namespace,
    Route,
    Scope,
    State,
    Sysctl,
    Table,
    Veth,
    state_of,
)
from linkspan.kernel.worker import Worker
from linux_objects import GROUP, INSTANCE, private_kernel

PATIENCE = 3.0
QUIET = 0.4
"""Seconds in which nothing more may come."""
RULESET = """
set bridges { type ifname; }
map pair { type ifname . ifname : verdict; }
map published { type inet_proto . inet_service : ipv4_addr . inet_service; }
chain forward {
  type filter hook forward priority filter; policy accept;
  iifname . oifname vmap @pair
  iifname @bridges drop
}
chain pre {
  type nat hook prerouting priority dstnat; policy accept;
  dnat ip to meta l4proto . th dport map @published
}
"""
TABLE = Table(family="inet", name="linkspan", ruleset=RULESET)
HOST: Scope = ("host", "")
WEB: Scope = ("network", "web")


def element(name: str, *item: str, value: tuple[str, ...] = (), publishes: bool = False) -> Element:
    return Element(family="inet", table="linkspan", set=name, item=item, value=value, publishes=publishes)


BRIDGE = Bridge(name="br-web", mac="02:42:00:00:00:01", alias=f"linkspan:{INSTANCE}:network:web", group=GROUP)
GROUND: dict[Scope, State] = {
    HOST: state_of([TABLE, Sysctl(path="net/ipv4/ip_forward", value="1")]),
    WEB: state_of(
        [
            element("bridges", "br-web"),
            element("pair", "br-web", "br-web", value=("accept",)),
            BRIDGE,
            Sysctl(path="net/ipv6/conf/br-web/accept_ra", link="br-web", value="0"),
            Address(link="br-web", address="10.9.0.1/16"),
            Address(link="br-web", address="fd00:9::1/64"),
            Route(link="br-web", destination="10.79.0.0/16", gateway="10.9.0.99"),
        ]
    ),
}


def sandbox(number: int) -> dict[Scope, State]:
    """A sandbox with one endpoint in the network, a published port, and a value of its own inside."""
    name, host = f"s{number}", f"10.9.{1 + number // 200}.{2 + number % 200}"
    port = Veth(
        name=f"ls-{number}",
        master="br-web",
        alias=f"linkspan:{INSTANCE}:endpoint:e{number}",
        group=GROUP,
        peer_namespace=name,
        peer_name="eth0",
        peer_mac=f"02:42:0a:09:{number // 256:02x}:{number % 256:02x}",
    )
    return {
        ("sandbox", name): state_of(
            [
                Namespace(name=name),
                Route(namespace=name, link="eth0", destination="0.0.0.0/0", gateway="10.9.0.1"),
            ]
        ),
        ("endpoint", f"e{number}"): state_of(
            [
                port,
                Sysctl(namespace=name, path="net/ipv6/conf/eth0/accept_ra", link="eth0", value="0"),
                Address(namespace=name, link="eth0", address=f"{host}/16"),
                Address(namespace=name, link="eth0", address=f"fd00:9::{number + 2:x}/64"),
                element("published", "6", str(8000 + number), value=(host, "80"), publishes=True),
            ]
        ),
    }


def sandboxes(count: int) -> dict[Scope, State]:
    return {scope: state for number in range(count) for scope, state in sandbox(number).items()}


def union(wants: dict[Scope, State]) -> State:
    return {key: item for state in wants.values() for key, item in state.items()}


def sh(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def inside(lab: Lab, namespace: str, *words: str) -> str:
    return sh("nsenter", f"--net={lab.kernel.namespace_path(namespace)}", *words)


class Lab:
    """What runs, what was told, and what was healed because of that."""

    def __init__(self, kernel: LinuxKernel) -> None:
        self.kernel = kernel
        self.worker = Worker(kernel)
        self.observer = Observer(kernel.mark, self.worker.memory, self.worker.thread_id, self._hear)
        self.bursts: list[tuple[Notice, ...]] = []
        self.foreign: list[Notice] = []
        self.heals: list[tuple[Deviation, ...]] = []
        self.took: list[float] = []
        self.reads = 0
        self.healing = True
        self.want: State = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._count(kernel)

    def _count(self, kernel: LinuxKernel) -> None:
        read, read_host = kernel.read, kernel.read_host

        def counted(original: Callable[..., State]) -> Callable[..., State]:
            def ask(argument: object) -> State:
                self.reads += 1
                return original(argument)

            return ask

        kernel.read = counted(read)  # type: ignore[method-assign]
        kernel.read_host = counted(read_host)  # type: ignore[method-assign]

    async def make(self, wants: dict[Scope, State]) -> None:
        await self.worker.converge(wants)
        self.want = {**self.want, **union(wants)}

    def _hear(self, told: tuple[Notice, ...]) -> None:
        self.foreign += [notice for notice in told if not notice.ours]
        if any(notice.ours for notice in told):
            self.bursts.append(told)
            if self.healing:
                task = asyncio.create_task(self._heal())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _heal(self) -> None:
        started = time.monotonic()
        self.heals.append(await self.worker.heal())
        self.took.append(time.monotonic() - started)

    async def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain; told {self.bursts}, healed {self.heals}"
            await asyncio.sleep(0.01)

    async def live(self) -> State:
        names = [item.name for item in self.want.values() if isinstance(item, Namespace)]
        state: State = await self.worker.call(self.kernel.read, names)
        return state

    async def healed_once(self) -> tuple[Deviation, ...]:
        """What was wrong, once it was healed: by one repair after one burst of notices, and all is as wanted."""
        await self.until(lambda: len(self.heals) > 0)
        await asyncio.sleep(QUIET)
        assert len(self.bursts) == len(self.heals) == 1, (self.bursts, self.heals)
        await self.is_as_wanted()
        found = self.heals[0]
        assert all(each.repaired and each.failure is None for each in found), found
        assert await self.worker.audit() == ()
        return found

    async def is_as_wanted(self) -> None:
        live = await self.live()
        assert {key: item for key, item in live.items() if self.want.get(key) != item} == {}
        assert self.want.keys() - live.keys() == set()

    async def calm(self) -> None:
        """Nothing that happened so far was news."""
        await asyncio.sleep(QUIET)
        assert self.bursts == []


@asynccontextmanager
async def watched(tmp_path: Path) -> AsyncIterator[Lab]:
    """The lab with the network of ``GROUND`` and one sandbox."""
    with private_kernel(tmp_path) as kernel:
        lab = Lab(kernel)
        lab.worker.start()
        lab.observer.start()
        try:
            await lab.make({**GROUND, **sandbox(0)})
            await lab.calm()
            yield lab
        finally:
            lab.observer.close()
            await asyncio.gather(*lab._tasks)
            await lab.worker.stop()


def run(story: Coroutine[object, object, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 60))
