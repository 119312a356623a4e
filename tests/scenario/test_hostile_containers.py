"""What a container does to its own files is its own affair: the daemon lives on."""

from __future__ import annotations

import pytest

from daemons import Daemon

pytestmark = pytest.mark.scenario


def test_a_daemon_starts_over_a_container_that_wrote_rubbish_into_its_hosts_file(daemon: Daemon) -> None:
    daemon.linkspan("network", "create", "web")
    daemon.linkspan("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    for name in ("hosts", "resolv.conf", "hostname"):
        daemon.linkspan("exec", "box", "sh", "-c", f"printf '\\377\\n' >> /etc/{name}")

    daemon.linkspan("network", "connect", "web", "box")
    daemon.restart()

    assert daemon.address("box", "web") in daemon.linkspan("exec", "box", "cat", "/etc/hosts")
