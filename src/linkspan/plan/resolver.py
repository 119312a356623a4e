"""Where a sandbox's questions for names go: port 53 of 127.0.0.11 is led to the port of its resolver."""

from __future__ import annotations

from linkspan.kernel.state import Table


def table(namespace: str, port: int) -> Table:
    """The table inside the sandbox; ``port`` is the resolver's, UDP and TCP."""
    return Table(family="ip", name="linkspan", ruleset=f"# port {port}", namespace=namespace)
