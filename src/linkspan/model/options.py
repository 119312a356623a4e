"""Driver options and labels, read once into typed values; a typo in Docker's namespace or ours is refused.

Docker keeps every option that it does not know, so ``com.docker.network.bridge.enable_ipmasquerade=false`` there
changes nothing and tells nobody. Here: a key under ``com.docker.network.`` or ``linkspan.`` must be known. Keys in any
other namespace belong to somebody else and are kept, with a warning.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import get_args

from linkspan.errors import InvalidRequest, NotSupported
from linkspan.model.address import IPAddress
from linkspan.model.endpoint_options import (
    ANNOUNCEMENT_INTERVAL,
    ANNOUNCEMENT_INTERVAL_ALSO,
    ANNOUNCEMENT_INTERVALS,
    ANNOUNCEMENTS,
    ANTI_SPOOFING,
    MOST_ANNOUNCEMENTS,
)
from linkspan.model.endpoint_options import KEYS as ENDPOINT_KEYS
from linkspan.model.names import interface_name, search_domain
from linkspan.model.network import BridgeOptions, GatewayMode
from linkspan.model.option_values import OURS, boolean, check_known, did_you_mean, number
from linkspan.model.sources import PUBLISH_FROM, is_source_label

BRIDGE_NAME = "com.docker.network.bridge.name"
MTU = "com.docker.network.driver.mtu"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
INTER_CONTAINER = "com.docker.network.bridge.enable_icc"
INTERFACE_PREFIX = "com.docker.network.container_iface_prefix"
DEFAULT_BRIDGE = "com.docker.network.bridge.default_bridge"
GATEWAY_MODE4 = "com.docker.network.bridge.gateway_mode_ipv4"
GATEWAY_MODE6 = "com.docker.network.bridge.gateway_mode_ipv6"
HOST_BINDING = "com.docker.network.bridge.host_binding_ipv4"
INHIBIT_IPV4 = "com.docker.network.bridge.inhibit_ipv4"
TRUSTED_INTERFACES = "com.docker.network.bridge.trusted_host_interfaces"
SOURCE4 = "com.docker.network.host_ipv4"
SOURCE6 = "com.docker.network.host_ipv6"
BIG_TCP = "linkspan.big_tcp"
DNS = "linkspan.dns"
DNS_SEARCH = "linkspan.dns_search"
DNS_OPTIONS = "linkspan.dns_options"

_READ = (
    *(BRIDGE_NAME, MTU, MASQUERADE, INTER_CONTAINER, INTERFACE_PREFIX, DEFAULT_BRIDGE),
    *(GATEWAY_MODE4, GATEWAY_MODE6, HOST_BINDING, INHIBIT_IPV4, TRUSTED_INTERFACES, SOURCE4, SOURCE6),
    *(ANNOUNCEMENTS, ANNOUNCEMENT_INTERVAL, ANNOUNCEMENT_INTERVAL_ALSO),
    *(ANTI_SPOOFING, BIG_TCP, DNS, DNS_SEARCH, DNS_OPTIONS),
)

_LARGEST_MTU = 65535
_SMALLEST_MTU = {False: 68, True: 1280}
"""Bytes by "has IPv6": RFC 791 section 3.2 and RFC 8200 section 5. The kernel drops IPv6 from smaller links."""

_GATEWAY_MODES: tuple[GatewayMode, ...] = get_args(GatewayMode)

_LONGEST_PREFIX = 11
"""An interface name has 15 bytes, and four digits must fit behind."""

_RESOLVER_OPTION = re.compile(r"[a-z0-9-]+(:[0-9]+)?", re.ASCII)
"""resolv.conf(5), ``options``."""

_INTERFACE_PREFIX = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]*", re.ASCII)


def bridge_options(
    name: str, network_id: str, options: Mapping[str, str], *, enable_ipv6: bool = False, internal: bool = False
) -> BridgeOptions:
    """The bridge driver's options of one network. ``name`` decides only what the default bridge is called.

    InvalidRequest for a bad value and for an unknown key in Docker's namespace or ours (naming near ones);
    NotSupported for what Docker's daemon reads and people say with a flag.
    """
    for key, value in options.items():
        check_known(key, "network option", (*_READ, *_LATER))
        if key in _LATER:
            _LATER[key](key, value)
    default = name == "bridge"
    if boolean(DEFAULT_BRIDGE, options, default) != default:
        raise InvalidRequest(f"option {DEFAULT_BRIDGE} belongs to the network bridge alone", remedy="leave it out")
    interval = ANNOUNCEMENT_INTERVAL if options.get(ANNOUNCEMENT_INTERVAL) else ANNOUNCEMENT_INTERVAL_ALSO
    return BridgeOptions(
        bridge_name=_bridge_name(name, network_id, options),
        mtu=_mtu(options.get(MTU, ""), enable_ipv6),
        masquerade=boolean(MASQUERADE, options, True),
        inter_container=boolean(INTER_CONTAINER, options, True),
        interface_prefix=_interface_prefix(options.get(INTERFACE_PREFIX, "")),
        gateway_mode4=_gateway_mode(GATEWAY_MODE4, options, internal),
        gateway_mode6=_gateway_mode(GATEWAY_MODE6, options, internal),
        host_binding=_address(HOST_BINDING, options),
        source4=_source4(options),
        source6=_source6(options),
        inhibit_ipv4=boolean(INHIBIT_IPV4, options, False),
        trusted_interfaces=_trusted(options.get(TRUSTED_INTERFACES, "")),
        anti_spoofing=boolean(ANTI_SPOOFING, options, True),
        big_tcp=boolean(BIG_TCP, options, True),
        announcements=number(ANNOUNCEMENTS, options, 3, 0, MOST_ANNOUNCEMENTS),
        announcement_interval=number(interval, options, 1000, *ANNOUNCEMENT_INTERVALS) / 1000,
        dns=tuple(str(_parsed(DNS, part)) for part in _listed(DNS, options)),
        dns_search=tuple(_search_domain(part) for part in _listed(DNS_SEARCH, options)),
        dns_options=tuple(_resolver_option(part) for part in _listed(DNS_OPTIONS, options)),
    )


def option_warnings(options: Mapping[str, str]) -> tuple[str, ...]:
    """One sentence for each option that is kept and does nothing. Works for network and endpoint options."""
    known = (*_READ, *_LATER, *ENDPOINT_KEYS)
    return tuple(
        f"option {key} is kept and has no effect" + did_you_mean(key, known)
        for key in options
        if not key.startswith(OURS)
    )


def check_labels(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Labels of a network or container: any UTF-8, but a typo in Docker's network namespace or ours is refused.

    Returns a warning for each label that is really the name of an option. ``com.docker.compose.*`` and all other
    namespaces pass; the values of ``linkspan.publish-from`` are read by ``model.sources``.
    """
    known = (*_READ, *_LATER, *ENDPOINT_KEYS)
    warnings = []
    for key in labels:
        if key.startswith(OURS) and not is_source_label(key):
            check_known(key, "label", (*known, PUBLISH_FROM))
            warnings.append(f"label {key} has no effect as a label; the option of that name (--opt) has")
    return tuple(warnings)


