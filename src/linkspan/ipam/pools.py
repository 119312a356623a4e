"""What a bridge network's request for addresses means: checked whole, then chosen. PURE.

``resolve`` is the one door. Facts that Docker's users expect and its documents do not tell (moby,
``daemon/libnetwork``: ``ipams/defaultipam`` and ``network.go``):

- without ``--gateway`` the gateway is the first free address *of the IP range* when one is given, else of the
  subnet. A range's own first address counts: ``--ip-range 172.30.5.0/24`` in a /16 gives the gateway 172.30.5.0;
- an overlap with another network is 403 Forbidden, whatever routes the host has; only *automatic* subnets avoid
  the host's routes and nameservers. An explicit one is the person's word: ``overlap_warnings`` says what it hides.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

import msgspec

from linkspan.errors import Conflict, Forbidden, InvalidRequest
from linkspan.ipam.notation import (
    Family,
    address_at,
    bounds,
    check_usable,
    contains,
    family_of,
    overlap,
    parse_address,
    parse_subnet,
)
from linkspan.ipam.subnets import free_subnet, ula_pool
from linkspan.model.address import IPAddress, IPNetwork
from linkspan.model.network import AddressPool, NetworkRequest, PoolRequest

DEFAULT_POOLS: tuple[tuple[IPNetwork, int], ...] = (
    (ipaddress.ip_network("172.17.0.0/16"), 16),
    (ipaddress.ip_network("172.18.0.0/15"), 16),
    (ipaddress.ip_network("172.20.0.0/14"), 16),
    (ipaddress.ip_network("172.24.0.0/13"), 16),
    (ipaddress.ip_network("192.168.0.0/16"), 20),
)
"""Docker's: 172.17 to 172.31 as /16 each, then 192.168 as /20 each (moby ``ipamutils``); 31 networks."""

LONGEST_PREFIX = {4: 30, 6: 126}
"""A gateway and one container need two addresses besides network and broadcast (or anycast) address."""

_FAMILY_FLAG = {4: "--ipv4", 6: "--ipv6"}


class _ParsedPool(msgspec.Struct, frozen=True, kw_only=True):
    """One pool as asked, each part checked against the others.

    ``subnet`` is None when only a size was asked (``0.0.0.0/24``): any free subnet of ``prefix`` bits.
    """

    family: Family
    prefix: int
    subnet: IPNetwork | None = None
    ip_range: IPNetwork | None = None
    gateway: IPAddress | None = None
    auxiliary: dict[str, IPAddress] = {}


def _parse_pool(request: PoolRequest) -> _ParsedPool:
    """Reads one ``--subnet`` with its companions. InvalidRequest names the value that cannot work, and why."""
    if not request.subnet:
        raise InvalidRequest(_companion(request) + " has no subnet to lie in", remedy="add --subnet")
    subnet = parse_subnet(request.subnet)
    _check_size(subnet)
    family = family_of(subnet)
    if subnet.network_address.is_unspecified:
        if request.ip_range or request.gateway or request.auxiliary:
            raise InvalidRequest(
                f"{_companion(request)} cannot be placed in {subnet}, which asks for any free subnet of that size",
                remedy="name the subnet",
            )
        return _ParsedPool(family=family, prefix=subnet.prefixlen)
    check_usable(subnet)
    return _ParsedPool(
        family=family,
        prefix=subnet.prefixlen,
        subnet=subnet,
        ip_range=_parse_range(request.ip_range, subnet),
        gateway=_parse_host(request.gateway, "gateway", subnet) if request.gateway else None,
        auxiliary=_parse_auxiliary(request, subnet),
    )


