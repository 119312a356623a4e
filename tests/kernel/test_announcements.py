"""Frames that tell neighbours where an address is now: real ones, heard by a sibling."""

from __future__ import annotations

import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from linkspan.kernel.diff import diff
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.state import Facts, state_of
from linkspan.plan import bridge, host, sandbox
from linux_objects import GROUP, INSTANCE
from plan_cases import container_sandbox, endpoint, network

pytestmark = pytest.mark.kernel

FACTS = Facts(instance=INSTANCE, group=GROUP)
NET = network("lab", "10.9.0.0/24", "fd00:9::/64")
WEB = endpoint(NET)
NAMESPACE = sandbox.namespace_of(container_sandbox())


def ready(kernel: LinuxKernel) -> list[str]:
    """A network with one container; its addresses."""
    objects = [*host.base(FACTS, ipv6=True), *bridge.network(NET, FACTS)]
    objects += sandbox.sandbox(container_sandbox(), [(NET, WEB)])
    objects += bridge.endpoint(NET, WEB, NAMESPACE, FACTS)
    kernel.apply(diff(state_of(objects), {}))
    return [str(each) for each in bridge.addresses_of(NET, WEB)]


def test_every_address_is_announced_and_passes_the_guard(linux: LinuxKernel) -> None:
    addresses = ready(linux)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as ear:
        ear.bind(("br-aaaaaaaaaaaa", 3))
        ear.settimeout(2)
        linux.announce(NAMESPACE, WEB.interface, addresses, WEB.mac)
        heard: set[bytes] = set()
        while len(heard) < len(addresses):
            frame = ear.recv(2048)
            if frame[12:14] == b"\x08\x06":
                heard.add(frame[28:32])
            elif frame[12:14] == b"\x86\xdd" and frame[54] == 136:
                heard.add(frame[62:78])
    assert heard == {each.ip.packed for each in bridge.addresses_of(NET, WEB)}
    assert linux.drops() == {}


def test_a_neighbour_follows_an_address_that_moved(linux: LinuxKernel) -> None:
    addresses = ready(linux)
    old = "02:00:00:00:00:77"
    for address in ("10.9.0.2", "fd00:9::2"):
        run_ip("neigh", "replace", address, "lladdr", old, "dev", "br-aaaaaaaaaaaa", "nud", "reachable")
    linux.announce(NAMESPACE, WEB.interface, addresses, WEB.mac)
    deadline = time.monotonic() + 2
    while old in (known := neighbours()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert old not in known
    assert known.count(WEB.mac) >= 2


def test_an_announcement_may_come_from_any_thread(linux: LinuxKernel) -> None:
    addresses = ready(linux)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as ear:
        ear.bind(("br-aaaaaaaaaaaa", 3))
        ear.settimeout(2)
        with ThreadPoolExecutor(max_workers=4) as threads:
            told = [threads.submit(linux.announce, NAMESPACE, WEB.interface, addresses[:1], WEB.mac) for _ in range(20)]
        assert [each.exception() for each in told] == [None] * 20
        heard = 0
        while heard < 20:
            heard += ear.recv(2048)[12:14] == b"\x08\x06"


def test_a_sandbox_that_is_gone_is_told_as_an_error(linux: LinuxKernel) -> None:
    with pytest.raises(FileNotFoundError):
        linux.announce("nowhere", "eth0", ["10.9.0.2/24"], WEB.mac)


def run_ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def neighbours() -> str:
    return run_ip("neigh", "show", "dev", "br-aaaaaaaaaaaa")
