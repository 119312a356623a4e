"""Link-local addresses that a person chooses for an endpoint (``--link-local-ip``)."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from linkspan.errors import InvalidRequest
from linkspan.model.address import IPAddress


def link_local_address(text: str) -> IPAddress:
    """One of 169.254.0.0/16 (RFC 3927) or fe80::/10 (RFC 4291, 2.5.6). InvalidRequest for anything else."""
    try:
        address = ip_address(text)
    except ValueError as error:
        raise InvalidRequest(f'link-local address "{text}" is not an IP address') from error
    if isinstance(address, IPv6Address) and address.scope_id:
        raise InvalidRequest(f"link-local address {text} names an interface", remedy="give the address alone")
    if not address.is_link_local:
        raise InvalidRequest(
            f"{text} is no link-local address", remedy="give one of 169.254.0.0/16 or fe80::/10, or use --ip and --ip6"
        )
    return address
