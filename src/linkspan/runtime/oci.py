"""The OCI runtime specification's ``config.json`` as frozen structs, as far as we use it. PURE.

Source: opencontainers/runtime-spec, config.md and config-linux.md, version 1.0.2.
"""

from __future__ import annotations

import msgspec


class Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base: JSON names in camel case, defaults left out."""


class User(Document, frozen=True):
    uid: int
    gid: int
    additional_gids: tuple[int, ...] = ()


class ConsoleSize(Document, frozen=True):
    height: int
    width: int


class Capabilities(Document, frozen=True):
    """Full names, ``CAP_CHOWN``."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Rlimit(Document, frozen=True):
    """``type`` with its prefix, ``RLIMIT_NOFILE``."""

    type: str
    hard: int
    soft: int


class Process(Document, frozen=True):
    user: User
    args: tuple[str, ...]
    cwd: str
    terminal: bool = False
    console_size: ConsoleSize | None = None
    env: tuple[str, ...] = ()
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None


class Root(Document, frozen=True):
    path: str
    readonly: bool = False


class Mount(Document, frozen=True):
    destination: str
    type: str
    source: str
    options: tuple[str, ...] = ()


class Namespace(Document, frozen=True):
    type: str
    path: str = ""


class Device(Document, frozen=True):
    """A node to be made; ``file_mode`` as in chmod(2)."""

    path: str
    type: str
    major: int
    minor: int
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class DeviceRule(Document, frozen=True):
    """One rule of the devices cgroup. Without major or minor: all of them."""

    allow: bool
    access: str
    type: str = ""
    major: int | None = None
    minor: int | None = None


class Memory(Document, frozen=True):
    limit: int | None = None
    swap: int | None = None
    reservation: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool = msgspec.field(default=False, name="disableOOMKiller")


class Cpu(Document, frozen=True):
    shares: int | None = None
    quota: int | None = None
    period: int | None = None
    cpus: str = ""
    mems: str = ""


class Pids(Document, frozen=True):
    limit: int


class BlockIO(Document, frozen=True):
    weight: int | None = None


class Resources(Document, frozen=True):
    devices: tuple[DeviceRule, ...] = ()
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = msgspec.field(default=None, name="blockIO")


class SeccompArgument(Document, frozen=True):
    index: int
    value: int
    op: str
    value_two: int = 0


class SeccompRule(Document, frozen=True):
    names: tuple[str, ...]
    action: str
    errno_ret: int | None = None
    args: tuple[SeccompArgument, ...] = ()


class Seccomp(Document, frozen=True):
    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    syscalls: tuple[SeccompRule, ...] = ()


class Linux(Document, frozen=True):
    namespaces: tuple[Namespace, ...]
    cgroups_path: str = ""
    resources: Resources | None = None
    devices: tuple[Device, ...] = ()
    sysctl: dict[str, str] = {}
    seccomp: Seccomp | None = None
    rootfs_propagation: str = ""
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()


class Config(Document, frozen=True):
    """The whole file."""

    oci_version: str
    process: Process
    root: Root
    linux: Linux
    hostname: str = ""
    mounts: tuple[Mount, ...] = ()
    annotations: dict[str, str] = {}
