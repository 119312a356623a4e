"""``top``: ps(1) on the host, cut down to the processes of one container (Docker's way, so that ps options work)."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Collection

from linkspan.errors import InvalidRequest

DEFAULT_ARGUMENTS = "-ef"


def rows_of(pids: Collection[int], arguments: str) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Titles and rows. InvalidRequest when ps refuses the arguments, or shows no PID column."""
    try:
        words = shlex.split(arguments or DEFAULT_ARGUMENTS)
    except ValueError as error:
        raise InvalidRequest(f"ps arguments '{arguments}' cannot be read: {error}", remedy="close the quotes") from None
    try:
        result = subprocess.run(["ps", *words], capture_output=True, text=True, timeout=10, check=False)
    except FileNotFoundError:
        raise InvalidRequest("ps is not installed on the host", remedy="install the package procps") from None
    except subprocess.TimeoutExpired:
        raise InvalidRequest(f"ps {arguments} does not end", remedy="use other options of ps(1)") from None
    if result.returncode != 0:
        reason = result.stderr.strip().splitlines()[:1]
        raise InvalidRequest(f"ps refuses '{arguments}': {''.join(reason)}", remedy="use options of ps(1)")
    lines = result.stdout.splitlines()
    titles = tuple(lines[0].split()) if lines else ()
    if "PID" not in titles:
        raise InvalidRequest(f"ps {arguments} shows no PID column", remedy="add pid to the columns")
    column = titles.index("PID")
    rows = [tuple(line.split(None, len(titles) - 1)) for line in lines[1:]]
    wanted = {str(pid) for pid in pids}
    return titles, tuple(row for row in rows if len(row) > column and row[column] in wanted)
