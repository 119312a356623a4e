"""Networks and sandboxes against the kernel on dictionaries, whatever people do and whatever fails.

After every deed, also one that the kernel, the disk or the keeper cut short: no address is held twice, memory says what
the disk says, the kernel holds exactly what is wanted, and the keeper knows exactly who runs and what they publish.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import secrets
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine_house import House
from linkspan.errors import LinkspanError, StoreFailure
from linkspan.model.container import Container, PortBinding
from linkspan.model.endpoint import EndpointRequest

NETWORKS = ("alpha", "beta", "gamma")
CONTAINERS = ("one", "two", "three", "four")
BINDINGS = (
    PortBinding(port=80, host_port="8080"),
    PortBinding(port=53, protocol="udp", host_port="53", host_ip="192.0.2.1"),
    PortBinding(port=443),
    PortBinding(port=80, host_port="8080", host_ip="::1"),
)
DISK, KEEPER, GONE = "the disk is full", "the keeper refuses once", "there is no keeper"
Fault = tuple[str, int] | int | None
faults: st.SearchStrategy[Fault] = st.one_of(
    st.none(),
    st.integers(0, 25),
    st.just((DISK, 0)),
    st.tuples(st.just(KEEPER), st.integers(0, 8)),
    st.just((GONE, 0)),
)
"""A number: at which step the kernel fails. Nobody can undo when two of them fail at once."""


class People(RuleBasedStateMachine):
    """People at a house."""

    def __init__(self) -> None:
        super().__init__()
        self._patch = pytest.MonkeyPatch()
        numbers = itertools.count()  # ids that are the same each time, or hypothesis could not repeat a story
        self._patch.setattr(
            secrets, "token_hex", lambda _: hashlib.sha256(next(numbers).to_bytes(4, "big")).hexdigest()
        )
        self._folder = tempfile.TemporaryDirectory(prefix="linkspan-house-")
        self.house = House(Path(self._folder.name))

    def teardown(self) -> None:
        self.house.close()
        self._folder.cleanup()
        self._patch.undo()

    def attempt(self, deed: Callable[[], object], fault: Fault) -> None:
        """Does it, while something fails. Refusals are fine. After a time without a keeper the daemon starts again."""
        store, keeper = self.house.store, self.house.keeper
        original = store.transaction
        match fault:
            case int():
                self.house.kernel.fail_at(fault, errno.ENOMEM)
            case (what, call):
                if what == DISK:
                    store.transaction = refusing_once(original)  # type: ignore[method-assign]
                keeper.fail_at(call if what == KEEPER else None)
                keeper.down = what == GONE
        try:
            deed()
        except LinkspanError:
            pass
        finally:
            self.house.kernel._faults.clear()
            store.transaction = original  # type: ignore[method-assign]
            keeper.fail_at(None)
            if keeper.down:
                keeper.down = False
                self.house.reopen()

    def defined(self) -> list[str]:
        """Names of the containers, in the order of their definitions."""
        return [item.name for item in self.house.intent.containers.values()]

    def bridges(self) -> list[str]:
        """Names of the networks that give addresses."""
        return [item.name for item in self.house.intent.networks.values() if item.driver == "bridge"]

    def drawn(self, data: st.DataObject) -> Container:
        """One of the containers."""
        return self.house.intent.container(data.draw(st.sampled_from(self.defined()), label="container"))

    @initialize()
    def two_networks(self) -> None:
        self.house.network("alpha", "10.0.0.0/29", ipv6=True)
        self.house.network("beta", "10.1.0.0/29")

    @rule(name=st.sampled_from(NETWORKS), ipv6=st.booleans(), internal=st.booleans(), fault=faults)
    def make_network(self, name: str, ipv6: bool, internal: bool, fault: Fault) -> None:
        subnet = f"10.{NETWORKS.index(name)}.0.0/29"
        self.attempt(lambda: self.house.network(name, subnet, ipv6=ipv6, internal=internal), fault)

    @rule(data=st.data(), fault=faults)
    def remove_network(self, data: st.DataObject, fault: Fault) -> None:
        name = data.draw(st.sampled_from(self.bridges()), label="network")
        self.attempt(lambda: self.house.run(self.house.networks.remove(name)), fault)

    @rule(
        data=st.data(),
        name=st.sampled_from(CONTAINERS),
        last=st.one_of(st.none(), st.integers(0, 8)),
        priority=st.integers(-1, 1),
        published=st.lists(st.sampled_from(BINDINGS), unique=True, max_size=2),
        links=st.lists(st.sampled_from(CONTAINERS), unique=True, max_size=1),
    )
    def define(
        self,
        data: st.DataObject,
        name: str,
        last: int | None,
        priority: int,
        published: list[PortBinding],
        links: list[str],
    ) -> None:
        if name not in self.defined():
            networks = data.draw(st.lists(st.sampled_from(self.bridges()), unique=True, max_size=3), label="networks")
            places = [request(item, last, priority if index else 0) for index, item in enumerate(networks)]
            self.attempt(lambda: self.house.container(name, *places, publish=published, links=links), None)

    @precondition(defined)
    @rule(data=st.data(), name=st.sampled_from(CONTAINERS))
    def define_partner(self, data: st.DataObject, name: str) -> None:
        if name not in self.defined():
            self.house.partner(name, self.drawn(data))

    @precondition(defined)
    @rule(data=st.data(), fault=faults)
    def start(self, data: st.DataObject, fault: Fault) -> None:
        container = self.drawn(data)
        if self.house.intent.sandbox_of(container.id) is None:
            self.attempt(lambda: self.house.enter(container), fault)

    @precondition(lambda self: self.house.intent.sandboxes)
    @rule(data=st.data(), fault=faults)
    def end(self, data: st.DataObject, fault: Fault) -> None:
        members = sorted({item for sandbox in self.house.intent.sandboxes.values() for item in sandbox.members})
        member = data.draw(st.sampled_from(members), label="member")
        self.attempt(lambda: self.house.run(self.house.sandboxes.leave(member)), fault)

    @precondition(defined)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        self.house.remove(self.drawn(data))

    @precondition(defined)
    @rule(
        data=st.data(),
        last=st.one_of(st.none(), st.integers(0, 8)),
        priority=st.integers(-1, 1),
        fault=faults,
    )
    def connect(self, data: st.DataObject, last: int | None, priority: int, fault: Fault) -> None:
        container, network = self.drawn(data), data.draw(st.sampled_from(self.bridges()), label="network")
        wish = request(network, last, priority)
        self.attempt(lambda: self.house.connect(network, container, wish), fault)

    @precondition(defined)
    @rule(data=st.data(), fault=faults)
    def disconnect(self, data: st.DataObject, fault: Fault) -> None:
        container, network = self.drawn(data), data.draw(st.sampled_from(self.bridges()), label="network")
        self.attempt(lambda: self.house.disconnect(network, container), fault)

    @precondition(defined)
    @rule(data=st.data())
    def preview(self, data: st.DataObject) -> None:
        container = self.drawn(data)
        self.attempt(lambda: self.house.networking.previews.start(container), None)

    @precondition(defined)
    @rule(data=st.data(), name=st.sampled_from(CONTAINERS), fault=faults)
    def rename(self, data: st.DataObject, name: str, fault: Fault) -> None:
        container = self.drawn(data)
        self.attempt(lambda: self.house.run(self.house.sandboxes.rename(container.id, name)), fault)

    @rule()
    def prune(self) -> None:
        self.house.run(self.house.networks.prune({}))

    @rule()
    def restart(self) -> None:
        self.house.reopen()

    @precondition(lambda self: any(key[0] == "link" for key in self.house.live()))
    @rule(data=st.data())
    def lose_a_link_and_restart(self, data: st.DataObject) -> None:
        links = sorted(key for key in self.house.live() if key[0] == "link")
        self.house.kernel.lose(data.draw(st.sampled_from(links)))
        self.house.reopen()

    @invariant()
    def everything_agrees(self) -> None:
        self.house.check()


def request(network: str, last: int | None, priority: int) -> EndpointRequest:
    """A wish for a network; ``last`` is the last number of a static address, which may be a bad one."""
    address = None
    if last is not None and network in NETWORKS:
        address = IPv4Address(f"10.{NETWORKS.index(network)}.0.{last}")
    return EndpointRequest(network=network, ipv4=address, gateway_priority=priority)


def refusing_once(
    transaction: Callable[[], AbstractContextManager[None]],
) -> Callable[[], AbstractContextManager[None]]:
    """The same, but that the first call fails."""
    refused = False

    def first_refused() -> AbstractContextManager[None]:
        nonlocal refused
        if not refused:
            refused = True
            raise StoreFailure("the disk is full")
        return transaction()

    return first_refused


TestPeople = People.TestCase
TestPeople.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
