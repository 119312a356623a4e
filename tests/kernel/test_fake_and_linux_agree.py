"""The kernel of dictionaries and the real one hold the same after the same steps. Where they differ, Linux is right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from kernel_states import ALIAS, GROUP, NAMESPACES, RULESET, in_scopes, states
from linkspan import libc
from linkspan.kernel import netns
from linkspan.kernel.applied import Applied
from linkspan.kernel.diff import Create, Delete, Step, Update, diff
from linkspan.kernel.face import StepFailed
from linkspan.kernel.fake import FakeKernel
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.state import Address, Element, Namespace, Object, Route, State, Sysctl, Table, Veth, state_of

pytestmark = pytest.mark.kernel

SANDBOX = Namespace(name="lsp-s1")
PORT = Veth(
    name="lspv1",
    master="",
    alias=f"{ALIAS}one",
    group=GROUP,
    peer_namespace="lsp-s1",
    peer_name="eth0",
    peer_mac="02:00:00:00:02:01",
)
INSIDE = Address(namespace="lsp-s1", link="eth0", address="10.1.0.2/24")
INSIDE6 = Address(namespace="lsp-s1", link="eth0", address="fd00:1::2/64")
TABLE = Table(family="inet", name="linkspan", ruleset=RULESET)
GROUND = state_of([SANDBOX, PORT, INSIDE, INSIDE6, TABLE])
REFUSED = {
    "a veth without its bridge": Create(replace(PORT, name="lspv2", peer_name="eth1", master="lspbr-a")),
    "a veth without its namespace": Create(replace(PORT, name="lspv2", peer_namespace="lsp-s2")),
    "a veth whose name is taken": Create(replace(PORT, peer_name="eth1")),
    "a veth whose peer's name is taken": Create(replace(PORT, name="lspv2")),
    "a change of a veth that is not there": Update(PORT, replace(PORT, name="lspv2", mtu=1400)),
    "a port of a bridge that is not there": Update(PORT, replace(PORT, master="lspbr-a")),
    "an address without its link": Create(replace(INSIDE, link="eth1")),
    "an address without its namespace": Create(replace(INSIDE, namespace="lsp-s2")),
    "a route without its link": Create(
        Route(namespace="lsp-s1", link="eth1", destination="0.0.0.0/0", gateway="10.1.0.1")
    ),
    "a gateway that is not near": Create(
        Route(namespace="lsp-s1", link="eth0", destination="0.0.0.0/0", gateway="10.2.0.1")
    ),
    "a gateway that is not near, IPv6": Create(
        Route(namespace="lsp-s1", link="eth0", destination="::/0", gateway="fd00:2::1")
    ),
    "an element without its table": Create(
        Element(namespace="lsp-s1", family="inet", table="linkspan", set="ports", item=("6", "80"))
    ),
    "an element without its set": Create(Element(family="inet", table="linkspan", set="nothing", item=("6", "80"))),
    "a table without its namespace": Create(replace(TABLE, namespace="lsp-s2")),
    "a value without its link": Create(
        Sysctl(namespace="lsp-s1", link="eth1", path="net/ipv6/conf/eth1/accept_ra", value="0")
    ),
}

INSTANCE = "cafe0123"
few = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False)


@contextmanager
def linux(exec_root: Path) -> Iterator[LinuxKernel]:
    """A real kernel in a network namespace that nobody else has."""
    home = netns.own()
    try:
        libc.unshare(libc.CLONE_NEWNET)
        netns.prepare(exec_root)
        kernel = LinuxKernel(exec_root, INSTANCE, GROUP)
        try:
            yield kernel
        finally:
            kernel.close()
            netns.release(exec_root)
    finally:
        libc.setns(home, libc.CLONE_NEWNET)
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


@pytest.mark.parametrize("step", REFUSED.values(), ids=REFUSED.keys())
def test_what_the_kernel_refuses_the_fake_refuses_alike(tmp_path: Path, step: Step) -> None:
    fake = FakeKernel()
    with linux(tmp_path) as real:
        codes = []
        for kernel in (fake, real):
            kernel.apply(diff(GROUND, {}))
            with pytest.raises(StepFailed) as caught:
                kernel.apply([Delete(INSIDE6, implied=True), step])
            assert caught.value.step == step
            codes.append(caught.value.code)
            assert kernel.read(NAMESPACES) == GROUND
    assert codes[0] == codes[1]


@pytest.mark.parametrize("item", GROUND.values(), ids=lambda item: type(item).__name__)
def test_what_is_there_may_be_made_and_what_is_not_may_be_deleted(tmp_path: Path, item: Object) -> None:
    with linux(tmp_path) as real:
        for kernel in (FakeKernel(), real):
            kernel.apply([Delete(item)])
            kernel.apply(diff(GROUND, {}))
            kernel.apply([Create(item)])
            assert kernel.read(NAMESPACES) == GROUND
