"""What the daemon was told at its start: flags and daemon.json, parsed. ``linkspan.api.config`` reads the texts."""

from __future__ import annotations

from pathlib import Path

import msgspec

from linkspan.model.address import IPAddress, IPNetwork
from linkspan.model.container import Ulimit


class DaemonConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Defaults are Docker's. Paths are absolute."""

    hosts: tuple[str, ...] = ("unix:///run/linkspan/linkspan.sock",)
    data_root: Path = Path("/var/lib/linkspan")
    exec_root: Path = Path("/run/linkspan")
    pid_file: Path | None = None
    """None: ``linkspan.pid`` below the exec-root."""
    group: str = "linkspan"
    """Group that may use the socket; root alone where the group does not exist."""
    log_level: str = "info"
    default_address_pools: tuple[tuple[IPNetwork, int], ...] = ()
    """(base, prefix length of each subnet); empty: Docker's defaults."""
    bridge_address: str = ""
    """``--bip``: address and prefix of the default bridge, ``172.17.0.1/16``; empty: the first free pool."""
    bridge_address6: str = ""
    fixed_range: IPNetwork | None = None
    """``--fixed-cidr``: range of dynamic addresses on the default bridge."""
    fixed_range6: IPNetwork | None = None
    default_gateway: IPAddress | None = None
    ipv6: bool = False
    """Whether the default bridge has IPv6."""
    mtu: int = 0
    inter_container: bool = True
    masquerade: bool = True
    publish_address: IPAddress | None = None
    """``--ip``: where ports are published that name no host address; None: on all addresses of both families."""
    allow_direct_routing: bool = False
    """Whether neighbours with a route may reach published ports at the containers' own addresses, on all networks."""
    default_network_options: dict[str, dict[str, str]] = {}
    """``--default-network-opt``: by driver, options of new networks that do not name them themselves."""
    host_gateway: tuple[str, ...] = ()
    """``--host-gateway-ip``: addresses that ``host-gateway`` stands for in ``--add-host``, one a family at most; empty:
    the gateway of the container's own network."""
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    """Besides 127.0.0.0/8, which is always allowed without TLS."""
    runtime: str = ""
    """``crun``, ``runc`` or a path; empty: the first that works here."""
    storage_driver: str = ""
    """``overlay`` or ``copy``; empty: overlay where the data-root carries it, else copy."""
    init: bool = False
    no_new_privileges: bool = False
    seccomp_profile: str = ""
    """Path of a profile, ``unconfined``, or empty for the default one."""
    default_ulimits: tuple[Ulimit, ...] = ()
    default_log_options: dict[str, str] = {}
    """``--log-opt``: options of logs that a container with the default log driver does not name itself."""
    shutdown_timeout: int = 15
    spare_namespaces: int = 4
    """How many namespaces wait in the pool."""
