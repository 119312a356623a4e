"""The daemon's settings: Docker's flags and daemon.json's keys -> ``DaemonConfig``.

One table says what there is. A setting that stands both in a flag and in the file is refused, as Docker does:
which one counts would be a guess.
"""

from __future__ import annotations

import argparse
import difflib
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import msgspec

from linkspan import __version__
from linkspan.api import config_foreign
from linkspan.api import config_values as values
from linkspan.engine.config import DaemonConfig
from linkspan.errors import InvalidRequest, NotSupported

DEFAULT_FILE = Path("/etc/linkspan/daemon.json")

Reader = Callable[[object, str], object]


class Setting(msgspec.Struct, frozen=True):
    """``key`` in daemon.json, ``field`` of DaemonConfig, how to read a value, and the flag."""

    key: str
    field: str
    read: Reader
    help: str
    flag: str = ""
    """Without dashes; empty: the same as ``key``."""
    short: str = ""
    kind: str = "text"
    """``text``, ``switch`` (``--ipv6``, ``--icc=false``) or ``list`` (repeatable)."""

    @property
    def option(self) -> str:
        return self.flag or self.key


SETTINGS = (
    Setting("hosts", "hosts", values.hosts, "socket to listen on, unix:///path or fd://", "host", "H", "list"),
    Setting("data-root", "data_root", values.path, "folder of everything that lasts", short="g"),
    Setting("exec-root", "exec_root", values.path, "folder of everything that a boot ends"),
    Setting(
        "pidfile",
        "pid_file",
        values.path,
        "file for the daemon's process id (linkspan.pid in the exec-root)",
        short="p",
    ),
    Setting("group", "group", values.text, "group that may use the socket", short="G"),
    Setting("log-level", "log_level", values.log_level, "debug, info, warn, error or fatal", short="l"),
    Setting(
        "default-address-pools",
        "default_address_pools",
        values.pools,
        "pool for automatic subnets, base=10.10.0.0/16,size=24",
        "default-address-pool",
        kind="list",
    ),
    Setting("bip", "bridge_address", partial(values.interface, 4), "IPv4 address and prefix of the default bridge"),
    Setting("bip6", "bridge_address6", partial(values.interface, 6), "IPv6 address and prefix of the default bridge"),
    Setting("fixed-cidr", "fixed_range", partial(values.subnet_of, 4), "IPv4 range of the default bridge's containers"),
    Setting(
        "fixed-cidr-v6", "fixed_range6", partial(values.subnet_of, 6), "IPv6 range of the default bridge's containers"
    ),
    Setting("default-gateway", "default_gateway", values.gateway, "IPv4 gateway on the default bridge"),
    Setting("ipv6", "ipv6", values.boolean, "IPv6 on the default bridge", kind="switch"),
    Setting(
        "mtu", "mtu", lambda value, name: values.number(value, name, 0, 65535), "MTU of the default bridge in bytes"
    ),
    Setting(
        "icc", "inter_container", values.boolean, "containers on the default bridge reach each other", kind="switch"
    ),
    Setting("ip-masq", "masquerade", values.boolean, "masquerade what leaves the default bridge", kind="switch"),
    Setting(
        "ip",
        "publish_address",
        values.publish_address,
        "address for published ports that name none (all of them)",
    ),
    Setting(
        "allow-direct-routing",
        "allow_direct_routing",
        values.boolean,
        "neighbours with a route reach published ports at the containers' own addresses",
        kind="switch",
    ),
    Setting(
        "default-network-opts",
        "default_network_options",
        values.network_options,
        "option of new networks, bridge=KEY=VALUE",
        "default-network-opt",
        kind="list",
    ),
    Setting(
        "host-gateway-ips",
        "host_gateway",
        values.host_gateway,
        "address that host-gateway stands for in --add-host",
        "host-gateway-ip",
        kind="list",
    ),
    Setting("dns", "dns", values.addresses, "name server for containers", kind="list"),
    Setting("dns-search", "dns_search", values.texts, "search domain for containers", kind="list"),
    Setting("dns-opts", "dns_options", values.texts, "resolver option for containers", "dns-opt", kind="list"),
    Setting("labels", "labels", values.labels, "label of the daemon, key=value", "label", kind="list"),
    Setting(
        "insecure-registries",
        "insecure_registries",
        values.texts,
        "registry without TLS",
        "insecure-registry",
        kind="list",
    ),
    Setting("storage-driver", "storage_driver", values.storage_driver, "overlay or copy", short="s"),
    Setting("default-runtime", "runtime", values.text, "crun, runc or a path"),
    Setting("init", "init", values.boolean, "run an init in each container", kind="switch"),
    Setting(
        "no-new-privileges",
        "no_new_privileges",
        values.boolean,
        "no_new_privs in all containers",
        kind="switch",
    ),
    Setting("seccomp-profile", "seccomp_profile", values.text, "path of a profile, or unconfined"),
    Setting(
        "default-ulimits",
        "default_ulimits",
        values.ulimits,
        "limit of containers, nofile=64:128",
        "default-ulimit",
        kind="list",
    ),
    Setting(
        "log-opts", "default_log_options", values.log_options, "option of logs, max-size=10m", "log-opt", kind="list"
    ),
    Setting(
        "shutdown-timeout",
        "shutdown_timeout",
        lambda value, name: values.number(value, name, 0, 3600),
        "seconds that requests have when the daemon stops",
    ),
)

