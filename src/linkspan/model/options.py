"""Driver options and labels, read once into typed values; a typo in Docker's namespace or ours is refused.

Docker keeps every option that it does not know, so ``com.docker.network.bridge.enable_ipmasquerade=false`` there
changes nothing and tells nobody. Here: a key under ``com.docker.network.`` or ``linkspan.`` must be known. A known one
that Linkspan does not do yet is taken when it asks for what happens anyway, and is NotSupported otherwise. Keys in
any other namespace belong to somebody else and are kept, with a warning.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping

from linkspan.errors import InvalidRequest, NotSupported
from linkspan.model.names import interface_name
from linkspan.model.network import BridgeOptions

BRIDGE_NAME = "com.docker.network.bridge.name"
MTU = "com.docker.network.driver.mtu"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
INTER_CONTAINER = "com.docker.network.bridge.enable_icc"
INTERFACE_PREFIX = "com.docker.network.container_iface_prefix"
DEFAULT_BRIDGE = "com.docker.network.bridge.default_bridge"

OURS = ("com.docker.network.", "linkspan.")
"""Namespaces in which an unknown key is a typo."""

_READ = (BRIDGE_NAME, MTU, MASQUERADE, INTER_CONTAINER, INTERFACE_PREFIX, DEFAULT_BRIDGE)

_GATEWAY_MODES = ("nat", "nat-unprotected", "routed", "isolated")

_LARGEST_MTU = 65535
_SMALLEST_MTU = {False: 68, True: 1280}
"""Bytes by "has IPv6": RFC 791 section 3.2 and RFC 8200 section 5. The kernel drops IPv6 from smaller links."""

_LONGEST_PREFIX = 11
"""An interface name has 15 bytes, and four digits must fit behind."""

_INTERFACE_PREFIX = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]*", re.ASCII)


def bridge_options(
    name: str, network_id: str, options: Mapping[str, str], *, enable_ipv6: bool = False
) -> BridgeOptions:
    """The bridge driver's options of one network. ``name`` decides only what the default bridge is called.

    InvalidRequest for a bad value and for an unknown key in Docker's namespace or ours (naming near ones);
    NotSupported for what Docker knows and Linkspan does not do yet.
    """
    for key, value in options.items():
        _check_known(key, "network option", (*_READ, *_LATER))
        if key in _LATER:
            _LATER[key](key, value)
    default = name == "bridge"
    if _boolean(DEFAULT_BRIDGE, options, default) != default:
        raise InvalidRequest(f"option {DEFAULT_BRIDGE} belongs to the network bridge alone", remedy="leave it out")
    return BridgeOptions(
        bridge_name=_bridge_name(name, network_id, options),
        mtu=_mtu(options.get(MTU, ""), enable_ipv6),
        masquerade=_boolean(MASQUERADE, options, True),
        inter_container=_boolean(INTER_CONTAINER, options, True),
        interface_prefix=_interface_prefix(options.get(INTERFACE_PREFIX, "")),
    )


def option_warnings(options: Mapping[str, str]) -> tuple[str, ...]:
    """One sentence for each option that is kept and does nothing. Works for network and endpoint options."""
    known = (*_READ, *_LATER, *_ENDPOINT_LATER)
    return tuple(
        f"option {key} is kept and has no effect" + _did_you_mean(key, known)
        for key in options
        if not key.startswith(OURS)
    )


def check_endpoint_options(options: Mapping[str, str]) -> None:
    """Driver options of one endpoint (``--driver-opt``). Refuses as ``bridge_options`` does; none is done yet."""
    for key, value in options.items():
        _check_known(key, "endpoint option", tuple(_ENDPOINT_LATER))
        if key in _ENDPOINT_LATER:
            _ENDPOINT_LATER[key](key, value)


def check_labels(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Labels of a network or container: any UTF-8, but a typo in Docker's network namespace or ours is refused.

    Returns a warning for each label that is really the name of an option. ``com.docker.compose.*`` and all other
    namespaces pass.
    """
    known = (*_READ, *_LATER, *_ENDPOINT_LATER)
    warnings = []
    for key in labels:
        if key.startswith(OURS):
            _check_known(key, "label", known)
            warnings.append(f"label {key} has no effect as a label; the option of that name (--opt) has")
    return tuple(warnings)


