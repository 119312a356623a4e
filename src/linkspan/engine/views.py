"""What the engine tells the API: one frozen struct for each noun, assembled from intent and live state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from linkspan.kernel.wire.link import Counters
from linkspan.model.container import Container, ContainerState, Mount
from linkspan.model.endpoint import Endpoint, EndpointRequest
from linkspan.model.image import Image, ImageConfig
from linkspan.model.network import Network
from linkspan.model.port import Publication
from linkspan.model.volume import Volume
from linkspan.runtime.cgroups import Usage


class AttachedNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """A container's place on one network; ``endpoint`` is None while the sandbox does not exist."""

    network: Network
    request: EndpointRequest
    endpoint: Endpoint | None = None
    names: tuple[str, ...] = ()
    """Names that resolve to this endpoint (``DNSNames``)."""


class MountPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A mount with its host path resolved, for ``inspect``'s ``Mounts``."""

    mount: Mount
    source: str


class ContainerView(msgspec.Struct, frozen=True, kw_only=True):
    """One container, whole."""

    container: Container
    state: ContainerState
    image: Image | None
    """None when the image was removed by force."""
    image_config: ImageConfig
    """The image's defaults as they were at create time."""
    networks: tuple[AttachedNetwork, ...] = ()
    mounts: tuple[MountPoint, ...] = ()
    sandbox_id: str = ""
    sandbox_path: str = ""
    """The pin of the namespace, below the exec-root."""
    hosts_path: str = ""
    hostname_path: str = ""
    resolv_path: str = ""
    log_path: str = ""
    runtime: str = ""
    storage_driver: str = "overlay"
    exec_ids: tuple[str, ...] = ()
    size_rw: int | None = None
    """Bytes in the container's own layer; None unless asked for."""
    command: tuple[str, ...] = ()
    """Entrypoint and command, the image's defaults mixed in: what runs."""
    entrypoint_length: int = 0
    """How many parts of ``command`` are the entrypoint."""
    publications: tuple[Publication, ...] = ()
    """What its sandbox publishes now."""
    root_path: str = ""


class NetworkMember(msgspec.Struct, frozen=True, kw_only=True):
    """A live endpoint of a network with its container's name."""

    container_id: str
    name: str
    endpoint: Endpoint


class PoolUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses of one subnet: all that can be handed out dynamically, and how many are taken."""

    subnet: str
    capacity: int
    in_use: int


class NetworkView(msgspec.Struct, frozen=True, kw_only=True):
    """One network, with its live endpoints."""

    network: Network
    members: tuple[NetworkMember, ...] = ()
    drifted: bool = False
    """Somebody undid its repair so often that it was given up."""
    usage: tuple[PoolUsage, ...] = ()


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to a create: the new id, and what the person should know."""

    id: str
    warnings: tuple[str, ...] = ()


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to a prune: what went (names or ids) and the bytes that it freed."""

    deleted: tuple[str, ...] = ()
    reclaimed: int = 0


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of output. ``data`` ends with a newline unless the process wrote no newline."""

    stream: Literal[1, 2]
    time: int
    """Unix nanoseconds."""
    data: bytes


class PathStat(msgspec.Struct, frozen=True, kw_only=True):
    """What ``docker cp`` wants to know of a path. ``mode`` as in stat(2), ``mtime`` in Unix seconds."""

    name: str
    size: int
    mode: int
    mtime: float
    link_target: str = ""


class ExecRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A process to be run in a running container."""

    command: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    tty: bool = False
    privileged: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = True
    attach_stderr: bool = True
    detach_keys: str = ""
    console_size: tuple[int, int] | None = None
    """Rows and columns."""


class ExecView(msgspec.Struct, frozen=True, kw_only=True):
    """An exec instance. ``exit_code`` is None until it ended."""

    id: str
    container_id: str
    request: ExecRequest
    running: bool = False
    exit_code: int | None = None
    pid: int = 0


InterfaceCounters = Counters
"""Counters of one interface inside a sandbox."""


class StatsSample(Usage, frozen=True, kw_only=True):
    """One reading of a container's use of resources; the API computes differences."""

    id: str
    name: str
    interfaces: Mapping[str, InterfaceCounters] = msgspec.field(default_factory=dict)
    """By interface inside the sandbox, without the loopback."""


class DiskUsage(msgspec.Struct, frozen=True, kw_only=True):
    """``docker system df``."""

    layers_size: int
    images: tuple[Image, ...] = ()
    shared_sizes: dict[str, int] = {}
    """Bytes of an image's layers that other images have too, by image id."""
    containers: tuple[ContainerView, ...] = ()
    volumes: tuple[VolumeView, ...] = ()


class VolumeView(msgspec.Struct, frozen=True, kw_only=True):
    """A volume with its folder; ``size`` (bytes) and ``references`` are -1 unless they were asked for."""

    volume: Volume
    path: str
    size: int = -1
    references: int = -1


class PlannedStep(msgspec.Struct, frozen=True, kw_only=True):
    """One kernel step of a dry run: why, and the commands that would do the same by hand."""

    scope: str
    action: Literal["create", "update", "delete"]
    object: str
    commands: tuple[str, ...]


class SystemInfo(msgspec.Struct, frozen=True, kw_only=True):
    """``docker info`` and ``docker version``, in our words."""

    instance: str
    name: str
    version: str
    kernel_version: str
    operating_system: str
    os_version: str
    architecture: str
    cpus: int
    memory: int
    data_root: str
    exec_root: str
    storage_driver: str
    runtime: str
    runtime_version: str
    runtimes: dict[str, str]
    conmon_version: str
    cgroup_version: str
    cgroup_driver: str
    containers: int
    running: int
    paused: int
    stopped: int
    images: int
    seccomp: bool
    live_restore: bool
    labels: tuple[str, ...] = ()
    default_address_pools: tuple[tuple[str, int], ...] = ()
    warnings: tuple[str, ...] = ()
    system_time: float = 0.0
