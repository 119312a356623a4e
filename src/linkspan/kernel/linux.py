"""The real kernel: applies steps and reads back (``face.Kernel``). Blocking; everything on one thread.

Steps on links, addresses and routes go one by one: a request costs 3 µs beside its work, and the kernel goes on with
a batch after a request that failed, which would have to be undone. Consecutive table and element steps of one
namespace are one nft transaction, which stands or falls as a whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from ipaddress import ip_interface
from itertools import takewhile
from pathlib import Path

import msgspec

from linkspan.kernel import addresses, announce, drops, netns, sysctls, tables
from linkspan.kernel.diff import Create, Delete, Step, Update
from linkspan.kernel.face import StepFailed
from linkspan.kernel.links import Foreign, Links, Mark, outer_end
from linkspan.kernel.netlink import Netlink, NetlinkError
from linkspan.kernel.nft import Nft, NftError, NftProblem
from linkspan.kernel.spares import Spares
from linkspan.kernel.state import (
    HOST,
    Address,
    Bridge,
    Element,
    Key,
    Namespace,
    Object,
    Route,
    State,
    Sysctl,
    Table,
    Veth,
)
from linkspan.kernel.trash import Trash
from linkspan.kernel.wire import link
from linkspan.kernel.wire.link import Counters, Link

EVERY = 1 << 16
SWEEP = 16
"""Links deleted in one go: about 30 ms under the kernel's network lock."""


