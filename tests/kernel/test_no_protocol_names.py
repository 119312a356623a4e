"""A small Debian has no /etc/protocols (package netbase), where nft 1.0.6 looks up names of protocols."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from linkspan.kernel.tables import create_table
from linkspan.plan import firewall, spoofing

pytestmark = pytest.mark.kernel


@pytest.mark.skipif(not Path("/etc/protocols").exists(), reason="there is no file to hide")
def test_the_tables_load_where_no_protocol_has_a_name() -> None:
    script = "\n".join(create_table(table) for table in (firewall.table(), spoofing.table()))

    hidden = "mount --bind /dev/null /etc/protocols && mount --bind /dev/null /etc/services && exec nft -f -"
    words = ["unshare", "--net", "--mount", "sh", "-c", hidden]
    done = subprocess.run(words, input=f"{script}\n", capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
