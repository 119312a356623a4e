"""``linkspan network``: create, ls, rm, prune."""

from __future__ import annotations

import sys

from linkspan.cli.client import filters, segment
from linkspan.cli.documents import Json, flag, mapping, sequence, text, text_mapping, texts
from linkspan.cli.driver_options import NETWORK as DRIVER_OPTIONS
from linkspan.cli.driver_options import words
from linkspan.cli.failure import DaemonError, Failure
from linkspan.cli.grammar import Command, Option, Parsed
from linkspan.cli.human import spaced
from linkspan.cli.listing import FILTER, FORMAT, NO_TRUNC, QUIET, by_number, labelled, show
from linkspan.cli.pruning import FILTER as PRUNE_FILTER
from linkspan.cli.pruning import FORCE, confirmed, show_deleted
from linkspan.cli.tables import short_id
from linkspan.cli.template.value import Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

CREATE_OPTIONS = (
    Option("attachable", "flag", "Let containers be attached by hand"),
    Option("aux-address", "map", "Address that is never handed out (name=address)"),
    Option("driver", "string", "Driver of the network", short="d", default="bridge", words=("bridge", "host", "null")),
    Option("gateway", "strings", "Gateway address of a subnet"),
    Option("internal", "flag", "No way out of the network"),
    Option("ip-range", "strings", "Part of the subnet from which addresses are handed out"),
    Option("ipam-driver", "string", "Driver that hands out addresses", default="default"),
    Option("ipam-opt", "map", "Option for the address driver (key=value)"),
    Option("ipv4", "flag", "IPv4 addresses", default=True),
    Option("ipv6", "flag", "IPv6 addresses"),
    Option("label", "list", "Label (key=value)"),
    Option("opt", "map", "Option for the driver (key=value)", short="o", words=words(DRIVER_OPTIONS)),
    Option("scope", "string", "Scope of the network", words=("local",)),
    Option("subnet", "strings", "Subnet in CIDR form, one for each address family"),
)


def create(call: Call) -> int:
    reply = call.client.post("/networks/create", body=create_body(call.words[0], call.parsed))
    warning = text(reply, "Warning")
    if warning:
        print(f"WARNING: {warning}", file=sys.stderr)
    print(text(reply, "Id"))
    return 0


def create_body(name: str, parsed: Parsed) -> dict[str, Json]:
    """The body of a network's creation. Raises Failure when ranges, gateways and subnets do not fit together."""
    body: dict[str, Json] = {
        "Name": name,
        "Driver": parsed.text("driver"),
        "Internal": parsed.flag("internal"),
        "Attachable": parsed.flag("attachable"),
        "Scope": parsed.text("scope"),
        "Options": dict(parsed.pairs("opt")),
        "Labels": dict(parsed.pairs("label")),
        "IPAM": {
            "Driver": parsed.text("ipam-driver"),
            "Options": dict(parsed.pairs("ipam-opt")),
            "Config": list[Json](_pools(parsed)),
        },
    }
    if parsed.given("ipv4"):
        body["EnableIPv4"] = parsed.flag("ipv4")
    if parsed.given("ipv6"):
        body["EnableIPv6"] = parsed.flag("ipv6")
    return body


def _pools(parsed: Parsed) -> list[dict[str, Json]]:
    """One pool a subnet; each range, gateway and auxiliary address goes to the subnet that holds it."""
    subnets, ranges, gateways = parsed.texts("subnet"), parsed.texts("ip-range"), parsed.texts("gateway")
    auxiliary = parsed.pairs("aux-address")
    if not subnets:
        if ranges or gateways or auxiliary:
            raise Failure("linkspan: --ip-range, --gateway and --aux-address need a --subnet that holds them")
        return []
    if len(subnets) == 1:
        # the daemon judges whether they lie inside, and names the value that does not
        single: dict[str, Json] = {"Subnet": subnets[0]}
        for key, flag_name, found in (("IPRange", "--ip-range", ranges), ("Gateway", "--gateway", gateways)):
            if len(found) > 1:
                raise Failure(f"linkspan: {flag_name} is given {len(found)} times for one --subnet")
            if found:
                single[key] = found[0]
        return [{**single, "AuxiliaryAddresses": dict(auxiliary)} if auxiliary else single]
    return _divided(subnets, ranges, gateways, auxiliary)


