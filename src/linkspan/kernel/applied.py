"""What we last put into the kernel, scope by scope, and how it changes: all or nothing.

Blocking, and used by the kernel thread alone (``kernel.worker``). A change that fails is undone from memory; when
that fails too, the kernel is read once and led back to what was, as far as it lets itself be led. What could not be
led back is remembered as it really is, so the next change of that scope repairs it.

Deletes are lazy: links and namespaces of a dissolved scope leave service at once and are collected later, in bulk.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import takewhile

import msgspec

from linkspan.errors import Conflict, KernelFailure
from linkspan.kernel.diff import Create, Delete, Step, Update, after, diff, places, touches
from linkspan.kernel.face import Discarding, Kernel, StepFailed
from linkspan.kernel.render import describe
from linkspan.kernel.state import Bridge, Key, Namespace, Object, Place, Scope, State, Veth

SWEEP = 16
"""Discarded objects collected in one go, so that nobody waits long behind a sweep."""


class Batch(msgspec.Struct, frozen=True):
    """Steps that are asked of the kernel in one call: to apply, or (all deletes) to discard."""

    steps: tuple[Step, ...]
    discards: bool = False


class Applied:
    """The memory of what holds, and the only one who changes it.

    Objects of a scope may stand on places of another: ports on a network's bridge, addresses in a sandbox's
    namespace. Whoever takes such a place away names the scopes that stand on it in the same call.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._bin: Discarding | None = kernel if isinstance(kernel, Discarding) else None
        self._scopes: dict[Scope, State] = {}
        self._owners: dict[Key, Scope] = {}
        self._discarded: set[Place] = set()
        """Places of what waits for a sweep: their names are still taken."""
        self._unswept = self._bin is not None
        """Whether anything may wait for a sweep; an earlier daemon may have left something."""

    def scope(self, scope: Scope) -> State:
        """What holds in a scope; empty for one that does not exist. Not to be changed."""
        return self._scopes.get(scope, {})

    def preview(self, wants: Mapping[Scope, State]) -> tuple[Step, ...]:
        """The steps that ``converge`` would take. Raises Conflict."""
        return diff(merged(wants, self._owners), self._have(wants))

    def converge(self, wants: Mapping[Scope, State], *, eager: bool = False) -> tuple[Step, ...]:
        """Makes these scopes hold exactly these objects; an empty state dissolves its scope. All or nothing.

        Links and namespaces of dissolved scopes are discarded, unless ``eager``: then they are gone on return.
        Raises Conflict when an object belongs to another scope or a bridge's name to somebody else, and
        KernelFailure, which names scope, object and the kernel's reason.
        """
        want, have = merged(wants, self._owners), self._have(wants)
        steps = diff(want, have)
        doomed = {key for scope, state in wants.items() if not state for key in self.scope(scope)}
        self._make_room(steps)
        done: list[Step] = []
        try:
            for batch in batches(steps, set() if eager or self._bin is None else doomed):
                self._ask(batch, done)
        except StepFailed as failure:
            if isinstance(failure.step, Update):
                done.append(failure.step)
            self._undo(wants, have, done)
            raise refusal(failure, wants, self._owners) from failure
        except OSError as error:
            self._restore(wants, have)
            raise KernelFailure(f"{named(next(iter(wants)))}: the kernel cannot be asked: {reason(error)}") from error
        self._remember(wants)
        return steps

    def resync(self, wants: Mapping[Scope, State], namespaces: Collection[str]) -> tuple[Step, ...]:
        """Makes the kernel hold exactly these scopes, whatever is there now: start-up, recovery, healing.

        ``wants`` is everything; ``namespaces`` are names of ours to look into besides the wanted ones. What
        carries our mark and is wanted by nobody goes. A step that fails does not stop the others: the failures
        are raised in the end as an ExceptionGroup of KernelFailure, and what they left undone is not remembered
        as applied. A scope whose link could not be made is dissolved: somebody else may have that name, whom its
        filters would judge. Conflict (two scopes want one object) and KernelFailure (the kernel cannot be read) are
        raised before anything is changed. The caller sees to it that no other change is on its way.
        """
        want = merged(wants, {})
        self._kernel.expect(want.values())
        have = self._live({*namespaces, *namespaces_of(want.values())})
        steps = diff(want, have)
        self._make_room(steps)
        garbage = have.keys() - want.keys()
        done, failures = self._best_effort(batches(steps, set() if self._bin is None else garbage))
        holds = after(have, done)
        self._scopes, self._owners = {}, {}
        self._remember({scope: {key: holds[key] for key in state if key in holds} for scope, state in wants.items()})
        unmade = {item.step.object.key for item in failures if isinstance(item.step, Create)}
        for scope, state in wants.items():
            if any(key in unmade and isinstance(state[key], Bridge | Veth) for key in state):
                with contextlib.suppress(KernelFailure):
                    self.converge({scope: {}}, eager=True)
        if failures:
            raise ExceptionGroup("the kernel refused some steps", [blame(item, wants, {}) for item in failures])
        return steps

    def sweep(self, limit: int = SWEEP) -> int:
        """Collects at most ``limit`` of what was discarded. Returns how many wait still. Raises KernelFailure."""
        if self._bin is None or not self._unswept:
            return 0
        try:
            left = self._bin.sweep(limit)
        except OSError as error:
            raise KernelFailure(f"discarded links cannot be collected: {reason(error)}") from error
        if not left:
            self._discarded = set()
            self._unswept = False
        return left

    def _have(self, scopes: Iterable[Scope]) -> State:
        return {key: item for scope in scopes for key, item in self.scope(scope).items()}

    def _remember(self, wants: Mapping[Scope, State]) -> None:
        """Each scope changes at once: the event loop looks on."""
        for scope, state in wants.items():
            for key in self.scope(scope):
                if self._owners.get(key) == scope:
                    del self._owners[key]
            self._owners.update(dict.fromkeys(state, scope))
            if state:
                self._scopes[scope] = dict(state)
            else:
                self._scopes.pop(scope, None)

    def _live(self, namespaces: Collection[str]) -> State:
        try:
            return self._kernel.read(namespaces)
        except OSError as error:
            raise KernelFailure(f"the kernel's state cannot be read: {reason(error)}") from error

    def _make_room(self, steps: Iterable[Step]) -> None:
        """Collects what was discarded when one of its names is wanted again. Raises KernelFailure."""
        coming = places(step.object for step in steps if isinstance(step, Create))
        if not self._discarded.isdisjoint(coming):
            while self.sweep():
                pass

    def _ask(self, batch: Batch, done: list[Step]) -> None:
        """Asks the kernel for these steps and notes in ``done`` what it did. Raises StepFailed and OSError."""
        try:
            if batch.discards:
                self._discard([step.object for step in batch.steps])
            else:
                self._kernel.apply(batch.steps)
        except StepFailed as failure:
            done.extend(batch.steps[: failure.done])
            raise
        done.extend(batch.steps)

    def _discard(self, items: Sequence[Object]) -> None:
        veths = [item for item in items if isinstance(item, Veth)]
        namespaces = {item.name for item in items if isinstance(item, Namespace)}
        if self._bin is not None:
            self._bin.discard([item.name for item in veths], namespaces)
        self._unswept = True
        self._discarded |= places(veths)
        self._discarded = {place for place in self._discarded if place[1] not in namespaces}

    def _best_effort(self, todo: Iterable[Batch]) -> tuple[list[Step], list[StepFailed]]:
        """Takes every step that can be taken. Returns those, and why the others could not.

        What would stand on something that could not be made is left out, and so is what would have gone by itself
        with something that could not be deleted.
        """
        done: list[Step] = []
        failures: list[StepFailed] = []
        missing: set[Place] = set()
        staying: set[Place] = set()
        for batch in todo:
            steps = supported(batch.steps, missing, staying)
            while steps:
                try:
                    self._ask(Batch(steps, batch.discards), done)
                    steps = ()
                except StepFailed as failure:
                    failures.append(failure)
                    places_of_it = failure.step.object.provides()
                    if isinstance(failure.step, Create):
                        missing.update(places_of_it)
                    elif isinstance(failure.step, Delete):
                        staying.update(places_of_it)
                    rest = (step for step in steps[failure.done :] if step != failure.step)
                    steps = supported(rest, missing, staying)
                except OSError as error:
                    failures.append(StepFailed(steps[0], 0, error.errno or 0, reason(error)))
                    steps = steps[1:]
        return done, failures

    def _undo(self, wants: Mapping[Scope, State], have: State, done: Sequence[Step]) -> None:
        back = diff(have, after(have, done))
        try:
            self._make_room(back)
            for batch in batches(back, set()):
                self._ask(batch, [])
        except (StepFailed, OSError, KernelFailure):
            self._restore(wants, have)

    def _restore(self, wants: Mapping[Scope, State], have: State) -> None:
        """Reads what stands, leads it back to ``have``, and reads again what came of it. Raises KernelFailure."""
        concerned = {**have, **{key: item for state in wants.values() for key, item in state.items()}}
        live = self._live(namespaces_of(concerned.values()))
        standing = {key: item for key, item in live.items() if key in concerned}
        back = diff(have, standing)
        with contextlib.suppress(KernelFailure):
            self._make_room(back)
        done, _ = self._best_effort(batches(back, set()))
        unpinned = places(
            step.object for step in done if isinstance(step, Delete) and isinstance(step.object, Namespace)
        )
        holds = {
            key: item
            for key, item in self._live(namespaces_of(concerned.values())).items()
            if not touches(item.softly_needs(), unpinned)  # a pair goes soon after the namespace of its peer
        }
        self._remember(
            {
                scope: {key: holds[key] for key in {**self.scope(scope), **state} if key in holds}
                for scope, state in wants.items()
            }
        )


