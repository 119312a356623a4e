"""A change that comes between a flush and its repair heals first, is made then, and what was healed is told after."""

from __future__ import annotations

import pytest

from linkspan.errors import KernelFailure
from linkspan.kernel.applied import Applied
from linkspan.kernel.fake import FakeKernel
from linkspan.kernel.state import Address, Bridge, Element, Scope, State, Table, state_of

HOST: Scope = ("host", "")
WEB: Scope = ("network", "web")
PORT: Scope = ("sandbox", "one")
TABLE = Table(family="inet", name="linkspan", ruleset="set bridges { type ifname; }\nset ports { type ifname; }")
BRIDGE = Bridge(name="br-web", mac="02:42:00:00:00:01", alias="linkspan:cafe0123:network:web", group=7)
ADDRESS = Address(link="br-web", address="10.0.0.1/24")
ELEMENT = Element(family="inet", table="linkspan", set="bridges", item=("br-web",))
WANTS: dict[Scope, State] = {HOST: state_of([TABLE]), WEB: state_of([ELEMENT, BRIDGE, ADDRESS])}
ANOTHER: dict[Scope, State] = {
    PORT: state_of([Element(family="inet", table="linkspan", set="ports", item=("ls-1",))]),
}
SECOND: dict[Scope, State] = {PORT: state_of([Address(link="br-web", address="10.0.0.9/24")])}


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


@pytest.fixture
def applied(kernel: FakeKernel) -> Applied:
    made = Applied(kernel)
    made.converge(WANTS)
    return made


@pytest.mark.parametrize(
    ("lost", "change"), [(TABLE, ANOTHER), (BRIDGE, SECOND)], ids=["the firewall is flushed", "the bridge is deleted"]
)
def test_it_is_made_after_what_it_stands_on_is_back(
    kernel: FakeKernel, applied: Applied, lost: Table | Bridge, change: dict[Scope, State]
) -> None:
    kernel.lose(lost.key)
    applied.converge(change)
    want = {key: item for state in (*WANTS.values(), *change.values()) for key, item in state.items()}
    assert kernel.read([]) == applied.memory.everything() == want


def test_what_was_healed_on_the_way_is_told_once_by_the_next_repair(kernel: FakeKernel, applied: Applied) -> None:
    assert not applied.needs_healing()
    kernel.lose(TABLE.key)
    applied.converge(ANOTHER)
    assert applied.needs_healing()
    told = [each.object for each in applied.heal() if not each.implied]
    assert told == [TABLE]
    assert not applied.needs_healing()
    assert applied.heal() == ()


def test_what_was_given_up_is_not_healed_for_a_change_which_is_refused(kernel: FakeKernel, applied: Applied) -> None:
    kernel.lose(TABLE.key)
    applied.heal(given_up=[TABLE.key])
    with pytest.raises(KernelFailure, match="inet linkspan"):
        applied.converge(ANOTHER)
    assert TABLE.key not in kernel.read([])
    assert applied.scope(PORT) == {}
    assert not applied.needs_healing()


def test_a_refusal_for_another_reason_is_no_reason_to_look_at_the_kernel(kernel: FakeKernel, applied: Applied) -> None:
    kernel.fail_at(0, 1)  # EPERM
    with pytest.raises(KernelFailure, match="Operation not permitted"):
        applied.converge(ANOTHER)
    assert not applied.needs_healing()
