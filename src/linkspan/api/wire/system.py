"""``docker version``, ``docker info`` and ``docker system df``."""

from __future__ import annotations

from linkspan.api.versions import NEWEST, OLDEST, Version, text
from linkspan.api.wire import containers, images, times, volumes
from linkspan.api.wire.decoding import Json
from linkspan.api.wire.storage import driver_name
from linkspan.engine.views import DiskUsage, SystemInfo
from linkspan.model.image import Image

_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}
"""``uname -m`` and Go's word for it, which ``docker version`` shows."""


def version(info: SystemInfo) -> Json:
    """``GET /version``."""
    architecture = _GO_NAMES.get(info.architecture, info.architecture)
    details: Json = {
        "ApiVersion": text(NEWEST),
        "Arch": architecture,
        "BuildTime": "",
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": "",
        "KernelVersion": info.kernel_version,
        "MinAPIVersion": text(OLDEST),
        "Os": "linux",
    }
    return {
        "Platform": {"Name": f"Linkspan {info.version}"},
        "Components": [
            {"Name": "Engine", "Version": info.version, "Details": details},
            {"Name": info.runtime, "Version": info.runtime_version, "Details": {"GitCommit": ""}},
            {"Name": "conmon", "Version": info.conmon_version, "Details": {"GitCommit": ""}},
        ],
        "Version": info.version,
        "ApiVersion": text(NEWEST),
        "MinAPIVersion": text(OLDEST),
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": architecture,
        "KernelVersion": info.kernel_version,
        "BuildTime": "",
    }


def info(info: SystemInfo) -> Json:
    """``GET /info``."""
    return {
        "ID": info.instance,
        "Containers": info.containers,
        "ContainersRunning": info.running,
        "ContainersPaused": info.paused,
        "ContainersStopped": info.stopped,
        "Images": info.images,
        "Driver": driver_name(info.storage_driver),
        "DriverStatus": [["Exec Root Dir", info.exec_root], ["conmon", info.conmon_version]],
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Authorization": None,
            "Log": ["json-file", "none"],
        },
        **_abilities(info),
        "NFd": 0,
        "OomKillDisable": info.cgroup_version == "1",
        "NGoroutines": 0,
        "SystemTime": times.rfc3339(info.system_time),
        "LoggingDriver": "json-file",
        "CgroupDriver": info.cgroup_driver,
        "CgroupVersion": info.cgroup_version,
        "NEventsListener": 0,
        "KernelVersion": info.kernel_version,
        "OperatingSystem": info.operating_system,
        "OSVersion": info.os_version,
        "OSType": "linux",
        "Architecture": info.architecture,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": None,
        "NCPU": info.cpus,
        "MemTotal": info.memory,
        "GenericResources": None,
        "DockerRootDir": info.data_root,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": info.name,
        "Labels": list(info.labels),
        "ExperimentalBuild": False,
        "ServerVersion": info.version,
        "Runtimes": {name: {"path": path} for name, path in info.runtimes.items()},
        "DefaultRuntime": info.runtime,
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": False,
            "Error": "",
            "RemoteManagers": None,
        },
        "LiveRestoreEnabled": info.live_restore,
        "Isolation": "",
        "InitBinary": "",
        "ContainerdCommit": {"ID": "", "Expected": ""},
        "RuncCommit": {"ID": info.runtime_version, "Expected": info.runtime_version},
        "InitCommit": {"ID": "", "Expected": ""},
        "SecurityOptions": ["name=seccomp,profile=builtin"] if info.seccomp else [],
        "DefaultAddressPools": [{"Base": base, "Size": size} for base, size in info.default_address_pools],
        "Warnings": [f"WARNING: {each}" for each in info.warnings] or None,
    }


def disk_usage(usage: DiskUsage, *, now: float, version: Version, kinds: frozenset[str]) -> Json:
    """``GET /system/df``; ``kinds`` empty means all."""
    shown: Json = {}
    if not kinds or "image" in kinds:
        shown |= {
            "LayersSize": usage.layers_size,
            "Images": [_image(each, usage, version) for each in usage.images],
        }
    if not kinds or "container" in kinds:
        shown["Containers"] = [containers.summary(each, now=now, version=version) for each in usage.containers]
    if not kinds or "volume" in kinds:
        shown["Volumes"] = [volumes.inspect(each) for each in usage.volumes]
    if not kinds or "build-cache" in kinds:
        shown["BuildCache"] = []
    return shown


def _image(image: Image, usage: DiskUsage, version: Version) -> Json:
    """With what only this listing measures: how many containers it has, and what it shares with other images."""
    users = sum(view.container.image_id == image.id for view in usage.containers)
    measured = {"Containers": users, "SharedSize": usage.shared_sizes.get(image.id, 0)}
    return {**images.summary(image, version=version), **measured}


def _abilities(info: SystemInfo) -> Json:
    """What this host can limit; ``docker info`` warns of each false one."""
    version1 = info.cgroup_version == "1"
    return {
        "MemoryLimit": True,
        "SwapLimit": True,
        "KernelMemory": version1,
        "KernelMemoryTCP": version1,
        "CpuCfsPeriod": True,
        "CpuCfsQuota": True,
        "CPUShares": True,
        "CPUSet": True,
        "PidsLimit": True,
        "IPv4Forwarding": True,
        "BridgeNfIptables": True,
        "BridgeNfIp6tables": True,
        "Debug": False,
    }
