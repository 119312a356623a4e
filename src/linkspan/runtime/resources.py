"""cgroup limits, rlimits and the OOM score of a container, checked and in OCI's terms. PURE."""

from __future__ import annotations

from linkspan.errors import InvalidRequest, NotSupported
from linkspan.model.container import Resources, Ulimit
from linkspan.runtime import oci
from linkspan.runtime.facts import Facts

MINIMUM_MEMORY = 6 * 1024 * 1024
"""Bytes; below it a container cannot even be started (Docker's limit)."""
DEFAULT_PERIOD = 100_000
"""Microseconds in which a CPU quota is counted (Documentation/scheduler/sched-bwc.rst)."""
_ULIMITS = "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"
ULIMITS = frozenset(_ULIMITS.split())


def check(resources: Resources, facts: Facts) -> None:
    """InvalidRequest or NotSupported for limits that can never be set on this machine."""
    if 0 < resources.memory < MINIMUM_MEMORY:
        raise InvalidRequest(f"a memory limit of {resources.memory} bytes is too small", remedy="the least is 6 MiB")
    if resources.memory_swap > 0 and not resources.memory:
        raise InvalidRequest("memory-swap is set without a memory limit", remedy="set both")
    if 0 < resources.memory_swap < resources.memory:
        raise InvalidRequest(
            f"memory-swap ({resources.memory_swap}) is smaller than memory ({resources.memory})",
            remedy="it is the sum of memory and swap",
        )
    if resources.memory and resources.memory_reservation > resources.memory:
        raise InvalidRequest(
            f"the memory reservation ({resources.memory_reservation}) is larger than the limit ({resources.memory})"
        )
    if not 0 <= resources.nano_cpus <= facts.cpus * 10**9:
        raise InvalidRequest(
            f"{resources.nano_cpus / 10**9:g} CPUs were asked for", remedy=f"0.01 to {facts.cpus} are possible here"
        )
    if resources.nano_cpus and (resources.cpu_quota or resources.cpu_period):
        raise InvalidRequest("both a number of CPUs and a CPU quota or period are set", remedy="keep one of them")
    if resources.cpu_period and not 1_000 <= resources.cpu_period <= 1_000_000:
        raise InvalidRequest(f"the CPU period {resources.cpu_period} is not within 1000 to 1000000 microseconds")
    if resources.cpu_quota and resources.cpu_quota != -1 and resources.cpu_quota < 1_000:
        raise InvalidRequest(f"the CPU quota {resources.cpu_quota} is below 1000 microseconds")
    if resources.blkio_weight and not 10 <= resources.blkio_weight <= 1000:
        raise InvalidRequest(f"the block I/O weight {resources.blkio_weight} is not within 10 to 1000")
    rlimits(resources.ulimits, (), facts)


def warnings(resources: Resources, facts: Facts) -> tuple[str, ...]:
    """What was asked for and is left out since this kernel lacks it, one sentence each."""
    found = []
    if resources.memory and not facts.swap_limit:
        found.append("This kernel does not account for swap: the memory limit counts without swap.")
    if resources.blkio_weight and not facts.block_weight:
        found.append("This kernel knows no block I/O weight: it is discarded.")
    if resources.memory_swappiness >= 0 and facts.cgroups.version != "v1":
        found.append("Swappiness per container needs cgroup v1: it is discarded.")
    if resources.oom_kill_disable and facts.cgroups.version != "v1":
        found.append("Disabling the OOM killer needs cgroup v1: it is discarded.")
    if facts.cgroups.version == "none":
        found.append("No cgroup file system is mounted: limits are discarded.")
    return tuple(found)


