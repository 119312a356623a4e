"""What we last put into the kernel and what we were asked to, scope by scope.

Changed by the kernel thread alone (``applied``). Other threads may look at what is marked so: each of those is one
look-up, and what it says is sure when ``turn`` and ``changing`` say that no change was on its way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network

from linkspan.kernel.state import HOST, Address, Key, Object, Scope, State


class Memory:
    """What holds (``scope``), and what is wanted, which is more where a repair or a resync could not do all."""

    def __init__(self) -> None:
        self.owners: dict[Key, Scope] = {}
        """Which scope holds an object."""
        self.wanted: dict[Scope, State] = {}
        """What the scopes were last successfully asked to hold, or told to by ``resync``: healing leads there."""
        self.want: State = {}
        """The same in one."""
        self.turn = 0
        """Grows by one when a change begins and by one when it ends and is remembered. For any thread."""
        self.changing: Collection[Key] | None = ()
        """The objects that a change on its way may touch; None: any. For any thread."""
        self._scopes: dict[Scope, State] = {}
        self._subnets: tuple[int, list[IPv4Network | IPv6Network]] = (-1, [])
        """As they were at that turn."""

    def scope(self, scope: Scope) -> State:
        """What holds in a scope; empty for one that does not exist. Not to be changed. For any thread."""
        return self._scopes.get(scope, {})

    def intended(self, key: Key) -> Object | None:
        """An object as somebody wants it, whether or not it is there. For any thread."""
        return self.want.get(key)

    def held(self, key: Key) -> Object | None:
        """An object as it was when we made it or last looked: not as wanted where it was given up. For any thread."""
        scope = self.owners.get(key)
        return self.scope(scope).get(key) if scope is not None else None

    def subnets(self) -> list[IPv4Network | IPv6Network]:
        """The networks of the addresses that we want on the host's links. For any thread.

        They are asked for with every route that somebody adds, of which there may be thousands.
        """
        turn = self.turn
        if self._subnets[0] != turn:
            wanted = [item for state in list(self.wanted.values()) for item in state.values()]
            addresses = [item for item in wanted if isinstance(item, Address) and item.namespace == HOST]
            self._subnets = turn, [item.interface.network for item in addresses]
        return self._subnets[1]

    def holding(self, scopes: Iterable[Scope]) -> State:
        """What holds in these scopes."""
        return {key: item for scope in scopes for key, item in self.scope(scope).items()}

    def everything(self) -> State:
        """All that holds."""
        return self.holding(self._scopes)

    @contextlib.contextmanager
    def change(self, keys: Collection[Key] | None) -> Iterator[None]:
        """A change of these objects (None: of any) is on its way while the body runs."""
        self.changing = keys
        self.turn += 1
        try:
            yield
        finally:
            self.turn += 1
            self.changing = ()

    def intend(self, wants: Mapping[Scope, State]) -> None:
        """These scopes are wanted so from now on; an empty state: not any more."""
        for scope in wants:
            for key in self.wanted.pop(scope, {}):
                self.want.pop(key, None)
        for scope, state in wants.items():
            self.want.update(state)
            if state:
                self.wanted[scope] = dict(state)

    def remember(self, holds: Mapping[Scope, State]) -> None:
        """These scopes hold this now. Each changes at once: the event loop looks on."""
        for scope, state in holds.items():
            for key in self.scope(scope):
                if self.owners.get(key) == scope:
                    del self.owners[key]
            self.owners.update(dict.fromkeys(state, scope))
            if state:
                self._scopes[scope] = dict(state)
            else:
                self._scopes.pop(scope, None)

    def begin_anew(self) -> None:
        """Forgets everything: before what is there is read and led to what is wanted."""
        self.owners, self.wanted, self.want, self._scopes = {}, {}, {}, {}