def resolve(
    request: NetworkRequest,
    *,
    default_pools: Sequence[tuple[IPNetwork, int]],
    in_use: Iterable[tuple[IPNetwork, str]],
    on_link: Iterable[tuple[IPNetwork, str]],
    nameservers: Iterable[IPAddress],
    instance: str,
) -> tuple[AddressPool, ...]:
    """The address pools of a bridge network: IPv4 first, at most one a family, each with its gateway.

    ``default_pools`` are (base, prefix of each subnet), empty for Docker's; without an IPv6 one among them, automatic
    IPv6 subnets come from the unique local /48 of ``instance``. ``in_use`` are our networks' subnets with the
    network's name, ``on_link`` the host's routes without a gateway, each with a word on what it is.

    InvalidRequest: the request can never work. Forbidden: its subnet overlaps another network's (named).
    Conflict: no free subnet is left.
    """
    families = _families(request)
    asked = _asked(request, families)
    ours = tuple(in_use)
    avoid = [block for block, _ in ours] + [block for block, _ in on_link]
    avoid += [ipaddress.ip_network(f"{server}") for server in nameservers]
    bases = list(default_pools or DEFAULT_POOLS)
    if not any(base.version == 6 for base, _ in bases):
        bases.append(ula_pool(instance))

    pools = []
    for family in families:
        pool = asked.get(family)
        if pool is not None and pool.subnet is not None:
            _refuse_overlap(pool.subnet, ours)
            subnet = pool.subnet
        else:
            subnet = _choose(family, pool.prefix if pool else None, bases, avoid)
        pools.append(_with_gateway(subnet, pool))
    return tuple(pools)


def refuse_unusable(address: IPAddress, what: str, subnet: IPNetwork) -> None:
    """InvalidRequest unless a machine on ``subnet`` can have that address.

    IPv4's first and last address are the network's and the broadcast address (RFC 1122 section 3.2.1.3), IPv6's first
    is the subnet-router anycast address (RFC 4291 section 2.6.1).
    """
    if not contains(subnet, address):
        raise InvalidRequest(f"{what} {address} does not lie in subnet {subnet}")
    low, high = bounds(subnet)
    if int(address) == low:
        kind = "network" if subnet.version == 4 else "subnet-router anycast"
        raise InvalidRequest(f"{what} {address} is the {kind} address of subnet {subnet}", remedy="take another")
    if subnet.version == 4 and int(address) == high:
        raise InvalidRequest(f"{what} {address} is the broadcast address of subnet {subnet}", remedy="take another")


def overlap_warnings(
    pools: Iterable[AddressPool], on_link: Iterable[tuple[IPNetwork, str]], nameservers: Iterable[IPAddress]
) -> tuple[str, ...]:
    """What an explicit subnet will hide from this host and its containers, one sentence each."""
    routes, servers = tuple(on_link), tuple(nameservers)
    warnings: list[str] = []
    for pool in pools:
        warnings += (
            f"subnet {pool.subnet} overlaps {block} ({what}): what lies there may be cut off"
            for block, what in routes
            if overlap(pool.subnet, block)
        )
        warnings += (
            f"subnet {pool.subnet} covers the name server {server}: names may stop resolving"
            for server in servers
            if contains(pool.subnet, server)
        )
    return tuple(warnings)


def _families(request: NetworkRequest) -> tuple[Family, ...]:
    if request.ipam_driver not in ("", "default"):
        raise InvalidRequest(f'IPAM driver "{request.ipam_driver}" is unknown', remedy="only default exists")
    families: list[Family] = []
    if request.enable_ipv4:
        families.append(4)
    if request.enable_ipv6:
        families.append(6)
    if not families:
        raise InvalidRequest(f'network "{request.name}" has neither IPv4 nor IPv6', remedy="enable one of them")
    return tuple(families)


def _asked(request: NetworkRequest, families: tuple[Family, ...]) -> dict[Family, _ParsedPool]:
    """The request's pools by family. A wholly empty pool asks for nothing."""
    asked: dict[Family, _ParsedPool] = {}
    spellings: dict[Family, str] = {}
    for each in request.pools:
        if not (each.subnet or each.ip_range or each.gateway or each.auxiliary):
            continue
        pool = _parse_pool(each)
        if pool.family not in families:
            raise InvalidRequest(
                f"subnet {each.subnet} needs IPv{pool.family}, which this network has switched off",
                remedy=f"add {_FAMILY_FLAG[pool.family]}",
            )
        if pool.family in asked:
            raise InvalidRequest(
                f"subnets {spellings[pool.family]} and {each.subnet} are both IPv{pool.family}, and a bridge network "
                "has one subnet a family",
                remedy="make a second network",
            )
        asked[pool.family], spellings[pool.family] = pool, each.subnet
    return asked


