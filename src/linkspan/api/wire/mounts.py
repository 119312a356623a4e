"""``-v``, ``--mount`` and ``--tmpfs``: texts and settings -> the model's mounts, and back for ``inspect``."""

from __future__ import annotations

import posixpath
import re

from linkspan.api.wire.container_types import HostConfig, MountSetting
from linkspan.api.wire.decoding import Json
from linkspan.api.wire.sizes import size
from linkspan.errors import InvalidRequest, NotSupported
from linkspan.model.container import Mount

PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_TMPFS_VALUES = frozenset({"size", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"})
_TMPFS_SWITCHES = frozenset(
    "rw ro suid nosuid dev nodev exec noexec sync async dirsync mand nomand atime noatime diratime nodiratime "
    "relatime norelatime strictatime nostrictatime private rprivate slave rslave shared rshared".split()
)
"""tmpfs(5), and what mount(8) takes for every file system."""
_IGNORED = frozenset({"rw", "z", "Z", "consistent", "cached", "delegated", "copy", ""})
"""Options of ``-v`` that change nothing here: labels for SELinux, hints for other systems, defaults."""


def mounts(host: HostConfig) -> tuple[Mount, ...]:
    """All mounts of a create. InvalidRequest for a malformed one and for two on one target."""
    found = [bind(text) for text in host.binds]
    found += [mount(setting) for setting in host.mounts]
    found += [tmpfs(target, options) for target, options in host.tmpfs.items()]
    targets: set[str] = set()
    for each in found:
        if each.target in targets:
            raise InvalidRequest(f"Duplicate mount point: {each.target}")
        targets.add(each.target)
    return tuple(found)


def bind(text: str) -> Mount:
    """``source:target[:options]``, or ``target`` alone for an anonymous volume."""
    parts = text.split(":")
    if not all(parts[:2]) or len(parts) > 3 or "\0" in text:
        raise InvalidRequest(f"invalid volume specification: '{text}'")
    if len(parts) == 1:
        return Mount(kind="volume", target=_target(parts[0], text), anonymous=True, text=text)
    source, target = parts[0], _target(parts[1], text)
    read_only, no_copy, propagation = False, False, ""
    for option in parts[2].split(",") if len(parts) == 3 else ():
        if option == "ro":
            read_only = True
        elif option == "nocopy":
            no_copy = True
        elif option in PROPAGATIONS:
            propagation = option
        elif option not in _IGNORED:
            raise InvalidRequest(f"invalid mode '{option}' in the volume specification '{text}'")
    if source.startswith("/"):
        return Mount(
            kind="bind",
            source=posixpath.normpath(source),
            target=target,
            read_only=read_only,
            propagation=propagation,
            create_source=True,
            text=text,
        )
    if propagation:
        raise InvalidRequest(f"invalid volume specification: '{text}': propagation belongs to bind mounts")
    return Mount(kind="volume", source=_volume(source), target=target, read_only=read_only, no_copy=no_copy, text=text)


def mount(setting: MountSetting) -> Mount:
    """One entry of ``HostConfig.Mounts``."""
    target = _target(setting.target, setting.target)
    if setting.type == "bind":
        return _bind_mount(setting, target)
    if setting.type == "volume":
        return _volume_mount(setting, target)
    if setting.type == "tmpfs":
        if setting.source:
            raise InvalidRequest(f"invalid mount config for type 'tmpfs': source {setting.source!r} must not be given")
        options = setting.tmpfs_options
        if options.size_bytes < 0:
            raise InvalidRequest(f"invalid mount config for type 'tmpfs': negative size {options.size_bytes}")
        return Mount(
            kind="tmpfs",
            target=target,
            read_only=setting.read_only,
            tmpfs_size=options.size_bytes,
            tmpfs_mode=options.mode,
            tmpfs_options=tuple("=".join(option) for option in options.options),
        )
    if setting.type in ("npipe", "cluster", "image"):
        raise NotSupported(f"mount type {setting.type!r} is not supported; use bind, volume or tmpfs")
    raise InvalidRequest(f"mount type {setting.type!r} is unknown; use bind, volume or tmpfs")


def tmpfs(target: str, options: str) -> Mount:
    """One entry of ``HostConfig.Tmpfs``: ``size=64m,mode=1777,noexec``."""
    total, mode, rest = 0, 0, []
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        if name == "size" and value and not value.endswith("%"):
            total = size(value, f"tmpfs option {option!r}")
        elif name == "mode":
            mode = _octal(value, option)
        elif (name in _TMPFS_VALUES and value) or option in _TMPFS_SWITCHES:
            rest.append(option)
        else:
            raise InvalidRequest(f"invalid tmpfs option {option!r}")
    return Mount(
        kind="tmpfs",
        target=_target(target, target),
        read_only="ro" in rest,
        tmpfs_size=total,
        tmpfs_mode=mode,
        tmpfs_options=tuple(rest),
        text=f"{target}:{options}",
    )


def mount_setting(each: Mount) -> Json:
    """A mount as ``HostConfig.Mounts`` shows it."""
    shown: Json = {"Type": each.kind, "Target": each.target}
    if each.source:
        shown["Source"] = each.source
    if each.read_only:
        shown["ReadOnly"] = True
    if each.kind == "bind" and (each.propagation or each.non_recursive or each.create_source):
        shown["BindOptions"] = {
            "Propagation": each.propagation,
            "NonRecursive": each.non_recursive,
            "CreateMountpoint": each.create_source,
        }
    if each.kind == "volume" and each.no_copy:
        shown["VolumeOptions"] = {"NoCopy": True}
    if each.kind == "tmpfs" and (each.tmpfs_size or each.tmpfs_mode):
        shown["TmpfsOptions"] = {"SizeBytes": each.tmpfs_size, "Mode": each.tmpfs_mode}
    return shown


def _bind_mount(setting: MountSetting, target: str) -> Mount:
    options = setting.bind_options
    if not setting.source.startswith("/") or "\0" in setting.source:
        raise InvalidRequest(
            f"invalid mount config for type 'bind': source {setting.source!r} must be an absolute path"
        )
    if options.propagation and options.propagation not in PROPAGATIONS:
        raise InvalidRequest(f"invalid mount config for type 'bind': unknown propagation {options.propagation!r}")
    if options.read_only_force_recursive:
        raise NotSupported("recursive read-only bind mounts are not supported; use bind-recursive=writable")
    return Mount(
        kind="bind",
        source=posixpath.normpath(setting.source),
        target=target,
        read_only=setting.read_only,
        propagation=options.propagation,
        create_source=options.create_mountpoint,
        non_recursive=options.non_recursive,
    )


def _volume_mount(setting: MountSetting, target: str) -> Mount:
    options = setting.volume_options
    if options.driver_config.name not in ("", "local") or options.driver_config.options:
        raise NotSupported(
            f"volume driver {options.driver_config.name or 'local'!r} with options is not supported here"
        )
    if options.subpath:
        raise NotSupported(f"volume subpath {options.subpath!r} is not supported")
    return Mount(
        kind="volume",
        source=_volume(setting.source) if setting.source else "",
        target=target,
        read_only=setting.read_only,
        anonymous=not setting.source,
        no_copy=options.no_copy,
    )


def _target(path: str, text: str) -> str:
    if not path.startswith("/"):
        raise InvalidRequest(f"invalid mount {text!r}: the mount path must be absolute")
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if clean == "/":
        raise InvalidRequest(f"invalid mount {text!r}: the destination can't be '/'")
    if "\0" in clean:
        raise InvalidRequest(f"invalid mount {text!r}: a path holds no zero byte")
    return clean


def _volume(name: str) -> str:
    if not _VOLUME_NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} is not a volume name: it has letters, digits, '_', '.' and '-'",
            remedy="for a folder of the host use an absolute path",
        )
    return name


def _octal(text: str, option: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise InvalidRequest(f"invalid tmpfs option {option!r}: the mode is an octal number") from None
