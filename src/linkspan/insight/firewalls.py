"""Other people's firewalls as the API tells them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from linkspan.insight.views import ForeignRule
from linkspan.kernel.foreign import Obstacle


def foreign_rules(obstacles: Iterable[Obstacle]) -> tuple[ForeignRule, ...]:
    """Each chain that stops a bridge's traffic, with the command that lifts it."""
    return tuple(
        ForeignRule(owner=item.owner, where=item.where, what=item.what, remedy=item.remedy) for item in obstacles
    )


def sentence(item: Obstacle) -> str:
    """What a foreign chain does to a bridge, in one sentence without a final full stop."""
    families = " and ".join(f"IPv{version}" for version in item.versions)
    if item.directions == ("in",):
        traffic = f"from outside to {item.bridge}"
    elif item.directions == ("out",):
        traffic = f"from {item.bridge} to the outside"
    else:
        traffic = f"between {item.bridge} and the outside"
    return f"{item.owner} drops {families} connections {traffic} ({item.where}: {item.what})"