def _companion(request: PoolRequest) -> str:
    """What stands beside the subnet, for a refusal."""
    if request.ip_range:
        return f"IP range {request.ip_range}"
    if request.gateway:
        return f"gateway {request.gateway}"
    name, address = next(iter(request.auxiliary.items()), ("", ""))
    return f"auxiliary address {name}={address}"


def _check_size(subnet: IPNetwork) -> None:
    longest = LONGEST_PREFIX[subnet.version]
    if subnet.prefixlen > longest:
        raise InvalidRequest(
            f"subnet {subnet} is too small for a gateway and a container", remedy=f"take a /{longest} or larger"
        )


def _parse_range(text: str, subnet: IPNetwork) -> IPNetwork | None:
    if not text:
        return None
    ip_range = parse_subnet(text, "IP range")
    if not contains(subnet, ip_range):
        raise InvalidRequest(f"IP range {ip_range} does not lie in subnet {subnet}")
    return ip_range


def _parse_host(text: str, what: str, subnet: IPNetwork) -> IPAddress:
    """An address that a machine on ``subnet`` can have."""
    address = parse_address(text, what)
    refuse_unusable(address, what, subnet)
    return address


def _parse_auxiliary(request: PoolRequest, subnet: IPNetwork) -> dict[str, IPAddress]:
    auxiliary: dict[str, IPAddress] = {}
    names: dict[IPAddress, str] = {}
    gateway = parse_address(request.gateway, "gateway") if request.gateway else None
    for name, text in request.auxiliary.items():
        address = _parse_host(text, f"auxiliary address {name}", subnet)
        if address == gateway:
            raise InvalidRequest(f"auxiliary address {name} {address} is the gateway too", remedy="take another")
        if address in names:
            raise InvalidRequest(f"auxiliary addresses {names[address]} and {name} are both {address}")
        auxiliary[name], names[address] = address, name
    return auxiliary


def _refuse_overlap(subnet: IPNetwork, ours: tuple[tuple[IPNetwork, str], ...]) -> None:
    for block, name in ours:
        if overlap(subnet, block):
            where = f"{block} of network {name}" if block != subnet else f"that of network {name}"
            raise Forbidden(f"subnet {subnet} overlaps {where}", whose=name, remedy="take another with --subnet")


def _choose(
    family: Family, prefix: int | None, bases: list[tuple[IPNetwork, int]], avoid: list[IPNetwork]
) -> IPNetwork:
    """The first free subnet of the bases, of their own size or of ``prefix`` bits. Conflict when none is left."""
    for base, size in bases:
        if base.version == family:
            subnet = free_subnet(base, size if prefix is None else prefix, avoid)
            if subnet is not None:
                return subnet
    if prefix is None:
        what = f"all default IPv{family} address pools are in use by networks or by routes of this host"
    else:
        what = f"no default IPv{family} address pool has room for a /{prefix}"
    raise Conflict(what, remedy="remove a network, name one with --subnet, or add pools with --default-address-pool")


def _with_gateway(subnet: IPNetwork, asked: _ParsedPool | None) -> AddressPool:
    if asked is None:
        return AddressPool(subnet=subnet, gateway=_first_free(subnet, None, {}))
    gateway = asked.gateway or _first_free(subnet, asked.ip_range, asked.auxiliary)
    return AddressPool(subnet=subnet, ip_range=asked.ip_range, gateway=gateway, auxiliary=asked.auxiliary)


def _first_free(subnet: IPNetwork, ip_range: IPNetwork | None, auxiliary: dict[str, IPAddress]) -> IPAddress:
    """The automatic gateway. At most ``len(auxiliary) + 1`` addresses are looked at and passed over."""
    network, broadcast = bounds(subnet)
    low, high = bounds(ip_range or subnet)
    low = max(low, network + 1)
    if subnet.version == 4:
        high = min(high, broadcast - 1)
    passed_over = {int(address) for address in auxiliary.values()}
    while low in passed_over:
        low += 1
    if low > high:
        what = f"IP range {ip_range}" if ip_range else f"subnet {subnet}"
        raise InvalidRequest(f"{what} leaves no address for the gateway", remedy="name one with --gateway")
    return address_at(family_of(subnet), low)
