"""Listens to what happens to the host's network, and tells what is not our own doing.

On the event loop. The first event stops the listening for a moment; then all that came is read, the last word about
each object counts, and only what differs from what is wanted is told, in one go: so a hundred attachments a second
cost some reads of sockets and no question to the kernel. A difference is told when it has not changed from one look
to the next, so that what belongs together comes together.

A change of ours that is on its way makes events before it is remembered: what it may touch is judged when it is over.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable, Collection

from linkspan.kernel import notices
from linkspan.kernel.links import Mark
from linkspan.kernel.memory import Memory
from linkspan.kernel.multicast import Listener, Overrun
from linkspan.kernel.netlink import Netlink
from linkspan.kernel.notices import Judgement, Notice, is_uninteresting
from linkspan.kernel.state import HOST, Key
from linkspan.kernel.wire import address, link, netconf, nftables, port, route
from linkspan.kernel.wire.link import IFLA_IFNAME, Link
from linkspan.kernel.wire.message import ATTRIBUTE, Message, attributes, messages, text_of
from linkspan.kernel.wire.nftables import Generation, TableChange

NETLINK_NETFILTER = 12
"""linux/netlink.h."""
RTNLGRP_LINK = 1
RTNLGRP_IPV4_IFADDR = 5
RTNLGRP_IPV4_ROUTE = 7
RTNLGRP_IPV6_IFADDR = 9
RTNLGRP_IPV6_ROUTE = 11
RTNLGRP_IPV4_NETCONF = 24
RTNLGRP_IPV6_NETCONF = 25
"""linux/rtnetlink.h. Neighbours are left out: no object of ours is one yet."""
GROUPS = (
    RTNLGRP_LINK,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_ROUTE,
    RTNLGRP_IPV4_NETCONF,
    RTNLGRP_IPV6_NETCONF,
)
KERNEL_THREAD = "linkspan-kernel"
"""Name of ``worker``'s thread: the kernel tells its id as the first pid namespace sees it, which we may not be in."""
FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""PROC_PID_INIT_INO (linux/proc_ns.h)."""
SETTLE = 0.04
"""Seconds between looks. Deleting a bridge makes events for about 20 ms."""
PATIENCE = 0.25
"""Seconds after which a difference is told even when more go on coming."""
DRAIN = 256
"""Datagrams read in one go: some 2 ms of the event loop."""

Slot = tuple[str, ...]
"""What an event is about: of several about one thing the last counts."""

__all__ = ["Notice", "Observer"]

log = logging.getLogger(__name__)


class Observer:
    """Calls ``tell`` on the event loop with all that is new.

    ``thread`` gives the id of the kernel thread (``Worker.thread_id``), whose own transactions are no news.
    """

    def __init__(
        self, mark: Mark, memory: Memory, thread: Callable[[], int], tell: Callable[[tuple[Notice, ...]], None]
    ) -> None:
        self._mark = mark
        self._memory = memory
        self._thread = thread
        self._tell = tell
        self._listeners: list[Listener] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._names: dict[int, str] = {}
        self._foreign: dict[str, Link] = {}
        """Links of others, as they were when they were last told or no news."""
        self._bodies: dict[str, bytes | None] = {}
        """The last message about each link that is pending."""
        self._pending: dict[Slot, Callable[[], Judgement]] = {}
        self._last: dict[Slot, Callable[[], Judgement]] = {}
        """What differed at the last look."""
        self._since = 0.0
        self._overrun = False
        self._by_name = os.stat("/proc/self/ns/pid").st_ino != FIRST_PID_NAMESPACE
        """Whether ids of threads are of no use."""
        self._transaction: dict[tuple[str, str], bool] = {}

    def start(self) -> None:
        """Begins to listen, in the namespace of the calling thread, on the running loop. OSError."""
        self._loop = asyncio.get_running_loop()
        self._listeners.append(Listener(socket.NETLINK_ROUTE, GROUPS))
        try:
            self._listeners.append(Listener(NETLINK_NETFILTER, (nftables.GROUP,)))
        except OSError as error:
            log.warning("changes of the firewall cannot be watched: %s", error)
        self._learn_links()
        self._listen()

    def close(self) -> None:
        """Stops listening. Absence is success."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._deafen()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    def _listen(self) -> None:
        for listener in self._listeners:
            if self._loop is not None:
                self._loop.add_reader(listener.fileno(), self._wake)

    def _deafen(self) -> None:
        for listener in self._listeners:
            if self._loop is not None:
                self._loop.remove_reader(listener.fileno())

    def _wake(self) -> None:
        self._deafen()
        self._wait(SETTLE)

    def _wait(self, seconds: float) -> None:
        if self._loop is not None:
            self._timer = self._loop.call_later(seconds, self._look)

    def _learn_links(self) -> None:
        """The numbers and names of all interfaces: at the start, and after events were lost. OSError."""
        asking = Netlink()
        try:
            found = [link.decode(body) for body in asking.dump(link.dump())]
        finally:
            asking.close()
        self._names = {item.index: item.name for item in found}
        self._foreign = {item.name: item for item in found if not is_uninteresting(item, self._mark)}

    def _look(self) -> None:
        """Reads what came, and tells what differs and does not change any more."""
        turn, changing = self._memory.turn, self._memory.changing
        self._timer = None
        try:
            drained = self._drain()
        except OSError as error:
            log.error("the kernel's events cannot be read any more: %s", error)
            self.close()
            return
        if self._overrun and not self._start_over():
            self._wait(PATIENCE)
            return
        if not drained:
            self._wait(0.0)
            return
        told = self._judge(turn, changing)
        if self._pending:
            self._wait(SETTLE)
        else:
            self._listen()
        if told:
            self._tell(told)

    def _start_over(self) -> bool:
        """After events were lost. False: the kernel's tables change too fast to be read now."""
        try:
            self._learn_links()
        except OSError as error:
            log.warning("interfaces cannot be read after events were lost, once more soon: %s", error)
            return False
        self._overrun = False
        self._pending.clear()
        self._bodies.clear()
        self._tell((Notice(kind="overrun", name=""),))
        return True

    def _judge(self, turn: int, changing: Collection[Key] | None) -> tuple[Notice, ...]:
        """What to tell now. What differs and may change yet stays pending; the rest is settled.

        ``turn`` and ``changing`` are the memory's from before the events were read: what a change touched that was on
        its way then or is now, or came and went meanwhile, is judged at the next look.
        """
        found: dict[Slot, tuple[Key, Notice]] = {}
        for slot, judge in self._pending.items():
            judgement = judge()
            if judgement is not None:
                found[slot] = judgement
        now = self._memory.changing
        whole_change = self._memory.turn - turn >= 2
        clear: dict[Slot, Callable[[], Judgement]] = {}
        for slot, (key, notice) in found.items():
            echo = notice.ours and notice.kind != "firewall"
            if not (echo and (whole_change or may_touch(changing, key) or may_touch(now, key))):
                clear[slot] = self._pending[slot]
        ripe = self._is_ripe(clear)
        for slot in [slot for slot in self._pending if slot not in found or (ripe and slot in clear)]:
            self._settle(slot)
        return tuple(dict.fromkeys(found[slot][1] for slot in clear)) if ripe else ()

    def _is_ripe(self, clear: dict[Slot, Callable[[], Judgement]]) -> bool:
        """Whether these differences are told now: they are the same as at the last look, or wait for too long."""
        time = self._loop.time() if self._loop is not None else 0.0
        if not self._last:
            self._since = time
        ripe = bool(clear) and (clear == self._last or time - self._since >= PATIENCE)
        self._last = {} if ripe else clear
        return ripe

    def _settle(self, slot: Slot) -> None:
        """Nothing more is to be said about this; a link of others is remembered as it is now."""
        del self._pending[slot]
        if slot[0] == "link":
            body = self._bodies.pop(slot[1], None)
            ours = self._memory.intended(("link", HOST, slot[1])) is not None
            found = link.decode(body) if body is not None and not ours else None
            if found is None or is_uninteresting(found, self._mark):
                self._foreign.pop(slot[1], None)
            else:
                self._foreign[slot[1]] = found

    def _drain(self) -> bool:
        """Reads what came, but not for long. Returns whether nothing is left. OSError."""
        for listener, take in zip(self._listeners, (self._take_route, self._take_nft), strict=False):
            for _ in range(DRAIN):
                try:
                    datagram = listener.read()
                    if datagram is None:
                        break
                    for message in messages(datagram):
                        take(message)
                except Overrun:
                    self._overrun = True
                except (ValueError, struct.error) as error:
                    log.warning("an event of the kernel cannot be understood: %s", error)
                    self._overrun = True
            else:
                return False
        return True

    def _take_route(self, message: Message) -> None:
        """Puts an event of rtnetlink where the last word about its object is kept. ValueError."""
        match message.type:
            case link.RTM_NEWLINK | link.RTM_DELLINK:
                self._take_link(message.body, deleted=message.type == link.RTM_DELLINK)
            case address.RTM_NEWADDR | address.RTM_DELADDR:
                self._take_address(message.body, deleted=message.type == address.RTM_DELADDR)
            case route.RTM_NEWROUTE | route.RTM_DELROUTE:
                self._take_one_route(message.body, deleted=message.type == route.RTM_DELROUTE)
            case netconf.RTM_NEWNETCONF:
                self._take_settings(message.body)
            case _:
                pass

    def _take_link(self, body: bytes, *, deleted: bool) -> None:
        name = name_in(body)
        if body[0] == port.AF_BRIDGE:
            found = None if deleted else port.decode(body)
            if found is not None:
                self._pending["port", name] = lambda: notices.judge_port(found, self._memory)
            elif deleted:
                self._pending.pop(("port", name), None)
            return
        index: int = link.IFINFO.unpack_from(body)[2]
        known = self._names.pop(index, name)
        if not deleted:
            self._names[index] = name
        if known != name:
            self._note_link(known, None)
        self._note_link(name, None if deleted else body)

    def _note_link(self, name: str, body: bytes | None) -> None:
        def judge() -> Judgement:
            found = link.decode(body) if body is not None else None
            return notices.judge_link(name, found, self._memory, self._mark, self._names, self._foreign)

        self._bodies[name] = body
        self._pending["link", name] = judge

    def _take_address(self, body: bytes, *, deleted: bool) -> None:
        found = address.decode(body)
        name = self._names.get(found.index, "")
        slot = ("address", name, found.address)
        self._pending[slot] = lambda: notices.judge_address(name, found, deleted, self._memory)

    def _take_one_route(self, body: bytes, *, deleted: bool) -> None:
        _, _, _, _, table, _, _, kind, _ = route.RTMSG.unpack_from(body)
        if kind != route.RTN_UNICAST or table == route.RT_TABLE_LOCAL:
            return
        found = route.decode(body)
        name = self._names.get(found.index, "")
        slot = ("route", str(found.table), str(found.destination), str(found.metric), name)
        self._pending[slot] = lambda: notices.judge_route(name, found, deleted, self._memory)

    def _take_settings(self, body: bytes) -> None:
        for path, value in notices.settings_of(netconf.decode(body), self._names).items():
            self._note_setting(path, value)

    def _note_setting(self, path: str, value: str) -> None:
        self._pending["setting", path] = lambda: notices.judge_setting(path, value, self._memory)

    def _take_nft(self, message: Message) -> None:
        """Tables are collected until the transaction's end tells who made it. ValueError."""
        found = nftables.decode(message)
        if isinstance(found, TableChange):
            self._transaction[found.family, found.table] = found.deleted
        elif isinstance(found, Generation):
            changed, self._transaction = self._transaction, {}
            if not self._is_own(found):
                cause = f"{found.name or 'a program'} (pid {process_of(found.thread)})"
                for (family, table), deleted in changed.items():
                    self._note_table(family, table, deleted, cause)

    def _is_own(self, found: Generation) -> bool:
        return found.name == KERNEL_THREAD if self._by_name else found.thread == self._thread()

    def _note_table(self, family: str, table: str, deleted: bool, cause: str) -> None:
        self._pending["firewall", family, table] = lambda: notices.judge_table(
            family, table, deleted, cause, self._memory
        )


def may_touch(changing: Collection[Key] | None, key: Key) -> bool:
    return changing is None or key in changing


def name_in(body: bytes) -> str:
    """The interface's name in a message about it; the kernel puts it first. ValueError."""
    if len(body) >= 20:
        length, kind = ATTRIBUTE.unpack_from(body, 16)
        if kind == IFLA_IFNAME:
            return text_of(body[20 : 16 + length])
    return text_of(attributes(body[16:]).get(IFLA_IFNAME, b""))


def process_of(thread: int) -> int:
    """The process of a thread, while it lives; else the thread's own id, which is the process's for most programs."""
    try:
        with open(f"/proc/{thread}/status", encoding="utf-8", errors="replace") as status:
            for line in status:
                if line.startswith("Tgid:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return thread
