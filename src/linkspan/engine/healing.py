"""What to do when the kernel is no more as it should be: lead it back, tell who did it, and know when to give up.

A notice from the kernel (or a value below /proc/sys that is polled, since those have no notices) wakes the loop. It
asks the kernel thread to heal, and publishes one event for each object. Whoever takes the same thing away again and
again wins in the end: then the object is *drifted*, left as it is, and told by ``linkspan drift`` until
``linkspan repair``, or until he has put it back himself and kept his peace for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from linkspan.engine.events import Events
from linkspan.engine.firewalls import Firewalls
from linkspan.engine.intent import Intent
from linkspan.engine.services import Services
from linkspan.engine.surroundings import resolver_stamp
from linkspan.engine.wants import HOST_SCOPE, Wants
from linkspan.errors import LinkspanError
from linkspan.kernel import probe
from linkspan.kernel.healing import Deviation
from linkspan.kernel.notices import SOMEBODY
from linkspan.kernel.observe import Notice
from linkspan.kernel.render import describe
from linkspan.kernel.state import Element, Key, Object, Scope, Table
from linkspan.kernel.worker import Worker
from linkspan.model.network import Network

POLL = 0.4
"""Seconds between looks at what has no notices: our values below /proc/sys, and the host's resolv.conf."""
PAUSE, LONGEST = 0.02, 2.0
"""Seconds of back-off: doubled with every repair of the same object, to the longest."""
LONGEST_REFUSED = 10.0
"""Seconds at most until a kernel that refuses to be read is asked again."""
FIGHTS = 5
"""Repairs of one object within ``WINDOW`` after which it is given up."""
WINDOW = 60.0
"""Seconds."""
RARELY = 2.0
"""Seconds between two looks at others' firewalls: a program that reloads its rules changes them many times."""
SHARE = 20
"""Of the kernel thread's time, one part in so many at most goes to reading others' rules: there may be thousands."""

AGAIN = 5.0
"""Seconds between two looks while something is left as it is: it may be put back by others, or be possible by now."""

log = logging.getLogger(__name__)


