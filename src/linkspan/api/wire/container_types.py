"""The members of Docker's container requests that mean something here (API reference, ContainerCreate).

Members that name Windows' matters, or what clients send for show, are left out: unknown members are skipped.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Int64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""Clients written in Go read it back into 64 bits."""


class Healthcheck(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    test: list[str] = []


class DeviceMapping(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class UlimitSetting(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    name: str = ""
    soft: int = 0
    hard: int = 0


class RestartSetting(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    name: str = ""
    maximum_retry_count: int = 0


class LogSetting(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    type: str = ""
    config: dict[str, str] = {}


class HostPort(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    host_ip: str = ""
    host_port: str = ""


class BindOptions(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class DriverConfig(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    name: str = ""
    options: dict[str, str] = {}


class VolumeOptions(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    no_copy: bool = False
    labels: dict[str, str] = {}
    driver_config: DriverConfig = DriverConfig()
    subpath: str = ""


class TmpfsOptions(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    size_bytes: int = 0
    mode: int = 0
    options: list[list[str]] = []


class MountSetting(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    bind_options: BindOptions = BindOptions()
    volume_options: VolumeOptions = VolumeOptions()
    tmpfs_options: TmpfsOptions = TmpfsOptions()


class Limits(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The resources of a HostConfig, which ``update`` sends on their own."""

    memory: int = 0
    memory_swap: int = 0
    memory_reservation: int = 0
    memory_swappiness: int = -1
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int = 0
    blkio_weight: int = 0
    blkio_weight_device: list[object] = []
    blkio_device_read_bps: list[object] = []
    blkio_device_write_bps: list[object] = []
    blkio_device_read_iops: list[object] = msgspec.field(default_factory=list, name="BlkioDeviceReadIOps")
    blkio_device_write_iops: list[object] = msgspec.field(default_factory=list, name="BlkioDeviceWriteIOps")
    kernel_memory: int = 0
    kernel_memory_tcp: int = msgspec.field(default=0, name="KernelMemoryTCP")
    oom_kill_disable: bool = False
    cgroup_parent: str = ""
    ulimits: list[UlimitSetting] = []
    devices: list[DeviceMapping] = []
    device_cgroup_rules: list[str] = []
    device_requests: list[object] = []


class HostConfig(Limits, frozen=True, kw_only=True, rename="pascal"):
    binds: list[str] = []
    mounts: list[MountSetting] = []
    tmpfs: dict[str, str] = {}
    network_mode: str = ""
    port_bindings: dict[str, list[HostPort]] = {}
    publish_all_ports: bool = False
    restart_policy: RestartSetting = RestartSetting()
    auto_remove: bool = False
    log_config: LogSetting = LogSetting()
    volume_driver: str = ""
    volumes_from: list[str] = []
    cap_add: list[str] = []
    cap_drop: list[str] = []
    privileged: bool = False
    security_opt: list[str] = []
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    readonly_rootfs: bool = False
    dns: list[str] = []
    dns_options: list[str] = []
    dns_search: list[str] = []
    extra_hosts: list[str] = []
    links: list[str] = []
    group_add: list[str] = []
    sysctls: dict[str, str] = {}
    storage_opt: dict[str, str] = {}
    ipc_mode: str = ""
    pid_mode: str = ""
    uts_mode: str = msgspec.field(default="", name="UTSMode")
    userns_mode: str = ""
    cgroupns_mode: str = ""
    cgroup: str = ""
    shm_size: int = 0
    oom_score_adj: int = 0
    init: bool | None = None
    runtime: str = ""
    isolation: str = ""


class EndpointAddresses(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    ipv4_address: str = msgspec.field(default="", name="IPv4Address")
    ipv6_address: str = msgspec.field(default="", name="IPv6Address")
    link_local_ips: list[str] = msgspec.field(default_factory=list, name="LinkLocalIPs")


class EndpointSettings(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    ipam_config: EndpointAddresses = msgspec.field(default=EndpointAddresses(), name="IPAMConfig")
    links: list[str] = []
    aliases: list[str] = []
    mac_address: str = ""
    driver_opts: dict[str, str] = {}
    gw_priority: Int64 = 0


class NetworkingConfig(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    endpoints_config: dict[str, EndpointSettings] = {}


class ContainerCreate(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The body of ``POST /containers/create``."""

    image: str = ""
    hostname: str = ""
    domainname: str = ""
    user: str = ""
    env: list[str] = []
    cmd: list[str] | str | None = None
    entrypoint: list[str] | str | None = None
    working_dir: str = ""
    labels: dict[str, str] = {}
    stop_signal: str = ""
    stop_timeout: int | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, object] = {}
    volumes: dict[str, object] = {}
    network_disabled: bool = False
    mac_address: str = ""
    healthcheck: Healthcheck = Healthcheck()
    host_config: HostConfig = HostConfig()
    networking_config: NetworkingConfig = NetworkingConfig()


class ContainerUpdate(Limits, frozen=True, kw_only=True, rename="pascal"):
    """The body of ``POST /containers/{id}/update``."""

    restart_policy: RestartSetting = RestartSetting()
