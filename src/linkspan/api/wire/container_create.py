"""``POST /containers/create`` and ``update`` -> the model. Whatever can be refused without looking around, is."""

from __future__ import annotations

import re
from ipaddress import ip_address

from linkspan.api.wire import limits, logs, mounts, network_modes, ports, security, signals
from linkspan.api.wire.container_types import (
    ContainerCreate,
    ContainerUpdate,
    HostConfig,
    RestartSetting,
)
from linkspan.errors import InvalidRequest, NotSupported
from linkspan.model.container import (
    ContainerSpec,
    NetworkMode,
    Resources,
    RestartPolicy,
)
from linkspan.model.sources import publish_sources

DEFAULT_SHM = 64 * 1024 * 1024
_HOST_NAME = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_-]*[a-zA-Z0-9_])?(\.[a-zA-Z0-9_]([a-zA-Z0-9_-]*[a-zA-Z0-9_])?)*")
_SYSCTL = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.\-/]*")
_RUNTIMES = ("", "runc", "crun", "io.containerd.runc.v2")


def container_spec(create: ContainerCreate) -> tuple[ContainerSpec, tuple[str, ...]]:
    """The definition that a request asks for, and warnings for the person."""
    if not create.image:
        raise InvalidRequest("Config.Image is empty: a container needs an image")
    host = create.host_config
    mode = network_modes.network_mode(host.network_mode)
    network_modes.check_mode(create, mode)
    _refuse_unsupported(create, host)
    warnings: list[str] = []
    spec = ContainerSpec(
        image=create.image,
        hostname=_host_name(create.hostname, "hostname"),
        domainname=_host_name(create.domainname, "domain name"),
        user=create.user or None,
        env=_environment(create.env),
        command=_words(create.cmd) or None,
        entrypoint=_entrypoint(create.entrypoint),
        working_dir=_working_dir(create.working_dir),
        labels=create.labels,
        stop_signal=signals.checked(create.stop_signal) if create.stop_signal else None,
        stop_timeout=create.stop_timeout,
        tty=create.tty,
        open_stdin=create.open_stdin,
        stdin_once=create.stdin_once,
        attach_stdin=create.attach_stdin,
        attach_stdout=create.attach_stdout,
        attach_stderr=create.attach_stderr,
        exposed_ports=ports.exposed(create.exposed_ports),
        network_mode=mode,
        endpoints=() if create.network_disabled else network_modes.endpoints(create, mode),
        network_disabled=create.network_disabled,
        mounts=mounts.mounts(host),
        volumes=tuple(create.volumes),
        read_only=host.readonly_rootfs,
        init=bool(host.init),
        auto_remove=host.auto_remove,
        restart=restart_policy(host.restart_policy, host.auto_remove),
        resources=limits.resources(host),
        security=security.security(host, warnings),
        sysctls=_sysctls(host.sysctls, mode),
        extra_hosts=tuple(_extra_host(text) for text in host.extra_hosts),
        dns=tuple(_name_server(text) for text in host.dns),
        dns_search=tuple(_search(text) for text in host.dns_search),
        dns_options=tuple(_one_word(text, "DNS option") for text in host.dns_options),
        group_add=tuple(_one_word(text, "group") for text in host.group_add),
        ipc_mode=_shared(host.ipc_mode, "IPC", ("private", "shareable", "none", "host")) or "private",
        pid_mode=_shared(host.pid_mode, "PID", ("host", "private")),
        uts_mode=_one_of(host.uts_mode, "UTS", ("host",)),
        cgroupns_mode=_one_of(host.cgroupns_mode, "cgroup namespace", ("private", "host")),
        cgroup_parent=_cgroup_parent(host.cgroup_parent),
        shm_size=_shm_size(host.shm_size),
        oom_score_adj=_oom_score(host.oom_score_adj),
        log=logs.log_config(host.log_config, warnings),
        port_bindings=ports.bindings(host.port_bindings),
        publish_all=host.publish_all_ports,
        links=tuple(host.links),
        publish_sources=publish_sources(create.labels),
    )
    if mode.kind == "bridge" and not spec.publish_all:
        ports.check_sources(spec.publish_sources, spec.port_bindings)
        if spec.publish_sources and not spec.port_bindings:
            warnings.append("limited sources have no effect: no port is published")
    if mode.kind == "host" and (spec.port_bindings or spec.publish_all):
        warnings.append("Published ports are discarded when using host network mode")
    if mode.kind == "none" and spec.port_bindings:
        warnings.append("nothing is published: the container is on no network")
    return spec, tuple(warnings)


def update(request: ContainerUpdate) -> tuple[Resources, RestartPolicy | None]:
    """What ``docker update`` changes; None leaves the restart policy."""
    restart = restart_policy(request.restart_policy, False) if request.restart_policy.name else None
    return limits.resources(request), restart


