"""Ids by something that they have in common: who is in a sandbox, on a network, or linked to a name. Memory only."""

from __future__ import annotations

from collections.abc import Iterable


class Groups:
    """So that finding a few of thousands takes no walk through all of them."""

    def __init__(self) -> None:
        self._members: dict[str, dict[str, None]] = {}

    def of(self, group: str) -> tuple[str, ...]:
        """The ids in a group, in the order in which they came."""
        return tuple(self._members.get(group, ()))

    def move(self, identity: str, before: Iterable[str], now: Iterable[str]) -> None:
        """It leaves the groups that it was in and enters those that it is in; where it stays it keeps its place."""
        before, now = set(before), tuple(now)
        for group in before.difference(now):
            members = self._members[group]
            del members[identity]
            if not members:
                del self._members[group]
        for group in now:
            self._members.setdefault(group, {})[identity] = None
