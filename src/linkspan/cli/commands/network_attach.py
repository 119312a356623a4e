"""``linkspan network connect`` and ``disconnect``."""

from __future__ import annotations

from linkspan.cli.client import segment
from linkspan.cli.documents import Json
from linkspan.cli.driver_options import ENDPOINT as DRIVER_OPTIONS
from linkspan.cli.driver_options import words
from linkspan.cli.grammar import Command, Option, Parsed
from linkspan.cli.network_option import Attachment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

CONNECT_OPTIONS = (
    Option("alias", "strings", "Another name for the container on this network"),
    Option("driver-opt", "strings", "Option for the driver (key=value)", words=words(DRIVER_OPTIONS)),
    Option("gw-priority", "int", "The network with the highest one gives the default gateway"),
    Option("ip", "string", "IPv4 address"),
    Option("ip6", "string", "IPv6 address"),
    Option("link", "list", "Link to another container (name:alias)"),
    Option("link-local-ip", "strings", "Link-local address"),
    Option("mac-address", "string", "MAC address"),
)


DISCONNECT_OPTIONS = (Option("force", "flag", "Even when the container is gone", short="f"),)


def connect(call: Call) -> int:
    call.client.post(f"/networks/{segment(call.words[0])}/connect", body=connect_body(call))
    return 0


def connect_body(call: Call) -> dict[str, Json]:
    """The body of a connect, from a line with network and container."""
    return {"Container": call.words[1], "EndpointConfig": endpoint(call.parsed)}


def endpoint(parsed: Parsed) -> dict[str, Json]:
    """The endpoint that the flags describe."""
    attachment = Attachment("")
    attachment.aliases = parsed.texts("alias")
    attachment.ipv4, attachment.ipv6 = parsed.text("ip"), parsed.text("ip6")
    attachment.link_local = parsed.texts("link-local-ip")
    attachment.links = parsed.texts("link")
    attachment.mac = parsed.text("mac-address")
    attachment.driver_options = parsed.pairs("driver-opt")
    attachment.gateway_priority = parsed.number("gw-priority")
    return attachment.endpoint()


def disconnect(call: Call) -> int:
    call.client.post(f"/networks/{segment(call.words[0])}/disconnect", body=disconnect_body(call))
    return 0


def disconnect_body(call: Call) -> dict[str, Json]:
    """The body of a disconnect, from a line with network and container."""
    return {"Container": call.words[1], "Force": call.parsed.flag("force")}


COMMANDS = {
    "network connect": Command(
        connect,
        arguments="NETWORK CONTAINER",
        least=2,
        most=2,
        nouns=("network", "container"),
        options=CONNECT_OPTIONS,
    ),
    "network disconnect": Command(
        disconnect,
        arguments="NETWORK CONTAINER",
        least=2,
        most=2,
        nouns=("network", "container"),
        options=DISCONNECT_OPTIONS,
    ),
}