class LinuxKernel:
    """The kernel as seen from the namespace of the thread that makes this object.

    ``exec_root`` holds the namespaces (``netns.prepare`` it first), ``instance`` is the daemon's id of 8 hex digits,
    ``group`` its interface group: the two mark what is ours.
    """

    def __init__(self, exec_root: Path, instance: str, group: int) -> None:
        self.mark = Mark(instance, group)
        if group in (self.mark.trash, self.mark.doomed):
            raise ValueError(f"interface group {group} is kept for links that are being deleted")
        self.namespaces = netns.Namespaces(exec_root)
        self.host = Netlink()
        self._nft = Nft()
        self._links = Links(self.host, self.namespaces, self.mark)
        self._memory = tables.Memory(load_aside)
        self._sysctls: dict[str, dict[Key, Sysctl]] = {}
        self._tabled: set[str] = {HOST}
        self._spares = Spares(self.namespaces)
        self._trash = Trash(self.host, self.namespaces, self.mark)
        # What an earlier daemon discarded and did not live to delete.
        while self._trash.sweep(SWEEP):
            pass

    def close(self) -> None:
        """Closes every socket. What is in the kernel stays."""
        self._trash.close()
        self._spares.close()
        self.namespaces.close()
        self._nft.close()
        self.host.close()

    def expect(self, objects: Iterable[Object]) -> None:
        """Tells what may be live, so that ``read`` knows it: texts of tables, sets that publish, sysctls.

        What ``apply`` makes is known by itself; after a restart tell the want.
        """
        for item in objects:
            if isinstance(item, Table | Element):
                self._memory.learn(item)
                self._tabled.add(item.namespace)
            elif isinstance(item, Sysctl):
                self._sysctls.setdefault(item.namespace, {})[item.key] = item

    def apply(self, steps: Sequence[Step]) -> None:
        """Applies steps in order (``face.Kernel.apply``). StepFailed."""
        done = 0
        self._spares.begin([table for step in steps if (table := new_table(step)) is not None])
        while done < len(steps):
            step = steps[done]
            try:
                if isinstance(step.object, Table | Element):
                    done += self._transact(step.object, steps, done)
                else:
                    self._perform(step)
                    done += 1
            except Foreign as error:
                raise StepFailed(step, done, errno.EEXIST, str(error)) from error
            except ValueError as error:
                raise StepFailed(step, done, errno.EINVAL, str(error)) from error
            except OSError as error:
                raise StepFailed(step, done, error.errno or errno.EIO, reason_of(error)) from error

    def _perform(self, step: Step) -> None:
        if isinstance(step, Delete):
            if not step.implied:
                self._delete(step.object)
            if isinstance(step.object, Sysctl):
                self._sysctls.get(step.object.namespace, {}).pop(step.object.key, None)
        elif isinstance(step, Create):
            self._create(step.object)
        else:
            self._update(step)

    def _create(self, item: Object) -> None:
        match item:
            case Namespace():
                if not self.namespaces.exists(item.name):
                    self._spares.pin(item.name)
            case Bridge():
                self._links.create_bridge(item)
            case Veth():
                self._links.create_veth(item)
            case Address():
                addresses.add_address(self._links.socket(item.namespace), item)
            case Route():
                addresses.add_route(self._links.socket(item.namespace), item)
            case Sysctl():
                with self._inside(item.namespace):
                    sysctls.write(item.path, item.value)
                self.expect((item,))
            case Table() | Element():
                raise TypeError("tables and elements go through a transaction")

    def _update(self, step: Update) -> None:
        match step.before, step.object:
            case _, Bridge() as bridge:
                self._links.update_bridge(bridge)
            case Veth() as before, Veth() as veth:
                self._links.update_veth(veth, before)
            case _, other:
                self._create(other)

    def _delete(self, item: Object) -> None:
        match item:
            case Namespace():
                self.namespaces.delete(item.name)
                self._forget(item.name)
            case Bridge():
                self._links.delete(item.namespace, item.name)
            case Veth():
                self._links.delete(HOST, item.name)
            case Address():
                with contextlib.suppress(FileNotFoundError):
                    addresses.delete_address(self._links.socket(item.namespace), item)
            case Route():
                with contextlib.suppress(FileNotFoundError):
                    addresses.delete_route(self._links.socket(item.namespace), item)
            case Sysctl():
                pass
            case Table() | Element():
                raise TypeError("tables and elements go through a transaction")

    def _transact(self, first: Table | Element, steps: Sequence[Step], done: int) -> int:
        """Makes the table and element steps from ``done`` on one nft transaction; returns how many they are.

        Commands that find their work done already are taken out, and it is tried again.
        """
        group = list(takewhile(lambda step: same_transaction(first, step.object), steps[done:]))
        commands: list[tuple[Step, str]] = []
        for step in group:
            if self._spares.brought(new_table(step)):
                continue
            try:
                commands += [(step, command) for command in commands_of(step)]
            except ValueError as error:
                raise StepFailed(step, done, errno.EINVAL, str(error)) from error
        if first.namespace != HOST and not self.namespaces.exists(first.namespace):
            commands = [(step, command) for step, command in commands if not isinstance(step, Delete)]
        if commands:
            with self._nft_of(first.namespace) as nft:
                self._run(nft, commands, done)
        self.expect(step.object for step in group if not isinstance(step, Delete))
        return len(group)

    def _run(self, nft: Nft, commands: list[tuple[Step, str]], done: int) -> None:
        while commands:
            try:
                nft.run([command for _, command in commands])
                return
            except NftError as error:
                idle = {problem.command for problem in error.problems if self._idle(nft, commands, problem)}
                for problem in error.problems:
                    if problem.command not in idle:
                        raise StepFailed(commands[problem.command][0], done, problem.code, problem.reason) from error
                commands = [entry for place, entry in enumerate(commands) if place not in idle]

    def _idle(self, nft: Nft, commands: Sequence[tuple[Step, str]], problem: NftProblem) -> bool:
        """Whether a refused command had nothing to do: absent already, or there already and equal."""
        step, command = commands[problem.command]
        if problem.code == errno.ENOENT and command.startswith("delete"):
            return True
        if problem.code == errno.EEXIST and isinstance(step, Create) and isinstance(step.object, Table):
            table = step.object
            self._memory.learn(table)
            live = tables.live_table(nft.table(table.family, table.name))
            return table in self._memory.objects(table.family, table.name, table.namespace, live)
        return False

    def read(self, namespaces: Collection[str]) -> State:
        """Everything live that is ours (``face.Kernel.read``). OSError when the kernel cannot be read."""
        asked = set(namespaces)
        wanted = [name for name in self.namespaces.names() if name in asked]
        found: list[Object] = [Namespace(name=name) for name in wanted]
        links = [link.decode(body) for body in self.host.dump(link.dump())]
        ours = [item for item in links if self.mark.ours(item) and not self.mark.discarded(item)]
        found += self._read_links(ours, {item.index: item.name for item in links})
        veths = [item for item in found if isinstance(item, Veth)]
        found += self._read_routing(HOST, {item.index: item.name for item in ours})
        for name in wanted:
            inside = self._links.socket(name)
            names = {item.peer_name for item in veths if item.peer_namespace == name}
            found += self._read_routing(name, {inside.index(each): each for each in names})
        for name in (HOST, *wanted):
            found += self._read_tables(name)
            found += self._read_sysctls(name)
        return {item.key: item for item in found}

    def read_host(self, known: State) -> State:
        """What is ours and can be seen from the host (``face.Kernel.read_host``). OSError."""
        found: list[Object] = [
            Namespace(name=name) for name in self.namespaces.names() if Namespace(name=name).key in known
        ]
        links = [link.decode(body) for body in self.host.dump(link.dump())]
        ours = [item for item in links if self.mark.ours(item) and not self.mark.discarded(item)]
        names = {item.index: item.name for item in links}
        for item in ours:
            expected = known.get(("link", HOST, item.name))
            if item.kind == "bridge":
                found.append(self._links.read_bridge(HOST, item))
            elif item.kind == "veth" and isinstance(expected, Veth):
                found.append(outer_end(item, names, expected))
        found += self._read_routing(HOST, {item.index: item.name for item in ours})
        found += self._read_tables(HOST)
        found += self._read_sysctls(HOST)
        return {item.key: item for item in found}

    def settings(self, items: Sequence[Sysctl]) -> list[str | None]:
        """Values of the host (``face.Kernel.settings``). OSError, ValueError."""
        return [sysctls.read(item.path) for item in items]

    def pins(self) -> frozenset[str]:
        """Every pin, also what is left of one (``face.Kernel.pins``). OSError."""
        return frozenset((*self.namespaces.names(), *self.namespaces.broken()))

    def _read_links(self, ours: Sequence[Link], names: dict[int, str]) -> Iterator[Object]:
        numbers = self._links.numbers() if any(item.kind == "veth" for item in ours) else {}
        for item in ours:
            if item.kind == "bridge":
                yield self._links.read_bridge(HOST, item)
            elif item.kind == "veth":
                veth = self._links.read_veth(item, names, numbers)
                if veth is not None:
                    yield veth

    def _read_routing(self, namespace: str, links: dict[int, str]) -> Iterator[Object]:
        if links:
            socket = self._links.socket(namespace)
            yield from addresses.read_addresses(socket, namespace, links)
            yield from addresses.read_routes(socket, namespace, links)

    def _read_tables(self, namespace: str) -> Iterator[Object]:
        if namespace not in self._tabled:
            return
        with self._nft_of(namespace) as nft:
            for family, name in nft.tables():
                if name == tables.TABLE_NAME and family in tables.FAMILIES:
                    live = tables.live_table(nft.table(family, name))
                    yield from self._memory.objects(tables.family_of(family), name, namespace, live)

    def _read_sysctls(self, namespace: str) -> Iterator[Object]:
        told = self._sysctls.get(namespace)
        if told:
            with self._inside(namespace):
                for item in told.values():
                    value = sysctls.read(item.path)
                    if value is not None:
                        yield msgspec.structs.replace(item, value=value)

    def _forget(self, namespace: str) -> None:
        self._tabled.discard(namespace)
        self._sysctls.pop(namespace, None)
        self._spares.forget(namespace)

    @contextlib.contextmanager
    def _inside(self, namespace: str) -> Iterator[None]:
        if namespace == HOST:
            yield
            return
        with self.namespaces.opened(namespace) as descriptor, netns.entered(descriptor):
            yield

    @contextlib.contextmanager
    def _nft_of(self, namespace: str) -> Iterator[Nft]:
        """The host's context, or one for a piece of work inside. FileNotFoundError: no such namespace."""
        if namespace == HOST:
            yield self._nft
            return
        with self._inside(namespace):
            nft = Nft()
        try:
            yield nft
        finally:
            nft.close()

    def discard(self, veths: Collection[str], namespaces: Collection[str]) -> None:
        """Puts veths (by the host end's name) and namespaces out of the way at once; ``sweep`` deletes them."""
        self._trash.discard(veths, namespaces)
        for name in namespaces:
            self._forget(name)

    def sweep(self, limit: int = SWEEP) -> int:
        """Really deletes up to ``limit`` discarded veths and namespaces of each; returns how many are left."""
        return self._trash.sweep(limit)

    def fill(self, count: int, most: int = EVERY) -> int:
        """Makes spare namespaces until ``count`` of each kind wait, at most ``most``; returns how many were made.

        Up to 1.5 ms for each. OSError.
        """
        return self._spares.fill(count, most)

    def prepare_spares(self, table: Table, port: int) -> None:
        """From now on ``fill`` makes prepared spares too: with this table, and a resolver's sockets on this port."""
        self._spares.prepare(table, port)

    def open_resolver(self, namespace: str, port: int) -> tuple[int, int]:
        """New descriptors of a UDP and a TCP socket on 127.0.0.11 inside; the caller closes them.

        FileNotFoundError: no such namespace. OSError (EADDRINUSE): a program of the container has the port.
        """
        return self._spares.open_resolver(namespace, port)

    def announce(self, namespace: str, link_name: str, addresses_of: Iterable[str], mac: str) -> None:
        """Tells the neighbours where addresses are now (gratuitous ARP, unsolicited NA). OSError, ValueError.

        For any thread, and better not the kernel thread: see ``announce.send``.
        """
        with self._inside(namespace):
            announce.send(link_name, [ip_interface(text).ip for text in addresses_of], mac)

    def counters(self, namespace: str) -> dict[str, Counters]:
        """Counters of each interface of a namespace. FileNotFoundError, NetlinkError."""
        bodies = self._links.socket(namespace).dump(link.dump(counters=True))
        return dict(link.decode_counters(body) for body in bodies)

    def drops(self) -> dict[str, dict[str, int]]:
        """Frames that ports refused in the last day, by host's end and reason (``drops.drops``). NftError."""
        return drops.drops(self._nft)

    def namespace_fd(self, name: str) -> int:
        """A new descriptor of a namespace; the caller closes it. FileNotFoundError."""
        return self.namespaces.open(name)

    def namespace_path(self, name: str) -> Path:
        """Where a namespace is pinned. ValueError for a name that cannot be a file's."""
        return self.namespaces.path(name)