def merged(wants: Mapping[Scope, State], owners: Mapping[Key, Scope]) -> State:
    """All objects of these scopes. Conflict when two scopes want one object, or another scope owns it."""
    want: State = {}
    holders: dict[Key, Scope] = {}
    for scope, state in wants.items():
        for key, item in state.items():
            owner = owners.get(key, scope)
            holder = holders.setdefault(key, scope if owner in wants else owner)
            if holder != scope:
                raise Conflict(
                    f"{named(scope)} wants the {describe(item)}, which belongs to {named(holder)}", whose=holder[1]
                )
            want[key] = item
    return want


def batches(steps: Iterable[Step], lazy: Collection[Key]) -> list[Batch]:
    """The steps as the kernel is asked for them.

    Deletes of links and namespaces among ``lazy`` become one discard, in the order of ranks: after published
    ports, addresses and routes went, before filters go. None does when one of their names, or a route that they
    keep until they are collected, is wanted again at once.
    """
    everything = tuple(steps)
    discards: list[Step] = []
    going: set[Place | Key] = set()
    coming: set[Place | Key] = set()
    for step in everything:
        item = step.object
        if isinstance(step, Create):
            coming.update((item.key, *item.provides()))
        elif isinstance(step, Delete) and item.key in lazy and isinstance(item, Veth | Namespace):
            discards.append(step)
            going.update(item.provides())
        elif isinstance(step, Delete) and step.implied:
            going.update((item.key, *item.provides()))
    if not discards or not going.isdisjoint(coming):
        return [Batch(everything)] if everything else []
    rank = max(step.object.rank for step in discards)
    discarded = {step.object.key for step in discards}
    rest = tuple(step for step in everything if not (isinstance(step, Delete) and step.object.key in discarded))
    first = tuple(takewhile(lambda step: _goes_before(step, rank), rest))
    parts = (Batch(first), Batch(tuple(discards), discards=True), Batch(rest[len(first) :]))
    return [batch for batch in parts if batch.steps]


