"""Resource limits of a HostConfig -> the model, with Docker's bounds."""

from __future__ import annotations

import re

from linkspan.api.wire.container_types import DeviceMapping, Limits, UlimitSetting
from linkspan.errors import InvalidRequest, NotSupported
from linkspan.model.container import Device, Resources, Ulimit

MEMORY_FLOOR = 6 * 1024 * 1024
"""Bytes; moby's ``linuxMinMemory``."""

ULIMITS = frozenset(
    [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ]
)
"""getrlimit(2)"""

_CPU_LIST = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")


def resources(limits: Limits) -> Resources:
    """Checked limits. InvalidRequest names the bad one; NotSupported the one that we cannot keep."""
    _refuse_unsupported(limits)
    _check_memory(limits)
    _check_cpu(limits)
    if limits.blkio_weight and not 10 <= limits.blkio_weight <= 1000:
        raise InvalidRequest(f"invalid block I/O weight {limits.blkio_weight}: it must be between 10 and 1000")
    return Resources(
        memory=limits.memory,
        memory_swap=limits.memory_swap,
        memory_reservation=limits.memory_reservation,
        memory_swappiness=limits.memory_swappiness,
        nano_cpus=limits.nano_cpus,
        cpu_shares=limits.cpu_shares,
        cpu_period=limits.cpu_period,
        cpu_quota=limits.cpu_quota,
        cpuset_cpus=limits.cpuset_cpus,
        cpuset_mems=limits.cpuset_mems,
        pids_limit=max(limits.pids_limit, 0),
        blkio_weight=limits.blkio_weight,
        oom_kill_disable=limits.oom_kill_disable,
        ulimits=tuple(ulimit(each) for each in limits.ulimits),
        devices=tuple(_device(each) for each in limits.devices),
    )


def ulimit(setting: UlimitSetting) -> Ulimit:
    """One ``--ulimit``. InvalidRequest for an unknown name or a soft limit above the hard one."""
    name = setting.name.lower().removeprefix("rlimit_")
    if name not in ULIMITS:
        raise InvalidRequest(f"invalid ulimit type: {setting.name}")
    if setting.hard != -1 and (setting.soft == -1 or setting.soft > setting.hard):
        raise InvalidRequest(
            f"ulimit soft limit must be less than or equal to hard limit: {name} {setting.soft} > {setting.hard}"
        )
    return Ulimit(name=name, soft=setting.soft, hard=setting.hard)


def _check_memory(limits: Limits) -> None:
    memory, swap, reservation = limits.memory, limits.memory_swap, limits.memory_reservation
    if memory < 0 or 0 < memory < MEMORY_FLOOR:
        raise InvalidRequest(f"Minimum memory limit allowed is 6MB, not {memory} bytes")
    if swap < -1:
        raise InvalidRequest(f"invalid memory-swap {swap}: it must be -1 or a number of bytes")
    if swap > 0 and not memory:
        raise InvalidRequest("You should always set the Memory limit when using Memoryswap limit")
    if memory and 0 < swap < memory:
        raise InvalidRequest("Minimum memoryswap limit should be larger than memory limit, see usage")
    if reservation < 0 or 0 < reservation < MEMORY_FLOOR:
        raise InvalidRequest(f"Minimum memory reservation allowed is 6MB, not {reservation} bytes")
    if memory and reservation > memory:
        raise InvalidRequest("Minimum memory limit can not be less than memory reservation limit, see usage")
    if not -1 <= limits.memory_swappiness <= 100:
        raise InvalidRequest(f"invalid value: {limits.memory_swappiness}, valid memory swappiness range is 0-100")


def _check_cpu(limits: Limits) -> None:
    if limits.nano_cpus < 0:
        raise InvalidRequest(f"invalid CPUs {limits.nano_cpus / 1e9}: it must not be negative")
    if limits.nano_cpus and (limits.cpu_period or limits.cpu_quota):
        raise InvalidRequest("Conflicting options: Nano CPUs and CPU period or CPU quota cannot both be set")
    if limits.cpu_shares < 0:
        raise InvalidRequest(f"invalid CPU shares ({limits.cpu_shares}): value must be a positive integer")
    if limits.cpu_period and not 1000 <= limits.cpu_period <= 1000000:
        raise InvalidRequest("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if limits.cpu_quota > 0 and limits.cpu_quota < 1000:
        raise InvalidRequest("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    for name, value in (("cpuset-cpus", limits.cpuset_cpus), ("cpuset-mems", limits.cpuset_mems)):
        if value and not _CPU_LIST.fullmatch(value):
            raise InvalidRequest(f"invalid {name} {value!r}: it must look like 0-3,7")


def _refuse_unsupported(limits: Limits) -> None:
    asked = {
        "CpuRealtimePeriod": limits.cpu_realtime_period,
        "CpuRealtimeRuntime": limits.cpu_realtime_runtime,
        "BlkioWeightDevice": limits.blkio_weight_device,
        "BlkioDeviceReadBps": limits.blkio_device_read_bps,
        "BlkioDeviceWriteBps": limits.blkio_device_write_bps,
        "BlkioDeviceReadIOps": limits.blkio_device_read_iops,
        "BlkioDeviceWriteIOps": limits.blkio_device_write_iops,
        "KernelMemory": limits.kernel_memory,
        "KernelMemoryTCP": limits.kernel_memory_tcp,
        "DeviceCgroupRules": limits.device_cgroup_rules,
        "DeviceRequests": limits.device_requests,
    }
    for name, value in asked.items():
        if value:
            raise NotSupported(f"the option {name} is not supported")


def _device(mapping: DeviceMapping) -> Device:
    access = mapping.cgroup_permissions or "rwm"
    if not mapping.path_on_host.startswith("/"):
        raise InvalidRequest(f"invalid device {mapping.path_on_host!r}: it must be an absolute path")
    if set(access) - set("rwm"):
        raise InvalidRequest(f"invalid device mode {access!r}: it is made of r, w and m")
    inside = mapping.path_in_container or mapping.path_on_host
    if not inside.startswith("/"):
        raise InvalidRequest(f"invalid device path {inside!r}: it must be an absolute path")
    return Device(host_path=mapping.path_on_host, container_path=inside, access=access)