_SWITCHES = {
    "debug": "show more in the log",
    "live-restore": "containers outlive the daemon (always so)",
    "userland-proxy": "taken for Docker's sake: no published port has a process, and none needs one",
}
"""Accepted beside the table: the first changes the log level, the others nothing."""

_OLDER_KEYS = {"host-gateway-ip": "host-gateway-ips"}
"""Keys that Docker 28 gave another name (moby, ``daemon/config``)."""


def parse(arguments: Sequence[str]) -> tuple[DaemonConfig, bool]:
    """The settings, and whether ``--validate`` asked for nothing more. InvalidRequest names what is wrong.

    SystemExit for ``--help`` and ``--version``.
    """
    options = vars(_parser().parse_args(list(arguments)))
    flags = {name: value for name, value in options.items() if value is not None}
    validate = bool(flags.pop("validate", False))
    file = flags.pop("config-file", None)
    return configuration(flags, read_file(Path(str(file)) if file else None)), validate


def configuration(flags: Mapping[str, object], file: Mapping[str, object]) -> DaemonConfig:
    """Flags by option name and the file's members, checked and put together."""
    file = _renamed(file)
    _check_keys(file)
    config_foreign.check(file)
    both = [
        f"{each.key}: (from flag: {flags[each.option]}, from file: {file[each.key]})"
        for each in SETTINGS
        if each.option in flags and each.key in file
    ]
    both += [f"{name}: (from both)" for name in _SWITCHES if name in flags and name in file]
    if both:
        raise InvalidRequest(
            "the following directives are specified both as a flag and in the configuration file: " + ", ".join(both)
        )
    found: dict[str, object] = {}
    for each in SETTINGS:
        if each.option in flags:
            found[each.field] = each.read(flags[each.option], f"--{each.option}")
        elif each.key in file:
            found[each.field] = each.read(file[each.key], each.key)
    switches = {**file, **flags}
    if values.boolean(switches.get("debug", False), "debug"):
        found["log_level"] = "debug"
    values.boolean(switches.get("userland-proxy", True), "userland-proxy")
    if not values.boolean(switches.get("live-restore", True), "live-restore"):
        raise NotSupported("live-restore=false is not supported: containers always outlive the daemon")
    config = msgspec.structs.replace(DaemonConfig(), **found)
    _check_together(config)
    return config


