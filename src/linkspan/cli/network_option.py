"""``--network``, short and long: a name, or ``name=web,alias=a,ip=10.0.0.9,…``.

Docker's client lower-cases the whole long form, so that no network with capitals can be named in it; here values
stay as they are.
"""

from __future__ import annotations

from linkspan.cli.documents import Json
from linkspan.cli.failure import UsageError
from linkspan.cli.grammar import Parsed
from linkspan.cli.values import csv_fields, integer

PLAIN_MODES = ("default", "bridge", "host", "none")
"""Networks whose endpoints take no settings of a person's own (beside ``container:…``)."""


class Attachment:
    """One network of a container and what is wished for its endpoint."""

    __slots__ = (
        "aliases",
        "driver_options",
        "gateway_priority",
        "ipv4",
        "ipv6",
        "link_local",
        "links",
        "mac",
        "target",
    )

    def __init__(self, target: str) -> None:
        self.target = target
        self.aliases: list[str] = []
        self.ipv4 = ""
        self.ipv6 = ""
        self.link_local: list[str] = []
        self.links: list[str] = []
        self.mac = ""
        self.driver_options: dict[str, str] = {}
        self.gateway_priority = 0

    @property
    def user_defined(self) -> bool:
        return self.target not in PLAIN_MODES and not self.target.startswith("container:")

    def endpoint(self) -> dict[str, Json]:
        """``EndpointSettings`` of the API; what was not asked for is left out."""
        addresses: dict[str, Json] = {
            "IPv4Address": self.ipv4,
            "IPv6Address": self.ipv6,
            "LinkLocalIPs": list[Json](self.link_local),
        }
        settings: dict[str, Json] = {
            "IPAMConfig": {key: value for key, value in addresses.items() if value},
            "Aliases": list[Json](self.aliases),
            "Links": list[Json](self.links),
            "MacAddress": self.mac,
            "DriverOpts": dict[str, Json](self.driver_options),
            "GwPriority": self.gateway_priority,
        }
        return {key: value for key, value in settings.items() if value}


def attachment(text: str) -> Attachment:
    """Reads one ``--network``. Raises ValueError naming the bad field."""
    if "=" not in text:
        return Attachment(text)
    found = Attachment("")
    for field in csv_fields(text):
        key, equals, value = field.partition("=")
        key, value = key.strip().lower(), value.strip()
        if not equals:
            raise ValueError(f"invalid field {field}")
        if key == "name":
            found.target = value
        elif key == "alias":
            found.aliases.append(value)
        elif key == "ip":
            found.ipv4 = value
        elif key == "ip6":
            found.ipv6 = value
        elif key == "link-local-ip":
            found.link_local.append(value)
        elif key == "mac-address":
            found.mac = value
        elif key == "gw-priority":
            found.gateway_priority = integer(value)
        elif key == "driver-opt":
            option, has_value, setting = value.partition("=")
            if not has_value:
                raise ValueError("invalid key value pair format in driver options")
            found.driver_options[option.strip()] = setting.strip()
        else:
            raise ValueError(f"invalid field key {key}")
    if not found.target:
        raise ValueError("network name/id is not specified")
    return found


def attachments(parsed: Parsed) -> list[Attachment]:
    """All networks of a run or create, the flags without a network of their own put on the first.

    Raises UsageError for combinations that contradict each other.
    """
    found: list[Attachment] = []
    for text in parsed.texts("network"):
        try:
            found.append(attachment(text))
        except ValueError as reason:
            raise UsageError(f'invalid argument "{text}" for "--network" flag: {reason}', 125) from reason
    if not found:
        found.append(Attachment("default"))
    _apply_plain_flags(found[0], parsed)
    names = [each.target for each in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f'linkspan: network "{name}" is specified multiple times', 125)
    if len({each.user_defined for each in found}) > 1:
        raise UsageError(
            "linkspan: conflicting options: cannot attach both user-defined and non-user-defined network-modes", 125
        )
    return found


def _apply_plain_flags(first: Attachment, parsed: Parsed) -> None:
    def conflict(condition: bool, flag: str, what: str) -> None:
        if condition:
            raise UsageError(f"linkspan: conflicting options: cannot specify both {flag} and per-network {what}", 125)

    if parsed.texts("network-alias"):
        conflict(bool(first.aliases), "--network-alias", "alias")
        first.aliases = parsed.texts("network-alias")
    if parsed.text("ip"):
        conflict(bool(first.ipv4), "--ip", "IPv4 address")
        first.ipv4 = parsed.text("ip")
    if parsed.text("ip6"):
        conflict(bool(first.ipv6), "--ip6", "IPv6 address")
        first.ipv6 = parsed.text("ip6")
    if parsed.texts("link-local-ip"):
        conflict(bool(first.link_local), "--link-local-ip", "link-local IP addresses")
        first.link_local = parsed.texts("link-local-ip")
    if parsed.text("mac-address"):
        conflict(bool(first.mac), "--mac-address", "MAC address")
        first.mac = parsed.text("mac-address")
    if parsed.texts("link") and first.user_defined:
        first.links = parsed.texts("link")
