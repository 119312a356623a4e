"""The face of a kernel: the real one (``linux``) and the one on dictionaries (``fake``) behave alike."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol, runtime_checkable

from linkspan.kernel.diff import Step
from linkspan.kernel.state import Object, State, Sysctl


class StepFailed(Exception):
    """The kernel refused one step. ``done`` steps before it were applied and still stand.

    The refused step itself leaves nothing behind, but an update may be half made.

    ``code`` is an errno (errno(3)), 0 where there is none. Raised by ``Kernel.apply`` alone; the worker undoes what
    was done and turns it into ``linkspan.errors.KernelFailure``.
    """

    def __init__(self, step: Step, done: int, code: int, reason: str) -> None:
        super().__init__(reason)
        self.step = step
        self.done = done
        self.code = code
        self.reason = reason


class Kernel(Protocol):
    """Applies steps and reads back. Blocking; used by one thread only."""

    def apply(self, steps: Sequence[Step]) -> None:
        """Applies the steps in order, batching what stands together.

        Deleting what is absent is success. Creating what exists already is success when it carries our mark and
        agrees. Raises ``StepFailed``.
        """
        ...

    def expect(self, objects: Iterable[Object]) -> None:
        """Tells what may be live, for what a kernel cannot tell by itself: a table's text, which values are ours."""
        ...

    def read(self, namespaces: Collection[str]) -> State:
        """All objects that carry our mark, on the host and inside the named namespaces of ours.

        A namespace that does not exist contributes nothing.
        """
        ...

    def read_host(self, known: State) -> State:
        """As ``read``, but only what can be seen from the host, without a question to any sandbox.

        Of a pair of veths that is the outer end: what is inside is told as in ``known``, and pairs and namespaces that
        are not in ``known`` are left out.
        """
        ...

    def settings(self, items: Sequence[Sysctl]) -> list[str | None]:
        """The values of the host that are there now, in order; None for what does not exist."""
        ...

    def pins(self) -> frozenset[str]:
        """Names of all namespaces of ours, and of what is left of some."""
        ...


@runtime_checkable
class Discarding(Protocol):
    """What a kernel may be able to do besides: put links and namespaces out of service now, collect them later.

    Deleting a link blocks for 14 to 22 ms, in bulk a fraction of that. What was discarded is read back no more. The
    name of a namespace is free at once, those of both ends of a veth pair when it was collected.
    """

    def discard(self, veths: Collection[str], namespaces: Collection[str]) -> None:
        """Takes host's ends of pairs down and unpins namespaces, by name. Absence is success. Raises OSError."""
        ...

    def sweep(self, limit: int) -> int:
        """Removes at most ``limit`` of what was discarded, in bulk. Returns how many wait still. Raises OSError."""
        ...
