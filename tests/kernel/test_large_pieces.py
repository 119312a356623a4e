"""What containers send in pieces of more than 64 KiB (BIG TCP) leaves the host as well as it crosses the bridge."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import msgspec
import pytest

from linkspan.kernel import probe
from plan_cases import network
from port_lab import LAN, Container, Lab, family, port_lab

pytestmark = pytest.mark.kernel

AMOUNT = 64 << 20
"""Bytes: enough for the congestion window to make large pieces."""


def refused_as_too_big() -> int:
    """Packets that the host of this thread would not forward for their size (``Ip6InTooBigErrors``)."""
    counters = dict(line.split() for line in Path("/proc/thread-self/net/snmp6").read_text().splitlines())
    return int(counters["Ip6InTooBigErrors"])


def streamed(lab: Lab, sender: Container, address: str) -> int:
    """Bytes of one connection from a container that reach the neighbour."""
    counts: list[int] = []

    def receive() -> None:
        client, _ = listener.accept()
        with client:
            room = bytearray(1 << 20)
            while count := client.recv_into(room):
                counts.append(count)

    with lab.inside(lab.lan):
        listener = socket.create_server((address, 7000), family=family(address))
    receiver = threading.Thread(target=receive)
    receiver.start()
    with listener:
        with lab.inside(sender):
            connection = socket.create_connection((address, 7000), timeout=30)
        with connection:
            connection.sendall(bytes(AMOUNT))
        receiver.join()
    return sum(counts)


@pytest.mark.parametrize("version", [4, 6])
def test_a_stream_to_a_neighbour_is_not_refused_for_its_size(tmp_path: Path, version: int) -> None:
    if probe.abilities().big_tcp6:
        pytest.skip("this kernel knows no large pieces")
    with port_lab(tmp_path, bridge_netfilter=True) as lab:
        lab.facts = msgspec.structs.replace(lab.facts, big_tcp=True)
        web = network("web", "10.81.0.0/24", "fd00:81::/64")
        lab.add(web)
        assert streamed(lab, lab.start(web), LAN[version]) == AMOUNT
        assert refused_as_too_big() == 0