def read_file(path: Path | None) -> Mapping[str, object]:
    """The members of daemon.json; the default file may be missing, a named one may not."""
    try:
        text = (path or DEFAULT_FILE).read_bytes()
    except FileNotFoundError:
        if path is None:
            return {}
        raise InvalidRequest(f"unable to configure the daemon with file {path}: there is no such file") from None
    except OSError as error:
        raise InvalidRequest(f"cannot read {path or DEFAULT_FILE}: {error.strerror}") from error
    try:
        return msgspec.json.decode(text, type=dict[str, object]) if text.strip() else {}
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"cannot read {path or DEFAULT_FILE}: {error}") from error


def _renamed(file: Mapping[str, object]) -> Mapping[str, object]:
    for old, new in _OLDER_KEYS.items():
        if old in file and new in file:
            raise InvalidRequest(f"{old} and {new} are one setting", remedy=f"leave {old} out")
    return {_OLDER_KEYS.get(key, key): value for key, value in file.items()}


def _check_keys(file: Mapping[str, object]) -> None:
    known = [*(each.key for each in SETTINGS), *_SWITCHES, *config_foreign.KEYS]
    unknown = [key for key in file if key not in known]
    if not unknown:
        return
    near = {key: difflib.get_close_matches(key, known, n=1) for key in unknown}
    named = ", ".join(f"{key} (did you mean {near[key][0]}?)" if near[key] else key for key in unknown)
    raise InvalidRequest(f"the following directives don't match any configuration option: {named}")


def _check_together(config: DaemonConfig) -> None:
    if config.fixed_range and config.bridge_address:
        bridge = ipaddress.ip_interface(config.bridge_address).network
        if config.fixed_range[0] not in bridge or config.fixed_range[-1] not in bridge:
            raise InvalidRequest(f"fixed-cidr {config.fixed_range} lies outside of the bridge's subnet {bridge}")
    bridge_address = config.bridge_address.partition("/")[0]
    if config.default_gateway and str(config.default_gateway) != bridge_address:
        raise NotSupported(
            f"default-gateway {config.default_gateway} is not supported: the gateway is the bridge's own address; "
            "set that with --bip"
        )
    if config.allow_direct_routing:
        raise NotSupported(
            "allow-direct-routing=true is not supported yet",
            remedy="use networks in gateway mode routed or nat-unprotected instead",
        )
    if config.fixed_range6 and not config.ipv6:
        raise InvalidRequest(f"fixed-cidr-v6 {config.fixed_range6} needs --ipv6")


class _Parser(argparse.ArgumentParser):
    """Mistakes become errors of our own, like all others."""

    def error(self, message: str) -> NoReturn:
        raise InvalidRequest(message, remedy="see 'linkspan daemon --help'")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="linkspan daemon",
        usage="linkspan daemon [OPTIONS]",
        description="Run the daemon in the foreground.",
        allow_abbrev=False,
    )
    parser.add_argument("--config-file", dest="config-file", metavar="FILE", help=f"default: {DEFAULT_FILE}")
    parser.add_argument("--validate", action="store_true", help="check the configuration and exit")
    parser.add_argument("--version", "-v", action="version", version=f"Linkspan version {__version__}")
    for each in SETTINGS:
        names = [f"-{each.short}"] if each.short else []
        names.append(f"--{each.option}")
        if each.kind == "switch":
            parser.add_argument(*names, dest=each.option, nargs="?", const="true", metavar="BOOL", help=each.help)
        elif each.kind == "list":
            text = f"{each.help}; may be repeated"
            parser.add_argument(*names, dest=each.option, action="append", metavar="VALUE", help=text)
        else:
            parser.add_argument(*names, dest=each.option, metavar="VALUE", help=each.help)
    for name, help_text in _SWITCHES.items():
        names = ["-D", "--debug"] if name == "debug" else [f"--{name}"]
        parser.add_argument(*names, dest=name, nargs="?", const="true", metavar="BOOL", help=help_text)
    return parser