def restart_policy(setting: RestartSetting, auto_remove: bool) -> RestartPolicy:
    name, count = setting.name or "no", setting.maximum_retry_count
    if count < 0:
        raise InvalidRequest(f"invalid restart policy: maximum retry count {count} cannot be negative")
    if count and name != "on-failure":
        raise InvalidRequest("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if auto_remove and name != "no":
        raise InvalidRequest(f"can't create 'AutoRemove' container with restart policy {name!r}")
    if name == "no":
        return RestartPolicy()
    if name == "always":
        return RestartPolicy(name="always")
    if name == "unless-stopped":
        return RestartPolicy(name="unless-stopped")
    if name == "on-failure":
        return RestartPolicy(name="on-failure", max_retries=count)
    raise InvalidRequest(
        f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
    )


def _refuse_unsupported(create: ContainerCreate, host: HostConfig) -> None:
    """What would change how the container runs is refused, not forgotten."""
    asked = {
        "Healthcheck": create.healthcheck.test and create.healthcheck.test[0] not in ("", "NONE"),
        "VolumesFrom": host.volumes_from,
        "StorageOpt": host.storage_opt,
        "Cgroup": host.cgroup,
        f"VolumeDriver {host.volume_driver}": host.volume_driver not in ("", "local"),
        f"UsernsMode {host.userns_mode}": host.userns_mode not in ("", "host"),
        f"Isolation {host.isolation}": host.isolation not in ("", "default"),
    }
    for name, value in asked.items():
        if value:
            raise NotSupported(f"the option {name} is not supported")
    if host.runtime not in _RUNTIMES:
        raise InvalidRequest(f"unknown or invalid runtime name: {host.runtime}")


def _words(value: list[str] | str | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def _entrypoint(value: list[str] | str | None) -> tuple[str, ...] | None:
    """None keeps the image's; ``""`` and ``[""]``, which ``--entrypoint ''`` sends, reset it."""
    if value is None:
        return None
    words = _words(value)
    return () if words == ("",) else words


def _environment(env: list[str]) -> tuple[str, ...]:
    for text in env:
        if not text or text.startswith("=") or "\0" in text:
            raise InvalidRequest(f"invalid environment variable: {text!r}")
    return tuple(env)


def _working_dir(path: str) -> str | None:
    if path and not path.startswith("/"):
        raise InvalidRequest(f"the working directory '{path}' is invalid, it needs to be an absolute path")
    return path or None


def _host_name(text: str, what: str) -> str:
    if text and (len(text) > 253 or not _HOST_NAME.fullmatch(text)):
        raise InvalidRequest(f"invalid {what} format: {text}")
    return text


def _extra_host(text: str) -> str:
    """``name:address`` or ``name=address``, the address in brackets or not, or ``host-gateway``."""
    at = min((place for place in (text.find(":"), text.find("=")) if place >= 0), default=-1)
    name, address = text[:at], text[at + 1 :].removeprefix("[").removesuffix("]")
    if at < 1 or not _HOST_NAME.fullmatch(name):
        raise InvalidRequest(f"bad format for add-host: {text!r}")
    if address != "host-gateway":
        _address(address, f"invalid IP address in add-host: {address!r}")
    return f"{name}:{address}"


def _name_server(text: str) -> str:
    return _address(text, f"{text} is not an IP address: --dns takes addresses only")


def _address(text: str, complaint: str) -> str:
    """An address as it stands. A zone (``%eth0``) is refused: Python lets it hold anything, line ends too."""
    try:
        ip_address(text.replace("%", " "))
    except ValueError:
        raise InvalidRequest(complaint) from None
    return text


def _search(text: str) -> str:
    return text if text == "." else _host_name(text.removesuffix("."), "search domain")


def _one_word(text: str, what: str) -> str:
    if not text or not text.isprintable() or " " in text:
        raise InvalidRequest(f"invalid {what} {text!r}")
    return text


def _cgroup_parent(path: str) -> str:
    """A path below the root of each hierarchy. A part of it is a folder's name: 255 bytes at most (NAME_MAX)."""
    if not path:
        return ""
    if len(path.encode()) > 1024 or any(len(part.encode()) > 255 for part in path.split("/")):
        raise InvalidRequest(f"invalid cgroup parent {path[:32]!r}…: it is too long")
    return _one_word(path, "cgroup parent")


def _sysctls(sysctls: dict[str, str], mode: NetworkMode) -> dict[str, str]:
    for name in sysctls:
        if not _SYSCTL.fullmatch(name) or ".." in name:
            raise InvalidRequest(f"invalid sysctl name {name!r}")
        if name.startswith("net.") and mode.kind == "host":
            raise InvalidRequest(f"sysctl {name!r} not allowed in host network namespace")
    return sysctls


def _shared(text: str, what: str, known: tuple[str, ...]) -> str:
    if text.startswith("container:") and len(text) > len("container:"):
        return text
    return _one_of(text, what, known)


def _one_of(text: str, what: str, known: tuple[str, ...]) -> str:
    if text and text not in known:
        raise InvalidRequest(f"invalid {what} mode: {text}")
    return text


def _shm_size(size: int) -> int:
    if size < 0:
        raise InvalidRequest(f"SHM size can not be less than 0: {size}")
    return size or DEFAULT_SHM


def _oom_score(score: int) -> int:
    if not -1000 <= score <= 1000:
        raise InvalidRequest(f"Invalid value {score}, range for oom score adj is [-1000, 1000]")
    return score
