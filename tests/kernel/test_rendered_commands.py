"""The commands that are shown do what the kernel package does: pasted into a shell, they lead to the same state."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings

from kernel_states import GROUP, NAMESPACES, states
from linkspan.kernel.diff import Step, diff
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.render import commands
from linkspan.kernel.state import State
from linkspan.runtime import mountspace
from namespaces import CLONE_NEWNET, checked, libc

pytestmark = pytest.mark.kernel


def in_a_place_of_its_own(body: Callable[[], None]) -> None:
    """Runs the body on a thread with network and mounts of its own, where ip-netns(8) pins what nobody else sees."""

    def run() -> None:
        checked(libc.unshare(CLONE_NEWNET))
        # ip-netns(8) wants a root that is a mount point, which that of a chroot is not
        mountspace.enter_slave((), None if mountspace.root_is_mount_point() else Path(rebase))
        shell("mount -t tmpfs none /run\nip link set lo up")
        body()

    with TemporaryDirectory() as rebase, ThreadPoolExecutor(max_workers=1) as thread:
        mountspace.prepare_mounts(Path(rebase))
        try:
            thread.submit(run).result()
        finally:
            mountspace.release_mounts(Path(rebase))


def shell(script: str) -> None:
    done = subprocess.run(["bash", "-e"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\n{script}"


def paste(steps: Iterable[Step]) -> None:
    shell("\n".join(line for step in steps for line in commands(step)))


def read(*known: State) -> State:
    kernel = LinuxKernel(Path("/run"), "cafe0123", GROUP)
    try:
        for state in known:
            kernel.expect(state.values())
        return kernel.read(NAMESPACES)
    finally:
        kernel.close()


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False)
@given(first=states(), second=states())
def test_pasted_commands_lead_to_the_state_that_was_planned(first: State, second: State) -> None:
    def body() -> None:
        paste(diff(first, {}))
        assert read(first) == first
        paste(diff(second, first))
        assert read(second) == second

    in_a_place_of_its_own(body)