def limits(resources: Resources, facts: Facts, device_rules: tuple[oci.DeviceRule, ...] = ()) -> oci.Resources:
    """The OCI form, without what ``warnings`` names. Fields that are 0 are left to the kernel."""
    quota, period = resources.cpu_quota, resources.cpu_period
    if resources.nano_cpus:
        period = DEFAULT_PERIOD
        quota = resources.nano_cpus * DEFAULT_PERIOD // 10**9
    cpu = oci.Cpu(
        shares=resources.cpu_shares or None,
        quota=quota or None,
        period=period or None,
        cpus=resources.cpuset_cpus,
        mems=resources.cpuset_mems,
    )
    memory = _memory(resources, facts)
    weight = resources.blkio_weight if facts.block_weight else 0
    return oci.Resources(
        devices=device_rules,
        memory=None if memory == oci.Memory() else memory,
        cpu=None if cpu == oci.Cpu() else cpu,
        pids=oci.Pids(limit=resources.pids_limit) if resources.pids_limit > 0 else None,
        block_io=oci.BlockIO(weight=weight) if weight else None,
    )


def _memory(resources: Resources, facts: Facts) -> oci.Memory:
    old = facts.cgroups.version == "v1"
    swap: int | None = None
    if resources.memory and facts.swap_limit:
        swap = resources.memory_swap or 2 * resources.memory
    return oci.Memory(
        limit=resources.memory or None,
        swap=swap,
        reservation=resources.memory_reservation or None,
        swappiness=resources.memory_swappiness if old and resources.memory_swappiness >= 0 else None,
        disable_oom_killer=old and resources.oom_kill_disable,
    )


def rlimits(own: tuple[Ulimit, ...], defaults: tuple[Ulimit, ...], facts: Facts) -> tuple[oci.Rlimit, ...]:
    """Resource limits, the container's own winning over the daemon's defaults.

    Without CAP_SYS_RESOURCE a hard limit above the daemon's cannot be had: a default is lowered to it in silence,
    a container's own is refused (NotSupported). InvalidRequest for an unknown name or soft above hard.
    """
    chosen: dict[str, oci.Rlimit] = {}
    for limit in defaults:
        ceiling = _ceiling(limit.name, facts)
        hard = _least(limit.hard, ceiling)
        chosen[limit.name] = _rlimit(limit.name, _least(limit.soft, hard), hard)
    for limit in own:
        if limit.name not in ULIMITS:
            raise InvalidRequest(f'unknown ulimit "{limit.name}"', remedy="getrlimit(2) lists the names")
        if _least(limit.soft, limit.hard) != limit.soft:
            raise InvalidRequest(f"ulimit {limit.name}: the soft limit {limit.soft} is above the hard {limit.hard}")
        ceiling = _ceiling(limit.name, facts)
        if _least(limit.hard, ceiling) != limit.hard:
            raise NotSupported(
                f"ulimit {limit.name}={limit.hard} is above the daemon's own {ceiling}, "
                "and the daemon lacks CAP_SYS_RESOURCE to raise it"
            )
        chosen[limit.name] = _rlimit(limit.name, limit.soft, limit.hard)
    return tuple(chosen.values())


def oom_score(asked: int, facts: Facts) -> int | None:
    """The OOM score adjustment to set; None: leave the daemon's. NotSupported where it may not be lowered."""
    if not -1000 <= asked <= 1000:
        raise InvalidRequest(f"the OOM score adjustment {asked} is not within -1000 to 1000")
    if facts.raises_limits or asked >= facts.oom_score_adj:
        return asked
    if not asked:
        return None
    raise NotSupported(
        f"the OOM score adjustment {asked} is below the daemon's own {facts.oom_score_adj}, "
        "and the daemon lacks CAP_SYS_RESOURCE to lower it"
    )


def _rlimit(name: str, soft: int, hard: int) -> oci.Rlimit:
    unlimited = 2**64 - 1
    return oci.Rlimit(
        type="RLIMIT_" + name.upper(),
        soft=unlimited if soft < 0 else soft,
        hard=unlimited if hard < 0 else hard,
    )


def _ceiling(name: str, facts: Facts) -> int:
    return -1 if facts.raises_limits else facts.hard_limits.get(name, -1)


def _least(first: int, second: int) -> int:
    """The smaller of two limits, where -1 is unlimited."""
    if first < 0:
        return second
    return first if second < 0 else min(first, second)
