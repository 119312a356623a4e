"""Steps in the portions in which the kernel is asked for them, and which of them can still be taken after a refusal.

Pure. A refusal of protection counts like a missing place: where a table or a filter's element could not be made, the
links and the forwarding of its scope are not brought up either. We fail closed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import takewhile

import msgspec

from linkspan.kernel.diff import Create, Delete, Step, touches
from linkspan.kernel.state import HOST, Bridge, Element, Key, Namespace, Object, Place, Scope, Sysctl, Table, Veth

PUBLISHED = 90
"""Rank of what lets traffic in; everything of nft's below it protects."""
CONNECTING = 40
"""Rank from which on steps connect: links, addresses, routes."""


class Batch(msgspec.Struct, frozen=True):
    """Steps that are asked of the kernel in one call: to apply, or (all deletes) to discard."""

    steps: tuple[Step, ...]
    discards: bool = False


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


def _goes_before(step: Step, rank: int) -> bool:
    return isinstance(step, Delete) and not step.implied and step.object.rank >= rank


def protection_together(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps of a ``diff`` in an order that makes the host's tables anew in one transaction, old ones included.

    So a table that was flushed or changed comes back whole, and there is no moment without it. What publishes is
    part of that transaction unless a link, an address or a route has to be made first.
    """
    everything = tuple(steps)
    forward = [step for step in everything if not isinstance(step, Delete)]
    remade = {step.object.key for step in forward if isinstance(step, Create) and _is_host_table(step.object)}
    remade_places = {place for step in forward if step.object.key in remade for place in step.object.provides()}
    early: list[Step] = []
    late: list[Step] = []
    for step in everything:
        if isinstance(step, Delete):
            goes = step.object.key in remade or touches(step.object.needs(), remade_places)
            (late if goes else early).append(step)
    protecting = [step for step in forward if is_nft(step.object) and step.object.rank < PUBLISHED]
    publishing = [step for step in forward if is_nft(step.object) and step.object.rank >= PUBLISHED]
    others = [step for step in forward if not is_nft(step.object)]
    if any(step.object.rank >= CONNECTING for step in others):
        return (*early, *late, *protecting, *others, *publishing)
    return (*early, *late, *protecting, *publishing, *others)


def is_nft(item: Object) -> bool:
    """Whether an object is part of a table on the host."""
    return isinstance(item, Table | Element) and item.namespace == HOST


def _is_host_table(item: Object) -> bool:
    return isinstance(item, Table) and item.namespace == HOST


def supported(
    steps: Iterable[Step], missing: set[Place], staying: set[Place], owners: Mapping[Key, Scope]
) -> tuple[Step, ...]:
    """Without those that would stand on a missing place, whose places are missing then too.

    A name that we could not take may be somebody else's, and an address or a port goes by name. An implied delete is
    no step of its own: with a place that stays, what stands on it stays too.
    """
    kept: list[Step] = []
    for step in steps:
        item = step.object
        ground = (*item.needs(), *item.softly_needs(), *item.follows(), *shield(item, owners))
        if isinstance(step, Delete):
            if step.implied and touches(item.needs(), staying):
                staying.update(item.provides())
            else:
                kept.append(step)
        elif touches(ground, missing):
            missing.update(lost_with(item, owners))
        else:
            kept.append(step)
    return tuple(kept)


def shield(item: Object, owners: Mapping[Key, Scope]) -> tuple[Place, ...]:
    """The place that stands for the protection which an object must not be without: that of its scope."""
    scope = owners.get(item.key)
    connects = isinstance(item, Bridge | Veth) or (isinstance(item, Sysctl) and item.namespace == HOST)
    return (("protection", *scope),) if connects and scope is not None else ()


def lost_with(item: Object, owners: Mapping[Key, Scope]) -> tuple[Place, ...]:
    """The places that are missing when an object could not be made."""
    scope = owners.get(item.key)
    if is_nft(item) and item.rank < PUBLISHED and scope is not None:
        return (*item.provides(), ("protection", *scope))
    return item.provides()
