"""What this machine runs containers with: found by trying the programs and reading the kernel's own tables.

A whole trial container would tell more, and costs 40 ms at every start of the daemon; the first real one tells
the same, with the runtime's own words. So ``--version`` of each program is run (a missing library or a foreign
architecture shows there), and the known incompatibility (crun beside a hybrid cgroup tree) is worked around.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
from pathlib import Path

import msgspec

from linkspan.errors import InvalidRequest, RuntimeFailure
from linkspan.runtime import capabilities, mountspace, seccomp, seccomp_default
from linkspan.runtime.facts import CgroupMounts, Facts
from linkspan.runtime.launcher import ENVIRONMENT
from linkspan.runtime.mountspace import MountEntry

RUNTIMES = ("crun", "runc")
"""By speed: crun creates a container in about two thirds of runc's time."""
SECCOMP_PROFILE = Path("/usr/share/containers/seccomp.json")
"""Debian: golang-github-containers-common."""
INIT_PROGRAMS = (
    "/usr/libexec/linkspan/init",
    "/usr/bin/docker-init",
    "/usr/libexec/docker/docker-init",
    "/usr/bin/tini-static",
    "/usr/bin/catatonit",
)
"""Static ones only: they run inside any image. All take ``-- PROGRAM ARGUMENTS``."""

_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "386",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
}


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The parts that were found, and the facts that shape containers."""

    runtime_name: str
    """``crun`` or ``runc``: which family's options it takes."""
    runtime_path: str
    runtime_version: str
    conmon_path: str
    conmon_version: str
    facts: Facts
    hidden: tuple[str, ...] = ()
    """Mount points that the runtime must not see."""
    root_is_mount_point: bool = True
    init_path: str = ""
    """Empty: ``--init`` is not possible."""
    seccomp: seccomp.Profile | None = None
    """The default profile; None: containers run unconfined unless they bring one."""
    warnings: tuple[str, ...] = ()

    @property
    def cgroup_version(self) -> str:
        """``1`` or ``2`` as Docker shows it; hybrid counts as 1."""
        return {"v1": "1", "v2": "2"}.get(self.facts.cgroups.version, "")


def probe(runtime: str = "", seccomp_profile: str = "") -> Machine:
    """Looks at this machine. ``runtime`` is a name or a path, empty for the first that works.

    ``seccomp_profile`` is a path, ``unconfined``, or empty for the default place. RuntimeFailure when a part is
    missing, InvalidRequest when the profile cannot be read.
    """
    conmon_path, conmon_version = _program("conmon", ("conmon",))
    path, version = _program("container runtime", (runtime,) if runtime else RUNTIMES)
    name = "runc" if version.startswith("runc") else "crun"
    facts = read_facts()
    warnings = []
    profile = _profile(seccomp_profile)
    if profile is None and seccomp_profile != "unconfined":
        warnings.append(
            f"No seccomp profile at {SECCOMP_PROFILE}: containers run unconfined "
            "(install golang-github-containers-common)."
        )
    if facts.cgroups.version == "none":
        warnings.append("No cgroup file system is mounted: resource limits have no effect.")
    return Machine(
        runtime_name=name,
        runtime_path=path,
        runtime_version=version.removeprefix(name).removeprefix(" version ").strip(),
        conmon_path=conmon_path,
        conmon_version=conmon_version.removeprefix("conmon version ").strip(),
        facts=facts,
        hidden=(facts.cgroups.unified,) if name == "crun" and facts.cgroups.hybrid else (),
        root_is_mount_point=mountspace.root_is_mount_point(),
        init_path=next((place for place in INIT_PROGRAMS if os.access(place, os.X_OK)), ""),
        seccomp=profile,
        warnings=tuple(warnings),
    )


def read_facts() -> Facts:
    """The facts about this kernel and this process."""
    mounts = cgroup_mounts(mountspace.read_mounts())
    release = platform.release().split(".")
    return Facts(
        cgroups=mounts,
        capabilities=capabilities.from_mask(_held_mask()),
        kernel=(int(release[0]), int("".join(c for c in release[1] if c.isdecimal()) or 0)),
        architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
        cpus=os.cpu_count() or 1,
        hard_limits=_hard_limits(),
        oom_score_adj=int(Path("/proc/self/oom_score_adj").read_text()),
        swap_limit=_has(mounts, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
        block_weight=_has(mounts, "blkio", "blkio.weight", "io.weight")
        or _has(mounts, "blkio", "blkio.bfq.weight", "io.bfq.weight"),
        message_queues="mqueue" in Path("/proc/filesystems").read_text().split(),
    )


def cgroup_mounts(mounts: tuple[MountEntry, ...]) -> CgroupMounts:
    """Which cgroup trees are mounted where, from a mount table. Of several mounts of one tree the first counts."""
    controllers: dict[str, str] = {}
    unified = ""
    for entry in mounts:
        if entry.kind == "cgroup2":
            unified = unified or entry.point
        elif entry.kind == "cgroup":
            for option in entry.super_options.split(","):
                if option not in ("rw", "ro", "xattr", "clone_children", "noprefix") and "release_agent" not in option:
                    controllers.setdefault(option, entry.point)
    if any(not name.startswith("name=") for name in controllers):
        return CgroupMounts(version="v1", controllers=controllers, unified=unified)
    if unified:
        return CgroupMounts(version="v2", unified=unified)
    return CgroupMounts()


def _program(what: str, names: tuple[str, ...]) -> tuple[str, str]:
    """Path and first line of ``--version`` of the first of the programs that runs."""
    troubles = []
    for name in names:
        path = shutil.which(name, path=ENVIRONMENT["PATH"])
        if path is None:
            troubles.append(f"{name} is not installed")
            continue
        try:
            done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            troubles.append(f"{path} does not run ({error})")
            continue
        return path, done.stdout.partition("\n")[0]
    packages = "conmon" if what == "conmon" else "crun (or runc)"
    raise RuntimeFailure(f"no {what} works here: {', '.join(troubles)}", remedy=f"install the package {packages}")


def _profile(path: str) -> seccomp.Profile | None:
    if path == "unconfined":
        return None
    try:
        text = (Path(path) if path else SECCOMP_PROFILE).read_bytes()
    except FileNotFoundError as error:
        if not path:
            return None
        raise InvalidRequest(f"the seccomp profile {path} does not exist") from error
    profile = seccomp.parse(text)
    return profile if path else seccomp_default.like_docker(profile)


def _held_mask() -> int:
    """What a child can have: permitted and in the bounding set (capabilities(7))."""
    masks = {"CapPrm": 0, "CapBnd": 0}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in masks:
            masks[name] = int(value, 16)
    return masks["CapPrm"] & masks["CapBnd"]


def _hard_limits() -> dict[str, int]:
    names = {name.removeprefix("RLIMIT_").lower(): name for name in dir(resource) if name.startswith("RLIMIT_")}
    return {short: resource.getrlimit(getattr(resource, name))[1] for short, name in names.items()}


def _has(mounts: CgroupMounts, controller: str, old: str, new: str) -> bool:
    """Whether the kernel has a control file: in the v1 root group, or in some group of the v2 tree."""
    if mounts.version == "v1":
        return Path(mounts.controllers.get(controller, "/nonexistent"), old).exists()
    if mounts.version == "v2":
        # The root group of v2 has no limits: look at its children.
        return next(Path(mounts.unified).glob(f"*/{new}"), None) is not None
    return False
