"""Containers as ``ps`` and ``inspect`` show them."""

from __future__ import annotations

from linkspan.api.versions import Version
from linkspan.api.wire import times
from linkspan.api.wire.decoding import Json
from linkspan.api.wire.endpoints import endpoint_settings
from linkspan.api.wire.host_config import host_config
from linkspan.api.wire.publications import exposed_names, port_list, port_map
from linkspan.api.wire.storage import driver_name
from linkspan.engine.views import ContainerView, MountPoint
from linkspan.model.container import ContainerState


def summary(view: ContainerView, *, now: float, version: Version) -> Json:
    """One entry of ``GET /containers/json``. ``now`` in Unix seconds, for "Up 5 minutes"."""
    container, spec = view.container, view.container.spec
    shown: Json = {
        "Id": container.id,
        "Names": [f"/{container.name}"],
        "Image": spec.image,
        "ImageID": container.image_id,
        "Command": " ".join(view.command),
        "Created": int(container.created),
        "Ports": port_list(view),
        "Labels": _labels(view),
        "State": view.state.status,
        "Status": status(view.state, now),
        "HostConfig": {"NetworkMode": spec.network_mode.raw},
        "NetworkSettings": {"Networks": _networks(view, version)},
        "Mounts": [_mount(each) for each in view.mounts],
    }
    if view.size_rw is not None:
        shown["SizeRw"] = view.size_rw
        shown["SizeRootFs"] = _root_size(view)
    return shown


def inspect(view: ContainerView, *, version: Version) -> Json:
    """``GET /containers/{id}/json``."""
    container = view.container
    shown: Json = {
        "Id": container.id,
        "Created": times.rfc3339(container.created),
        "Path": view.command[0] if view.command else "",
        "Args": list(view.command[1:]),
        "State": _state(view.state),
        "Image": container.image_id,
        "ResolvConfPath": view.resolv_path,
        "HostnamePath": view.hostname_path,
        "HostsPath": view.hosts_path,
        "LogPath": view.log_path,
        "Name": f"/{container.name}",
        "RestartCount": view.state.restart_count,
        "Driver": driver_name(view.storage_driver),
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(view.exec_ids) or None,
        "HostConfig": {**host_config(container.spec), "Runtime": view.runtime or "runc"},
        "GraphDriver": {
            "Name": driver_name(view.storage_driver),
            "Data": {"MergedDir": view.root_path} if view.root_path else {},
        },
        "Mounts": [_mount(each) for each in view.mounts],
        "Config": _config(view),
        "NetworkSettings": _network_settings(view, version),
    }
    if view.size_rw is not None:
        shown["SizeRw"] = view.size_rw
        shown["SizeRootFs"] = _root_size(view)
    return shown


def status(state: ContainerState, now: float) -> str:
    """Docker's words: ``Up 5 minutes (Paused)``, ``Exited (0) 3 weeks ago``."""
    up = f"Up {times.span(now - state.started)}"
    ago = f"{times.span(now - state.finished)} ago"
    if state.status == "running":
        return up
    if state.status == "paused":
        return f"{up} (Paused)"
    if state.status == "restarting":
        return f"Restarting ({state.exit_code}) {ago}"
    if state.status == "removing":
        return "Removal In Progress"
    if state.status == "dead":
        return "Dead"
    if state.status == "created" or not state.started:
        return "Created"
    return f"Exited ({state.exit_code}) {ago}" if state.finished else ""


def _state(state: ContainerState) -> Json:
    return {
        "Status": state.status,
        "Running": state.running or state.status == "restarting",
        "Paused": state.status == "paused",
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": state.status == "dead",
        "Pid": state.pid if state.running else 0,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": times.rfc3339(state.started),
        "FinishedAt": times.rfc3339(state.finished),
    }


