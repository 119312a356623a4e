"""A kernel on dictionaries, for tests and dry runs: the same face and the same answers as the real one.

It keeps the rules by which Linux links objects: a namespace takes everything inside with it and the veths that
reach into it, a link its addresses, routes and values, a bridge its ports' membership, a table its elements. A
property test compares it with the real kernel; where the two differ, the kernel is right.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Iterable, Sequence
from ipaddress import ip_address

import msgspec

from linkspan.kernel.diff import Create, Delete, Step, with_dependents
from linkspan.kernel.face import StepFailed
from linkspan.kernel.state import (
    HOST,
    Address,
    Bridge,
    Element,
    Key,
    Namespace,
    Object,
    Place,
    Route,
    State,
    Sysctl,
    Table,
    Veth,
)

SET_NAME = re.compile(r"\b(?:set|map)\s+(\w+)\s*\{")
MISSING = {"namespace": errno.ENOENT, "table": errno.ENOENT, "link": errno.ENODEV}
"""What the kernel answers when a place that an object needs is not there."""


class FakeKernel:
    """``kernel.face.Kernel`` and ``Discarding`` without a kernel. ``journal`` holds every step that was applied."""

    def __init__(self) -> None:
        self.journal: list[Step] = []
        self.foreign: set[Place] = set()
        """Places that somebody else holds; our objects cannot take them and never show them."""
        self.discarded: dict[Key, tuple[Place, ...]] = {}
        """What waits for a sweep, and the names that it still holds."""
        self._objects: State = {}
        self._places: set[Place] = set()
        self._steps = 0
        self._faults: dict[int, int] = {}

    def fail_at(self, n: int, code: int) -> None:
        """Makes the ``n``-th step from now (0 is the next one) fail with this errno. May be called repeatedly."""
        self._faults[self._steps + n] = code

    def forgive(self) -> None:
        """Takes back every fault that has not happened yet."""
        self._faults.clear()

    def apply(self, steps: Sequence[Step]) -> None:
        """Applies the steps in order. Raises ``StepFailed``."""
        for done, step in enumerate(steps):
            if isinstance(step, Delete) and step.implied:
                continue
            code = self._faults.pop(self._steps, 0) or self._refusal(step)
            self._steps += 1
            if code:
                raise StepFailed(step, done, code, os.strerror(code))
            self._perform(step)
            self.journal.append(step)

    def expect(self, objects: Iterable[Object]) -> None:
        """Nothing to learn: dictionaries forget nothing."""

    def read(self, namespaces: Collection[str]) -> State:
        """All objects on the host and inside the named namespaces."""
        seen = {HOST, *namespaces}
        return {key: item for key, item in self._objects.items() if _home(item) in seen}

    def read_host(self, known: State) -> State:
        """All objects that can be seen from the host; the inner ends of pairs as ``known``."""
        seen: State = {}
        for key, item in self._objects.items():
            at_home = isinstance(item, Namespace) or _home(item) == HOST
            expected = known.get(key)
            if isinstance(item, Veth) and isinstance(expected, Veth):
                inside = ("peer_namespace", "peer_name", "peer_mac")
                item = msgspec.structs.replace(item, **{name: getattr(expected, name) for name in inside})
            if at_home and (key in known or not isinstance(item, Veth | Namespace)):
                seen[key] = item
        return seen

    def settings(self, items: Sequence[Sysctl]) -> list[str | None]:
        """The values that are there now."""
        found = [self._objects.get(item.key) for item in items]
        return [item.value if isinstance(item, Sysctl) else None for item in found]

    def pins(self) -> frozenset[str]:
        """Names of all namespaces."""
        return frozenset(item.name for item in self._objects.values() if isinstance(item, Namespace))

    def put(self, item: Object) -> None:
        """What an administrator does behind our back: the object is there now, or as it is told here."""
        self._objects[item.key] = item
        self._places.update(item.provides())

    def discard(self, veths: Collection[str], namespaces: Collection[str]) -> None:
        """Takes these out of what is there. A pair's names stay taken until ``sweep``, a namespace's is free."""
        for name in veths:
            item = self._objects.get(("link", HOST, name))
            if isinstance(item, Veth):
                self.discarded[item.key] = item.provides()
                self._remove(item.key)
        for name in namespaces:
            inside = [item for item in self._objects.values() if isinstance(item, Veth) and item.peer_namespace == name]
            self.discarded.update({item.key: item.provides() for item in inside})
            self._remove(("namespace", name))
            self.discarded = {
                key: tuple(place for place in held if place[1] != name) for key, held in self.discarded.items()
            }

    def sweep(self, limit: int) -> int:
        """Forgets at most ``limit`` discarded pairs. Returns how many wait still."""
        for key in list(self.discarded)[:limit]:
            del self.discarded[key]
        return len(self.discarded)

    def lose(self, key: Key) -> None:
        """What an administrator does behind our back: the object goes, with all that needs it."""
        self._remove(key)

    def _refusal(self, step: Step) -> int:
        """The errno with which the kernel refuses a step, or 0."""
        if isinstance(step, Delete):
            return 0
        item = step.object
        present = self._objects.get(item.key)
        needed = item.softly_needs() if isinstance(item, Veth) else item.needs()
        for place in sorted(needed, key=lambda place: place[0] != "namespace"):
            if place not in self._places:
                return errno.ENOENT if isinstance(item, Sysctl) else MISSING[place[0]]
        match item:
            case Veth(master=master) if master and not isinstance(self._objects.get(("link", HOST, master)), Bridge):
                return errno.ENODEV
            case Element() if not self._has_set(item):
                return errno.ENOENT
            case Route() if not self._reaches_gateway(item):
                return errno.EHOSTUNREACH if ":" in item.gateway else errno.ENETUNREACH
            case _:
                pass
        if not isinstance(step, Create):
            return 0 if present is not None else errno.ENODEV
        if present is not None:
            return 0 if present == item or isinstance(item, Sysctl) else errno.EEXIST
        return errno.EEXIST if any(self._taken(place) for place in item.provides()) else 0

    def _perform(self, step: Step) -> None:
        item = step.object
        if not isinstance(step, Delete):
            self._objects[item.key] = item
            self._places.update(item.provides())
        else:
            self._remove(item.key)

    def _remove(self, key: Key) -> None:
        """Takes an object away, and what the kernel takes away with it."""
        item = self._objects.get(key)
        if item is None:
            return
        for fallen in with_dependents({key}, self._objects, softly=isinstance(item, Namespace)):
            gone = self._objects.pop(fallen)
            self._places.difference_update(gone.provides())
            self._forget_ports(gone)
        if isinstance(item, Address):
            self._drop_routes(item)

    def _forget_ports(self, item: Object) -> None:
        """A bridge that goes leaves its ports behind, without the settings that only ports have."""
        if not isinstance(item, Bridge):
            return
        for key, port in self._objects.items():
            if isinstance(port, Veth) and ("link", item.namespace, item.name) in port.follows():
                self._objects[key] = msgspec.structs.replace(port, master="", hairpin=False, isolated=False)

    def _drop_routes(self, address: Address) -> None:
        """IPv4 routes go with their source address, or with the last address of their link (fib_frontend.c)."""
        if ":" in address.address:
            return
        place = address.provides()[0]
        last = not any(place in item.provides() for item in self._objects.values())
        source = str(address.interface.ip)
        for key, item in list(self._objects.items()):
            if isinstance(item, Route) and place in item.softly_needs() and (last or item.source == source):
                del self._objects[key]

    def _taken(self, place: Place) -> bool:
        """Several addresses of a family share a place; everything else is alone in its own."""
        held = {*self.foreign, *(place for places in self.discarded.values() for place in places)}
        return place[0] != "address" and (place in self._places or place in held)

    def _has_set(self, item: Element) -> bool:
        table = self._objects.get(("table", item.namespace, item.family, item.table))
        return isinstance(table, Table) and item.set in SET_NAME.findall(table.ruleset)

    def _reaches_gateway(self, route: Route) -> bool:
        if not route.gateway:
            return True
        gateway = ip_address(route.gateway)
        return any(
            isinstance(item, Address)
            and (item.namespace, item.link) == (route.namespace, route.link)
            and gateway in item.interface.network
            for item in self._objects.values()
        )


def _home(item: Object) -> str:
    """The namespace where an object is read: a pair of veths on the host, a namespace in itself."""
    match item:
        case Namespace():
            return item.name
        case Veth():
            return HOST
        case _:
            return item.namespace
