"""One daemon a network namespace."""

from __future__ import annotations

import os
import secrets
import socket

import pytest

from linkspan.api.sole_daemon import sole_daemon
from linkspan.errors import Conflict


@pytest.fixture
def name() -> str:
    """A name of this test's own: a real daemon may run on this machine."""
    return f"linkspan.test.{secrets.token_hex(4)}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's daemon stands in another one's way")
def test_a_second_daemon_is_refused_and_told_whose_the_namespace_is(name: str) -> None:
    with (
        sole_daemon(name),
        pytest.raises(Conflict, match=rf"another Linkspan daemon \(process {os.getpid()}\) works in this network"),
        sole_daemon(name),
    ):
        pass


def test_the_namespace_is_free_again_when_the_daemon_ended(name: str) -> None:
    with sole_daemon(name):
        pass
    with sole_daemon(name):
        pass


def test_somebody_who_only_holds_the_name_cannot_keep_the_daemon_from_starting(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as squatter:
        squatter.bind("\0" + name)
        with sole_daemon(name):
            assert "a second daemon is not noticed here" in caplog.text