def _bridge_name(name: str, network_id: str, options: Mapping[str, str]) -> str:
    if options.get(BRIDGE_NAME):
        return interface_name(options[BRIDGE_NAME], f"option {BRIDGE_NAME}: interface name")
    return "linkspan0" if name == "bridge" else f"br-{network_id[:12]}"


def _mtu(text: str, enable_ipv6: bool) -> int:
    if text in ("", "0"):
        return 0
    smallest = _SMALLEST_MTU[enable_ipv6]
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and smallest <= int(text) <= _LARGEST_MTU):
        family = " for IPv6" if enable_ipv6 else ""
        raise InvalidRequest(
            f'option {MTU}: "{text}" is not an MTU{family}',
            remedy=f"give a number of bytes from {smallest} to {_LARGEST_MTU}",
        )
    return int(text)


def _interface_prefix(text: str) -> str:
    if not text:
        return "eth"
    if len(text) > _LONGEST_PREFIX or not _INTERFACE_PREFIX.fullmatch(text):
        raise InvalidRequest(
            f'option {INTERFACE_PREFIX}: "{text}" cannot begin an interface name',
            remedy=f"start with a letter, then letters, digits, _ . -, at most {_LONGEST_PREFIX} in all",
        )
    return text


def _address(key: str, options: Mapping[str, str]) -> IPAddress | None:
    return _parsed(key, options[key]) if options.get(key) else None