def _divided(
    subnets: list[str], ranges: list[str], gateways: list[str], auxiliary: dict[str, str]
) -> list[dict[str, Json]]:
    from ipaddress import ip_interface, ip_network

    pools: list[dict[str, Json]] = [{"Subnet": subnet} for subnet in subnets]
    try:
        networks = [ip_network(subnet, strict=False) for subnet in subnets]

        def holder(address: str) -> dict[str, Json]:
            wanted = ip_interface(address).ip
            for pool, network in zip(pools, networks, strict=True):
                if wanted in network:
                    return pool
            raise Failure(f"linkspan: no --subnet holds {address}")

        for key, found in (("IPRange", ranges), ("Gateway", gateways)):
            for item in found:
                pool = holder(item)
                if key in pool:
                    raise Failure(f"linkspan: two values of {key} for the subnet {text(pool, 'Subnet')}")
                pool[key] = item
    except ValueError as reason:
        raise Failure(f"linkspan: {reason}") from reason
    for name, address in auxiliary.items():
        pool = holder(address)
        pool["AuxiliaryAddresses"] = {**mapping(pool, "AuxiliaryAddresses"), name: address}
    return pools


LS_COLUMNS = (("NETWORK ID", "ID"), ("NAME", "Name"), ("DRIVER", "Driver"), ("SCOPE", "Scope"))


def list_networks(call: Call) -> int:
    parsed = call.parsed
    found = sequence(call.client.get("/networks", {"filters": filters(parsed.texts("filter"))}))
    found.sort(key=lambda network: by_number(text(network, "Name")))
    rows = [_row(network, parsed.flag("no-trunc")) for network in found]
    quiet = "ID" if parsed.flag("quiet") else ""
    show(rows, LS_COLUMNS, parsed.text("format"), {"IPv6": "IPV6", "IPv4": "IPV4"}, quiet=quiet)
    return 0


def _row(network: Json, whole: bool) -> Row:
    identifier = text(network, "Id")
    fields = {
        "ID": identifier if whole else short_id(identifier),
        "Name": text(network, "Name"),
        "Driver": text(network, "Driver"),
        "Scope": text(network, "Scope"),
        "IPv4": str(flag(network, "EnableIPv4")).lower(),
        "IPv6": str(flag(network, "EnableIPv6")).lower(),
        "Internal": str(flag(network, "Internal")).lower(),
        "CreatedAt": spaced(text(network, "Created")),
    }
    return labelled("network", fields, text_mapping(network, "Labels"))


def remove(call: Call) -> int:
    def delete(name: str) -> None:
        try:
            call.client.delete(f"/networks/{segment(name)}")
        except DaemonError as failure:
            if failure.code != 404 or not call.parsed.flag("force"):
                raise

    return call.each(delete)


def prune(call: Call) -> int:
    question = "This will remove all custom networks not used by at least one container."
    if not confirmed(question, call.parsed.flag("force")):
        return 0
    answer = call.client.post("/networks/prune", {"filters": filters(call.parsed.texts("filter"))})
    show_deleted("Deleted Networks:", texts(answer, "NetworksDeleted"))
    return 0


COMMANDS = {
    "network create": Command(create, arguments="NETWORK", least=1, most=1, options=CREATE_OPTIONS),
    "network ls": Command(list_networks, options=(FILTER, FORMAT, NO_TRUNC, QUIET)),
    "network rm": Command(
        remove,
        arguments="NETWORK [NETWORK...]",
        least=1,
        most=None,
        nouns=("network",),
        options=(Option("force", "flag", "An absent network is no error", short="f"),),
    ),
    "network prune": Command(prune, options=(PRUNE_FILTER, FORCE)),
}
