"""What insight tells the API: one frozen struct for each answer."""

from __future__ import annotations

from typing import Literal

import msgspec


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """One way in: who may reach a container's port, through which address of the host (or its own)."""

    container: str
    network: str
    protocol: Literal["tcp", "udp"]
    address: str
    """Where it is reached: an address of the host, 0.0.0.0 or ``::`` for all, or the container's own address."""
    host_port: int
    port: int
    """In the container."""
    count: int = 1
    reach: Literal["everywhere", "host", "sources"] = "everywhere"
    """``everywhere``: whoever reaches the address; ``host``: the host alone; ``sources``: the networks below."""
    sources: tuple[str, ...] = ()
    way: Literal["nat", "routed", "unprotected", "relay"] = "nat"
    pending: bool = False
    """The host does not have the address yet."""
    contradiction: str = ""
    """Where the host's own firewall means otherwise: one sentence, or empty."""


class ForeignRule(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody else's chain or rule that drops what we let pass (or the other way round)."""

    owner: str
    """``ufw``, ``firewalld``, ``docker``, ``iptables`` or ``nftables``, as far as it can be told."""
    where: str
    """Table, chain and hook: ``table ip filter, chain FORWARD (hook forward)``."""
    what: str
    """``policy drop``, or the rule."""
    remedy: str
    """The command that lifts it."""


class DriftEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One object that is not as it should be."""

    scope: str
    """``network web``, ``endpoint of db on web``, ``host``."""
    object: str
    """In words: ``bridge br-0a1b2c``."""
    state: Literal["missing", "different", "unwanted"]
    detail: str = ""
    commands: tuple[str, ...] = ()
    """What ``repair`` would do, as a person would type it."""
    status: Literal["new", "drifted"] = "new"
    """``drifted``: somebody undid the repair so often that it was given up; ``repair`` tries again."""


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is not as it should be; nothing: no drift."""

    entries: tuple[DriftEntry, ...] = ()
    foreign: tuple[ForeignRule, ...] = ()


class Repaired(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair or a garbage collection did."""

    done: tuple[str, ...] = ()
    """One sentence each."""
    failed: tuple[str, ...] = ()


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One check of ``doctor``."""

    check: str
    """What was looked at: ``IP forwarding``."""
    level: Literal["ok", "note", "warning", "failure"]
    text: str
    remedy: str = ""


class NetworkCommands(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a network as commands: a headline and what a person would type."""

    headline: str
    commands: tuple[str, ...]
