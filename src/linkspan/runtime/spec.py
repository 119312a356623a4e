"""The OCI ``config.json`` of a container, from its definition and what the engine has found for it. PURE.

``check`` refuses at create time what ``build`` could not carry out at start; both use the same functions.
"""

from __future__ import annotations

import msgspec

from linkspan.errors import InvalidRequest, NotSupported
from linkspan.model.container import Container, ContainerSpec, Security, Ulimit
from linkspan.model.image import ImageConfig
from linkspan.runtime import capabilities, devices, oci, resources, seccomp
from linkspan.runtime.command import command_of, environment_of, working_directory_of
from linkspan.runtime.devices import DeviceNode
from linkspan.runtime.facts import Facts
from linkspan.runtime.mounts import INIT_TARGET, ResolvedMount, SandboxFiles, mounts_of, root_propagation
from linkspan.runtime.users import Identity

OCI_VERSION = "1.0.2"

MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_IPC_NAMES = "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced"
_IPC_SYSCTLS = frozenset("kernel." + name for name in _IPC_NAMES.split())


class SpecInput(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that shapes one start of one container."""

    container: Container
    image: ImageConfig
    rootfs: str
    """Absolute path of the root file system, mounted."""
    sandbox: str | None
    """Path of the network namespace; None: the host's."""
    sandbox_sysctls: dict[str, str] = {}
    """``network_sysctls`` of the definition that shapes the sandbox, for its first member if that is another one."""
    hostname: str
    files: SandboxFiles = SandboxFiles()
    mounts: tuple[ResolvedMount, ...] = ()
    cgroups_path: str
    """As ``linkspan.runtime.cgroups.path_of`` gives it."""
    identity: Identity = Identity()
    default_seccomp: seccomp.Profile | None = None
    """For containers that name none; None: unconfined."""
    init_path: str = ""
    """Host path of a static init program for ``--init``."""
    devices: tuple[DeviceNode, ...] = ()
    """Nodes asked for; for a privileged container, all of the host's."""
    default_ulimits: tuple[Ulimit, ...] = ()
    no_new_privileges: bool = False
    """The daemon's default."""
    console_size: tuple[int, int] | None = None
    """Rows and columns."""
    facts: Facts


def check(spec: ContainerSpec, image: ImageConfig, facts: Facts, init_path: str = "") -> tuple[str, ...]:
    """Refuses a definition that can never start here: InvalidRequest or NotSupported. Returns warnings."""
    command_of(spec, image)
    working_directory_of(spec, image)
    granted = capabilities.granted(spec.security, facts.capabilities)
    _seccomp(spec.security, None, granted, facts)
    _namespaces(spec, "" if spec.network_mode.kind != "host" else None, facts)
    sysctls_of(spec, host_network=spec.network_mode.kind == "host")
    resources.check(spec.resources, facts)
    resources.oom_score(spec.oom_score_adj, facts)
    _init_path(spec, init_path)
    asked = tuple(ResolvedMount(mount=mount) for mount in spec.mounts)
    mounts_of(spec, asked, SandboxFiles(), "", facts)
    return resources.warnings(spec.resources, facts)


def build(given: SpecInput) -> bytes:
    """The text of ``config.json``. Raises as ``check``."""
    return msgspec.json.encode(config_of(given))


def config_of(given: SpecInput) -> oci.Config:
    """``build`` before it is encoded, for tests and for what ``exec`` takes from the container's process."""
    spec, facts = given.container.spec, given.facts
    security = spec.security
    granted = capabilities.granted(security, facts.capabilities)
    init_path = _init_path(spec, given.init_path)
    host_uts = spec.uts_mode == "host"
    linux = oci.Linux(
        namespaces=_namespaces(spec, given.sandbox, facts),
        cgroups_path=given.cgroups_path,
        resources=resources.limits(spec.resources, facts, devices.rules(given.devices, privileged=security.privileged)),
        devices=devices.nodes(given.devices),
        sysctl=given.sandbox_sysctls | sysctls_of(spec, host_network=given.sandbox is None),
        seccomp=_seccomp(security, given.default_seccomp, granted, facts),
        rootfs_propagation=root_propagation(given.mounts),
        masked_paths=_paths(security, security.masked_paths, MASKED_PATHS),
        readonly_paths=_paths(security, security.readonly_paths, READONLY_PATHS),
    )
    return oci.Config(
        oci_version=OCI_VERSION,
        process=_process(given, granted, init=bool(init_path)),
        root=oci.Root(path=given.rootfs, readonly=spec.read_only),
        hostname="" if host_uts else given.hostname,
        mounts=mounts_of(spec, given.mounts, given.files, init_path, facts),
        linux=linux,
    )


def _process(given: SpecInput, granted: tuple[str, ...], *, init: bool) -> oci.Process:
    spec, identity = given.container.spec, given.identity
    vector, _ = command_of(spec, given.image)
    size = given.console_size
    return oci.Process(
        terminal=spec.tty,
        console_size=oci.ConsoleSize(height=size[0], width=size[1]) if size and spec.tty else None,
        user=oci.User(uid=identity.uid, gid=identity.gid, additional_gids=identity.additional),
        args=(INIT_TARGET, "--", *vector) if init else vector,
        env=environment_of(spec, given.image, given.hostname, identity.home),
        cwd=working_directory_of(spec, given.image),
        capabilities=capabilities.for_user(granted, identity.uid),
        rlimits=resources.rlimits(spec.resources.ulimits, given.default_ulimits, given.facts),
        no_new_privileges=spec.security.no_new_privileges or given.no_new_privileges,
        oom_score_adj=resources.oom_score(spec.oom_score_adj, given.facts),
    )


def _init_path(spec: ContainerSpec, init_path: str) -> str:
    """Host path of the init program; empty: none is wanted, or the host's own init reaps (``--pid host``)."""
    if not spec.init or spec.pid_mode == "host":
        return ""
    if not init_path:
        raise NotSupported("--init needs a static init program, and this machine has none", remedy="install tini")
    return init_path


def _namespaces(spec: ContainerSpec, sandbox: str | None, facts: Facts) -> tuple[oci.Namespace, ...]:
    default_cgroup = "private" if facts.cgroups.version == "v2" else "host"
    modes = (
        ("pid", spec.pid_mode or "private", ("private", "host")),
        ("ipc", spec.ipc_mode or "private", ("private", "shareable", "none", "host")),
        ("uts", spec.uts_mode or "private", ("private", "host")),
        ("cgroup", spec.cgroupns_mode or default_cgroup, ("private", "host")),
    )
    found = [oci.Namespace(type="mount")]
    if sandbox is not None:
        found.append(oci.Namespace(type="network", path=sandbox))
    for kind, mode, known in modes:
        if mode.startswith("container:"):
            raise NotSupported(f"sharing another container's {kind} namespace is not supported")
        if mode not in known:
            raise InvalidRequest(f"invalid {kind} mode: {mode}", remedy="use " + " or ".join(known))
        if mode != "host" and not (kind == "cgroup" and facts.cgroups.version == "none"):
            found.append(oci.Namespace(type=kind))
    return tuple(found)


def sysctls_of(spec: ContainerSpec, *, host_network: bool) -> dict[str, str]:
    """Kernel settings of the container's own namespaces: ours, then those asked for.

    InvalidRequest for one that would change the host: of a namespace that the container shares with it, or of
    none at all.
    """
    found: dict[str, str] = {}
    if not host_network and spec.network_mode.kind != "container":
        found |= network_sysctls(spec)
    if spec.domainname and spec.uts_mode != "host":
        found["kernel.domainname"] = spec.domainname
    for name, value in spec.sysctls.items():
        if name.startswith("net."):
            shared = "network" if host_network else ""
        elif name.startswith("fs.mqueue.") or name in _IPC_SYSCTLS:
            shared = "IPC" if spec.ipc_mode == "host" else ""
        elif name == "kernel.domainname":
            shared = "UTS" if spec.uts_mode == "host" else ""
        else:
            raise InvalidRequest(f'sysctl "{name}" is not of any namespace: it would change the whole host')
        if shared:
            raise InvalidRequest(f'sysctl "{name}" is not allowed in the host\'s {shared} namespace')
        found[name] = value
    return found


def network_sysctls(spec: ContainerSpec) -> dict[str, str]:
    """Kernel settings of the network namespace that this definition shapes: ours, then those asked for."""
    ours = {
        # Docker's, since 20.10: low ports and ping for everybody, as the whole network stack is the container's.
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net.ipv4.ping_group_range": "0 2147483647",
    }
    return ours | {name: value for name, value in spec.sysctls.items() if name.startswith("net.")}


def _seccomp(
    security: Security, default: seccomp.Profile | None, granted: tuple[str, ...], facts: Facts
) -> oci.Seccomp | None:
    if security.seccomp == "unconfined":
        return None
    if security.seccomp:
        return seccomp.settle(seccomp.parse(security.seccomp), granted, facts)
    if default is None or security.privileged:
        return None
    return seccomp.settle(default, granted, facts)


def _paths(security: Security, own: tuple[str, ...] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    if security.privileged:
        return ()
    return default if own is None else own
