"""The resolver's table inside a sandbox: port 53 of 127.0.0.11 is our port, there and back.

Stateless: two rewrites each way in a filter chain, no connection tracking (it would cost a container's small packets
a tenth). The sockets themselves are not on port 53, or a container could not run a name server of its own.
"""

from __future__ import annotations

from typing import Final

from linkspan.kernel.state import Table

FAMILY: Final = "ip"
TABLE = "linkspan"
ADDRESS = "127.0.0.11"

FIRST_PORT = 61000
"""Above the ports that the kernel chooses by itself: 32768 to 60999 (ip-sysctl, ``ip_local_port_range``)."""
PORTS = 4000

RULESET = """
chain output {
  type filter hook output priority mangle; policy accept;
  oifname != "lo" accept
  ip daddr ADDRESS udp dport 53 udp dport set PORT accept
  ip daddr ADDRESS tcp dport 53 tcp dport set PORT accept
  ip saddr ADDRESS udp sport PORT udp sport set 53 accept
  ip saddr ADDRESS tcp sport PORT tcp sport set 53 accept
}
"""


def port_of(instance: str) -> int:
    """The port of 127.0.0.11, UDP and TCP, in all sandboxes of a daemon: spare namespaces are prepared with it."""
    return FIRST_PORT + int(instance, 16) % PORTS


def table(namespace: str, port: int) -> Table:
    """The table of a sandbox whose resolver listens on ``port``."""
    ruleset = RULESET.replace("ADDRESS", ADDRESS).replace("PORT", str(port))
    return Table(family=FAMILY, name=TABLE, ruleset=ruleset, namespace=namespace)
