"""Linux capabilities: their names, Docker's default set, and what a container gets. PURE.

Numbers are positions in ``NAMES`` (linux/capability.h).
"""

from __future__ import annotations

from collections.abc import Collection

from linkspan.errors import InvalidRequest, NotSupported
from linkspan.model.container import Security
from linkspan.runtime import oci

_KERNEL_ORDER = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT "
    "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE "
    "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ "
    "PERFMON BPF CHECKPOINT_RESTORE"
)
_DOCKER_DEFAULT = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE "
    "SYS_CHROOT KILL AUDIT_WRITE"
)

NAMES: tuple[str, ...] = tuple("CAP_" + name for name in _KERNEL_ORDER.split())

DEFAULT: frozenset[str] = frozenset("CAP_" + name for name in _DOCKER_DEFAULT.split())
"""Docker's default set (moby, ``oci/caps/defaults.go``)."""


def from_mask(mask: int) -> frozenset[str]:
    """The names in a capability mask as proc(5) shows it (``CapEff``). Unknown high bits are ignored."""
    return frozenset(name for number, name in enumerate(NAMES) if mask >> number & 1)


def full_name(text: str) -> str:
    """``net_admin`` or ``CAP_NET_ADMIN`` as ``CAP_NET_ADMIN``; ``all`` as ``ALL``. InvalidRequest if unknown."""
    name = text.upper()
    if name == "ALL":
        return name
    name = name if name.startswith("CAP_") else "CAP_" + name
    if name not in NAMES:
        raise InvalidRequest(f'unknown capability "{text}"', remedy="capabilities(7) lists the names")
    return name


def granted(security: Security, held: Collection[str]) -> tuple[str, ...]:
    """The container's capabilities in the kernel's order, by Docker's rules for ``--cap-add`` and ``--cap-drop``.

    ``held`` is what the daemon has: ``ALL``, ``--privileged`` and the default set shrink to it in silence, a
    capability asked for by name does not (NotSupported). InvalidRequest for an unknown name.
    """
    added = {full_name(name) for name in security.cap_add}
    dropped = {full_name(name) for name in security.cap_drop}
    missing = sorted(added - {"ALL"} - set(held))
    if missing:
        raise NotSupported(f"{missing[0]} cannot be granted: the daemon itself does not hold it")
    if security.privileged:
        wanted = set(NAMES)
    elif "ALL" in added:
        wanted = set(NAMES) - dropped
    elif "ALL" in dropped:
        wanted = added
    else:
        wanted = set(DEFAULT - dropped) | added
    return tuple(name for name in NAMES if name in wanted and name in held)


def for_user(names: tuple[str, ...], uid: int) -> oci.Capabilities:
    """Capability sets of a process. Whoever is not root starts without effective ones, as execve(2) has it."""
    active = names if uid == 0 else ()
    return oci.Capabilities(bounding=names, effective=active, permitted=active)
