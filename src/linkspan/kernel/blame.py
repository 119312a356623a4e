"""Refusals of the kernel as people read them: scope, object and the kernel's reason."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from linkspan.errors import Conflict, KernelFailure
from linkspan.kernel.diff import Create, Delete, Update
from linkspan.kernel.face import StepFailed
from linkspan.kernel.render import describe
from linkspan.kernel.state import Bridge, Key, Scope, State, Sysctl, Veth

GONE = (errno.ENOENT, errno.ENODEV)
UNBRIDGED = (errno.EINVAL, errno.EOPNOTSUPP)
"""A port whose bridge goes while it is made: do_set_master and do_setlink in net/core/rtnetlink.c."""


def refusal(failure: StepFailed, wants: Mapping[Scope, State], owners: Mapping[Key, Scope]) -> Conflict | KernelFailure:
    """What a person is told: people choose the names of links on the host, so a name that is taken is a conflict."""
    item = failure.step.object
    if failure.code == errno.EEXIST and isinstance(failure.step, Create) and isinstance(item, Bridge | Veth):
        return Conflict(
            f"cannot create {describe(item)}: {failure.reason}",
            whose=blame(failure, wants, owners).whose,
            remedy="remove that or choose another name",
        )
    return blame(failure, wants, owners, remedy=_remedy(failure))


def blame(
    failure: StepFailed, wants: Mapping[Scope, State], owners: Mapping[Key, Scope], remedy: str = ""
) -> KernelFailure:
    """The failure as people read it: scope, object and the kernel's reason."""
    item = failure.step.object
    scope = next((scope for scope, state in wants.items() if item.key in state), None) or owners.get(item.key)
    match failure.step:
        case Create():
            verb = "create"
        case Update():
            verb = "change"
        case Delete():
            verb = "remove"
    owner = named(scope) if scope else "left over"
    what = f"{owner}: cannot {verb} {describe(item)}: {failure.reason}"
    return KernelFailure(what, whose=scope[1] if scope else "", remedy=remedy)


def _remedy(failure: StepFailed) -> str:
    """What is applied in order finds its places missing only when somebody else took them away."""
    if isinstance(failure.step.object, Sysctl) and failure.step.object.link:
        return "look whether this kernel has that setting and takes that value"
    if lacks_ground(failure):
        return "somebody removed what it stands on, which is put back within a second: try again"
    return ""


def lacks_ground(failure: StepFailed) -> bool:
    """Whether what an object stands on was taken away by somebody, just before we came."""
    item = failure.step.object
    if isinstance(failure.step, Delete) or (isinstance(item, Sysctl) and item.link):
        return False
    return failure.code in GONE or (isinstance(item, Veth) and failure.code in UNBRIDGED)


def named(scope: Scope) -> str:
    """A scope as people read it: ``network 0a1b2c``."""
    kind, identity = scope
    return f"{kind} {identity[:12]}" if identity else kind


def reason(error: OSError) -> str:
    """The kernel's own words for an errno."""
    return os.strerror(error.errno) if error.errno else str(error)
