"""want x have -> ordered, reversible steps. Pure.

Deletes come first, highest rank first; then updates and creates, lowest rank first. An object whose fixed part
differs is deleted and created again, and so is everything that the kernel drops along with it: those deletes are
marked ``implied`` and come after the others, since the kernel needs no word for them, but whoever counts does.

Undoing is a diff too: from what the steps that were done have left (``after``) back to what was. Reversing the
steps one by one would not do: a port moved from a bridge that goes to one that comes would be moved back first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from linkspan.kernel.state import Key, Object, Place, State


class Create(msgspec.Struct, frozen=True):
    """Make an object that is not there."""

    object: Object


class Delete(msgspec.Struct, frozen=True):
    """Remove an object; absence is success. ``implied``: the kernel did it with an earlier step."""

    object: Object
    implied: bool = False


class Update(msgspec.Struct, frozen=True):
    """Change an object in place; also asserts again what ``object`` says when ``before`` says the same."""

    before: Object
    object: Object


Step = Create | Delete | Update


def diff(want: Mapping[Key, Object], have: Mapping[Key, Object]) -> tuple[Step, ...]:
    """The steps that turn ``have`` into ``want``."""
    unwanted = {key for key, item in have.items() if key not in want or replaced(item, want[key])}
    doomed = with_dependents(unwanted, have, softly=True)
    gone = places(have[key] for key in doomed)
    deletes = [Delete(have[key], implied=touches(have[key].needs(), gone)) for key in doomed]
    deletes.sort(key=lambda step: (step.implied, -step.object.rank, step.object.key))

    creates = [Create(item) for key, item in want.items() if key not in have or key in doomed]
    fresh = places(step.object for step in creates) | gone
    updates = [
        Update(have[key], item)
        for key, item in want.items()
        if key in have and key not in doomed and (have[key] != item or touches(item.follows(), fresh))
    ]
    forward: list[Step] = [*updates, *creates]
    forward.sort(key=lambda step: (step.object.rank, step.object.key))
    return (*deletes, *forward)


def after(have: Mapping[Key, Object], steps: Iterable[Step]) -> State:
    """What is there once these steps were done: a delete takes along what cannot be without its object."""
    state = dict(have)
    for step in steps:
        if not isinstance(step, Delete):
            state[step.object.key] = step.object
        elif step.object.key in state:
            for key in with_dependents({step.object.key}, state, softly=False):
                del state[key]
    return state


def with_dependents(keys: set[Key], have: Mapping[Key, Object], *, softly: bool) -> set[Key]:
    """These objects, and all that go when they go; ``softly``: also those that only may go."""
    doomed = set(keys)
    gone = places(have[key] for key in doomed)
    caught = doomed
    while caught and gone:
        caught = {
            key
            for key, item in have.items()
            if key not in doomed and (touches(item.needs(), gone) or (softly and touches(item.softly_needs(), gone)))
        }
        doomed |= caught
        gone |= places(have[key] for key in caught)
    return doomed


def replaced(have: Object, want: Object) -> bool:
    """Whether the difference is in a part that is fixed at creation (or in the type itself)."""
    if type(have) is not type(want):
        return True
    return any(getattr(have, field) != getattr(want, field) for field in want.FIXED)


def places(items: Iterable[Object]) -> set[Place]:
    """All places that these objects provide."""
    return {place for item in items for place in item.provides()}


def touches(needed: Iterable[Place], gone: set[Place]) -> bool:
    """Whether any of the places is among those that went."""
    return not gone.isdisjoint(needed)
