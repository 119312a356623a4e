"""The commands that are shown do what the kernel package does: pasted into a shell, they lead to the same state."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from kernel_states import GROUP, NAMESPACES, states
from linkspan.kernel.diff import Step, diff
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.render import commands
from linkspan.kernel.state import State
from namespaces import CLONE_NEWNET, checked, libc

pytestmark = pytest.mark.kernel

CLONE_NEWNS = 0x00020000  # linux/sched.h
MS_REC, MS_PRIVATE = 1 << 14, 1 << 18  # linux/mount.h


def in_a_place_of_its_own(body: Callable[[], None]) -> None:
    """Runs the body on a thread with network and mounts of its own, where ip-netns(8) pins what nobody else sees."""

    def run() -> None:
        checked(libc.unshare(CLONE_NEWNS | CLONE_NEWNET))
        keep_mounts_private()
        shell("mount -t tmpfs none /run\nip link set lo up")
        body()

    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(run).result()


def keep_mounts_private() -> None:
    """``mount --make-rprivate /`` that works in a chroot too: its root need not be a mount point, the machine's is."""
    inside = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    own = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)
    try:
        checked(libc.setns(own, CLONE_NEWNS))
        checked(libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None))
        os.fchdir(inside)
        os.chroot(".")
    finally:
        os.close(own)
        os.close(inside)


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
