"""Docker's default seccomp profile, made from the one that the distribution ships for Podman. PURE.

Podman's profile serves containers without root: it lets everybody make user namespaces and mount in them. Docker's
does not, and neither do we: much of what went wrong in kernels could be reached that way only. What is named here
replaces whatever the given profile says about it. Source: moby, "Seccomp security profiles for Docker", the table
"Significant syscalls blocked by the default profile", and ``profiles/seccomp``.
"""

from __future__ import annotations

import errno

import msgspec

from linkspan.runtime import oci
from linkspan.runtime.seccomp import Condition, Profile, Rule

ALLOW, ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
ADMIN = "CAP_SYS_ADMIN"

GUARDED: dict[tuple[str, ...], str] = {
    (ADMIN,): "mount umount umount2 unshare setns fsopen fsconfig fsmount fspick open_tree move_mount mount_setattr",
    (ADMIN, "CAP_SYSLOG"): "syslog",
    ("CAP_SYS_BOOT",): "reboot",
    ("CAP_SYS_NICE",): "get_mempolicy set_mempolicy mbind set_mempolicy_home_node",
    ("CAP_SYS_PTRACE",): "pidfd_getfd",
    (): "pivot_root keyctl add_key request_key userfaultfd io_uring_setup io_uring_enter io_uring_register",
}
"""Calls by the capabilities of which any one allows them; without one they fail with EPERM."""

ALLOWED = """io_pgetevents io_pgetevents_time64 vmsplice futex_waitv futex_wait futex_wake futex_requeue fchmodat2
    cachestat mseal map_shadow_stack uretprobe statmount listmount getxattrat setxattrat listxattrat removexattrat"""
"""Calls that everybody may make and that are newer than the distribution's profile, or that it leaves out."""

NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
"""The flags of clone(2) that make a mount, cgroup, UTS, IPC, user, pid or network namespace (linux/sched.h)."""
AF_VSOCK = 40
"""Sockets to the hypervisor know no network namespace (linux/socket.h, vsock(7))."""
SWAPPED = ("s390", "s390x")
"""Architectures where clone's flags are its second argument (clone(2))."""


def like_docker(profile: Profile) -> Profile:
    """The profile with Docker's answers for everything that is named above."""
    guarded = [(capabilities, tuple(names.split())) for capabilities, names in GUARDED.items()]
    allowed = tuple(ALLOWED.split())
    ours = {"clone", "clone3", "socket", *allowed}.union(*(names for _, names in guarded))
    kept = [_without(rule, ours) for rule in profile.syscalls or ()]
    return msgspec.structs.replace(
        profile,
        syscalls=(
            *(rule for rule in kept if rule.names),
            Rule(action=ALLOW, names=allowed),
            *(rule for capabilities, names in guarded for rule in _guarded(names, capabilities)),
            *_socket(),
            *_clone(),
        ),
    )


def _without(rule: Rule, ours: set[str]) -> Rule:
    names = rule.names or ((rule.name,) if rule.name else ())
    return msgspec.structs.replace(rule, name="", names=tuple(name for name in names if name not in ours))


def _guarded(names: tuple[str, ...], capabilities: tuple[str, ...]) -> list[Rule]:
    """No two of them apply at once: libseccomp takes no rule twice."""
    rules = [
        Rule(
            action=ALLOW,
            names=names,
            includes=Condition(caps=(capability,)),
            excludes=Condition(caps=capabilities[:place]) if place else None,
        )
        for place, capability in enumerate(capabilities)
    ]
    refusal = Condition(caps=capabilities) if capabilities else None
    return [*rules, Rule(action=ERRNO, errno_ret=errno.EPERM, names=names, excludes=refusal)]


def _socket() -> list[Rule]:
    vsock = oci.SeccompArgument(index=0, value=AF_VSOCK, op="SCMP_CMP_EQ")
    others = msgspec.structs.replace(vsock, op="SCMP_CMP_NE")
    return [
        Rule(action=ALLOW, names=("socket",), args=(others,)),
        Rule(action=ERRNO, errno_ret=errno.EPERM, names=("socket",), args=(vsock,)),
    ]


def _clone() -> list[Rule]:
    """clone(2) without new namespaces for everybody; clone3(2), whose flags no filter sees, is "not there"."""
    unprivileged = Condition(caps=(ADMIN,), arches=SWAPPED)
    swapped = Condition(arches=SWAPPED)
    free = oci.SeccompArgument(index=0, value=sum(NAMESPACES), value_two=0, op="SCMP_CMP_MASKED_EQ")
    free_swapped = msgspec.structs.replace(free, index=1)
    return [
        Rule(action=ALLOW, names=("clone", "clone3"), includes=Condition(caps=(ADMIN,))),
        Rule(action=ALLOW, names=("clone",), args=(free,), excludes=unprivileged),
        Rule(action=ALLOW, names=("clone",), args=(free_swapped,), includes=swapped, excludes=Condition(caps=(ADMIN,))),
        *(_refused_clone(flag, unprivileged) for flag in NAMESPACES),
        Rule(action=ERRNO, errno_ret=errno.ENOSYS, names=("clone3",), excludes=Condition(caps=(ADMIN,))),
    ]


def _refused_clone(flag: int, unprivileged: Condition) -> Rule:
    """EPERM, where the profile's default is "not there"."""
    argument = oci.SeccompArgument(index=0, value=flag, value_two=flag, op="SCMP_CMP_MASKED_EQ")
    return Rule(action=ERRNO, errno_ret=errno.EPERM, names=("clone",), args=(argument,), excludes=unprivileged)
