"""Seccomp profiles: Docker's and containers-common's JSON turned into the OCI ``linux.seccomp`` object. PURE.

A profile's rules carry conditions (``includes``, ``excludes``) on capabilities, architecture and kernel version;
they are settled here, for one container. Sources: moby ``profiles/seccomp/seccomp_linux.go``, containers-common
``pkg/seccomp/types.go``, runtime-spec config-linux.md (Seccomp).
"""

from __future__ import annotations

import errno
from collections.abc import Collection

import msgspec

from linkspan.errors import InvalidRequest
from linkspan.runtime import oci
from linkspan.runtime.facts import Facts


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """All that is named must hold (``includes``), or none of it may (``excludes``)."""

    caps: tuple[str, ...] | None = None
    arches: tuple[str, ...] | None = None
    min_kernel: str | None = None


class ArchitectureFamily(msgspec.Struct, frozen=True, rename="camel"):
    architecture: str
    sub_architectures: tuple[str, ...] | None = None


class Rule(msgspec.Struct, frozen=True, rename="camel"):
    action: str
    names: tuple[str, ...] | None = None
    name: str = ""
    """The old spelling of a single name."""
    args: tuple[oci.SeccompArgument, ...] | None = None
    includes: Condition | None = None
    excludes: Condition | None = None
    errno_ret: int | None = None
    errno: str = ""


class Profile(msgspec.Struct, frozen=True, rename="camel"):
    """A parsed profile file."""

    default_action: str
    default_errno_ret: int | None = None
    default_errno: str = ""
    arch_map: tuple[ArchitectureFamily, ...] | None = None
    architectures: tuple[str, ...] | None = None
    flags: tuple[str, ...] | None = None
    syscalls: tuple[Rule, ...] | None = None


NATIVE = {
    "amd64": "SCMP_ARCH_X86_64",
    "arm64": "SCMP_ARCH_AARCH64",
    "arm": "SCMP_ARCH_ARM",
    "386": "SCMP_ARCH_X86",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "s390x": "SCMP_ARCH_S390X",
    "riscv64": "SCMP_ARCH_RISCV64",
}
"""libseccomp's name of each of Go's architectures."""


def parse(text: str | bytes) -> Profile:
    """A profile from JSON. InvalidRequest when it is none."""
    try:
        return msgspec.json.decode(text, type=Profile)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the seccomp profile cannot be read: {error}") from error


def settle(profile: Profile, capabilities: Collection[str], facts: Facts) -> oci.Seccomp:
    """The profile for one container. InvalidRequest for an unknown errno name or two architecture lists."""
    if profile.arch_map and profile.architectures:
        raise InvalidRequest('the seccomp profile has both "archMap" and "architectures"', remedy="keep one of them")
    rules = []
    for rule in profile.syscalls or ():
        names = rule.names or ((rule.name,) if rule.name else ())
        if not names or not _applies(rule, capabilities, facts):
            continue
        code = _errno(rule.errno, rule.errno_ret)
        rules.append(oci.SeccompRule(names=names, action=rule.action, errno_ret=code, args=rule.args or ()))
    return oci.Seccomp(
        default_action=profile.default_action,
        default_errno_ret=_errno(profile.default_errno, profile.default_errno_ret),
        architectures=_architectures(profile, facts.architecture),
        flags=profile.flags or (),
        syscalls=tuple(rules),
    )


def _applies(rule: Rule, capabilities: Collection[str], facts: Facts) -> bool:
    needs, bars = rule.includes or Condition(), rule.excludes or Condition()
    if bars.caps and any(name in capabilities for name in bars.caps):
        return False
    if bars.arches and facts.architecture in bars.arches:
        return False
    if bars.min_kernel and facts.kernel >= _version(bars.min_kernel):
        return False
    if needs.caps and not all(name in capabilities for name in needs.caps):
        return False
    if needs.arches and facts.architecture not in needs.arches:
        return False
    return not (needs.min_kernel and facts.kernel < _version(needs.min_kernel))


def _version(text: str) -> tuple[int, int]:
    parts = text.split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (ValueError, IndexError) as error:
        raise InvalidRequest(f'the seccomp profile names the kernel version "{text}"', remedy="write 5.8") from error


def _errno(name: str, number: int | None) -> int | None:
    if not name:
        return number
    for code, known in errno.errorcode.items():
        if known == name:
            return code
    if name.isdecimal():
        return int(name)
    raise InvalidRequest(f'the seccomp profile names the unknown error "{name}"')


def _architectures(profile: Profile, architecture: str) -> tuple[str, ...]:
    native = NATIVE.get(architecture, "")
    for family in profile.arch_map or ():
        if family.architecture == native:
            return (native, *(family.sub_architectures or ()))
    return profile.architectures or ()
