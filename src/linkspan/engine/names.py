"""Names for containers that nobody named: an adjective and a thing from the world of cables and waves."""

from __future__ import annotations

import secrets
from collections.abc import Callable

ADJECTIVES = (
    "amber", "brisk", "calm", "candid", "clear", "crisp", "deft", "eager", "fair", "fleet", "frank", "gentle",
    "glad", "hardy", "keen", "kind", "lively", "lucid", "mellow", "merry", "nimble", "noble", "patient", "plain",
    "quick", "quiet", "ready", "robust", "sharp", "silent", "simple", "solid", "steady", "sunny", "swift", "tidy",
    "upright", "vivid", "warm", "wise",
)  # fmt: skip
THINGS = (
    "antenna", "arch", "beacon", "bridge", "buoy", "cable", "causeway", "channel", "circuit", "copper", "crossing",
    "current", "dipole", "ferry", "fiber", "gate", "harbor", "hub", "junction", "lantern", "link", "lock", "mast",
    "packet", "pier", "port", "pylon", "quay", "relay", "router", "signal", "span", "switch", "tower", "trunk",
    "tunnel", "viaduct", "wave", "wharf", "wire",
)  # fmt: skip


def made_up(taken: Callable[[str], bool]) -> str:
    """A name that is not taken; a number follows when the plain ones run out."""
    for attempt in range(100):
        name = f"{secrets.choice(ADJECTIVES)}_{secrets.choice(THINGS)}"
        if attempt > 20:
            name += str(secrets.randbelow(10_000))
        if not taken(name):
            return name
    return f"container_{secrets.token_hex(6)}"
