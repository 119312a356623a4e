"""What the daemon's settings ask of the default bridge, and when a stored one agrees."""

from __future__ import annotations

import ipaddress

from linkspan.engine.config import DaemonConfig
from linkspan.engine.default_bridge import agrees, request_of
from linkspan.model.network import AddressPool, Network


def stored(request_options: dict[str, str], *pools: AddressPool) -> Network:
    return Network(id="a", name="bridge", driver="bridge", created=0.0, options=request_options, pools=pools)


def pool(subnet: str, gateway: str) -> AddressPool:
    return AddressPool(subnet=ipaddress.ip_network(subnet), gateway=ipaddress.ip_address(gateway))


def test_bip_names_the_gateway_and_its_subnet() -> None:
    request = request_of(DaemonConfig(bridge_address="10.9.0.1/24"))
    assert [(item.subnet, item.gateway) for item in request.pools] == [("10.9.0.0/24", "10.9.0.1")]


def test_a_chosen_subnet_agrees_with_settings_that_name_none() -> None:
    request = request_of(DaemonConfig())
    assert agrees(stored(dict(request.options), pool("172.17.0.0/16", "172.17.0.1")), request)


def test_another_bip_or_mtu_no_longer_agrees() -> None:
    before = dict(request_of(DaemonConfig()).options)
    network = stored(before, pool("172.17.0.0/16", "172.17.0.1"))
    assert not agrees(network, request_of(DaemonConfig(bridge_address="10.9.0.1/24")))
    assert not agrees(network, request_of(DaemonConfig(mtu=1400)))
    assert not agrees(network, request_of(DaemonConfig(ipv6=True)))
    assert agrees(network, request_of(DaemonConfig(bridge_address="172.17.0.1/16")))
