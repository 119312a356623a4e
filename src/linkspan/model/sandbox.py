"""A sandbox: a network namespace that we pin, which belongs to no process."""

from __future__ import annotations

import msgspec

from linkspan.model.port import Publication


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """The network stack that one or more containers run in.

    ``owner`` is the container whose definition shapes it: its endpoints, hostname, /etc/hosts and
    /etc/resolv.conf. Containers that run with ``--network container:OWNER`` are its partners: the sandbox lives
    as long as any of them runs, and they keep it over each other's restarts. ``members`` are the ids of the
    containers that now run in it. After ``rm OWNER`` the sandbox lives on, orphaned, until the last partner
    stops.
    """

    id: str
    owner: str
    """Container id."""
    owner_name: str
    hostname: str
    host: bool = False
    """The host's own namespace: no pin, no endpoints with interfaces."""
    members: frozenset[str] = frozenset()
    publications: tuple[Publication, ...] = ()
    """Its published ports, in the order of the definition."""
    resolver_port: int = 0
    """Port of 127.0.0.11, UDP and TCP, on which the keeper answers names for it; 0: it has no resolver of ours."""
