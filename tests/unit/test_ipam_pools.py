"""What a request for subnets is given, and each refusal with its sentence."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from linkspan.errors import Conflict, Forbidden, InvalidRequest, LinkspanError
from linkspan.ipam.pools import DEFAULT_POOLS, overlap_warnings, resolve
from linkspan.ipam.subnets import free_subnet, ula_pool
from linkspan.model.address import IPAddress, IPNetwork
from linkspan.model.network import AddressPool, NetworkRequest, PoolRequest

TINY = ((ip_network("10.9.0.0/23"), 24),)


def chosen(
    *pools: PoolRequest,
    ipv4: bool = True,
    ipv6: bool = False,
    default_pools: tuple[tuple[IPNetwork, int], ...] = (),
    in_use: tuple[tuple[IPNetwork, str], ...] = (),
    on_link: tuple[tuple[IPNetwork, str], ...] = (),
    nameservers: tuple[IPAddress, ...] = (),
    ipam_driver: str = "default",
) -> tuple[AddressPool, ...]:
    request = NetworkRequest(name="web", pools=pools, enable_ipv4=ipv4, enable_ipv6=ipv6, ipam_driver=ipam_driver)
    return resolve(
        request,
        default_pools=default_pools,
        in_use=in_use,
        on_link=on_link,
        nameservers=nameservers,
        instance="0a1b2c3d",
    )


def test_the_walkthrough_is_understood() -> None:
    (pool,) = chosen(PoolRequest(subnet="172.30.0.0/16", ip_range="172.30.5.0/24", gateway="172.30.0.1"))

    assert pool == AddressPool(
        subnet=ip_network("172.30.0.0/16"),
        ip_range=ip_network("172.30.5.0/24"),
        gateway=ip_address("172.30.0.1"),
    )


@pytest.mark.parametrize(
    ("pool", "sentence"),
    [
        (PoolRequest(subnet="banana"), 'subnet "banana" is not in CIDR notation'),
        (PoolRequest(subnet="172.30.0.0"), 'subnet "172.30.0.0" is not in CIDR notation'),
        (PoolRequest(subnet="172.30.0.0/255.255.0.0"), "is not in CIDR notation"),
        (PoolRequest(subnet="fe80::%eth0/64"), "is not in CIDR notation"),
        (PoolRequest(subnet="172.30.0.0/33"), 'subnet "172.30.0.0/33" is not a valid CIDR block'),
        (PoolRequest(subnet="172.300.0.0/16"), 'subnet "172.300.0.0/16" is not a valid CIDR block'),
        (
            PoolRequest(subnet="172.30.0.1/16"),
            'subnet "172.30.0.1/16" has host bits set; it should be 172.30.0.0/16',
        ),
        (PoolRequest(subnet="10.0.0.0/31"), "subnet 10.0.0.0/31 is too small for a gateway and a container"),
        (PoolRequest(subnet="10.0.0.1/32"), "subnet 10.0.0.1/32 is too small"),
        (PoolRequest(subnet="127.1.0.0/16"), "127.0.0.0/8 is loopback"),
        (PoolRequest(subnet="224.1.0.0/16"), "224.0.0.0/4 is multicast"),
        (
            PoolRequest(subnet="10.0.0.0/16", ip_range="10.1.0.0/24"),
            "IP range 10.1.0.0/24 does not lie in subnet 10.0.0.0/16",
        ),
        (PoolRequest(subnet="10.1.0.0/24", ip_range="10.0.0.0/8"), "IP range 10.0.0.0/8 does not lie in subnet"),
        (PoolRequest(subnet="10.0.0.0/16", ip_range="10.0.0.5/24"), "it should be 10.0.0.0/24"),
        (PoolRequest(subnet="10.0.0.0/16", ip_range="fd00::/64"), "IP range fd00::/64 does not lie in subnet"),
        (PoolRequest(subnet="10.0.0.0/16", ip_range="10.0.0.7"), 'IP range "10.0.0.7" is not in CIDR notation'),
        (
            PoolRequest(subnet="10.0.0.0/16", gateway="10.1.0.1"),
            "gateway 10.1.0.1 does not lie in subnet 10.0.0.0/16",
        ),
        (PoolRequest(subnet="10.0.0.0/16", gateway="fd00::1"), "gateway fd00::1 does not lie in subnet"),
        (PoolRequest(subnet="10.0.0.0/16", gateway="10.0.0.0"), "gateway 10.0.0.0 is the network address of subnet"),
        (PoolRequest(subnet="10.0.0.0/16", gateway="10.0.255.255"), "is the broadcast address of subnet 10.0.0.0/16"),
        (PoolRequest(subnet="10.0.0.0/16", gateway="gw"), 'gateway "gw" is not an IP address'),
        (PoolRequest(subnet="10.0.0.0/16", gateway="10.0.0.1/16"), 'gateway "10.0.0.1/16" is not an IP address'),
        (
            PoolRequest(subnet="10.0.0.0/16", auxiliary={"router": "10.1.0.1"}),
            "auxiliary address router 10.1.0.1 does not lie in subnet 10.0.0.0/16",
        ),
        (
            PoolRequest(subnet="10.0.0.0/16", auxiliary={"router": "nowhere"}),
            'auxiliary address router "nowhere" is not an IP address',
        ),
        (
            PoolRequest(subnet="10.0.0.0/16", gateway="10.0.0.1", auxiliary={"router": "10.0.0.1"}),
            "auxiliary address router 10.0.0.1 is the gateway too",
        ),
        (
            PoolRequest(subnet="10.0.0.0/16", auxiliary={"a": "10.0.0.2", "b": "10.0.0.2"}),
            "auxiliary addresses a and b are both 10.0.0.2",
        ),
        (
            PoolRequest(subnet="10.0.0.0/16", ip_range="10.0.0.0/32"),
            "IP range 10.0.0.0/32 leaves no address for the gateway; name one with --gateway",
        ),
        (PoolRequest(gateway="10.0.0.1"), "gateway 10.0.0.1 has no subnet to lie in; add --subnet"),
        (PoolRequest(ip_range="10.0.0.0/24"), "IP range 10.0.0.0/24 has no subnet to lie in; add --subnet"),
        (PoolRequest(auxiliary={"a": "10.0.0.2"}), "auxiliary address a=10.0.0.2 has no subnet to lie in"),
        (PoolRequest(subnet="0.0.0.0/24", gateway="10.0.0.1"), "gateway 10.0.0.1 cannot be placed in 0.0.0.0/24"),
        (PoolRequest(subnet="0.0.0.0/31"), "is too small"),
        (PoolRequest(subnet="fd00::/64"), "subnet fd00::/64 needs IPv6, which this network has switched off"),
    ],
)
def test_a_pool_that_cannot_work_is_refused_with_its_value(pool: PoolRequest, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        chosen(pool)

    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("pool", "sentence"),
    [
        (PoolRequest(subnet="fd00::/127"), "subnet fd00::/127 is too small"),
        (PoolRequest(subnet="fe80::/64"), "is link-local"),
        (PoolRequest(subnet="ff05::/64"), "is multicast"),
        (PoolRequest(subnet="fd00::1/64"), "it should be fd00::/64"),
        (PoolRequest(subnet="fd00::/64", gateway="fd00::"), "is the subnet-router anycast address of subnet fd00::/64"),
        (PoolRequest(subnet="fd00::/64", gateway="fd00::1%eth0"), "has a zone; leave out %eth0"),
    ],
)
def test_an_ipv6_pool_that_cannot_work_is_refused_with_its_value(pool: PoolRequest, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        chosen(pool, ipv6=True)

    assert sentence in str(refusal.value)


def test_two_subnets_of_one_family_are_refused_naming_both() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        chosen(PoolRequest(subnet="10.0.0.0/24"), PoolRequest(subnet="10.0.1.0/24"))

    assert "10.0.0.0/24 and 10.0.1.0/24 are both IPv4" in str(refusal.value)


def test_a_network_without_any_family_is_refused() -> None:
    with pytest.raises(InvalidRequest, match='network "web" has neither IPv4 nor IPv6'):
        chosen(ipv4=False)


def test_an_unknown_ipam_driver_is_refused() -> None:
    with pytest.raises(InvalidRequest, match='IPAM driver "dhcp" is unknown'):
        chosen(ipam_driver="dhcp")


@pytest.mark.parametrize("subnet", ["10.0.0.0/24", "10.0.0.128/25", "10.0.0.0/8"])
def test_an_overlap_with_another_network_is_forbidden_and_names_it(subnet: str) -> None:
    with pytest.raises(Forbidden) as refusal:
        chosen(PoolRequest(subnet=subnet), in_use=((ip_network("10.0.0.0/24"), "db"),))

    assert "network db" in str(refusal.value)
    assert subnet in str(refusal.value)
    assert refusal.value.whose == "db"


def test_an_overlap_counts_even_when_the_ip_ranges_are_apart() -> None:
    with pytest.raises(Forbidden):
        chosen(PoolRequest(subnet="10.0.0.0/16", ip_range="10.0.5.0/24"), in_use=((ip_network("10.0.1.0/24"), "db"),))


def test_an_explicit_subnet_may_lie_on_a_route_of_the_host_and_is_warned_about() -> None:
    routes = ((ip_network("10.0.0.0/16"), "dev eth0"),)
    servers = (ip_address("10.0.0.53"),)

    pools = chosen(PoolRequest(subnet="10.0.0.0/24"), on_link=routes, nameservers=servers)

    assert pools[0].subnet == ip_network("10.0.0.0/24")
    assert overlap_warnings(pools, routes, servers) == (
        "subnet 10.0.0.0/24 overlaps 10.0.0.0/16 (dev eth0): what lies there may be cut off",
        "subnet 10.0.0.0/24 covers the name server 10.0.0.53: names may stop resolving",
    )


def test_automatic_subnets_come_in_dockers_order() -> None:
    in_use: list[tuple[IPNetwork, str]] = []
    for number in range(31):
        (pool,) = chosen(in_use=tuple(in_use))
        in_use.append((pool.subnet, f"net{number}"))

    assert [str(subnet) for subnet, _ in in_use[:15]] == [f"172.{second}.0.0/16" for second in range(17, 32)]
    assert [str(subnet) for subnet, _ in in_use[15:18]] == ["192.168.0.0/20", "192.168.16.0/20", "192.168.32.0/20"]
    with pytest.raises(Conflict) as refusal:
        chosen(in_use=tuple(in_use))
    assert str(refusal.value) == (
        "all default IPv4 address pools are in use by networks or by routes of this host; remove a network, "
        "name one with --subnet, or add pools with --default-address-pool"
    )


def test_an_automatic_subnet_avoids_on_link_routes_and_nameservers() -> None:
    (pool,) = chosen(
        on_link=((ip_network("172.17.4.0/24"), "dev eth0"), (ip_network("172.18.0.0/15"), "dev tun0")),
        nameservers=(ip_address("172.20.0.53"), ip_address("fd00::53")),
    )

    assert str(pool.subnet) == "172.21.0.0/16"


def test_configured_pools_replace_dockers() -> None:
    assert str(chosen(default_pools=TINY)[0].subnet) == "10.9.0.0/24"
    assert str(chosen(default_pools=TINY, in_use=((ip_network("10.9.0.0/25"), "a"),))[0].subnet) == "10.9.1.0/24"


def test_a_subnet_that_was_removed_is_found_again() -> None:
    in_use = tuple((ip_network(f"172.{second}.0.0/16"), "net") for second in range(17, 32) if second != 22)

    assert str(chosen(in_use=in_use)[0].subnet) == "172.22.0.0/16"


@pytest.mark.parametrize(
    ("asked", "given"),
    [("0.0.0.0/24", "172.17.0.0/24"), ("0.0.0.0/14", "172.20.0.0/14"), ("0.0.0.0/30", "172.17.0.0/30")],
)
def test_a_prefix_alone_asks_for_any_free_subnet_of_that_size(asked: str, given: str) -> None:
    (pool,) = chosen(PoolRequest(subnet=asked))

    assert str(pool.subnet) == given
    assert pool.gateway == pool.subnet.network_address + 1


def test_a_prefix_that_no_pool_can_hold_is_refused() -> None:
    with pytest.raises(Conflict, match="no default IPv4 address pool has room for a /8"):
        chosen(PoolRequest(subnet="0.0.0.0/8"))


def test_an_ipv6_prefix_alone_comes_from_the_unique_local_block() -> None:
    pools = chosen(PoolRequest(subnet="::/72"), ipv6=True)

    base, _ = ula_pool("0a1b2c3d")
    assert str(pools[1].subnet) == f"{base.network_address}/72"


def test_an_empty_pool_asks_for_nothing() -> None:
    assert chosen(PoolRequest(), PoolRequest()) == chosen()


def test_the_automatic_gateway_is_the_first_address_of_the_subnet() -> None:
    assert chosen(PoolRequest(subnet="10.0.0.0/24"))[0].gateway == ip_address("10.0.0.1")
    assert chosen(PoolRequest(subnet="fd00::/64"), ipv6=True)[1].gateway == ip_address("fd00::1")


def test_the_automatic_gateway_is_the_first_of_the_ip_range_as_with_docker() -> None:
    pools = chosen(PoolRequest(subnet="172.28.0.0/16", ip_range="172.28.5.0/24"))

    assert pools[0].gateway == ip_address("172.28.5.0")


def test_the_automatic_gateway_passes_over_auxiliary_addresses() -> None:
    pools = chosen(PoolRequest(subnet="10.0.0.0/24", auxiliary={"a": "10.0.0.1", "b": "10.0.0.2"}))

    assert pools[0].gateway == ip_address("10.0.0.3")


def test_ipv6_gets_a_unique_local_subnet_that_is_stable_for_the_instance() -> None:
    first = chosen(ipv6=True)
    again = chosen(ipv6=True)
    second = chosen(ipv6=True, in_use=((first[1].subnet, "first"),))

    assert first == again
    assert first[1].subnet.prefixlen == second[1].subnet.prefixlen == 64
    assert first[1].subnet != second[1].subnet
    assert str(first[1].subnet).startswith("fd")
    assert ula_pool("0a1b2c3d") != ula_pool("0a1b2c3e")
    assert second[1].subnet.subnet_of(ula_pool("0a1b2c3d")[0])


def test_a_network_may_be_ipv6_alone() -> None:
    (pool,) = chosen(ipv4=False, ipv6=True)

    assert pool.subnet.version == 6


def test_an_ipv4_subnet_on_an_ipv6_network_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="needs IPv4, which this network has switched off; add --ipv4"):
        chosen(PoolRequest(subnet="10.0.0.0/24"), ipv4=False, ipv6=True)


def test_configured_ipv6_pools_replace_the_unique_local_block() -> None:
    pools = chosen(ipv6=True, default_pools=(*TINY, (ip_network("2001:db8::/56"), 64)))

    assert str(pools[1].subnet) == "2001:db8::/64"


def test_a_free_subnet_in_a_large_block_looks_at_its_neighbours_alone() -> None:
    taken = [ip_network(f"10.{second}.0.0/16") for second in range(200)]

    assert free_subnet(ip_network("10.0.0.0/8"), 24, taken) == ip_network("10.200.0.0/24")
    assert free_subnet(ip_network("10.0.0.0/8"), 24, [ip_network("0.0.0.0/1")]) is None


def test_the_default_pools_do_not_overlap() -> None:
    bases = [base for base, _ in DEFAULT_POOLS]

    assert all(not one.overlaps(other) for one in bases for other in bases if one is not other)


def test_every_refusal_is_one_sentence() -> None:
    with pytest.raises(LinkspanError) as refusal:
        chosen(PoolRequest(subnet="172.30.0.1/16"))

    assert "\n" not in str(refusal.value)
    assert not str(refusal.value).endswith(".")
