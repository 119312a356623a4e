"""What is there against what should be: the differences, and what of them may be repaired. Pure.

The host's side is repaired whenever a difference is found. A sandbox's inside belongs to its processes too, so it is
looked at and repaired only when asked for. One thing is different: a pair of veths that was lost is made again
whole, with all that stood on its inner end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

import msgspec

from linkspan.errors import KernelFailure
from linkspan.kernel.diff import Step, diff, places, replaced, touches, with_dependents
from linkspan.kernel.state import (
    HOST,
    Address,
    Bridge,
    Element,
    Key,
    Namespace,
    Object,
    Place,
    Route,
    Scope,
    State,
    Table,
    Veth,
)


class Deviation(msgspec.Struct, frozen=True, kw_only=True):
    """One object that is not as it should be, and what became of it."""

    scope: Scope | None
    """Whose it is; None for what nobody wants."""
    want: Object | None
    have: Object | None
    implied: bool = False
    """It went, or lost a setting, with another object that is told as well."""
    repaired: bool = False
    failure: KernelFailure | None = None
    """Why it could not be repaired. None for what was not tried, or stands on something else that failed."""

    @property
    def object(self) -> Object:
        """The object as it should be; as it is when nobody wants it."""
        item = self.want if self.want is not None else self.have
        assert item is not None
        return item

    @property
    def state(self) -> Literal["missing", "different", "unwanted"]:
        """How it deviates."""
        if self.have is None:
            return "missing"
        return "unwanted" if self.want is None else "different"

    def steps(self) -> tuple[Step, ...]:
        """What leads it back, for printing: it may take more to do so when others deviate as well."""
        key = self.object.key
        return diff({} if self.want is None else {key: self.want}, {} if self.have is None else {key: self.have})


def deviations(want: State, have: State, owners: Mapping[Key, Scope]) -> tuple[Deviation, ...]:
    """Every difference, in the order in which things are made."""
    wrong = {key for key, item in want.items() if have.get(key) != item}
    fallen = places(want[key] for key in wrong if key not in have or replaced(have[key], want[key]))
    found = [
        Deviation(
            scope=owners.get(key), want=want[key], have=have.get(key), implied=_is_implied(want[key], have, fallen)
        )
        for key in wrong
    ]
    found += [
        Deviation(scope=None, want=None, have=item, implied=touches(item.needs(), fallen))
        for key, item in have.items()
        if key not in want and is_stray(item, want)
    ]
    return tuple(sorted(found, key=lambda each: (each.object.rank, each.object.key)))


def _is_implied(item: Object, have: State, fallen: set[Place]) -> bool:
    ground = (*item.needs(), *item.softly_needs()) if item.key not in have else item.follows()
    return touches(ground, fallen)


def is_stray(item: Object, want: State) -> bool:
    """Whether something that nobody wants is in our way: it stands in a table or a sandbox of ours.

    Whole links, tables and namespaces are garbage instead. Addresses that somebody gave our bridge are his.
    """
    match item:
        case Element():
            return ("table", item.namespace, item.family, item.table) in want
        case Route():
            return True
        case Address() | Table():
            return item.namespace != HOST and ("namespace", item.namespace) in want
        case _:
            return False


def is_garbage(item: Object) -> bool:
    """Whether something that nobody wants is a whole of its own, left behind by a change that was cut short."""
    return isinstance(item, Bridge | Veth | Namespace) or (isinstance(item, Table) and item.namespace == HOST)


def home(item: Object) -> str:
    """The namespace in which an object is looked at: that of a pair of veths, or of a pin, is the host's."""
    return HOST if isinstance(item, Veth | Namespace) else item.namespace


def assumed(seen: State, known: State) -> State:
    """What is there, having looked at the host alone: inside all is as we know it, less what fell with the host's."""
    lost = {key for key, item in known.items() if home(item) == HOST and key not in seen}
    gone = with_dependents(lost, known, softly=False)
    inside = {key: item for key, item in known.items() if home(item) != HOST and key not in gone}
    return {**seen, **inside}


def let_alone(given_up: Collection[Key], wanted: Mapping[Scope, State], have: State) -> set[Key]:
    """What is not repaired, given what was given up: a scope without its link stays away as a whole.

    Somebody else may have the link's name, and the filters would judge him.
    """
    left = set(given_up)
    for state in wanted.values():
        links = {key for key, item in state.items() if isinstance(item, Bridge | Veth)}
        if any(key in left and key not in have for key in links):
            left |= state.keys()
    return left


def owners_of(wanted: Mapping[Scope, State]) -> dict[Key, Scope]:
    """Which scope wants an object."""
    return {key: scope for scope, state in wanted.items() for key in state}


def outcome(found: Iterable[Deviation], holds: State, failures: Mapping[Key, KernelFailure]) -> tuple[Deviation, ...]:
    """The deviations with what became of them, seeing what holds now."""
    told = []
    for each in found:
        repaired = holds.get(each.object.key) == each.want
        failure = None if repaired else failures.get(each.object.key)
        told.append(msgspec.structs.replace(each, repaired=repaired, failure=failure))
    return tuple(told)
