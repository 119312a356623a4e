"""Driver options of one endpoint (``--network name=web,driver-opt=KEY=VALUE``), read once into typed values."""

from __future__ import annotations

import re
from collections.abc import Mapping

from linkspan.errors import InvalidRequest
from linkspan.model.endpoint import EndpointOptions
from linkspan.model.names import interface_name
from linkspan.model.option_values import boolean, check_known, number

INTERFACE = "com.docker.network.endpoint.ifname"
SYSCTLS = "com.docker.network.endpoint.sysctls"
HOST_INTERFACE = "linkspan.endpoint.host_ifname"
ANTI_SPOOFING = "linkspan.anti_spoofing"
ANNOUNCEMENTS = "com.docker.network.advertise_addr_nmsgs"
ANNOUNCEMENT_INTERVAL = "com.docker.network.advertise_addr_ms"
ANNOUNCEMENT_INTERVAL_ALSO = "com.docker.network.advertise_addr_ival_ms"
"""A second spelling of the same."""

KEYS = (
    *(INTERFACE, SYSCTLS, HOST_INTERFACE, ANTI_SPOOFING),
    *(ANNOUNCEMENTS, ANNOUNCEMENT_INTERVAL, ANNOUNCEMENT_INTERVAL_ALSO),
)

MOST_ANNOUNCEMENTS = 3
"""PROBE_NUM of RFC 5227 and MAX_NEIGHBOR_ADVERTISEMENT of RFC 4861; Docker's bound too."""
ANNOUNCEMENT_INTERVALS = (100, 2000)
"""Milliseconds; Docker's bounds."""

_SYSCTL = re.compile(r"(net(?:\.[A-Za-z0-9_-]+)+\.)(?:IFNAME|ifname)((?:\.[A-Za-z0-9_-]+)+)", re.ASCII)
"""The docker client (28.2) turns what stands in ``--network`` behind ``driver-opt=`` into small letters."""
_VALUE = re.compile(r"[A-Za-z0-9_.:/ \t-]{1,128}", re.ASCII)
_CUT_OFF = "net."
"""Both command lines take commas in ``--driver-opt`` for the end of an option, as Docker's does, unless it is quoted.
What is behind would be nobody's option, and do nothing."""
_QUOTED = f"put quotes around the whole option where settings follow a comma: '\"{SYSCTLS}=SETTING,SETTING\"'"
_LIKE_THIS = "say it like net.ipv4.conf.IFNAME.log_martians=1, with IFNAME for the interface and commas between"


def endpoint_options(options: Mapping[str, str]) -> EndpointOptions:
    """The options of one endpoint; an empty value is as good as none.

    InvalidRequest for a bad value, for an unknown key in Docker's namespace or ours (naming near ones), and for a
    setting that a comma cut off. Keys in any other namespace belong to somebody else.
    """
    for key in options:
        check_known(key, "endpoint option", KEYS)
        if key.startswith(_CUT_OFF):
            raise InvalidRequest(f"endpoint option {key} is a setting without {SYSCTLS}", remedy=_QUOTED)
    interval = ANNOUNCEMENT_INTERVAL if options.get(ANNOUNCEMENT_INTERVAL) else ANNOUNCEMENT_INTERVAL_ALSO
    return EndpointOptions(
        interface=_interface(INTERFACE, options),
        host_interface=_interface(HOST_INTERFACE, options),
        sysctls=_sysctls(options.get(SYSCTLS, "")),
        anti_spoofing=boolean(ANTI_SPOOFING, options, True) if options.get(ANTI_SPOOFING) else None,
        announcements=number(ANNOUNCEMENTS, options, 0, 0, MOST_ANNOUNCEMENTS) if options.get(ANNOUNCEMENTS) else None,
        announcement_interval=(
            number(interval, options, 0, *ANNOUNCEMENT_INTERVALS) / 1000 if options.get(interval) else None
        ),
    )


def _interface(key: str, options: Mapping[str, str]) -> str:
    text = options.get(key, "")
    return interface_name(text, f"option {key}: interface name") if text else ""


def _sysctls(text: str) -> tuple[tuple[str, str], ...]:
    """Docker's syntax: settings with commas between. The same one twice would leave open which value is meant."""
    found: dict[str, str] = {}
    for part in text.split(",") if text else ():
        name, equals, value = (each.strip() for each in part.partition("="))
        parts = _SYSCTL.fullmatch(name)
        if not equals or parts is None or not _VALUE.fullmatch(value):
            raise InvalidRequest(f'option {SYSCTLS}: "{part}" is no setting of a network interface', remedy=_LIKE_THIS)
        path = f"{parts[1]}IFNAME{parts[2]}".replace(".", "/")
        if found.get(path, value) != value:
            raise InvalidRequest(
                f"option {SYSCTLS}: {name} is set twice, to {found[path]} and to {value}", remedy="give one value"
            )
        found[path] = value
    return tuple(found.items())
