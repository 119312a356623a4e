"""What a container does to its own files is its own affair: the daemon lives on."""

from __future__ import annotations

import pytest

from daemons import Daemon

pytestmark = pytest.mark.scenario


def test_no_user_of_the_host_reaches_what_containers_write(daemon: Daemon) -> None:
    """A program with the set-user-id bit that a container's root makes would run as the host's root."""
    daemon.linkspan("run", "-v", "data:/data", "--name", "box", "busybox", "sh", "-c", "cp /bin/busybox /data/su; ls")
    root = str(daemon.inspect("box")["Id"])
    places = [
        daemon.data_root / "volumes" / "data" / "_data" / "su",
        daemon.data_root / "containers" / root / "container.log",
        *(daemon.data_root / "overlay").iterdir(),
    ]
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    for folder in (daemon.folder, *daemon.folder.parents[:-2]):
        folder.chmod(0o711)
    for place in places:
        assert place.exists()
        done = daemon.run(*nobody, "ls", "-l", str(place))
        assert "Permission denied" in done.stderr, done.stdout


def test_a_daemon_starts_over_a_container_that_wrote_rubbish_into_its_hosts_file(daemon: Daemon) -> None:
    daemon.linkspan("network", "create", "web")
    daemon.linkspan("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    for name in ("hosts", "resolv.conf", "hostname"):
        daemon.linkspan("exec", "box", "sh", "-c", f"printf '\\377\\n' >> /etc/{name}")

    daemon.linkspan("network", "connect", "web", "box")
    daemon.restart()

    assert daemon.linkspan("exec", "box", "grep", "-c", daemon.address("box", "web"), "/etc/hosts").strip() == "1"
