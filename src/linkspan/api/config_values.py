"""One value of the daemon's configuration at a time, from a flag's text or from daemon.json; a sentence for each
thing that can be wrong."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from linkspan.api.wire.container_types import UlimitSetting
from linkspan.api.wire.limits import ulimit
from linkspan.api.wire.logs import check_options
from linkspan.errors import InvalidRequest
from linkspan.model.address import IPAddress, IPNetwork
from linkspan.model.container import Ulimit
from linkspan.model.options import bridge_options

LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
STORAGE_DRIVERS = {"": "", "overlay": "overlay", "overlay2": "overlay", "copy": "copy", "vfs": "copy"}
"""Docker's names and ours -> ours."""

_TRUE = frozenset({"1", "t", "true"})
_FALSE = frozenset({"0", "f", "false"})


def boolean(value: object, name: str) -> bool:
    """As Go's ``strconv.ParseBool``."""
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise InvalidRequest(f"invalid value {value!r} for {name}: it must be true or false")


def number(value: object, name: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidRequest(f"invalid value {value!r} for {name}: it must be a whole number")
    try:
        found = int(value)
    except ValueError:
        raise InvalidRequest(f"invalid value {value!r} for {name}: it must be a whole number") from None
    if not low <= found <= high:
        raise InvalidRequest(f"invalid value {found} for {name}: it must lie between {low} and {high}")
    return found


def text(value: object, name: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise InvalidRequest(f"invalid value {value!r} for {name}: it must be a text")
    return value


def texts(value: object, name: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InvalidRequest(f"invalid value {value!r} for {name}: it must be a list of texts")
    return tuple(text(each, name) for each in value)


def path(value: object, name: str) -> Path:
    found = text(value, name)
    if not found.startswith("/"):
        raise InvalidRequest(f"invalid value {found!r} for {name}: it must be an absolute path")
    return Path(found)


def log_level(value: object, name: str) -> str:
    level = text(value, name).lower()
    if level not in LOG_LEVELS:
        raise InvalidRequest(f"invalid logging level: {value}; use one of {', '.join(LOG_LEVELS)}")
    return level


def storage_driver(value: object, name: str) -> str:
    driver = STORAGE_DRIVERS.get(text(value, name))
    if driver is None:
        raise InvalidRequest(f"invalid value {value!r} for {name}: use overlay or copy")
    return driver


def hosts(value: object, name: str) -> tuple[str, ...]:
    """The server says what is wrong with a host; here it only must look like one."""
    found = texts(value, name)
    for host in found:
        if "://" not in host:
            raise InvalidRequest(f"invalid value {host!r} for {name}: it must look like unix:///path/of/socket")
    return found


def pool(value: object, name: str) -> tuple[IPNetwork, int]:
    """``base=10.10.0.0/16,size=24``, or an object with both."""
    if isinstance(value, str):
        parts = dict(part.strip().split("=", 1) for part in value.split(",") if "=" in part)
    elif isinstance(value, dict):
        parts = {str(key): str(item) for key, item in value.items()}
    else:
        parts = {}
    if set(parts) != {"base", "size"}:
        raise InvalidRequest(f"invalid value {value!r} for {name}: it must look like base=10.10.0.0/16,size=24")
    base = subnet(parts["base"], name)
    size = number(parts["size"], f"the size in {name}", 1, base.max_prefixlen)
    longest = base.max_prefixlen - 2
    if not base.prefixlen <= size <= longest:
        raise InvalidRequest(
            f"invalid size {size} for {name}: subnets of {base} have prefixes from {base.prefixlen} to {longest}"
        )
    return base, size


def pools(value: object, name: str) -> tuple[tuple[IPNetwork, int], ...]:
    if not isinstance(value, list):
        raise InvalidRequest(f"invalid value {value!r} for {name}: it must be a list")
    found = tuple(pool(each, name) for each in value)
    for index, (base, _) in enumerate(found):
        for other, _ in found[:index]:
            if _overlap(base, other):
                raise InvalidRequest(f"invalid value for {name}: {base} overlaps {other}")
    return found


def subnet(value: object, name: str) -> IPNetwork:
    try:
        return ipaddress.ip_network(text(value, name))
    except ValueError as error:
        raise InvalidRequest(f"invalid value {value!r} for {name}: {error}") from None


def subnet_of(family: int, value: object, name: str) -> IPNetwork:
    found = subnet(value, name)
    if found.version != family:
        raise InvalidRequest(f"invalid value {value!r} for {name}: it must be an IPv{family} subnet")
    return found


def interface(family: int, value: object, name: str) -> str:
    """An address with its prefix, ``172.17.0.1/16``, which must be a host's address. Empty stays empty."""
    found = text(value, name)
    if not found:
        return ""
    try:
        address = ipaddress.ip_interface(found)
    except ValueError as error:
        raise InvalidRequest(f"invalid value {found!r} for {name}: {error}") from None
    if address.version != family or "/" not in found:
        raise InvalidRequest(f"invalid value {found!r} for {name}: it must be an IPv{family} address with its prefix")
    network = address.network
    if family == 4 and network.prefixlen < 31 and address.ip in (network[0], network[-1]):
        raise InvalidRequest(f"invalid value {found!r} for {name}: {address.ip} is not a host's address in {network}")
    if family == 6 and network.prefixlen < 127 and address.ip == network[0]:
        raise InvalidRequest(f"invalid value {found!r} for {name}: {address.ip} is not a host's address in {network}")
    return found


def gateway(value: object, name: str) -> IPAddress | None:
    found = text(value, name)
    return address(found, name) if found else None


def address(value: object, name: str) -> IPAddress:
    try:
        return ipaddress.ip_address(text(value, name))
    except ValueError:
        raise InvalidRequest(f"invalid value {value!r} for {name}: it is not an IP address") from None


def addresses(value: object, name: str) -> tuple[str, ...]:
    return tuple(str(address(each, name)) for each in texts(value, name))


def publish_address(value: object, name: str) -> IPAddress | None:
    """Docker's default, 0.0.0.0, means both families here as there."""
    found = gateway(value, name)
    return None if found == ipaddress.IPv4Address("0.0.0.0") else found


def host_gateway(value: object, name: str) -> tuple[str, ...]:
    """One address, or a list with one of each family."""
    found = addresses([value] if isinstance(value, str) else value, name)
    families = [ipaddress.ip_address(each).version for each in found]
    for family in (4, 6):
        if families.count(family) > 1:
            raise InvalidRequest(f"invalid value for {name}: {', '.join(found)} has more than one IPv{family} address")
    return found


def network_options(value: object, name: str) -> dict[str, dict[str, str]]:
    """``bridge=KEY=VALUE`` texts from flags, ``{"bridge": {KEY: VALUE}}`` from the file; checked as an option is."""
    found: dict[str, dict[str, str]] = {}
    if isinstance(value, dict):
        for driver, options in value.items():
            found[str(driver)] = pairs(options, f"{name} {driver}")
    else:
        for each in texts(value, name):
            driver, _, option = each.partition("=")
            if not driver or "=" not in option:
                raise InvalidRequest(f"invalid value {each!r} for {name}: it must look like bridge=KEY=VALUE")
            found.setdefault(driver, {}).update(pairs([option], name))
    for driver, options in found.items():
        if driver != "bridge":
            raise InvalidRequest(f"invalid driver {driver!r} for {name}: only networks of driver bridge have options")
        bridge_options("default", "0" * 64, options)
    return found


def pairs(value: object, name: str) -> dict[str, str]:
    """``key=value`` texts, or an object of texts."""
    if isinstance(value, dict):
        return {str(key): text(item, f"{name} {key}") for key, item in value.items()}
    found = {}
    for each in texts(value, name):
        key, equals, item = each.partition("=")
        if not key or not equals:
            raise InvalidRequest(f"invalid value {each!r} for {name}: it must look like KEY=VALUE")
        found[key] = item
    return found


def log_options(value: object, name: str) -> dict[str, str]:
    """Of the log driver json-file, which is the default one."""
    found = pairs(value, name)
    check_options("json-file", found)
    return found


def labels(value: object, name: str) -> tuple[str, ...]:
    found = texts(value, name)
    for each in found:
        if each.startswith("=") or not each:
            raise InvalidRequest(f"invalid value {each!r} for {name}: a label has a name")
    return found


def ulimits(value: object, name: str) -> tuple[Ulimit, ...]:
    """``nofile=64:128`` from flags, ``{"nofile": {"Name": …, "Soft": …, "Hard": …}}`` from the file."""
    if isinstance(value, dict):
        return tuple(_ulimit_object(key, item, name) for key, item in value.items())
    return tuple(_ulimit_text(each, name) for each in texts(value, name))


def _ulimit_text(value: str, name: str) -> Ulimit:
    kind, _, limits = value.partition("=")
    soft, _, hard = limits.partition(":")
    low = number(soft, f"{name} {kind}", -1, 1 << 62)
    high = number(hard, f"{name} {kind}", -1, 1 << 62) if hard else low
    return ulimit(UlimitSetting(name=kind, soft=low, hard=high))


def _ulimit_object(key: str, value: object, name: str) -> Ulimit:
    if not isinstance(value, dict) or not {"Soft", "Hard"} <= set(value):
        raise InvalidRequest(f"invalid value {value!r} for {name} {key}: it needs Soft and Hard")
    soft = number(value["Soft"], f"{name} {key}", -1, 1 << 62)
    hard = number(value["Hard"], f"{name} {key}", -1, 1 << 62)
    return ulimit(UlimitSetting(name=key, soft=soft, hard=hard))


def _overlap(one: IPNetwork, other: IPNetwork) -> bool:
    if isinstance(one, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network):
        return one.overlaps(other)
    if isinstance(one, ipaddress.IPv6Network) and isinstance(other, ipaddress.IPv6Network):
        return one.overlaps(other)
    return False
