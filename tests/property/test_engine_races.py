"""Everybody at once: whatever people do at the same time, the house is in order when they are done."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Coroutine
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine_lives import Lives
from linkspan.engine import lifecycle
from linkspan.errors import LinkspanError, RuntimeFailure
from linkspan.model.container import ContainerSpec, NetworkMode, PortBinding, RestartPolicy
from linkspan.model.endpoint import EndpointRequest
from linkspan.model.network import NetworkRequest

NAMES = ("owner", "partner", "loner")
DEEDS = (
    *("start", "start", "stop", "restart", "kill", "pause", "unpause", "remove", "remove by force", "end", "create"),
    *("connect", "disconnect", "remove network", "make network", "rename", "wait"),
)

deeds = st.lists(
    st.tuples(st.sampled_from(DEEDS), st.sampled_from(NAMES), st.integers(0, 4)),
    min_size=2,
    max_size=14,
)
policies = st.sampled_from([RestartPolicy(), RestartPolicy(name="always"), RestartPolicy(name="on-failure")])


def spec_of(lives: Lives, name: str, policy: RestartPolicy, auto_remove: bool) -> ContainerSpec:
    mode = NetworkMode(raw="web")
    if name == "partner":
        mode = NetworkMode(kind="container", raw="container:owner", container="owner")
    return ContainerSpec(
        image="busybox",
        network_mode=mode,
        endpoints=() if name == "partner" else (EndpointRequest(network="web"),),
        restart=RestartPolicy() if auto_remove else policy,
        auto_remove=auto_remove,
        stop_timeout=0,
        port_bindings=() if name == "partner" else (PortBinding(port=80, host_port="8080-8081"),),
    )


def deed_of(lives: Lives, deed: str, name: str, spec: ContainerSpec) -> Coroutine[object, object, object]:
    containers, networks = lives.containers, lives.networks

    async def end() -> None:
        container = lives.intent.container(name)
        if container.id in lives.runtime.processes:
            lives.runtime.end(container.id, 1)

    async def wait() -> None:
        async with asyncio.timeout(0.01):
            await containers.wait(name, "not-running")

    return {
        "start": lambda: containers.start(name),
        "stop": lambda: containers.stop(name, timeout=None),
        "restart": lambda: containers.restart(name, timeout=None),
        "kill": lambda: containers.kill(name, ""),
        "pause": lambda: containers.pause(name),
        "unpause": lambda: containers.unpause(name),
        "remove": lambda: containers.remove(name, force=False, volumes=False),
        "remove by force": lambda: containers.remove(name, force=True, volumes=False),
        "end": end,
        "create": lambda: containers.create(name, spec),
        "connect": lambda: networks.connect("other", name, EndpointRequest(network="other")),
        "disconnect": lambda: networks.disconnect("other", name, force=True),
        "remove network": lambda: networks.remove("other"),
        "make network": lambda: networks.create(NetworkRequest(name="other")),
        "rename": lambda: containers.rename(name, f"{name}2"),
        "wait": wait,
    }[deed]()


@given(
    asked=deeds,
    policy=policies,
    auto_remove=st.booleans(),
    slow=st.sampled_from([0.0, 0.002]),
    refusals=st.lists(st.sampled_from(["create", "start", "attach"]), max_size=2),
    fault=st.one_of(st.none(), st.integers(0, 40)),
    keeper_fault=st.one_of(st.none(), st.integers(0, 20)),
    running=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_house_is_in_order_when_everybody_is_done(
    asked: list[tuple[str, str, int]],
    policy: RestartPolicy,
    auto_remove: bool,
    slow: float,
    refusals: list[str],
    fault: int | None,
    keeper_fault: int | None,
    running: bool,
) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="linkspan-house-") as folder,
        Lives(Path(folder)) as lives,
    ):
        patch.setattr(lifecycle, "FIRST_DELAY", 0.001)
        patch.setattr(lifecycle, "LONGEST_DELAY", 0.002)
        lives.network("web", "10.5.0.0/24")
        lives.network("other", "10.6.0.0/24", ipv6=True)
        specs = {name: spec_of(lives, name, policy, auto_remove) for name in NAMES}
        for name in NAMES:
            lives.run(lives.containers.create(name, specs[name]))
            if running:
                lives.run(lives.containers.start(name))
        lives.runtime.slow_start = slow
        for verb in refusals:
            lives.runtime.refuse.setdefault(verb, []).append(RuntimeFailure("not now"))
        if fault is not None:
            lives.kernel.fail_at(fault, 12)
        else:
            lives.keeper.fail_at(keeper_fault)

        async def one(deed: str, name: str, delay: int) -> None:
            await asyncio.sleep(delay / 1000)
            with contextlib.suppress(LinkspanError, TimeoutError):
                await deed_of(lives, deed, name, specs[name])

        async def everybody() -> None:
            async with asyncio.timeout(10):
                await asyncio.gather(*(one(*item) for item in asked))

        lives.run(everybody())
        lives.check_lives()
        lives.kernel._faults.clear()
        lives.keeper.fail_at(None)
        lives.reopen()
        lives.check_lives()