class Healing:
    """One task. ``start`` when the kernel was led to the intent; ``stop`` before the kernel thread ends."""

    def __init__(
        self,
        intent: Intent,
        wants: Wants,
        worker: Worker,
        events: Events,
        services: Services,
        firewalls: Firewalls | None = None,
    ) -> None:
        self._intent = intent
        self._wants = wants
        self._worker = worker
        self._events = events
        self._services = services
        self._firewalls = firewalls
        self._woken = asyncio.Event()
        self._notices: deque[Notice] = deque(maxlen=256)
        self._fights: dict[Key, deque[float]] = {}
        self.given_up: set[Key] = set()
        """Objects that somebody insists on having otherwise."""
        self._left: dict[Key, Scope] = {}
        """What was found wrong and left so at the last look, with whose it is."""
        self._others_changed = True
        """Whether others changed their firewall since it was read."""
        self._others_due = 0.0
        """When it may be read again, by the loop's clock."""
        self._healed = 0.0
        """When the last look began, by the loop's clock."""
        self._stamp = resolver_stamp()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts watching."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stops watching; a repair that is under way is finished."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def notice(self, notices: tuple[Notice, ...]) -> None:
        """Something happened in the kernel that concerns us: called by the ``Observer``."""
        self._notices.extend(notices)
        self._woken.set()

    async def repair(self) -> tuple[Deviation, ...]:
        """Leads back everything, inside sandboxes too, and what was given up. KernelFailure."""
        self.given_up.clear()
        self._fights.clear()
        found = await self._worker.heal(everything=True)
        self._services.translate_anew()
        self._tell(found, {})
        self._note_left(found)
        return found

    def is_drifted(self, network: Network) -> bool:
        """Whether anything that the network or one of its containers needs was given up and is not as it should be."""
        drifted = {self._left[key] for key in self.given_up if key in self._left}
        if not drifted or network.id not in self._wants.raised:
            return False
        endpoints = self._intent.endpoints_on(network.id)
        scopes = {("endpoint", item.id) for item in endpoints} | {("sandbox", item.sandbox_id) for item in endpoints}
        return not drifted.isdisjoint({HOST_SCOPE, ("network", network.id), *scopes})

    async def _run(self) -> None:
        pause = POLL
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), POLL)
            try:
                await self._look()
            except (LinkspanError, OSError) as error:
                # OSError: the kernel was asked about an interface that went meanwhile, or kept changing. Who gave up
                # here would never heal again, so all that may have happened is looked at once more.
                log.error("what happened to the host's network is looked at again: %s", error)
                self.notice((Notice(kind="overrun", name=""),))
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_REFUSED)
            else:
                pause = POLL

    async def _look(self) -> None:
        if resolver_stamp() != self._stamp:
            self._stamp = resolver_stamp()
            await self._services.servers_changed()
        if not self._woken.is_set():
            await self._follow_bridge_netfilter()
            if await self._worker.needs_healing() or self._is_time_again():
                await self._heal({})
            await self._look_at_others()
            return
        await asyncio.sleep(self._pause({notice.name for notice in self._notices}))
        self._woken.clear()
        news = list(self._notices)
        self._notices.clear()
        if any(notice.ours for notice in news):
            tables = (notice for notice in reversed(news) if notice.kind == "firewall")
            await self._heal({notice.name: notice.cause for notice in tables})
        others = {notice.kind for notice in news if not notice.ours or notice.kind == "overrun"}
        if others & {"link", "route", "overrun"}:
            await self._follow_uplinks()
        if others & {"firewall", "overrun"}:
            self._others_changed = True
            await self._look_at_others()

    async def _look_at_others(self) -> None:
        began = asyncio.get_running_loop().time()
        if self._firewalls is not None and self._others_changed and began >= self._others_due:
            self._others_changed = False
            await self._firewalls.look()
            ended = asyncio.get_running_loop().time()
            self._others_due = ended + max(RARELY, SHARE * (ended - began))

    def _is_time_again(self) -> bool:
        return bool(self._left) and asyncio.get_running_loop().time() - self._healed >= AGAIN

    async def _heal(self, causes: Mapping[str, str]) -> None:
        self._healed = asyncio.get_running_loop().time()
        self._forgive(self._healed)
        found = await self._worker.heal(given_up=frozenset(self.given_up))
        self._tell(found, causes)
        if any(isinstance(each.object, Table | Element) for each in found):
            self._services.translate_anew()
        self._count(found)
        self._note_left(found)

    async def _follow_uplinks(self) -> None:
        """An uplink that lives on router advertisements must be told before forwarding makes it lose its routes."""
        before = self._wants.facts
        links = await self._worker.call(probe.advertised_links)
        mtu = await self._worker.call(probe.default_mtu)
        self._wants.facts = msgspec.structs.replace(before, advertised_links=links, default_mtu=mtu)
        if links != before.advertised_links and self._worker.applied(HOST_SCOPE):
            await self._worker.converge(self._wants.host())

    async def _follow_bridge_netfilter(self) -> None:
        """Another program switched it on: isolated ports would refuse what it translates between siblings.

        From then on it stays on (``plan.host``), so that containers that shall not meet never do.
        """
        before = self._wants.facts
        if before.bridge_netfilter or not await self._worker.call(probe.bridge_netfilter):
            return
        log.info("bridged frames pass the firewall from now on: somebody switched br_netfilter on")
        self._wants.facts = msgspec.structs.replace(self._wants.facts, bridge_netfilter=True)
        try:
            await self._worker.converge(self._wants.everything())
        except LinkspanError:
            self._wants.facts = msgspec.structs.replace(self._wants.facts, bridge_netfilter=False)
            raise

    def _pause(self, names: set[str]) -> float:
        """Longer, the more often somebody undoes us with what is news now; others do not wait for that."""
        now = asyncio.get_running_loop().time()
        fights = [
            times
            for key, times in self._fights.items()
            if key not in self.given_up and names & {key[-1], " ".join(key[2:4])}
        ]
        most = max((sum(now - WINDOW < at for at in times) for times in fights), default=0)
        return min(PAUSE * 2.0**most, LONGEST) if most else 0.0

    def _forgive(self, now: float) -> None:
        """Objects that were let alone for a while, and were as they should be at the last look, are repaired again."""
        for key, times in list(self._fights.items()):
            if times and now - times[-1] > WINDOW and key not in self._left:
                del self._fights[key]
                self.given_up.discard(key)

    def _count(self, found: Iterable[Deviation]) -> None:
        now = asyncio.get_running_loop().time()
        for each in found:
            key = each.object.key
            if not each.repaired or each.implied:
                continue
            times = self._fights.setdefault(key, deque(maxlen=FIGHTS))
            times.append(now)
            if len(times) == FIGHTS and now - times[0] < WINDOW:
                self.given_up.add(key)
                log.warning("%s is not repaired any more: somebody undoes every repair", describe(each.object))
                self._publish(each, "drift", "somebody undoes every repair")

    def _tell(self, found: Iterable[Deviation], causes: Mapping[str, str]) -> None:
        for each in found:
            known = not each.repaired and each.object.key in self._left
            if each.implied or known or each.object.key in self.given_up:
                continue
            cause = causes.get(table_of(each.object), SOMEBODY)
            fate = "repaired" if each.repaired else "left as it is"
            log.warning("%s was %s (by %s): %s", describe(each.object), each.state, cause, fate)
            self._publish(each, "repair" if each.repaired else "drift", cause)

    def _note_left(self, found: Iterable[Deviation]) -> None:
        self._left = {each.object.key: each.scope or HOST_SCOPE for each in found if not each.repaired}

    def _publish(self, each: Deviation, action: Literal["repair", "drift"], cause: str) -> None:
        attributes = {"object": describe(each.object), "state": each.state, "cause": cause}
        if each.failure is not None:
            attributes["error"] = str(each.failure)
        kind, identity, further = self._subject(each.scope)
        self._events.publish(kind, action, identity, {**further, **attributes})

    def _subject(self, scope: Scope | None) -> tuple[Literal["network", "container", "daemon"], str, dict[str, str]]:
        """Which object people would look at, for the scope of a kernel object."""
        kind, identity = scope or HOST_SCOPE
        if kind == "network" and identity in self._intent.networks:
            return "network", identity, {"name": self._intent.networks[identity].name}
        if kind == "endpoint" and identity in self._intent.endpoints:
            endpoint = self._intent.endpoints[identity]
            network, owner = (
                self._intent.networks[endpoint.network_id],
                self._intent.sandboxes[endpoint.sandbox_id].owner,
            )
            return "network", network.id, {"name": network.name, "container": owner}
        if kind == "sandbox" and identity in self._intent.sandboxes:
            sandbox = self._intent.sandboxes[identity]
            return "container", sandbox.owner, {"name": sandbox.owner_name}
        return "daemon", self._wants.facts.instance, {}


def table_of(item: Object) -> str:
    """The table that it is or is in, as notices name it: only of the firewall the kernel tells who changed it."""
    match item:
        case Table():
            return f"{item.family} {item.name}"
        case Element():
            return f"{item.family} {item.table}"
        case _:
            return ""