def supported(steps: Iterable[Step], missing: set[Place], staying: set[Place]) -> tuple[Step, ...]:
    """Without those that would stand on a missing place, whose places are missing then too.

    A name that we could not take may be somebody else's, and an address or a port goes by name. An implied delete is
    no step of its own: with a place that stays, what stands on it stays too.
    """
    kept: list[Step] = []
    for step in steps:
        item = step.object
        ground = (*item.needs(), *item.softly_needs(), *item.follows())
        if isinstance(step, Delete):
            if step.implied and touches(item.needs(), staying):
                staying.update(item.provides())
            else:
                kept.append(step)
        elif touches(ground, missing):
            missing.update(item.provides())
        else:
            kept.append(step)
    return tuple(kept)


def _goes_before(step: Step, rank: int) -> bool:
    return isinstance(step, Delete) and not step.implied and step.object.rank >= rank


def namespaces_of(items: Iterable[Object]) -> set[str]:
    """Names of the namespaces that these objects are, or stand in."""
    every = (place for item in items for place in (*item.provides(), *item.needs(), *item.softly_needs()))
    return {place[1] for place in every if place[0] == "namespace"}


def refusal(failure: StepFailed, wants: Mapping[Scope, State], owners: Mapping[Key, Scope]) -> Conflict | KernelFailure:
    """What a person is told: people choose the names of bridges, so a name that is taken is a conflict."""
    item = failure.step.object
    if failure.code == errno.EEXIST and isinstance(failure.step, Create) and isinstance(item, Bridge):
        return Conflict(
            f"cannot create {describe(item)}: {failure.reason}", remedy="remove that or choose another name"
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
    if failure.code in (errno.ENOENT, errno.ENODEV) and not isinstance(failure.step, Delete):
        return "somebody removed what it stands on; a restart of the daemon puts that back"
    return ""


def named(scope: Scope) -> str:
    """A scope as people read it: ``network 0a1b2c``."""
    kind, identity = scope
    return f"{kind} {identity[:12]}" if identity else kind


def reason(error: OSError) -> str:
    """The kernel's own words for an errno."""
    return os.strerror(error.errno) if error.errno else str(error)
