"""What a reserved port hears, on real sockets in a namespace of the test's own."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator

import pytest

from linkspan.kernel import deafness, netns
from namespaces import Namespace

pytestmark = pytest.mark.kernel

PORT = 8080
OWN, LOCAL, LINK_LOCAL = "2001:db8::1", "::1", "fe80::1"


@pytest.fixture(scope="module", autouse=True)
def place() -> Iterator[None]:
    with Namespace() as namespace, netns.entered(namespace.descriptor):
        for address in (OWN, LINK_LOCAL):
            subprocess.run(["ip", "address", "add", f"{address}/64", "dev", "lo", "nodad"], check=True)
        yield


def listener(family: socket.AddressFamily = socket.AF_INET6) -> socket.socket:
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", PORT))
    made.listen()
    return made


def reaches(address: str) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as client:
        client.settimeout(0.3)
        try:
            client.connect((address, PORT, 0, 1) if address == LINK_LOCAL else (address, PORT))
        except TimeoutError:
            return False
        return True


def test_a_deaf_listener_neither_accepts_nor_resets() -> None:
    with listener(socket.AF_INET) as deaf:
        deafness.hear_nothing(deaf)
        assert not reaches("127.0.0.1")
        deafness.hear_all(deaf)
        assert reaches("127.0.0.1")


def test_a_relay_hears_only_what_is_never_translated() -> None:
    with listener() as relay:
        deafness.hear_untranslated(relay)
        assert {address: reaches(address) for address in (OWN, LOCAL, LINK_LOCAL)} == {
            OWN: False,
            LOCAL: True,
            LINK_LOCAL: True,
        }


def test_what_is_heard_can_be_talked_to() -> None:
    with listener() as relay:
        deafness.hear_untranslated(relay)
        with socket.create_connection((LOCAL, PORT), 5) as client:
            server, _ = relay.accept()
            with server:
                client.sendall(b"x" * 100_000)
                client.shutdown(socket.SHUT_WR)
                server.settimeout(5)
                received = b"".join(iter(lambda: server.recv(65536), b""))
        assert len(received) == 100_000


def test_a_connection_that_comes_by_without_its_translation_is_not_reset() -> None:
    """As after ``nft flush ruleset``: a segment of a connection that the host itself does not have."""
    with listener(socket.AF_INET) as deaf, socket.create_connection(("127.0.0.1", PORT), 5) as client:
        server, _ = deaf.accept()
        deafness.hear_nothing(deaf)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        # The server's end is forgotten without a word: TCP_REPAIR closes silently (tcp(7)).
        server.setsockopt(socket.IPPROTO_TCP, 19, 1)
        server.close()
        client.sendall(b"still here")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_taking_off_a_filter_that_is_not_there_is_success() -> None:
    with listener() as plain:
        deafness.hear_all(plain)
