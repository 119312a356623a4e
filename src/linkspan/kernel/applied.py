"""What we last put into the kernel, scope by scope, and how it changes: all or nothing.

Blocking, and used by the kernel thread alone (``kernel.worker``). A change that fails is undone from memory; when
that fails too, the kernel is read once and led back to what was, as far as it lets itself be led. What could not be
led back is remembered as it really is, so the next change of that scope, or ``heal``, repairs it.

Deletes are lazy: links and namespaces of a dissolved scope leave service at once and are collected later, in bulk.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

from linkspan.errors import Conflict, KernelFailure
from linkspan.kernel import healing
from linkspan.kernel.batching import Batch, batches, lost_with, protection_together, supported
from linkspan.kernel.blame import blame, lacks_ground, named, reason, refusal
from linkspan.kernel.diff import Create, Delete, Step, Update, after, diff, places, touches, with_dependents
from linkspan.kernel.face import Discarding, Kernel, StepFailed
from linkspan.kernel.healing import Deviation
from linkspan.kernel.memory import Memory
from linkspan.kernel.render import describe
from linkspan.kernel.state import (
    HOST,
    Bridge,
    Key,
    Namespace,
    Object,
    Place,
    Scope,
    State,
    Sysctl,
    Table,
    Veth,
)

log = logging.getLogger(__name__)

SWEEP = 16
"""Discarded objects collected in one go, so that nobody waits long behind a sweep."""


class Applied:
    """The only one who changes the kernel, and the ``memory`` of what holds.

    Objects of a scope may stand on places of another: ports on a network's bridge, addresses in a sandbox's
    namespace. Whoever takes such a place away names the scopes that stand on it in the same call.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._bin: Discarding | None = kernel if isinstance(kernel, Discarding) else None
        self.memory = Memory()
        self._discarded: set[Place] = set()
        """Places of what waits for a sweep: their names are still taken."""
        self._given_up: Collection[Key] = ()
        """What the last ``heal`` was told to leave as it is."""
        self._untold: list[Deviation] = []
        """What was healed in the middle of a change: the next ``heal`` tells it."""
        self._unswept = self._bin is not None
        """Whether anything may wait for a sweep; an earlier daemon may have left something."""

    def scope(self, scope: Scope) -> State:
        """What holds in a scope; empty for one that does not exist. Not to be changed."""
        return self.memory.scope(scope)

    def preview(self, wants: Mapping[Scope, State]) -> tuple[Step, ...]:
        """The steps that ``converge`` would take. Raises Conflict."""
        return diff(merged(wants, self.memory.owners), self.memory.holding(wants))

    def converge(self, wants: Mapping[Scope, State], *, eager: bool = False) -> tuple[Step, ...]:
        """Makes these scopes hold exactly these objects; an empty state dissolves its scope. All or nothing.

        Links and namespaces of dissolved scopes are discarded, unless ``eager``: then they are gone on return.
        Raises Conflict when an object belongs to another scope or a bridge's name to somebody else, and
        KernelFailure, which names scope, object and the kernel's reason.

        A change that meets the very moment of a flush is made after the flush was healed.
        """
        want = merged(wants, self.memory.owners)
        try:
            return self._change(wants, want, eager=eager)
        except KernelFailure as failure:
            if not (isinstance(failure.__cause__, StepFailed) and lacks_ground(failure.__cause__)):
                raise
            log.info("healing first, then once more: %s", failure)
        healed = self._heal(everything=False, given_up=self._given_up)
        self._untold += [each for each in healed if each.repaired]
        return self._change(wants, want, eager=eager)

    def _change(self, wants: Mapping[Scope, State], want: State, *, eager: bool) -> tuple[Step, ...]:
        have = self.memory.holding(wants)
        with self.memory.change({*want, *have}):
            steps = self._converge(wants, want, have, eager=eager)
            self.memory.intend(wants)
        return steps

    def _converge(self, wants: Mapping[Scope, State], want: State, have: State, *, eager: bool) -> tuple[Step, ...]:
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
            raise refusal(failure, wants, self.memory.owners) from failure
        except OSError as error:
            self._restore(wants, have)
            raise KernelFailure(f"{named(next(iter(wants)))}: the kernel cannot be asked: {reason(error)}") from error
        self.memory.remember(wants)
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
        with self.memory.change(None):
            steps = protection_together(diff(want, have))
            self._make_room(steps)
            self.memory.begin_anew()
            self.memory.intend(wants)
            garbage = have.keys() - want.keys()
            todo = batches(steps, set() if self._bin is None else garbage)
            done, failures = self._best_effort(todo, wants)
            self.memory.remember(within(wants, after(have, done)))
            self._dissolve_unmade(failures, wants)
        told = [*told_by(failures, wants).values(), *self._unraised(failures, wants)]
        if told:
            raise ExceptionGroup("the kernel refused some steps", told)
        return steps

    def heal(self, *, everything: bool = False, given_up: Collection[Key] = ()) -> tuple[Deviation, ...]:
        """Leads what is there back to what is wanted, best effort. Returns what deviated and what became of it.

        Looks at the host's side alone, unless ``everything``: then also into the sandboxes, whose lost namespaces are
        made again only then (the caller pins those again first that live by their processes). A lost pair of veths is
        made again with all that stood on its inner end. Objects in ``given_up`` are told and left as they are, and so
        is what carries our mark and belongs to no scope (``garbage``). A scope whose link cannot be made is dissolved,
        as by ``resync``, and tried again the next time. What ``converge`` had to heal meanwhile is told first.
        KernelFailure: the kernel cannot be read.
        """
        self._given_up = given_up
        found = self._heal(everything=everything, given_up=given_up)
        told, self._untold = (*self._untold, *found), []
        return told

    def _heal(self, *, everything: bool, given_up: Collection[Key]) -> tuple[Deviation, ...]:
        want, wanted = self.memory.want, self.memory.wanted
        self._kernel.expect(want.values())
        with self.memory.change(None):
            have = self._look(everything=everything)
            found = healing.deviations(want, have, healing.owners_of(wanted))
            left = healing.let_alone(given_up, wanted, have)
            if not everything:
                left |= {key for key, item in want.items() if isinstance(item, Namespace) and key not in have}
            target = {key: item for key, item in want.items() if key not in left}
            target |= {key: have[key] for key in left if key in have}
            present = {
                key: item for key, item in have.items() if key in want or key in left or healing.is_stray(item, want)
            }
            steps = protection_together(diff(target, present))
            self._make_room(steps)
            absent = places(want[key] for key in left if key in want and key not in have)
            done, failures = self._best_effort(batches(steps, set()), wanted, absent)
            holds = after(present, done)
            self.memory.remember(within(wanted, holds))
            if failures:
                self._dissolve_unmade(failures, wanted)
                holds = self._look(everything=everything)
                self.memory.remember(within(wanted, holds))
        return healing.outcome(found, holds, told_by(failures, wanted))

    def audit(self) -> tuple[Deviation, ...]:
        """What ``heal(everything=True)`` would find; nothing is changed. KernelFailure: the kernel cannot be read."""
        self._kernel.expect(self.memory.want.values())
        return healing.deviations(self.memory.want, self._look(everything=True), healing.owners_of(self.memory.wanted))

    def garbage(self) -> tuple[Deviation, ...]:
        """Links, tables and namespaces that carry our mark and belong to no scope, broken pins included.

        KernelFailure: the kernel cannot be read.
        """
        pins = self._pins()
        live = {Namespace(name=name).key: Namespace(name=name) for name in pins} | self._live(pins)
        useless = [item for key, item in live.items() if key not in self.memory.want and healing.is_garbage(item)]
        return tuple(Deviation(scope=None, want=None, have=item) for item in useless)

    def collect(self) -> tuple[Deviation, ...]:
        """Removes the ``garbage``, best effort, and returns it with what became of it."""
        with self.memory.change(None):
            found = self.garbage()
            going = {each.object.key: each.object for each in found}
            present = {**self._live(self._pins()), **going}
            doomed = {key: present[key] for key in with_dependents(set(going), present, softly=False)}
            lazy = set() if self._bin is None else set(doomed)
            done, failures = self._best_effort(batches(diff({}, doomed), lazy), {})
        return healing.outcome(found, after(present, done), told_by(failures, {}))

    def settings_differ(self) -> bool:
        """Whether any value below /proc/sys that we set on the host is another one than at our last look.

        Values inside sandboxes are not looked at. Takes about 2 ms for 100 networks. KernelFailure.
        """
        every = self.memory.everything().values()
        known = [item for item in every if isinstance(item, Sysctl) and item.namespace == HOST]
        try:
            return self._kernel.settings(known) != [" ".join(item.value.split()) for item in known]
        except OSError as error:
            raise KernelFailure(f"the host's settings cannot be read: {reason(error)}") from error

    def needs_healing(self) -> bool:
        """Whether ``heal`` has something to do that no notice tells of, or to tell. KernelFailure."""
        return bool(self._untold) or self.settings_differ()

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

    def _pins(self) -> frozenset[str]:
        try:
            return self._kernel.pins()
        except OSError as error:
            raise KernelFailure(f"the pins of namespaces cannot be read: {reason(error)}") from error

    def _look(self, *, everything: bool) -> State:
        """What is there: read as a whole, or on the host alone. KernelFailure."""
        if everything:
            return self._live(namespaces_of(self.memory.want.values()))
        known = self.memory.everything()
        try:
            seen = self._kernel.read_host({**self.memory.want, **known})
        except OSError as error:
            raise KernelFailure(f"the kernel's state cannot be read: {reason(error)}") from error
        return healing.assumed(seen, known)

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

    def _best_effort(
        self, todo: Iterable[Batch], wants: Mapping[Scope, State], absent: Iterable[Place] = ()
    ) -> tuple[list[Step], list[StepFailed]]:
        """Takes every step that can be taken. Returns those, and why the others could not.

        What would stand on something that is ``absent`` or could not be made is left out, and so is what would have
        gone by itself with something that could not be deleted. A table that cannot be replaced stays as it is.
        """
        owners = healing.owners_of(wants)
        done: list[Step] = []
        failures: list[StepFailed] = []
        missing = set(absent)
        staying: set[Place] = set()
        for batch in todo:
            steps = supported(batch.steps, missing, staying, owners)
            while steps:
                try:
                    self._ask(Batch(steps, batch.discards), done)
                    steps = ()
                except StepFailed as failure:
                    failures.append(failure)
                    refused = failure.step.object
                    if not isinstance(failure.step, Delete):
                        missing.update(lost_with(refused, owners))
                    if isinstance(failure.step, Delete) or isinstance(refused, Table):
                        staying.update(refused.provides())
                    rest = [step for step in steps[failure.done :] if step != failure.step]
                    if isinstance(refused, Table):
                        rest = [step for step in rest if step.object.key != refused.key]
                    steps = supported(rest, missing, staying, owners)
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
        done, _ = self._best_effort(batches(back, set()), wants)
        unpinned = places(
            step.object for step in done if isinstance(step, Delete) and isinstance(step.object, Namespace)
        )
        holds = {
            key: item
            for key, item in self._live(namespaces_of(concerned.values())).items()
            if not touches(item.softly_needs(), unpinned)  # a pair goes soon after the namespace of its peer
        }
        self.memory.remember(within({scope: {**self.scope(scope), **state} for scope, state in wants.items()}, holds))

    def _dissolve_unmade(self, failures: Sequence[StepFailed], wants: Mapping[Scope, State]) -> None:
        """Takes away what is left of scopes whose link could not be made; they are wanted all the same."""
        unmade = {failure.step.object.key for failure in failures if isinstance(failure.step, Create)}
        for scope, state in wants.items():
            if any(key in unmade and isinstance(state[key], Bridge | Veth) for key in state):
                with contextlib.suppress(KernelFailure):
                    self._converge({scope: {}}, {}, self.scope(scope), eager=True)

    def _unraised(self, failures: Sequence[StepFailed], wants: Mapping[Scope, State]) -> list[KernelFailure]:
        """One sentence for each scope whose bridge was not tried, since its protection could not be made."""
        refused = {failure.step.object.key for failure in failures}
        told = []
        for scope, state in wants.items():
            untried = refused and state.keys().isdisjoint(refused)
            for key, item in state.items():
                if untried and isinstance(item, Bridge) and key not in self.scope(scope):
                    what = f"{named(scope)}: {describe(item)} was not made: the firewall that protects it is missing"
                    told.append(KernelFailure(what, whose=scope[1]))
        return told


def within(wants: Mapping[Scope, State], holds: State) -> dict[Scope, State]:
    """What of these scopes' objects is there."""
    return {scope: {key: holds[key] for key in state if key in holds} for scope, state in wants.items()}


def told_by(failures: Iterable[StepFailed], wants: Mapping[Scope, State]) -> dict[Key, KernelFailure]:
    """The refusals by object, as people read them."""
    return {failure.step.object.key: blame(failure, wants, {}) for failure in failures}


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


def namespaces_of(items: Iterable[Object]) -> set[str]:
    """Names of the namespaces that these objects are, or stand in."""
    every = (place for item in items for place in (*item.provides(), *item.needs(), *item.softly_needs()))
    return {place[1] for place in every if place[0] == "namespace"}