def same_transaction(first: Object, other: Object) -> bool:
    """Whether two steps' objects go into one nft transaction."""
    return (
        isinstance(first, Table | Element) and isinstance(other, Table | Element) and first.namespace == other.namespace
    )


def new_table(step: Step) -> Table | None:
    """The table that a step puts into a namespace of ours, if it does."""
    if isinstance(step, Create) and isinstance(step.object, Table) and step.object.namespace != HOST:
        return step.object
    return None


def commands_of(step: Step) -> list[str]:
    """The nft commands of a step on a table or an element. ValueError when a part is malformed."""
    item = step.object
    if isinstance(item, Table):
        if isinstance(step, Delete):
            return [] if step.implied else [tables.delete_table(item)]
        if isinstance(step, Update):
            return [tables.delete_table(item), tables.create_table(item)]
        return [tables.create_table(item)]
    if isinstance(item, Element):
        if isinstance(step, Delete):
            return [] if step.implied else [tables.delete_element(item)]
        if isinstance(step, Update):
            return [tables.delete_element(item), tables.add_element(item)]
        return [tables.add_element(item)]
    return []


def load_aside(table: Table) -> tables.LiveTable:
    """Loads a table in a namespace of its own and lists it there. NftError when its text is wrong; OSError."""
    aside = netns.create()
    try:
        descriptor = aside.namespace()
        try:
            with netns.entered(descriptor):
                nft = Nft()
        finally:
            os.close(descriptor)
        try:
            nft.run([tables.create_table(table)])
            return tables.live_table(nft.table(table.family, table.name))
        finally:
            nft.close()
    finally:
        aside.close()


def reason_of(error: OSError) -> str:
    """The kernel's words, with the file where there is one."""
    words = error.strerror or str(error)
    return f"{words}: {error.filename}" if error.filename and not isinstance(error, NetlinkError) else words