def _parsed(key: str, text: str) -> IPAddress:
    try:
        found = ipaddress.ip_address(text)
    except ValueError as error:
        raise InvalidRequest(f'option {key}: "{text}" is not an IP address') from error
    if isinstance(found, IPv6Address) and found.scope_id:
        raise InvalidRequest(f'option {key}: "{text}" names an interface', remedy="give an address alone")
    return found


def _source4(options: Mapping[str, str]) -> IPv4Address | None:
    found = _source(SOURCE4, options)
    if found is None or isinstance(found, IPv4Address):
        return found
    raise InvalidRequest(f"option {SOURCE4}: {found} is not an IPv4 address", remedy=f"say it with {SOURCE6}")


def _source6(options: Mapping[str, str]) -> IPv6Address | None:
    found = _source(SOURCE6, options)
    if found is None or isinstance(found, IPv6Address):
        return found
    raise InvalidRequest(f"option {SOURCE6}: {found} is not an IPv6 address", remedy=f"say it with {SOURCE4}")


def _source(key: str, options: Mapping[str, str]) -> IPAddress | None:
    found = _address(key, options)
    if found is not None and (found.is_unspecified or found.is_loopback or found.is_multicast):
        raise InvalidRequest(
            f"option {key}: nothing can leave under {found}", remedy="give an address that the host is known by"
        )
    return found


def _gateway_mode(key: str, options: Mapping[str, str], internal: bool) -> GatewayMode:
    text = options.get(key, "") or "nat"
    for mode in _GATEWAY_MODES:
        if mode == text:
            if mode == "isolated" and not internal:
                raise InvalidRequest(
                    f"option {key}=isolated is for internal networks", remedy="say --internal, or choose another mode"
                )
            return mode
    raise InvalidRequest(
        f'option {key}: "{text}" is no gateway mode', remedy=f"give one of {', '.join(_GATEWAY_MODES)}"
    )


def _trusted(text: str) -> tuple[str, ...]:
    """Docker puts colons between the names."""
    if not text:
        return ()
    names = (interface_name(part, f"option {TRUSTED_INTERFACES}: interface name") for part in text.split(":"))
    return tuple(dict.fromkeys(names))


def _listed(key: str, options: Mapping[str, str]) -> tuple[str, ...]:
    """The parts of a comma-separated list, each once."""
    text = options.get(key, "")
    if not text:
        return ()
    parts = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if "" in parts:
        raise InvalidRequest(f'option {key}: "{text}" has an empty part', remedy="put one comma between two parts")
    return parts


def _search_domain(text: str) -> str:
    return search_domain(text.rstrip("."), f"option {DNS_SEARCH}: domain")


def _resolver_option(text: str) -> str:
    if not _RESOLVER_OPTION.fullmatch(text):
        raise InvalidRequest(
            f'option {DNS_OPTIONS}: "{text}" is no option of a resolver',
            remedy="say them as in resolv.conf(5): ndots:2",
        )
    return text


def _say_flag(flag: str) -> Callable[[str, str], None]:
    """A check for what Docker's daemon also reads from options, and people should say with a flag."""

    def check(key: str, value: str) -> None:
        raise NotSupported(f"option {key} is not read", remedy=f"say {flag} instead")

    return check


_LATER: dict[str, Callable[[str, str], None]] = {
    "com.docker.network.enable_ipv4": _say_flag("--ipv4"),
    "com.docker.network.enable_ipv6": _say_flag("--ipv6"),
    "com.docker.network.internal": _say_flag("--internal"),
}
"""What Docker's daemon takes for options of networks, and people should say with flags."""
