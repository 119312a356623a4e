"""Properties of the diff and of changes that are all or nothing, on the kernel of dictionaries."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_states import NAMESPACES, in_scopes, states
from linkspan.errors import KernelFailure
from linkspan.kernel.applied import Applied
from linkspan.kernel.diff import Delete, after, diff
from linkspan.kernel.fake import FakeKernel
from linkspan.kernel.state import State


def kernel_with(state: State) -> FakeKernel:
    kernel = FakeKernel()
    kernel.apply(diff(state, {}))
    return kernel


def holds(kernel: FakeKernel) -> State:
    return kernel.read(NAMESPACES)


@given(want=states(), have=states())
def test_applying_the_diff_yields_what_is_wanted(want: State, have: State) -> None:
    kernel = kernel_with(have)
    kernel.apply(diff(want, have))
    assert holds(kernel) == want


@given(want=states(), have=states())
def test_the_simulation_of_steps_agrees_with_the_kernel(want: State, have: State) -> None:
    assert after(have, diff(want, have)) == want


@given(want=states())
def test_nothing_is_to_be_done_when_all_is_there(want: State) -> None:
    assert diff(want, want) == ()


@given(want=states(), have=states(), data=st.data())
def test_the_diff_does_not_depend_on_the_order_of_its_input(want: State, have: State, data: st.DataObject) -> None:
    other_want = dict(data.draw(st.permutations(list(want.items()))))
    other_have = dict(data.draw(st.permutations(list(have.items()))))
    assert diff(other_want, other_have) == diff(want, have)


@given(want=states(), have=states())
def test_implied_deletes_are_those_that_the_kernel_does_by_itself(want: State, have: State) -> None:
    kernel = kernel_with(have)
    kernel.apply([step for step in diff(want, have) if not (isinstance(step, Delete) and step.implied)])
    assert holds(kernel) == want


@given(want=states(), have=states(), at=st.integers(0, 30))
def test_a_fault_restores_what_was_discarded_too(want: State, have: State, at: int) -> None:
    kernel = FakeKernel()
    applied = Applied(kernel)
    applied.converge(in_scopes(have))
    kernel.fail_at(at, errno.EBUSY)
    expected = want
    try:
        applied.converge(in_scopes(want))
    except KernelFailure:
        expected = have
    assert holds(kernel) == expected
    assert applied.preview(in_scopes(expected)) == ()


@given(want=states(), have=states(), data=st.data())
def test_a_fault_at_any_step_restores_what_was(want: State, have: State, data: st.DataObject) -> None:
    kernel = FakeKernel()
    applied = Applied(kernel)
    applied.converge(in_scopes(have))
    steps = diff(want, have)
    asked = [step for step in steps if not (isinstance(step, Delete) and step.implied)]
    if not asked:
        return
    at = data.draw(st.integers(0, len(asked) - 1))
    kernel.fail_at(at, errno.EBUSY)
    with pytest.raises(KernelFailure, match="resource busy"):
        applied.converge(in_scopes(want), eager=True)
    assert holds(kernel) == have
    assert applied.preview(in_scopes(have)) == ()
    applied.converge(in_scopes(want), eager=True)
    assert holds(kernel) == want


@given(want=states(), have=states(), data=st.data())
def test_a_fault_while_undoing_is_healed_from_what_is_live(want: State, have: State, data: st.DataObject) -> None:
    kernel = FakeKernel()
    applied = Applied(kernel)
    applied.converge(in_scopes(have))
    asked = [step for step in diff(want, have) if not (isinstance(step, Delete) and step.implied)]
    if len(asked) < 2:
        return
    at = data.draw(st.integers(1, len(asked) - 1))
    kernel.fail_at(at, errno.EBUSY)
    kernel.fail_at(at + 1 + data.draw(st.integers(0, at - 1)), errno.EIO)
    with pytest.raises(KernelFailure):
        applied.converge(in_scopes(want), eager=True)
    assert holds(kernel) == have
    assert applied.preview(in_scopes(have)) == ()


@given(want=states(), have=states(), faults=st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_memory_never_claims_what_the_kernel_does_not_hold(want: State, have: State, faults: list[int]) -> None:
    kernel = FakeKernel()
    applied = Applied(kernel)
    applied.converge(in_scopes(have))
    for number in faults:
        kernel.fail_at(number, errno.EIO)
    try:
        applied.converge(in_scopes(want))
    except KernelFailure:
        while applied.sweep():
            pass
        remembered = {key: item for scope in in_scopes(have) for key, item in applied.scope(scope).items()}
        assert remembered == holds(kernel)
    else:
        while applied.sweep():
            pass
        assert holds(kernel) == want


@given(want=states(), have=states())
def test_lazy_deletes_end_where_eager_ones_do(want: State, have: State) -> None:
    kernel = FakeKernel()
    applied = Applied(kernel)
    applied.converge(in_scopes(have))
    applied.converge(in_scopes(want))
    while applied.sweep():
        pass
    assert holds(kernel) == want


@given(want=states(), live=states())
def test_resync_makes_any_kernel_hold_what_is_wanted(want: State, live: State) -> None:
    kernel = kernel_with(live)
    applied = Applied(kernel)
    applied.resync(in_scopes(want), NAMESPACES)
    while applied.sweep():
        pass
    assert holds(kernel) == want
    assert applied.preview(in_scopes(want)) == ()
