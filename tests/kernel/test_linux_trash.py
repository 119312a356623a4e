"""Lazy deletion: what is discarded is out of the way at once and gone after the sweep."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from linkspan.kernel.diff import Create, Delete
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.state import Namespace, Veth, state_of
from linux_objects import BOX, BRIDGE, GROUP, INSTANCE, VETH

pytestmark = pytest.mark.kernel

changed = msgspec.structs.replace


def links() -> str:
    return subprocess.run(["ip", "-o", "link"], check=True, capture_output=True, text=True).stdout


def pair(number: int) -> tuple[Namespace, Veth]:
    return Namespace(name=f"box{number}"), changed(VETH, name=f"ls-{number}", peer_namespace=f"box{number}")


def fill(kernel: LinuxKernel, count: int) -> tuple[list[str], list[str]]:
    pairs = [pair(number) for number in range(count)]
    kernel.apply([Create(BRIDGE), *(Create(item) for item, _ in pairs), *(Create(veth) for _, veth in pairs)])
    return [veth.name for _, veth in pairs], [item.name for item, _ in pairs]


def test_what_is_discarded_is_read_no_more_and_down(linux: LinuxKernel) -> None:
    veths, namespaces = fill(linux, 3)
    linux.discard(veths[:2], namespaces[:2])
    assert linux.read(namespaces) == state_of([BRIDGE, *pair(2)])
    assert "ls-0" in links()
    assert all("UP" not in line.split("<")[1].split(">")[0] for line in links().splitlines() if "ls-0" in line)
    assert not linux.namespace_path("box0").exists()


def test_a_sweep_takes_at_most_its_limit(linux: LinuxKernel) -> None:
    veths, namespaces = fill(linux, 7)
    linux.discard(veths, namespaces)
    left = [linux.sweep(3)]
    assert links().count("ls-") == 4
    while left[-1]:
        left.append(linux.sweep(3))
    assert left == sorted(left, reverse=True)
    assert "ls-" not in links()
    assert linux.read(namespaces) == state_of([BRIDGE])
    assert linux.sweep() == 0


def test_the_trash_of_a_daemon_that_died_is_swept_by_the_next(linux: LinuxKernel, tmp_path: Path) -> None:
    veths, namespaces = fill(linux, 3)
    linux.discard(veths[:2], [])
    next_one = LinuxKernel(tmp_path, INSTANCE, GROUP)
    try:
        assert links().count("ls-") == 1
        assert next_one.read(namespaces).keys() == {
            BRIDGE.key,
            pair(2)[1].key,
            *(("namespace", name) for name in namespaces),
        }
    finally:
        next_one.close()


def test_a_discarded_namespace_goes_with_the_daemon(linux: LinuxKernel, tmp_path: Path) -> None:
    veths, namespaces = fill(linux, 2)
    linux.discard(veths, namespaces)
    linux.close()
    deadline = time.monotonic() + 5
    while "ls-" in links() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "ls-" not in links()


def test_a_foreign_link_is_not_discarded(linux: LinuxKernel) -> None:
    subprocess.run(["ip", "link", "add", "ls-one", "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", "ls-one", "up"], check=True)
    linux.discard(["ls-one", "nosuch"], ["nosuch"])
    assert linux.sweep() == 0
    assert "ls-one: <BROADCAST,MULTICAST,UP" in links()


def test_a_link_that_went_by_itself_does_not_disturb_the_sweep(linux: LinuxKernel) -> None:
    veths, namespaces = fill(linux, 3)
    linux.discard(veths, namespaces)
    subprocess.run(["ip", "link", "del", "ls-1"], check=True)
    while linux.sweep():
        pass
    assert "ls-" not in links()


def test_the_name_of_a_discarded_pair_can_be_used_again(linux: LinuxKernel) -> None:
    linux.apply([Create(BOX), Create(BRIDGE), Create(VETH)])
    linux.discard(["ls-one"], ["box"])
    linux.apply([Create(BOX), Create(VETH)])
    while linux.sweep():
        pass
    assert linux.read(["box"]) == state_of([BOX, BRIDGE, VETH])


def test_deleting_what_is_discarded_is_success(linux: LinuxKernel) -> None:
    veths, namespaces = fill(linux, 1)
    linux.discard(veths, namespaces)
    linux.apply([Delete(pair(0)[1]), Delete(pair(0)[0])])
    assert "ls-" not in links()
    assert linux.sweep() == 0


def test_groups_of_the_trash_differ_from_the_groups_of_the_living(tmp_path: Path, linux: LinuxKernel) -> None:
    for group in (linux.mark.trash, linux.mark.doomed):
        with pytest.raises(ValueError, match="interface group"):
            LinuxKernel(tmp_path, INSTANCE, group)
