"""A container's definition as ``inspect``'s HostConfig: the reverse of ``container_create``."""

from __future__ import annotations

from linkspan.api.wire.decoding import Json
from linkspan.api.wire.mounts import mount_setting
from linkspan.model.container import ContainerSpec, PortBinding, Resources


def host_config(spec: ContainerSpec) -> Json:
    """What was asked for, defaults filled in as Docker fills them."""
    from_text = [each.text for each in spec.mounts if each.text and each.kind != "tmpfs"]
    tmpfs = {each.target: each.text.partition(":")[2] for each in spec.mounts if each.kind == "tmpfs" and each.text}
    by_setting = [mount_setting(each) for each in spec.mounts if not each.text]
    return {
        "Binds": from_text or None,
        "ContainerIDFile": "",
        "LogConfig": {"Type": spec.log.driver, "Config": spec.log.options},
        "NetworkMode": spec.network_mode.raw,
        "PortBindings": port_bindings(spec.port_bindings),
        "RestartPolicy": {"Name": spec.restart.name, "MaximumRetryCount": spec.restart.max_retries},
        "AutoRemove": spec.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": None,
        "ConsoleSize": [0, 0],
        "CapAdd": _list(spec.security.cap_add),
        "CapDrop": _list(spec.security.cap_drop),
        "CgroupnsMode": spec.cgroupns_mode,
        "Dns": list(spec.dns),
        "DnsOptions": list(spec.dns_options),
        "DnsSearch": list(spec.dns_search),
        "ExtraHosts": _list(spec.extra_hosts),
        "GroupAdd": _list(spec.group_add),
        "IpcMode": spec.ipc_mode,
        "Cgroup": "",
        "Links": _list(spec.links),
        "OomScoreAdj": spec.oom_score_adj,
        "PidMode": spec.pid_mode,
        "Privileged": spec.security.privileged,
        "PublishAllPorts": spec.publish_all,
        "ReadonlyRootfs": spec.read_only,
        "SecurityOpt": _list(spec.security.options),
        "StorageOpt": None,
        "Tmpfs": tmpfs or None,
        "UTSMode": spec.uts_mode,
        "UsernsMode": "",
        "ShmSize": spec.shm_size,
        "Sysctls": spec.sysctls or None,
        "Runtime": "runc",
        "Isolation": "",
        "Mounts": by_setting or None,
        "MaskedPaths": _list(spec.security.masked_paths or ()),
        "ReadonlyPaths": _list(spec.security.readonly_paths or ()),
        "Init": spec.init or None,
        **_limits(spec.resources),
        "CgroupParent": spec.cgroup_parent,
    }


def port_bindings(bindings: tuple[PortBinding, ...]) -> dict[str, list[Json]]:
    """``{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}``"""
    shown: dict[str, list[Json]] = {}
    for each in bindings:
        place: Json = {"HostIp": each.host_ip, "HostPort": each.host_port}
        shown.setdefault(f"{each.port}/{each.protocol}", []).append(place)
    return shown


def _limits(limits: Resources) -> Json:
    return {
        "CpuShares": limits.cpu_shares,
        "Memory": limits.memory,
        "NanoCpus": limits.nano_cpus,
        "BlkioWeight": limits.blkio_weight,
        "BlkioWeightDevice": [],
        "BlkioDeviceReadBps": [],
        "BlkioDeviceWriteBps": [],
        "BlkioDeviceReadIOps": [],
        "BlkioDeviceWriteIOps": [],
        "CpuPeriod": limits.cpu_period,
        "CpuQuota": limits.cpu_quota,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": limits.cpuset_cpus,
        "CpusetMems": limits.cpuset_mems,
        "Devices": [
            {
                "PathOnHost": each.host_path,
                "PathInContainer": each.container_path,
                "CgroupPermissions": each.access,
            }
            for each in limits.devices
        ],
        "DeviceCgroupRules": None,
        "DeviceRequests": None,
        "MemoryReservation": limits.memory_reservation,
        "MemorySwap": limits.memory_swap,
        "MemorySwappiness": None if limits.memory_swappiness < 0 else limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "PidsLimit": limits.pids_limit or None,
        "Ulimits": [{"Name": each.name, "Hard": each.hard, "Soft": each.soft} for each in limits.ulimits],
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    }


def _list(values: tuple[str, ...]) -> list[str] | None:
    """Docker writes null for what was never set."""
    return list(values) or None
