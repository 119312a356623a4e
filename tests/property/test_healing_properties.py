"""Whatever somebody damages, healing leads what is there back to what is wanted. On the kernel of dictionaries."""

from __future__ import annotations

import errno

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kernel_states import NAMESPACES, in_scopes, states
from linkspan.kernel.applied import Applied
from linkspan.kernel.batching import protection_together
from linkspan.kernel.diff import diff
from linkspan.kernel.fake import FakeKernel
from linkspan.kernel.healing import home, is_garbage
from linkspan.kernel.state import HOST, Address, Bridge, Key, Namespace, Object, State, Sysctl, Veth


def made(want: State) -> tuple[FakeKernel, Applied]:
    kernel = FakeKernel()
    applied = Applied(kernel)
    applied.converge(in_scopes(want))
    return kernel, applied


def remembered(applied: Applied, want: State) -> State:
    return {key: item for scope in in_scopes(want) for key, item in applied.scope(scope).items()}


def damaged(item: Object) -> Object:
    """The object as somebody could have changed it from outside."""
    match item:
        case Bridge():
            return msgspec.structs.replace(item, mtu=1300, up=False)
        case Veth():
            return msgspec.structs.replace(item, mtu=1300, isolated=not item.isolated)
        case Sysctl():
            return msgspec.structs.replace(item, value="2")
        case _:
            return item


def damage(kernel: FakeKernel, keys: list[Key]) -> None:
    """Every second object goes with all that needs it, the others are changed where they can be."""
    for number, key in enumerate(keys):
        item = kernel.read(NAMESPACES).get(key)
        if item is not None and number % 2:
            kernel.put(damaged(item))
        elif item is not None:
            kernel.lose(key)


@given(want=states(), data=st.data())
def test_the_hosts_side_is_led_back_whatever_is_lost_or_changed(want: State, data: st.DataObject) -> None:
    kernel, applied = made(want)
    hosts = sorted(key for key, item in want.items() if home(item) == HOST and not isinstance(item, Namespace))
    damage(kernel, data.draw(st.lists(st.sampled_from(hosts), unique=True)) if hosts else [])
    found = applied.heal()
    assert all(each.repaired for each in found)
    assert kernel.read(NAMESPACES) == remembered(applied, want) == want
    assert applied.heal() == applied.audit() == ()


@given(want=states(), data=st.data())
def test_everything_is_led_back_when_asked(want: State, data: st.DataObject) -> None:
    kernel, applied = made(want)
    damage(kernel, data.draw(st.lists(st.sampled_from(sorted(want)), unique=True)) if want else [])
    audited = applied.audit()
    found = applied.heal(everything=True)
    assert [each.object for each in found] == [each.object for each in audited]
    assert all(each.repaired for each in found)
    assert kernel.read(NAMESPACES) == remembered(applied, want) == want


@given(want=states(), data=st.data(), faults=st.lists(st.integers(0, 20), max_size=4))
def test_memory_is_true_after_a_repair_that_was_refused(want: State, data: st.DataObject, faults: list[int]) -> None:
    kernel, applied = made(want)
    damage(kernel, data.draw(st.lists(st.sampled_from(sorted(want)), unique=True)) if want else [])
    for number in faults:
        kernel.fail_at(number, errno.EIO)
    for each in applied.heal(everything=True):
        assert each.repaired or each.failure is not None or each.object.key in want
    while applied.sweep():
        pass
    assert remembered(applied, want) == kernel.read(NAMESPACES)
    kernel.forgive()
    applied.heal(everything=True)
    assert kernel.read(NAMESPACES) == want


@given(want=states(), foreign=states())
def test_what_is_not_wanted_is_left_by_healing_and_found_as_garbage(want: State, foreign: State) -> None:
    kernel, applied = made(want)
    for item in foreign.values():
        if is_garbage(item) and not any(place in kernel._places for place in item.provides()):
            kernel.put(item)
    before = kernel.read(NAMESPACES)
    applied.heal()
    assert kernel.read(NAMESPACES) == before
    assert {each.object.key for each in applied.garbage()} == before.keys() - want.keys()
    applied.collect()
    while applied.sweep():
        pass
    assert kernel.read(NAMESPACES) == want


@given(want=states(), have=states())
def test_protecting_first_ends_where_the_diff_does(want: State, have: State) -> None:
    kernel = FakeKernel()
    kernel.apply(diff(have, {}))
    kernel.apply(protection_together(diff(want, have)))
    assert kernel.read(NAMESPACES) == want


@given(want=states())
def test_an_address_of_somebody_on_our_bridge_stays(want: State) -> None:
    kernel, applied = made(want)
    for item in list(want.values()):
        if isinstance(item, Bridge):
            kernel.put(Address(link=item.name, address="192.0.2.99/32"))
    before = kernel.read(NAMESPACES)
    assert applied.heal() == ()
    assert kernel.read(NAMESPACES) == before