def _check_known(key: str, what: str, known: tuple[str, ...]) -> None:
    if key.startswith(OURS) and key not in known:
        raise InvalidRequest(
            f"{what} {key} is unknown" + _did_you_mean(key, known), remedy="correct it or leave it out"
        )


def _did_you_mean(key: str, known: tuple[str, ...]) -> str:
    """`` (did you mean X or Y?)`` or nothing. A key with the same last part wins (``linkspan.mtu``)."""
    tail = key.rpartition(".")[2]
    tails = {each.rpartition(".")[2]: each for each in known}
    near = [tails[tail]] if tail in tails else difflib.get_close_matches(key, known, n=2, cutoff=0.85)
    near = near or [tails[each] for each in difflib.get_close_matches(tail, tails, n=2, cutoff=0.75)]
    return f" (did you mean {' or '.join(near)}?)" if near else ""


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


def _boolean(key: str, options: Mapping[str, str], default: bool) -> bool:
    """Go's ``strconv.ParseBool``, which Docker uses. An empty text is the default."""
    text = options.get(key, "")
    if not text:
        return default
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise InvalidRequest(f'option {key}: "{text}" is neither true nor false')


def _not_yet(key: str, value: str) -> NotSupported:
    return NotSupported(f"option {key}={value} is not supported yet", remedy="leave it out")


def _only_default(*defaults: str) -> Callable[[str, str], None]:
    """A check for an option of which only the default works yet."""

    def check(key: str, value: str) -> None:
        if value not in ("", *defaults):
            raise _not_yet(key, value)

    return check


def _address_default(*defaults: str) -> Callable[[str, str], None]:
    def check(key: str, value: str) -> None:
        if value in ("", *defaults):
            return
        try:
            ipaddress.ip_address(value)
        except ValueError as error:
            raise InvalidRequest(f'option {key}: "{value}" is not an IP address') from error
        raise _not_yet(key, value)

    return check


def _gateway_mode(key: str, value: str) -> None:
    if value in ("", "nat"):
        return
    if value not in _GATEWAY_MODES:
        raise InvalidRequest(
            f'option {key}: "{value}" is no gateway mode', remedy=f"give one of {', '.join(_GATEWAY_MODES)}"
        )
    raise _not_yet(key, value)


def _only_false(key: str, value: str) -> None:
    if _boolean(key, {key: value}, False):
        raise _not_yet(key, value)


def _say_flag(flag: str) -> Callable[[str, str], None]:
    """A check for what Docker's daemon also reads from options, and people should say with a flag."""

    def check(key: str, value: str) -> None:
        raise NotSupported(f"option {key} is not read", remedy=f"say {flag} instead")

    return check


_LATER: dict[str, Callable[[str, str], None]] = {
    "com.docker.network.bridge.host_binding_ipv4": _address_default("0.0.0.0", "::"),
    "com.docker.network.bridge.gateway_mode_ipv4": _gateway_mode,
    "com.docker.network.bridge.gateway_mode_ipv6": _gateway_mode,
    "com.docker.network.bridge.inhibit_ipv4": _only_false,
    "com.docker.network.bridge.trusted_host_interfaces": _only_default(),
    "com.docker.network.host_ipv4": _address_default(),
    "com.docker.network.host_ipv6": _address_default(),
    "com.docker.network.advertise_addr_nmsgs": _only_default("3"),
    "com.docker.network.advertise_addr_ival_ms": _only_default("1000"),
    "com.docker.network.enable_ipv4": _say_flag("--ipv4"),
    "com.docker.network.enable_ipv6": _say_flag("--ipv6"),
    "com.docker.network.internal": _say_flag("--internal"),
}
"""Options that Docker knows for networks, with what is taken of each (moby, ``daemon/libnetwork/netlabel``)."""

_ENDPOINT_LATER: dict[str, Callable[[str, str], None]] = {
    "com.docker.network.endpoint.sysctls": _only_default(),
    "com.docker.network.endpoint.ifname": _only_default(),
    "com.docker.network.advertise_addr_nmsgs": _only_default("3"),
    "com.docker.network.advertise_addr_ival_ms": _only_default("1000"),
}
