"""want x have -> ordered, reversible steps. Pure.

Deletes come first, highest rank first; then updates and creates, lowest rank first. An object whose fixed part
differs is deleted and created again, and so is everything that the kernel drops along with it: those deletes are
marked ``implied``, the kernel needs no word for them, but the undo does.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from linkspan.kernel.state import Key, Object, Place


class Create(msgspec.Struct, frozen=True):
    """Make an object that is not there."""

    object: Object

    def reverse(self) -> Delete:
        """The step that takes this one back."""
        return Delete(self.object)


class Delete(msgspec.Struct, frozen=True):
    """Remove an object; absence is success. ``implied``: the kernel did it with an earlier step."""

    object: Object
    implied: bool = False

    def reverse(self) -> Create:
        """The step that takes this one back."""
        return Create(self.object)


class Update(msgspec.Struct, frozen=True):
    """Change an object in place; also asserts again what ``object`` says when ``before`` says the same."""

    before: Object
    object: Object

    def reverse(self) -> Update:
        """The step that takes this one back."""
        return Update(self.object, self.before)


Step = Create | Delete | Update


def diff(want: Mapping[Key, Object], have: Mapping[Key, Object]) -> tuple[Step, ...]:
    """The steps that turn ``have`` into ``want``."""
    doomed = {key for key, item in have.items() if key not in want or replaced(item, want[key])}
    gone = {place for key in doomed for place in have[key].provides()}
    while caught := {
        key
        for key, item in have.items()
        if key not in doomed and (touches(item.needs(), gone) or touches(item.softly_needs(), gone))
    }:
        doomed |= caught
        gone.update(place for key in caught for place in have[key].provides())
    deletes = [Delete(have[key], implied=touches(have[key].needs(), gone)) for key in doomed]
    deletes.sort(key=lambda step: (-step.object.rank, step.object.key))

    creates = [Create(item) for key, item in want.items() if key not in have or key in doomed]
    fresh = {place for step in creates for place in step.object.provides()} | gone
    updates = [
        Update(have[key], item)
        for key, item in want.items()
        if key in have and key not in doomed and (have[key] != item or touches(item.follows(), fresh))
    ]
    forward: list[Step] = [*updates, *creates]
    forward.sort(key=lambda step: (step.object.rank, step.object.key))
    return (*deletes, *forward)


def replaced(have: Object, want: Object) -> bool:
    """Whether the difference is in a part that is fixed at creation (or in the type itself)."""
    if type(have) is not type(want):
        return True
    return any(getattr(have, field) != getattr(want, field) for field in want.FIXED)


def touches(places: tuple[Place, ...], gone: set[Place]) -> bool:
    """Whether any of the places is among those that went."""
    return any(place in gone for place in places)
