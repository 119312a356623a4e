"""UDP clients that never pause follow a published port from the host to a container, and to the next one."""

from __future__ import annotations

import os
import socket
import threading
from types import TracebackType

import pytest

from daemons import Daemon
from namespaces import CLONE_NEWNET, Namespace, checked, libc
from network_lab import HOST4, HOST6, Outside, sandbox_of, sleeper

pytestmark = pytest.mark.scenario

HOST = {4: HOST4, 6: HOST6}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
PAUSE = 0.01
"""Seconds between datagrams: far less than any timeout of connection tracking."""


class Talker:
    """Sends to one place from one socket, on and on, whatever comes back."""

    def __init__(self, namespace: Namespace, address: str, port: int) -> None:
        with namespace.entered():
            self._socket = socket.socket(FAMILY[6 if ":" in address else 4], socket.SOCK_DGRAM)
        self._place = (address, port)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._talk, daemon=True)

    def _talk(self) -> None:
        while not self._ended.wait(PAUSE):
            self._socket.sendto(b"on and on", self._place)

    def __enter__(self) -> Talker:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()


def hears(daemon: Daemon, container: str, version: int, port: int) -> bool:
    """Whether a datagram comes to a port inside a container within a second."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(sandbox_of(daemon, container), os.O_RDONLY)
    try:
        checked(libc.setns(there, CLONE_NEWNET))
        ear = socket.socket(FAMILY[version], socket.SOCK_DGRAM)
    finally:
        checked(libc.setns(here, CLONE_NEWNET))
        os.close(here)
        os.close(there)
    with ear:
        ear.bind(("", port))
        ear.settimeout(1)
        try:
            return ear.recv(100) == b"on and on"
        except TimeoutError:
            return False


@pytest.mark.parametrize("version", [4, 6])
def test_a_client_that_never_pauses_reaches_each_container_that_gets_the_port(lab: Daemon, version: int) -> None:
    """moby#8795, moby#53384: the host's port is another than the container's."""
    lab.linkspan("network", "create", "--ipv6", "web")
    with Outside(lab) as outside, Talker(outside.namespace, HOST[version], 5300):
        assert outside.pings(HOST[version])
        sleeper(lab, "one", "--network", "web", "-p", "5300:53/udp")
        assert hears(lab, "one", version, 53)
        sleeper(lab, "two", "--network", "web")
        lab.linkspan("rm", "-f", "one")
        sleeper(lab, "three", "--network", "web", "-p", "5300:5353/udp")
        assert hears(lab, "three", version, 5353)
        lab.linkspan("restart", "three")
        assert hears(lab, "three", version, 5353)
