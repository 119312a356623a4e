"""What each kind of network wants of the kernel, and the commands that would make it: compared with golden files."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

import golden
from linkspan.kernel.state import Facts
from linkspan.model.sandbox import Sandbox
from plan_cases import FACTS, Pair, container_sandbox, endpoint, network, shown, want

DEFAULT = network("bridge", "172.17.0.0/16", digit="b")
USER = network("web", "172.18.0.0/16")
DUAL = network("dual", "172.19.0.0/16", "fd00:19::/64")
SIX = network("six", "fd00:6::/64")
INTERNAL = network("vault", "172.20.0.0/24", "fd00:20::/64", internal=True)
NO_TALK = network("quiet", "172.21.0.0/24", inter_container=False)
ROUTED = network("routed", "172.22.0.0/24", "fd00:22::/64", masquerade=False, mtu=9000)
FRONT = network("front", "10.1.0.0/24", digit="1")
BACK = network("back", "10.2.0.0/24", "fd00:2::/64", digit="2")


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
    "none": ([], container_sandbox()),
    "host": ([], container_sandbox(on_host=True)),
}
"""By the name of the golden file: the networks with the endpoint on each, and the sandbox."""

FACTS_CASES = {
    "no-big-tcp": msgspec.structs.replace(FACTS, big_tcp=False),
    "no-ipv6": msgspec.structs.replace(FACTS, ipv6=False),
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
    subject = USER if name == "no-ipv6" else DUAL
    golden.check(f"plan/facts-{name}.txt", shown(want([(subject, endpoint(subject))], facts)))
