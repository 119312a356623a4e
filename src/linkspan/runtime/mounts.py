"""What is mounted in a container: the file systems that every one has, then those asked for. PURE.

Defaults as Docker's (moby, ``oci/defaults.go`` and ``daemon/oci_linux.go``).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from linkspan.errors import InvalidRequest
from linkspan.model.container import ContainerSpec, Mount
from linkspan.runtime import oci
from linkspan.runtime.facts import Facts

PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
RECURSIVE_READ_ONLY = (5, 12)
"""The first kernel with mount_setattr(2): a read-only bind covers what is mounted below it."""


class ResolvedMount(msgspec.Struct, frozen=True, kw_only=True):
    """A mount as asked, with the host path behind it (empty for ``tmpfs``)."""

    mount: Mount
    source: str = ""
    is_folder: bool = True
    """Whether the source is one: nothing can be mounted below anything else."""


class SandboxFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Host paths of the files that belong to the sandbox; empty: the image's own is seen."""

    hosts: str = ""
    hostname: str = ""
    resolv: str = ""


def mounts_of(
    spec: ContainerSpec, asked: tuple[ResolvedMount, ...], files: SandboxFiles, init_path: str, facts: Facts
) -> tuple[oci.Mount, ...]:
    """Every mount, outer ones first. A mount that was asked for replaces ours on its path.

    InvalidRequest for a relative target, the root itself as a target, or an unknown propagation.
    """
    chosen = [_requested(item, facts) for item in asked]
    targets = {mount.destination for mount in chosen}
    ours = [*_file_systems(spec, facts), *_files(files, read_only=spec.read_only)]
    if init_path:
        ours.append(_bind(init_path, INIT_TARGET, ("ro",)))
    kept = [mount for mount in ours if not _covered(mount.destination, targets)]
    return tuple(sorted([*kept, *chosen], key=lambda mount: mount.destination.count("/")))


INIT_TARGET = "/sbin/docker-init"
"""Where ``--init`` puts the init program; people know it under this name from ``ps``."""


def root_propagation(asked: Iterable[ResolvedMount]) -> str:
    """``linux.rootfsPropagation`` that the asked mounts need: a private root would cut theirs off."""
    wanted = {item.mount.propagation.removeprefix("r") for item in asked}
    if "shared" in wanted:
        return "shared"
    return "rslave" if "slave" in wanted else ""


def _covered(path: str, targets: set[str]) -> bool:
    """Ours gives way to one on the same path; below ``/dev`` all give way, since a device folder is whole."""
    return path in targets or (path.startswith("/dev/") and "/dev" in targets)


def _file_systems(spec: ContainerSpec, facts: Facts) -> list[oci.Mount]:
    access = "rw" if spec.security.privileged else "ro"
    plain = ("nosuid", "noexec", "nodev")
    found = [
        oci.Mount(destination="/proc", type="proc", source="proc", options=plain),
        oci.Mount(
            destination="/dev",
            type="tmpfs",
            source="tmpfs",
            options=("nosuid", "strictatime", "mode=755", "size=65536k"),
        ),
        oci.Mount(
            destination="/dev/pts",
            type="devpts",
            source="devpts",
            options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        ),
        oci.Mount(destination="/sys", type="sysfs", source="sysfs", options=(*plain, access)),
    ]
    if facts.cgroups.version != "none":
        found.append(oci.Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=(*plain, access)))
    if spec.ipc_mode == "host":
        found.append(_bind("/dev/shm", "/dev/shm", ("rw",)))
    elif spec.ipc_mode != "none":
        size = spec.shm_size or 64 << 20
        options = (*plain, "mode=1777", f"size={size}")
        found.append(oci.Mount(destination="/dev/shm", type="tmpfs", source="shm", options=options))
    if facts.message_queues:
        found.append(oci.Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=plain))
    return found


def _files(files: SandboxFiles, *, read_only: bool) -> list[oci.Mount]:
    access = ("ro",) if read_only else ("rw",)
    pairs = ((files.resolv, "/etc/resolv.conf"), (files.hostname, "/etc/hostname"), (files.hosts, "/etc/hosts"))
    return [_bind(source, target, access) for source, target in pairs if source]


def _bind(source: str, target: str, options: tuple[str, ...]) -> oci.Mount:
    return oci.Mount(destination=target, type="bind", source=source, options=("rbind", "rprivate", *options))


def _requested(item: ResolvedMount, facts: Facts) -> oci.Mount:
    mount = item.mount
    target = "/" + "/".join(part for part in mount.target.split("/") if part not in ("", "."))
    if not mount.target.startswith("/") or target == "/" or ".." in target.split("/"):
        raise InvalidRequest(
            f"invalid mount target '{mount.target}'", remedy="it must be an absolute path other than / and without .."
        )
    if mount.kind == "tmpfs":
        return oci.Mount(destination=target, type="tmpfs", source="tmpfs", options=_tmpfs_options(mount))
    propagation = mount.propagation or "rprivate"
    if propagation not in PROPAGATIONS:
        raise InvalidRequest(f"unknown mount propagation '{propagation}'", remedy="use " + ", ".join(PROPAGATIONS))
    options = ["bind" if mount.non_recursive else "rbind", propagation, "ro" if mount.read_only else "rw"]
    # crun cannot make the bind of a file recursively read-only, and it need not.
    if mount.read_only and item.is_folder and not mount.non_recursive and facts.kernel >= RECURSIVE_READ_ONLY:
        options.append("rro")
    return oci.Mount(destination=target, type="bind", source=item.source, options=tuple(options))


_OPPOSITES = {
    "exec": "noexec",
    "suid": "nosuid",
    "dev": "nodev",
    "rw": "ro",
    "atime": "noatime",
    "diratime": "nodiratime",
    "async": "sync",
}


def _tmpfs_options(mount: Mount) -> tuple[str, ...]:
    """Docker's defaults, then what was asked for; the later of two opposites stays."""
    asked = [option for text in mount.tmpfs_options for option in text.split(",") if option]
    if mount.tmpfs_size:
        asked.append(f"size={mount.tmpfs_size}")
    if mount.tmpfs_mode:
        asked.append(f"mode={mount.tmpfs_mode:o}")
    if mount.read_only:
        asked.append("ro")
    chosen: dict[str, str] = {}
    for option in ("noexec", "nosuid", "nodev", *asked):
        name = option.partition("=")[0]
        chosen.pop(_OPPOSITES.get(name, name), None)
        chosen[_OPPOSITES.get(name, name)] = option
    return tuple(chosen.values())
