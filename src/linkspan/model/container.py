"""A container as a person defined it, and what became of it."""

from __future__ import annotations

from typing import Literal

import msgspec

from linkspan.model.address import IPNetwork
from linkspan.model.endpoint import EndpointRequest

NetworkModeKind = Literal["bridge", "host", "none", "container"]


class NetworkMode(msgspec.Struct, frozen=True, kw_only=True):
    """How a container is connected. ``bridge`` covers every network that gives endpoints.

    ``raw`` is the text as asked (``default``, ``bridge``, ``my_net``, ``container:web``), for ``inspect``;
    for ``container`` mode, ``container`` is the id of the container whose sandbox is joined (it stays valid
    over renames).
    """

    kind: NetworkModeKind = "bridge"
    raw: str = "default"
    container: str = ""


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """One mount. Sizes in bytes, modes as in chmod(2); 0 means the default."""

    kind: Literal["bind", "volume", "tmpfs"]
    target: str
    source: str = ""
    """Host path for ``bind``, volume name for ``volume``, empty for ``tmpfs``."""
    read_only: bool = False
    propagation: str = ""
    """``rprivate`` (the default), ``private``, ``rshared``, ``shared``, ``rslave`` or ``slave``."""
    create_source: bool = False
    """Make a missing bind source as a folder: what ``-v`` does and ``--mount`` does not."""
    anonymous: bool = False
    """A volume without a name of its own; ``rm -v`` removes it."""
    no_copy: bool = False
    """Do not fill a new volume from the image's folder."""
    tmpfs_size: int = 0
    tmpfs_mode: int = 0
    tmpfs_options: tuple[str, ...] = ()
    non_recursive: bool = False
    text: str = ""
    """The ``-v`` or ``--tmpfs`` text this came from, for ``HostConfig``; empty for ``--mount``."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A host device node given to the container; ``access`` is a subset of ``rwm``."""

    host_path: str
    container_path: str
    access: str = "rwm"


class Ulimit(msgspec.Struct, frozen=True, kw_only=True):
    """One resource limit, as in getrlimit(2), without the ``RLIMIT_`` prefix, lower case. -1 is unlimited."""

    name: str
    soft: int
    hard: int


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """cgroup limits. Bytes, microseconds and billionths of a CPU; 0 means unlimited or the default."""

    memory: int = 0
    memory_swap: int = 0
    """Memory plus swap in bytes; -1 is unlimited swap."""
    memory_reservation: int = 0
    memory_swappiness: int = -1
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int = 0
    blkio_weight: int = 0
    oom_kill_disable: bool = False
    ulimits: tuple[Ulimit, ...] = ()
    devices: tuple[Device, ...] = ()


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """``max_retries`` counts for ``on-failure`` only; 0 means no limit."""

    name: Literal["no", "always", "unless-stopped", "on-failure"] = "no"
    max_retries: int = 0


class PortBinding(msgspec.Struct, frozen=True, kw_only=True):
    """One published port: ``-p host_ip:host_port:port/protocol``. Texts as asked; empty host port: any."""

    port: int
    protocol: Literal["tcp", "udp", "sctp"] = "tcp"
    host_ip: str = ""
    host_port: str = ""


class Security(msgspec.Struct, frozen=True, kw_only=True):
    """What the processes may do. ``seccomp`` is empty (the default profile), ``unconfined`` or a JSON text."""

    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    seccomp: str = ""
    masked_paths: tuple[str, ...] | None = None
    """None: Docker's default list."""
    readonly_paths: tuple[str, ...] | None = None
    options: tuple[str, ...] = ()
    """``--security-opt`` texts as they came, for ``inspect``."""


class LogConfig(msgspec.Struct, frozen=True, kw_only=True):
    """``driver`` is ``json-file`` (kept as Docker's name; stored by conmon) or ``none``."""

    driver: str = "json-file"
    options: dict[str, str] = {}


class ContainerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What ``create`` asked for, with the image's defaults *not* yet mixed in (``None`` means: the image's).

    ``endpoints`` come in the order asked; the first belongs to ``network_mode``.
    """

    image: str
    hostname: str = ""
    domainname: str = ""
    user: str | None = None
    env: tuple[str, ...] = ()
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    """An empty tuple resets the image's entrypoint."""
    working_dir: str | None = None
    labels: dict[str, str] = {}
    stop_signal: str | None = None
    stop_timeout: int | None = None
    """Seconds before SIGKILL; None: 10."""
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: tuple[str, ...] = ()
    """``80/tcp``"""
    network_mode: NetworkMode = NetworkMode()
    endpoints: tuple[EndpointRequest, ...] = ()
    network_disabled: bool = False
    mounts: tuple[Mount, ...] = ()
    volumes: tuple[str, ...] = ()
    """Paths of anonymous volumes asked for in the configuration (``Volumes``)."""
    read_only: bool = False
    init: bool = False
    auto_remove: bool = False
    restart: RestartPolicy = RestartPolicy()
    resources: Resources = Resources()
    security: Security = Security()
    sysctls: dict[str, str] = {}
    extra_hosts: tuple[str, ...] = ()
    """``name:address``; the address ``host-gateway`` means the network's gateway."""
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    group_add: tuple[str, ...] = ()
    ipc_mode: str = "private"
    pid_mode: str = ""
    uts_mode: str = ""
    cgroupns_mode: str = ""
    cgroup_parent: str = ""
    shm_size: int = 67108864
    """Bytes of /dev/shm; Docker's default is 64 MiB."""
    oom_score_adj: int = 0
    log: LogConfig = LogConfig()
    port_bindings: tuple[PortBinding, ...] = ()
    publish_all: bool = False
    links: tuple[str, ...] = ()
    publish_sources: dict[str, tuple[IPNetwork, ...]] = {}
    """Who may come: ``80/tcp`` or, for all ports, the empty text, to networks (``--publish-from``)."""


Status = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]


class ContainerState(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a container. Times are Unix seconds; 0 means never."""

    status: Status = "created"
    pid: int = 0
    pid_start: int = 0
    """Start time of ``pid`` in clock ticks (proc(5), stat field 22): a pid alone may be reused."""
    monitor_pid: int = 0
    monitor_start: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started: float = 0.0
    finished: float = 0.0
    restart_count: int = 0
    stopped_by_user: bool = False
    """A person stopped it: ``unless-stopped`` and ``always`` wait for the next ``start``."""

    @property
    def running(self) -> bool:
        """Whether its first process exists (also while paused)."""
        return self.status in ("running", "paused")


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """A container's definition as stored. Its state is stored beside it (``ContainerState``)."""

    id: str
    name: str
    """Without the leading slash that Docker's API adds."""
    created: float
    image_id: str
    """``sha256:…`` of the image's configuration."""
    spec: ContainerSpec
    warnings: tuple[str, ...] = ()
