"""Other people's firewalls as the API tells them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from linkspan.insight.views import ForeignRule
from linkspan.kernel.foreign import Direction, Obstacle

WORDS: dict[Direction, str] = {
    "in": "from outside to {bridge}",
    "out": "from {bridge} to the outside",
    "host": "from the host itself to {bridge}",
}


def foreign_rules(obstacles: Iterable[Obstacle]) -> tuple[ForeignRule, ...]:
    """Each chain that stops a bridge's traffic, with the command that lifts it."""
    return tuple(
        ForeignRule(owner=item.owner, where=item.where, what=item.what, remedy=item.remedy) for item in obstacles
    )


def sentence(item: Obstacle) -> str:
    """What a foreign chain does to a bridge, in one sentence without a final full stop."""
    families = " and ".join(f"IPv{version}" for version in item.versions)
    words = [WORDS[each].format(bridge=item.bridge) for each in item.directions]
    return f"{item.owner} drops {families} connections {' and '.join(words)} ({item.where}: {item.what})"
