"""The kernel of dictionaries and the real one hold the same after the same steps. Where they differ, Linux is right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel_states import GROUP, NAMESPACES, in_scopes, states
from linkspan.kernel import libc, netns
from linkspan.kernel.applied import Applied
from linkspan.kernel.diff import diff
from linkspan.kernel.fake import FakeKernel
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.state import State

pytestmark = pytest.mark.kernel

INSTANCE = "cafe0123"
few = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False)


@contextmanager
def linux(exec_root: Path) -> Iterator[LinuxKernel]:
    """A real kernel in a network namespace that nobody else has."""
    home = netns.own()
    try:
        libc.unshare_network()
        netns.prepare(exec_root)
        kernel = LinuxKernel(exec_root, INSTANCE, GROUP)
        try:
            yield kernel
        finally:
            kernel.close()
            netns.release(exec_root)
    finally:
        libc.setns(home)
        os.close(home)


@few
@given(path=st.lists(states(), min_size=1, max_size=4))
def test_the_same_steps_lead_to_the_same_state(tmp_path_factory: pytest.TempPathFactory, path: list[State]) -> None:
    fake = FakeKernel()
    have: State = {}
    with linux(tmp_path_factory.mktemp("agree")) as real:
        for want in path:
            steps = diff(want, have)
            fake.apply(steps)
            real.apply(steps)
            have = want
            assert real.read(NAMESPACES) == fake.read(NAMESPACES)


@few
@given(first=states(), second=states())
def test_lazy_changes_lead_to_the_same_state(
    tmp_path_factory: pytest.TempPathFactory, first: State, second: State
) -> None:
    fake = FakeKernel()
    with linux(tmp_path_factory.mktemp("agree")) as real:
        for applied in (Applied(fake), Applied(real)):
            applied.converge(in_scopes(first))
            applied.converge(in_scopes(second))
        assert real.read(NAMESPACES) == fake.read(NAMESPACES) == second


@few
@given(live=states(), want=states())
def test_resync_repairs_the_real_kernel(tmp_path_factory: pytest.TempPathFactory, live: State, want: State) -> None:
    exec_root = tmp_path_factory.mktemp("agree")
    with linux(exec_root) as real:
        real.apply(diff(live, {}))
        restarted = Applied(real)
        restarted.resync(in_scopes(want), NAMESPACES)
        assert real.read(NAMESPACES) == want
        assert restarted.resync(in_scopes(want), NAMESPACES) == ()
