"""Networks, endpoints and sandboxes with fixed ids, and the want of all of them together, for tests of the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from types import MappingProxyType

import msgspec

from linkspan.kernel.diff import diff
from linkspan.kernel.render import commands, describe
from linkspan.kernel.state import Facts, Object, State, state_of
from linkspan.model.endpoint import Endpoint, EndpointRequest
from linkspan.model.network import AddressPool, BridgeOptions, Network
from linkspan.model.port import Publication, Transport
from linkspan.model.sandbox import Sandbox
from linkspan.plan import bridge, host, sandbox

FACTS = Facts(instance="cafe0123", group=0x4C53, big_tcp=True)

Pair = tuple[Network, Endpoint]

TOLD = (
    *("name", "namespace", "ruleset", "family", "table", "set", "item", "value", "path", "link", "address"),
    *("destination", "gateway", "peer_name", "peer_namespace"),
)
"""Fields that ``render.describe`` shows already."""


def network(
    name: str,
    *subnets: str,
    digit: str = "a",
    internal: bool = False,
    masquerade: bool = True,
    inter_container: bool = True,
    mtu: int = 0,
    change: Mapping[str, object] = MappingProxyType({}),
) -> Network:
    """A bridge network whose id is one digit repeated; the gateway is the first address of each subnet.

    ``change`` holds more fields of BridgeOptions.
    """
    blocks = [ip_network(text) for text in subnets]
    identity = digit * 64
    return Network(
        id=identity,
        name=name,
        driver="bridge",
        created=0.0,
        pools=tuple(AddressPool(subnet=block, gateway=block[1]) for block in blocks),
        enable_ipv4=any(block.version == 4 for block in blocks),
        enable_ipv6=any(block.version == 6 for block in blocks),
        internal=internal,
        bridge=msgspec.structs.replace(
            BridgeOptions(
                bridge_name="linkspan0" if name == "bridge" else f"br-{identity[:12]}",
                masquerade=masquerade,
                inter_container=inter_container,
                mtu=mtu,
            ),
            **change,
        ),
    )


def endpoint(on: Network, index: int = 0, *, digit: str = "e", priority: int = 0) -> Endpoint:
    """An endpoint with the second address of each of the network's subnets."""
    addresses = [pool.subnet[2] for pool in on.pools]
    identity = digit * 64
    return Endpoint(
        id=identity,
        network_id=on.id,
        sandbox_id="5" * 64,
        request=EndpointRequest(network=on.id, gateway_priority=priority),
        interface=f"eth{index}",
        host_interface=f"veth{identity[:11]}",
        mac=f"02:42:ac:00:00:0{index + 2}",
        ipv4=next((item for item in addresses if isinstance(item, IPv4Address)), None),
        ipv6=next((item for item in addresses if isinstance(item, IPv6Address)), None),
    )


def container_sandbox(*, on_host: bool = False, publications: tuple[Publication, ...] = ()) -> Sandbox:
    """The sandbox of a container called web."""
    return Sandbox(
        id="5" * 64, owner="c" * 64, owner_name="web", hostname="web", host=on_host, publications=publications
    )


def published(
    address: str,
    host_port: int,
    port: int,
    count: int = 1,
    *,
    protocol: Transport = "tcp",
    sources: tuple[str, ...] | None = None,
) -> Publication:
    """A publication, limited when ``sources`` are given."""
    return Publication(
        protocol=protocol,
        address=ip_address(address),
        host_port=host_port,
        port=port,
        count=count,
        limited=sources is not None,
        sources=tuple(ip_network(each) for each in sources or ()),
    )


def want(pairs: Sequence[Pair], facts: Facts = FACTS, box: Sandbox | None = None) -> State:
    """Everything: host, networks, endpoints, sandbox. ValueError when anything is wanted twice."""
    box = box or container_sandbox()
    objects: list[Object] = []
    networks = [on for on, _ in pairs]
    if networks:
        objects += host.base(facts, ipv6=any(item.enable_ipv6 for item in networks))
    for on in networks:
        objects += bridge.network(on, facts)
    objects += sandbox.sandbox(box, pairs)
    for on, place in pairs:
        objects += bridge.endpoint(on, place, sandbox.namespace_of(box), facts)
    return state_of(objects)


def shown(state: State) -> str:
    """The want by rank, then the commands that make it out of nothing."""
    objects = sorted(state.values(), key=lambda item: (item.rank, item.key))
    lines = ["# want, in the order in which it is made"]
    lines += [f"{item.rank:3} {describe(item)}{_details(item)}" for item in objects]
    lines += ["", "# commands"]
    lines += [line for step in diff(state, {}) for line in commands(step)]
    return "\n".join(lines) + "\n"


def _details(item: Object) -> str:
    """The fields that ``describe`` leaves out, unless they have their defaults."""
    told = [
        f"{field.name}={value}"
        for field in msgspec.structs.fields(item)
        if field.name not in TOLD and (value := getattr(item, field.name)) != field.default
    ]
    return f"  ({', '.join(told)})" if told else ""