def _config(view: ContainerView) -> Json:
    """The configuration that runs: the request's, and the image's where the request said nothing."""
    spec, image = view.container.spec, view.image_config
    exposed = exposed_names(view)
    entrypoint = view.command[: view.entrypoint_length]
    command = view.command[view.entrypoint_length :]
    shown: Json = {
        "Hostname": spec.hostname or _default_hostname(view),
        "Domainname": spec.domainname,
        "User": spec.user or image.user,
        "AttachStdin": spec.attach_stdin,
        "AttachStdout": spec.attach_stdout,
        "AttachStderr": spec.attach_stderr,
        "Tty": spec.tty,
        "OpenStdin": spec.open_stdin,
        "StdinOnce": spec.stdin_once,
        "Env": _environment(view),
        "Cmd": list(command) or None,
        "Image": spec.image,
        "Volumes": {path: {} for path in (*image.volumes, *spec.volumes)} or None,
        "WorkingDir": spec.working_dir or image.working_dir,
        "Entrypoint": list(entrypoint) or None,
        "OnBuild": None,
        "Labels": _labels(view),
    }
    if exposed:
        shown["ExposedPorts"] = {name: {} for name in exposed}
    if spec.network_disabled:
        shown["NetworkDisabled"] = True
    if spec.stop_signal or image.stop_signal:
        shown["StopSignal"] = spec.stop_signal or image.stop_signal
    if spec.stop_timeout is not None:
        shown["StopTimeout"] = spec.stop_timeout
    return shown


def _default_hostname(view: ContainerView) -> str:
    """Host and ``container:`` modes borrow their name; others are called by their id."""
    return "" if view.container.spec.network_mode.kind in ("host", "container") else view.container.id[:12]


def _environment(view: ContainerView) -> list[str]:
    """The image's variables, replaced or followed by the container's."""
    variables = {text.partition("=")[0]: text for text in view.image_config.env}
    variables |= {text.partition("=")[0]: text for text in view.container.spec.env}
    return list(variables.values())


def _labels(view: ContainerView) -> dict[str, str]:
    return {**view.image_config.labels, **view.container.spec.labels}


def _networks(view: ContainerView, version: Version) -> Json:
    shown: Json = {
        each.network.name: endpoint_settings(each, view.container, running=view.state.running, version=version)
        for each in view.networks
    }
    kind = view.container.spec.network_mode.kind
    if kind in ("host", "none") and kind not in shown:
        shown[kind] = endpoint_settings(None, view.container, running=view.state.running, version=version)
    return shown


def _network_settings(view: ContainerView, version: Version) -> Json:
    """The old members at the top describe the default bridge (deprecated since API 1.21; docker-py reads them)."""
    networks = _networks(view, version)
    default = networks.get("bridge")
    first = default if isinstance(default, dict) else {}
    members = ("EndpointID", "Gateway", "GlobalIPv6Address", "IPAddress", "IPv6Gateway", "MacAddress")
    old: Json = {name: first.get(name, "") for name in members}
    lengths: Json = {name: first.get(name, 0) for name in ("GlobalIPv6PrefixLen", "IPPrefixLen")}
    return {
        "Bridge": "",
        "SandboxID": view.sandbox_id,
        "SandboxKey": view.sandbox_path,
        "Ports": port_map(view),
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **old,
        **lengths,
        "Networks": networks,
    }


def _mount(point: MountPoint) -> Json:
    mount = point.mount
    shown: Json = {
        "Type": mount.kind,
        "Source": point.source,
        "Destination": mount.target,
        "Mode": _mode(mount.text),
        "RW": not mount.read_only,
        "Propagation": (mount.propagation or "rprivate") if mount.kind == "bind" else "",
    }
    if mount.kind == "volume":
        shown |= {"Name": mount.source, "Driver": "local"}
    return shown


def _mode(text: str) -> str:
    """The options of a ``-v`` text."""
    parts = text.split(":")
    return parts[2] if len(parts) == 3 else ""


def _root_size(view: ContainerView) -> int:
    return (view.size_rw or 0) + (view.image.size if view.image else 0)
