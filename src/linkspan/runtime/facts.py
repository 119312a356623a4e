"""What this machine lets a container have: facts that the pure builders take as input. PURE.

``linkspan.runtime.probe`` reads them once at start.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class CgroupMounts(msgspec.Struct, frozen=True, kw_only=True):
    """The cgroup hierarchies that are mounted.

    ``v1`` covers hybrid hosts: limits live in the v1 controllers there, and the unified tree holds processes at
    most. ``controllers`` names the mount point of each v1 controller (``memory``, ``name=systemd``).
    """

    version: Literal["v1", "v2", "none"] = "none"
    controllers: dict[str, str] = {}
    unified: str = ""
    """Mount point of the cgroup2 tree: everything on v2, the side tree on hybrid hosts, or empty."""

    @property
    def hybrid(self) -> bool:
        """v1 controllers with a cgroup2 tree beside them (systemd's ``hybrid`` layout)."""
        return self.version == "v1" and bool(self.unified)

    @property
    def mount_points(self) -> tuple[str, ...]:
        """Every mounted tree, once."""
        points = dict.fromkeys(self.controllers.values())
        if self.unified:
            points[self.unified] = None
        return tuple(points)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Defaults describe a full root on a modern kernel."""

    cgroups: CgroupMounts = CgroupMounts(version="v2", unified="/sys/fs/cgroup")
    capabilities: frozenset[str] = frozenset()
    """What the daemon itself holds (``CAP_…``); no container can get more."""
    kernel: tuple[int, int] = (6, 1)
    architecture: str = "amd64"
    """Go's name, as seccomp profiles spell it."""
    hard_limits: dict[str, int] = {}
    """The daemon's own hard limits by name (``nofile``); -1 is unlimited."""
    cpus: int = 1
    """Online CPUs."""
    oom_score_adj: int = 0
    """The daemon's own."""
    swap_limit: bool = True
    block_weight: bool = True
    message_queues: bool = True
    """The kernel has POSIX message queues (``mqueue``)."""

    @property
    def raises_limits(self) -> bool:
        """Whether rlimits may be raised and OOM scores lowered (capabilities(7), CAP_SYS_RESOURCE)."""
        return "CAP_SYS_RESOURCE" in self.capabilities
