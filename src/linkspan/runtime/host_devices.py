"""Device nodes of this host, for ``--device`` and ``--privileged``."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from linkspan.errors import InvalidRequest
from linkspan.model.container import Device
from linkspan.runtime.devices import DeviceNode

_SKIPPED = frozenset(("pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev"))
"""Entries of /dev that each container has of its own (moby, ``runconfig``'s HostDevices)."""


def device_nodes(asked: tuple[Device, ...], *, privileged: bool) -> tuple[DeviceNode, ...]:
    """The nodes for one container: those asked for (a folder means all in it), or every one of the host's.

    InvalidRequest for a path that does not exist or is no device.
    """
    found: list[DeviceNode] = []
    if privileged:
        found += _below(Path("/dev"), "/dev", "rwm", _SKIPPED)
    for device in asked:
        if not device.access or set(device.access) - set("rwm"):
            raise InvalidRequest(f'invalid device access "{device.access}"', remedy="use some of r, w and m")
        path = Path(device.host_path)
        if path.is_dir():
            found += _below(path, device.container_path, device.access, frozenset())
            continue
        node = _node(path, device.container_path, device.access)
        if node is None:
            raise InvalidRequest(f'"{device.host_path}" is not a device node')
        found.append(node)
    return tuple({node.path: node for node in found}.values())


def _below(folder: Path, inside: str, access: str, skipped: frozenset[str]) -> list[DeviceNode]:
    found: list[DeviceNode] = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name in skipped or entry.is_symlink():
            continue
        if entry.is_dir(follow_symlinks=False):
            found += _below(Path(entry.path), f"{inside}/{entry.name}", access, skipped)
        elif node := _node(Path(entry.path), f"{inside}/{entry.name}", access):
            found.append(node)
    return found


def _node(path: Path, inside: str, access: str) -> DeviceNode | None:
    try:
        status = path.stat()
    except OSError as error:
        raise InvalidRequest(f'error gathering device information: "{path}": {error.strerror}') from error
    kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
    if not kind:
        return None
    return DeviceNode(
        path=inside,
        kind=kind,
        major=os.major(status.st_rdev),
        minor=os.minor(status.st_rdev),
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        access=access,
    )
