"""Namespaces: pins, the spare pool, repair; and nothing left behind."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from linkspan import libc
from linkspan.kernel import netns
from linkspan.kernel.diff import Create, Delete
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.state import state_of
from linux_objects import BOX, BRIDGE, GROUP, INSTANCE, VETH

pytestmark = pytest.mark.kernel


def identity(descriptor: int) -> int:
    """The namespace's inode; the descriptor is closed."""
    try:
        return os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)


def mounts(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if f" {folder}" in line]


def test_a_namespace_has_its_loopback_up(linux: LinuxKernel) -> None:
    linux.apply([Create(BOX)])
    shown = subprocess.run(
        ["nsenter", f"--net={linux.namespace_path('box')}", "ip", "-o", "link"], capture_output=True, text=True
    ).stdout
    assert "lo: <LOOPBACK,UP,LOWER_UP>" in shown
    assert len(shown.splitlines()) == 1


def test_a_pin_survives_the_daemon(linux: LinuxKernel, tmp_path: Path) -> None:
    linux.apply([Create(BOX), Create(BRIDGE), Create(VETH)])
    before = identity(linux.namespace_fd("box"))
    restarted = LinuxKernel(tmp_path, INSTANCE, GROUP)
    try:
        linux.namespaces.close()
        assert identity(restarted.namespace_fd("box")) == before
        assert restarted.read(["box"]) == state_of([BOX, BRIDGE, VETH])
        assert restarted.counters("box").keys() == {"lo", "eth0"}
    finally:
        restarted.close()


def test_spare_namespaces_are_taken_first_and_are_not_read_as_ours(linux: LinuxKernel) -> None:
    assert linux.fill(3) == 3
    assert linux.fill(3) == 0
    assert linux.namespaces.names() == []
    linux.apply([Create(BOX)])
    assert linux.fill(3) == 1
    assert linux.read(["box", "other"]) == state_of([BOX])


def test_a_namespace_that_is_there_is_made_again_without_harm(linux: LinuxKernel) -> None:
    linux.apply([Create(BOX)])
    before = identity(linux.namespace_fd("box"))
    linux.apply([Create(BOX)])
    assert identity(linux.namespace_fd("box")) == before


def test_a_namespace_is_removed_and_its_name_is_free(linux: LinuxKernel) -> None:
    linux.apply([Create(BOX)])
    before = identity(linux.namespace_fd("box"))
    linux.apply([Delete(BOX), Delete(BOX)])
    assert not linux.namespace_path("box").exists()
    with pytest.raises(FileNotFoundError):
        linux.namespace_fd("box")
    linux.apply([Create(BOX)])
    assert identity(linux.namespace_fd("box")) != before


def test_the_thread_comes_home_from_a_namespace_even_on_an_error(linux: LinuxKernel) -> None:
    linux.apply([Create(BOX)])
    before = identity(netns.own())

    def fail_inside() -> None:
        with linux.namespaces.opened("box") as descriptor, netns.entered(descriptor):
            assert identity(netns.own()) != before
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail_inside()
    assert identity(netns.own()) == before


def test_a_pin_file_that_is_no_namespace_any_more_is_repaired(linux: LinuxKernel) -> None:
    linux.apply([Create(BOX)])
    libc.unmount(str(linux.namespace_path("box")))
    assert linux.namespaces.broken() == ["box"]
    assert linux.read(["box"]) == {}
    assert linux.namespaces.repair() == ["box"]
    assert linux.namespaces.repair() == []
    linux.apply([Create(BOX)])
    assert linux.read(["box"]) == state_of([BOX])


def test_a_pin_file_that_is_no_namespace_is_no_obstacle(linux: LinuxKernel) -> None:
    linux.namespace_path("box").touch()
    assert linux.read(["box"]) == {}
    linux.apply([Create(BOX)])
    assert linux.read(["box"]) == state_of([BOX])


def test_a_lost_pin_is_made_again_from_a_process_inside(linux: LinuxKernel) -> None:
    linux.apply([Create(BOX)])
    before = identity(linux.namespace_fd("box"))
    with linux.namespaces.opened("box") as descriptor, netns.entered(descriptor):
        inside = subprocess.Popen(["sleep", "60"])
    try:
        linux.namespaces.delete("box")
        linux.namespaces.repin("box", inside.pid)
        assert identity(linux.namespace_fd("box")) == before
    finally:
        inside.kill()
        inside.wait()
    with pytest.raises(FileNotFoundError):
        linux.namespaces.repin("box", inside.pid)


def test_preparing_twice_mounts_once_and_releasing_leaves_nothing(tmp_path: Path) -> None:
    for _ in range(3):
        netns.prepare(tmp_path)
    folder = tmp_path / "netns"
    assert len(mounts(folder)) == 1
    assert " shared:" in mounts(folder)[0]
    namespaces = netns.Namespaces(tmp_path)
    namespaces.keep("one", netns.create())
    namespaces.close()
    assert len(mounts(folder)) == 2
    netns.release(tmp_path)
    assert mounts(folder) == []
    assert not folder.exists()
    netns.release(tmp_path)


def test_a_path_with_blanks_is_prepared_and_released(tmp_path: Path) -> None:
    root = tmp_path / "a folder\\with\ttricks"
    netns.prepare(root)
    netns.prepare(root)
    assert netns.is_mount(root / "netns")
    netns.release(root)
    assert not (root / "netns").exists()


def test_a_name_that_is_pinned_is_not_taken_twice(linux: LinuxKernel) -> None:
    linux.namespaces.keep("box", netns.create())
    with pytest.raises(FileExistsError) as caught:
        linux.namespaces.keep("box", netns.create())
    assert caught.value.errno == errno.EEXIST


def test_no_descriptor_is_left_open(linux: LinuxKernel) -> None:
    def once() -> None:
        linux.fill(2)
        linux.apply([Create(BOX), Create(BRIDGE), Create(VETH)])
        linux.read(["box"])
        linux.counters("box")
        linux.apply([Delete(VETH), Delete(BRIDGE), Delete(BOX)])

    once()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        once()
    assert len(os.listdir("/proc/self/fd")) == before
