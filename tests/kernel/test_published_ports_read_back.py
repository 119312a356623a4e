"""The ruleset with everything in it is read back as it was wanted, so nothing looks like drift that is none."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from linkspan.kernel.applied import Applied
from linkspan.kernel.diff import diff
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.state import Facts, Scope, State, state_of
from linkspan.model.network import Network
from linkspan.model.port import Transport
from linkspan.plan import bridge, host, sandbox
from linux_objects import GROUP, INSTANCE
from plan_cases import Pair, container_sandbox, endpoint, network, published

pytestmark = pytest.mark.kernel

FACTS = Facts(instance=INSTANCE, group=GROUP)
ELSEWHERE = ("10.0.0.0/8", "192.0.2.7/32", "0.0.0.0/0", "2001:db8::/32", "::/0", "2001:db8::7/128")
SOME = ("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "2001:db9::7/128")
NAT = network("nat", "10.81.0.0/24", "fd00:81::/64", digit="a", change={"trusted_interfaces": ("eth1", "vxlan.1")})
OPEN = network(
    "open", "10.82.0.0/24", "fd00:82::/64", digit="b", change={"gateway_mode4": "routed", "gateway_mode6": "routed"}
)
FIXED = network(
    "fixed", "10.83.0.0/24", digit="c", change={"source4": IPv4Address("192.0.2.1"), "gateway_mode4": "nat-unprotected"}
)
VAULT = network("vault", "10.84.0.0/24", digit="d", internal=True, inter_container=False)
SINGLE: tuple[tuple[str, Transport], ...] = (
    ("0.0.0.0", "tcp"),
    ("192.0.2.1", "udp"),
    ("127.0.0.1", "tcp"),
    ("::", "udp"),
    ("2001:db8::1", "tcp"),
)
PUBLICATIONS = tuple(
    published(address, 1000 * index + kind, port, protocol=protocol, sources=sources)
    for kind, (port, sources) in enumerate([(80, None), (8080, SOME), (8080, ELSEWHERE), (80, ())])
    for index, (address, protocol) in enumerate(SINGLE, start=1)
) + tuple(
    published(address, base + first, base + port if port == first else port, 11, sources=sources)
    for base, address in ((20000, "0.0.0.0"), (20000, "::"), (30000, "192.0.2.9"), (30000, "2001:db8::9"))
    for first, port, sources in ((0, 0, None), (100, 100, SOME), (200, 70, None), (300, 2300, ELSEWHERE))
)


def wants(on: Pair) -> dict[Scope, State]:
    """Everything, with one container on a network that publishes."""
    box = container_sandbox(publications=PUBLICATIONS)
    return {
        ("host", ""): state_of(host.base(FACTS, ipv6=True)),
        **{("network", each.id): state_of(bridge.network(each, FACTS)) for each in (NAT, OPEN, FIXED, VAULT)},
        ("sandbox", box.id): state_of(sandbox.sandbox(box, [on])),
        ("endpoint", on[1].id): state_of(bridge.endpoint(*on, sandbox.namespace_of(box), FACTS)),
    }


@pytest.mark.parametrize("on", [NAT, OPEN], ids=["nat", "routed"])
def test_everything_is_read_back_as_it_was_wanted(linux: LinuxKernel, on: Network) -> None:
    wanted = wants((on, endpoint(on)))
    Applied(linux).converge(wanted)

    everything = {key: item for state in wanted.values() for key, item in state.items()}
    names = {sandbox.namespace_of(container_sandbox())}
    assert diff(everything, linux.read(names)) == ()
    assert Applied(linux).resync(wanted, names) == ()


def test_publishing_and_unpublishing_leaves_nothing_behind(linux: LinuxKernel) -> None:
    applied = Applied(linux)
    on = (NAT, endpoint(NAT))
    wanted = wants(on)
    box = container_sandbox()
    bare = {**wanted, ("sandbox", box.id): state_of(sandbox.sandbox(box, [on]))}
    applied.converge(bare)
    before = linux.read({sandbox.namespace_of(box)})
    applied.converge(wanted)
    applied.converge(bare)
    assert linux.read({sandbox.namespace_of(box)}) == before
