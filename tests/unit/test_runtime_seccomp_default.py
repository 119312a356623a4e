"""Docker's default seccomp profile, made from Podman's."""

from __future__ import annotations

import errno

import pytest

from linkspan.runtime import oci
from linkspan.runtime.facts import Facts
from linkspan.runtime.seccomp import Condition, Profile, Rule, settle
from linkspan.runtime.seccomp_default import GUARDED, NAMESPACES, like_docker

PODMANS = Profile(
    default_action="SCMP_ACT_ERRNO",
    default_errno_ret=errno.ENOSYS,
    syscalls=(
        Rule(action="SCMP_ACT_ALLOW", names=("read", "unshare", "mount", "clone", "clone3", "keyctl", "socket")),
        Rule(action="SCMP_ACT_ERRNO", errno_ret=1, names=("vmsplice", "kexec_load")),
        Rule(action="SCMP_ACT_ALLOW", name="syslog", includes=Condition(caps=("CAP_SYSLOG",))),
    ),
)
FACTS = Facts(architecture="amd64", kernel=(6, 1))
CLONE_NEWUSER, CLONE_THREAD, CLONE_VM = 0x10000000, 0x00010000, 0x00000100


def answer(name: str, *capabilities: str, first: int = 0, facts: Facts = FACTS) -> str | int:
    """What the profile does with a call: ``allow``, or an errno. AssertionError when rules disagree."""
    section = settle(like_docker(PODMANS), capabilities, facts)
    found = {
        "allow" if rule.action == "SCMP_ACT_ALLOW" else rule.errno_ret or 0
        for rule in section.syscalls
        if name in rule.names and all(holds(argument, first) for argument in rule.args)
    }
    assert len(found) <= 1, f"{name}: {found}"
    return found.pop() if found else section.default_errno_ret or 0


def holds(argument: oci.SeccompArgument, value: int) -> bool:
    match argument.op:
        case "SCMP_CMP_EQ":
            return value == argument.value
        case "SCMP_CMP_NE":
            return value != argument.value
        case _:
            return value & argument.value == argument.value_two


def test_what_the_given_profile_says_of_other_calls_stays() -> None:
    assert answer("read") == "allow"
    assert answer("kexec_load") == errno.EPERM
    assert answer("a_call_of_next_year") == errno.ENOSYS


@pytest.mark.parametrize(("capabilities", "names"), GUARDED.items())
def test_guarded_calls_need_one_of_their_capabilities(capabilities: tuple[str, ...], names: str) -> None:
    for name in names.split():
        assert answer(name) == errno.EPERM
        for capability in capabilities:
            assert answer(name, capability) == "allow"
        if capabilities:
            assert answer(name, *capabilities) == "allow"


def test_new_namespaces_need_the_administrators_capability() -> None:
    assert answer("clone", first=CLONE_THREAD | CLONE_VM) == "allow"
    for flag in NAMESPACES:
        assert answer("clone", first=flag | CLONE_VM) == errno.EPERM
        assert answer("clone", "CAP_SYS_ADMIN", first=flag) == "allow"
    assert answer("clone3") == errno.ENOSYS, "so that the C library takes clone, whose flags a filter can see"
    assert answer("clone3", "CAP_SYS_ADMIN") == "allow"


def test_calls_that_docker_allows_are_allowed() -> None:
    assert answer("vmsplice") == "allow"
    assert answer("futex_waitv") == "allow"


def test_sockets_are_free_but_for_those_to_the_hypervisor() -> None:
    assert answer("socket", first=2) == "allow"
    assert answer("socket", first=40) == errno.EPERM


def test_the_flags_of_clone_are_the_second_argument_on_s390() -> None:
    section = settle(like_docker(PODMANS), (), Facts(architecture="s390x", kernel=(6, 1)))
    assert [argument.index for rule in section.syscalls if "clone" in rule.names for argument in rule.args] == [1]
