"""What is wanted, as the watching of the kernel asks for it."""

from __future__ import annotations

from ipaddress import ip_network

from linkspan.kernel.memory import Memory
from linkspan.kernel.state import Address, Scope, state_of

WEB: Scope = ("network", "web")


def test_the_subnets_on_our_links_follow_every_change() -> None:
    memory = Memory()
    assert memory.subnets() == []
    with memory.change(()):
        assert memory.subnets() == []
        memory.intend({WEB: state_of([Address(link="br-web", address="10.5.0.1/24")])})
    assert memory.subnets() == [ip_network("10.5.0.0/24")]
    assert memory.subnets() is memory.subnets()
    with memory.change(()):
        memory.intend({WEB: {}})
    assert memory.subnets() == []
