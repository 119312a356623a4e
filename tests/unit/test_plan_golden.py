"""What each kind of network wants of the kernel, and the commands that would make it: compared with golden files."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

import msgspec
import pytest

import golden
from linkspan.kernel.state import Facts
from linkspan.model.sandbox import Sandbox
from linkspan.plan.bridge import options_of
from plan_cases import FACTS, Pair, container_sandbox, endpoint, network, published, shown, want

DEFAULT = network("bridge", "172.17.0.0/16", digit="b")
USER = network("web", "172.18.0.0/16")
DUAL = network("dual", "172.19.0.0/16", "fd00:19::/64")
SIX = network("six", "fd00:6::/64")
INTERNAL = network("vault", "172.20.0.0/24", "fd00:20::/64", internal=True)
NO_TALK = network("quiet", "172.21.0.0/24", inter_container=False)
ROUTED = network("routed", "172.22.0.0/24", "fd00:22::/64", masquerade=False, mtu=9000)
FRONT = network("front", "10.1.0.0/24", digit="1")
BACK = network("back", "10.2.0.0/24", "fd00:2::/64", digit="2")
FOUR_SIX_SOURCE = (IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1"))
FOUR_SIX = ("172.23.0.0/24", "fd00:23::/64")
OPEN = network("open", *FOUR_SIX, change={"gateway_mode4": "routed", "gateway_mode6": "routed"})
LEGACY = network("legacy", *FOUR_SIX, change={"gateway_mode4": "nat-unprotected", "gateway_mode6": "nat-unprotected"})
SEALED = network("sealed", *FOUR_SIX, internal=True, change={"gateway_mode4": "isolated", "gateway_mode6": "isolated"})
FIXED = network("fixed", *FOUR_SIX, change={"source4": FOUR_SIX_SOURCE[0], "source6": FOUR_SIX_SOURCE[1]})
TRUSTING = network("trusting", *FOUR_SIX, change={"trusted_interfaces": ("eth1", "vxlan.1")})
BOTH = (published("0.0.0.0", 8080, 80), published("::", 8080, 80))


CASES: dict[str, tuple[Sequence[Pair], Sandbox]] = {
    "default-bridge": ([(DEFAULT, endpoint(DEFAULT))], container_sandbox()),
    "user-network": ([(USER, endpoint(USER))], container_sandbox()),
    "dual-stack": ([(DUAL, endpoint(DUAL))], container_sandbox()),
    "ipv6-only": ([(SIX, endpoint(SIX))], container_sandbox()),
    "internal": ([(INTERNAL, endpoint(INTERNAL))], container_sandbox()),
    "no-inter-container": ([(NO_TALK, endpoint(NO_TALK))], container_sandbox()),
    "no-masquerade": ([(ROUTED, endpoint(ROUTED))], container_sandbox()),
    "gateway-priority": (
        [
            (BACK, endpoint(BACK, 0, digit="d")),
            (FRONT, endpoint(FRONT, 1, priority=7)),
        ],
        container_sandbox(),
    ),
    "published-port": ([(USER, endpoint(USER))], container_sandbox(publications=(published("0.0.0.0", 8080, 80),))),
    "published-port-ipv6": ([(SIX, endpoint(SIX))], container_sandbox(publications=(published("::", 8080, 80),))),
    "published-port-dual-stack": (
        [(DUAL, endpoint(DUAL))],
        container_sandbox(
            publications=(
                *BOTH,
                published("127.0.0.1", 5353, 53, protocol="udp"),
                published("2001:db8::1", 5353, 53, protocol="udp"),
            )
        ),
    ),
    "published-range": (
        [(DUAL, endpoint(DUAL))],
        container_sandbox(publications=(published("0.0.0.0", 9000, 9000, 11), published("::", 9000, 9000, 11))),
    ),
    "published-range-shifted": (
        [(USER, endpoint(USER))],
        container_sandbox(publications=(published("192.0.2.1", 8000, 80, 3),)),
    ),
    "published-limited": (
        [(DUAL, endpoint(DUAL))],
        container_sandbox(
            publications=(
                published("0.0.0.0", 8080, 80, sources=("10.0.0.0/8", "192.0.2.7/32")),
                published("::", 8080, 80, sources=("10.0.0.0/8", "192.0.2.7/32")),
            )
        ),
    ),
    "gateway-mode-routed": (
        [(OPEN, endpoint(OPEN))],
        container_sandbox(
            publications=(
                published("0.0.0.0", 0, 80),
                published("::", 0, 80),
                published("0.0.0.0", 0, 9000, 11, protocol="udp"),
                published("0.0.0.0", 0, 5432, sources=("10.0.0.0/8",)),
            )
        ),
    ),
    "gateway-mode-nat-unprotected": ([(LEGACY, endpoint(LEGACY))], container_sandbox(publications=BOTH)),
    "gateway-mode-isolated": ([(SEALED, endpoint(SEALED))], container_sandbox(publications=BOTH)),
    "fixed-source": ([(FIXED, endpoint(FIXED))], container_sandbox()),
    "trusted-interfaces": ([(TRUSTING, endpoint(TRUSTING))], container_sandbox(publications=BOTH)),
    "none": ([], container_sandbox()),
    "host": ([], container_sandbox(on_host=True)),
}
"""By the name of the golden file: the networks with the endpoint on each, and the sandbox."""

FACTS_CASES = {
    "no-big-tcp": msgspec.structs.replace(FACTS, big_tcp=False),
    "no-ipv6": msgspec.structs.replace(FACTS, ipv6=False),
    "br-netfilter-no-inter-container": msgspec.structs.replace(FACTS, bridge_netfilter=True),
    "br-netfilter": msgspec.structs.replace(FACTS, bridge_netfilter=True),
    "router-advertisements": msgspec.structs.replace(FACTS, advertised_links=("eth0", "wlan0"), default_mtu=1420),
}


@pytest.mark.parametrize("name", CASES)
def test_a_plan_is_the_one_in_its_golden_file(name: str) -> None:
    pairs, sandbox = CASES[name]
    golden.check(f"plan/{name}.txt", shown(want(pairs, FACTS, sandbox)))


@pytest.mark.parametrize("name", FACTS_CASES)
def test_a_plan_follows_the_facts_of_the_kernel(name: str) -> None:
    facts: Facts = FACTS_CASES[name]
    subject = {"no-ipv6": USER, "br-netfilter-no-inter-container": NO_TALK}.get(name, DUAL)
    golden.check(f"plan/facts-{name}.txt", shown(want([(subject, endpoint(subject))], facts)))


def test_a_network_may_do_without_pieces_above_64_kib() -> None:
    plain = msgspec.structs.replace(DUAL, bridge=msgspec.structs.replace(options_of(DUAL), big_tcp=False))
    without = want([(plain, endpoint(plain))], msgspec.structs.replace(FACTS, big_tcp=False))
    assert want([(plain, endpoint(plain))], FACTS) == without
