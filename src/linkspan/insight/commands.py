"""A whole network as the commands that would make it, part by part, in words for those who learn from it. Pure.

The commands come from the same plan that the daemon applies, so they are what it does and not what somebody once
wrote down. Pasted in order into a root shell of an empty network namespace they make the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from linkspan.insight.views import NetworkCommands
from linkspan.kernel.diff import Create
from linkspan.kernel.render import commands
from linkspan.kernel.state import Address, Element, Facts, Namespace, Object, Route, Table
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network
from linkspan.model.sandbox import Sandbox
from linkspan.plan import bridge, host
from linkspan.plan.sandbox import namespace_of
from linkspan.plan.sandbox import sandbox as plan_sandbox

NOTHING_TO_MAKE = {
    "host": "Containers use the host's own network stack: there is nothing to make",
    "null": "Containers have a network stack of their own with nothing but a loopback: there is nothing to make",
}


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One container's sandbox on the network, with all its endpoints: only some of what it has leads by this one."""

    name: str
    sandbox: Sandbox
    places: tuple[tuple[Network, Endpoint], ...]


def network_commands(network: Network, members: Sequence[Member], facts: Facts) -> tuple[NetworkCommands, ...]:
    """The parts in the order in which they are made. A member without an endpoint on the network has no part."""
    if network.driver in NOTHING_TO_MAKE:
        return (NetworkCommands(headline=NOTHING_TO_MAKE[network.driver], commands=()),)
    made = [part for headline, objects in parts(network, members, facts) if (part := written(headline, objects))]
    return tuple(made)


def parts(network: Network, members: Sequence[Member], facts: Facts) -> Iterator[tuple[str, Sequence[Object]]]:
    """Headlines and what belongs under each."""
    yield (
        "Let the host pass packets on, and lay out the firewall that all networks share: its chains never change, "
        "each network and container only adds elements to its sets and maps",
        list(host.base(facts, ipv6=network.enable_ipv6)),
    )
    own = list(bridge.network(network, facts))
    elements = [item for item in own if isinstance(item, Element)]
    yield (
        f"Tell the firewall about network {network.name} before it exists, so that nothing ever passes unjudged",
        elements,
    )
    rest = [item for item in own if not isinstance(item, Element)]
    gateways = [item.interface.ip for item in rest if isinstance(item, Address) and not item.interface.ip.is_link_local]
    address = f", whose address {' and '.join(map(str, gateways))} is the containers' gateway" if gateways else ""
    yield f"Make the bridge: a switch in software{address}", rest
    for member in members:
        for on, endpoint in member.places:
            if on.id == network.id:
                yield from member_parts(member, on, endpoint, facts)


def member_parts(
    member: Member, network: Network, endpoint: Endpoint, facts: Facts
) -> Iterator[tuple[str, Sequence[Object]]]:
    """What one container adds. Of its sandbox only what leads by this network, and its namespace."""
    name, namespace = member.name, namespace_of(member.sandbox)
    here = {item.key: item for item in plan_sandbox(member.sandbox, [(network, endpoint)])}
    inside = [item for item in plan_sandbox(member.sandbox, member.places) if here.get(item.key) == item]
    plugged = list(bridge.endpoint(network, endpoint, namespace, facts))
    guard = [item for item in plugged if isinstance(item, Element)]
    yield (
        f"Container {name}: make a network namespace, a network stack of its own",
        [item for item in inside if isinstance(item, Namespace)],
    )
    yield (
        f"Container {name}: lead its name queries to 127.0.0.11 port 53 to the port where Linkspan's resolver listens",
        [item for item in inside if isinstance(item, Table)],
    )
    yield f"Container {name}: tell the guard at its bridge port which addresses are its own", guard
    yield (
        f"Container {name}: plug it in with a veth pair, a cable with one end in the bridge and the other inside "
        f"as {endpoint.interface}",
        [item for item in plugged if not isinstance(item, Element)],
    )
    yield (
        f"Container {name}: send what is not for its own network to the gateway",
        [item for item in inside if isinstance(item, Route)],
    )
    yield (
        f"Container {name}: publish its ports, last of all, when what they lead to is there",
        [item for item in inside if isinstance(item, Element)],
    )


def written(headline: str, objects: Iterable[Object]) -> NetworkCommands | None:
    """One part as commands, lower ranks first; None where there is nothing in it."""
    ordered = sorted(objects, key=lambda item: (item.rank, item.key))
    lines = tuple(line for item in ordered for line in commands(Create(item)))
    return NetworkCommands(headline=headline, commands=lines) if lines else None
