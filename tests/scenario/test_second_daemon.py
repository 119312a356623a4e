"""A daemon that is started by mistake beside another one changes nothing."""

from __future__ import annotations

import sys
from pathlib import Path

from daemons import Daemon


def test_a_second_daemon_in_the_same_network_namespace_is_refused_and_leaves_the_firewall(
    bare_daemon: Daemon, tmp_path: Path
) -> None:
    bare_daemon.linkspan("network", "create", "--subnet", "172.30.0.0/24", "web")
    before = bare_daemon.namespace.run("nft", "list", "ruleset").stdout
    assert "172.30.0.0/24" in before

    other = tmp_path / "other"
    words = ("--data-root", f"{other}/data", "--exec-root", f"{other}/run", "--host", f"unix://{other}/s")
    second = bare_daemon.namespace.run(sys.executable, "-m", "linkspan.api.daemon", *words, check=False)

    assert second.returncode == 1
    assert f"another Linkspan daemon (process {bare_daemon.pid}) works in this network namespace" in second.stderr
    assert bare_daemon.namespace.run("nft", "list", "ruleset").stdout == before
