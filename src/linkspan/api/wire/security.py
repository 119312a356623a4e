"""Capabilities and ``--security-opt`` -> the model."""

from __future__ import annotations

import msgspec

from linkspan.api.wire.container_types import HostConfig
from linkspan.errors import InvalidRequest, NotSupported
from linkspan.model.container import Security

CAPABILITIES = frozenset(
    [
        "AUDIT_CONTROL",
        "AUDIT_READ",
        "AUDIT_WRITE",
        "BLOCK_SUSPEND",
        "BPF",
        "CHECKPOINT_RESTORE",
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "IPC_LOCK",
        "IPC_OWNER",
        "KILL",
        "LEASE",
        "LINUX_IMMUTABLE",
        "MAC_ADMIN",
        "MAC_OVERRIDE",
        "MKNOD",
        "NET_ADMIN",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_RAW",
        "PERFMON",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYSLOG",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_CHROOT",
        "SYS_MODULE",
        "SYS_NICE",
        "SYS_PACCT",
        "SYS_PTRACE",
        "SYS_RAWIO",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "WAKE_ALARM",
    ]
)
"""capabilities(7)"""


def security(host: HostConfig, warnings: list[str]) -> Security:
    """Checked settings; what is accepted without effect is named in ``warnings``."""
    no_new_privileges, seccomp = False, ""
    for text in host.security_opt:
        name, value = _split(text)
        if name == "no-new-privileges":
            no_new_privileges = _boolean(value, text)
        elif name == "seccomp":
            seccomp = _seccomp(value)
        elif name in ("label", "apparmor"):
            warnings.append(f"the security option {name} has no effect here")
        elif name == "systempaths":
            if value != "unconfined":
                raise InvalidRequest(f"invalid --security-opt: {text!r}")
        elif name == "writable-cgroups":
            raise NotSupported(f"the security option {name} is not supported")
        else:
            raise InvalidRequest(f"invalid --security-opt: {text!r}")
    bare = any(_split(text) == ("systempaths", "unconfined") for text in host.security_opt)
    return Security(
        privileged=host.privileged,
        cap_add=tuple(capability(each) for each in host.cap_add),
        cap_drop=tuple(capability(each) for each in host.cap_drop),
        no_new_privileges=no_new_privileges,
        seccomp=seccomp,
        masked_paths=_paths(host.masked_paths, bare),
        readonly_paths=_paths(host.readonly_paths, bare),
        options=tuple(host.security_opt),
    )


def capability(text: str) -> str:
    """``CAP_NET_ADMIN`` for ``net_admin``, ``NET_ADMIN`` and ``CAP_NET_ADMIN``; ``ALL`` for all."""
    name = text.strip().upper()
    if name == "ALL":
        return name
    name = name.removeprefix("CAP_")
    if name not in CAPABILITIES:
        raise InvalidRequest(f"invalid capability: {text!r}")
    return f"CAP_{name}"


def _split(text: str) -> tuple[str, str]:
    """Both ``name=value`` and the old ``name:value``."""
    at = min((place for place in (text.find("="), text.find(":")) if place >= 0), default=len(text))
    return text[:at], text[at + 1 :]


def _boolean(value: str, text: str) -> bool:
    if value.lower() in ("", "true", "1", "t"):
        return True
    if value.lower() in ("false", "0", "f"):
        return False
    raise InvalidRequest(f"invalid --security-opt: {text!r}")


def _seccomp(value: str) -> str:
    """Clients send the profile's text, not its path."""
    if value in ("", "unconfined"):
        return value
    if value == "builtin":
        return ""
    try:
        profile = msgspec.json.decode(value, type=dict[str, object])
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"invalid seccomp profile: {error}") from error
    if "defaultAction" not in profile:
        raise InvalidRequest("invalid seccomp profile: it has no defaultAction")
    return value


def _paths(paths: list[str] | None, bare: bool) -> tuple[str, ...] | None:
    if bare and not paths:
        return ()
    return None if paths is None else tuple(paths)
