"""``ps``: which containers match Docker's filters."""

from __future__ import annotations

from collections.abc import Sequence

from linkspan.engine import filters
from linkspan.engine.filters import Filters
from linkspan.engine.intent import Intent
from linkspan.errors import InvalidRequest, NotFound
from linkspan.model.container import Container

FILTERS = (
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "label",
    "label!",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
)
LAST_PORT = 65535
STATUSES = ("created", "restarting", "running", "removing", "paused", "exited", "dead")


def matching(
    intent: Intent, wanted: Filters, *, everything: bool, limit: int, image_ids: frozenset[str] | None
) -> list[Container]:
    """The containers that match, newest first. ``image_ids`` is what the filter ``ancestor`` resolved to."""
    filters.check_keys(wanted, FILTERS)
    for status in wanted.get("status", ()):
        if status not in STATUSES:
            raise InvalidRequest(f"invalid filter 'status={status}'", remedy=f"use one of {', '.join(STATUSES)}")
    shown = everything or limit > 0 or bool(wanted.get("status")) or bool(wanted.get("exited"))
    newest_first = sorted(intent.containers.values(), key=lambda item: item.created, reverse=True)
    after = _moment(intent, wanted.get("since", ()))
    before = _moment(intent, wanted.get("before", ()))
    found = [
        item
        for item in newest_first
        if (shown or intent.state(item.id).running or intent.state(item.id).status == "restarting")
        and (after is None or item.created > after)
        and (before is None or item.created < before)
        and (image_ids is None or item.image_id in image_ids)
        and _matches(intent, item, wanted)
    ]
    return found[:limit] if limit > 0 else found


def _moment(intent: Intent, references: Sequence[str]) -> float | None:
    return intent.container(references[0]).created if references else None


def _matches(intent: Intent, container: Container, wanted: Filters) -> bool:
    state = intent.state(container.id)
    spec = container.spec
    published = {f"{item.port}/{item.protocol}" for item in spec.port_bindings}
    return (
        (not wanted.get("id") or any(container.id.startswith(text) for text in wanted["id"]))
        and filters.matches_text([container.name, f"/{container.name}"], wanted.get("name", ()))
        and (not wanted.get("status") or state.status in wanted["status"])
        and (not wanted.get("exited") or (state.finished > 0 and str(state.exit_code) in wanted["exited"]))
        and (not wanted.get("health") or "none" in wanted["health"])
        and filters.boolean(wanted, "is-task") is not True
        and (not wanted.get("network") or _on_network(intent, container, wanted["network"]))
        and (not wanted.get("volume") or _has_volume(container, wanted["volume"]))
        and (not wanted.get("publish") or any(item in published for item in _ports("publish", wanted["publish"])))
        and (not wanted.get("expose") or any(item in spec.exposed_ports for item in _ports("expose", wanted["expose"])))
        and filters.matches_labels(spec.labels, wanted)
    )


def _ports(key: str, texts: Sequence[str]) -> list[str]:
    """``80``, ``80/udp`` or ``80-90/tcp`` as the ports that they mean. InvalidRequest."""
    found = []
    for text in texts:
        numbers, _, protocol = text.partition("/")
        first, _, last = numbers.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal() or int(last or first) > LAST_PORT:
            raise InvalidRequest(f"invalid filter '{key}={text}'", remedy="write it as 80, 80/udp or 80-90/tcp")
        found += [f"{port}/{protocol or 'tcp'}" for port in range(int(first), int(last or first) + 1)]
    return found


def _on_network(intent: Intent, container: Container, references: Sequence[str]) -> bool:
    ids = set()
    for reference in references:
        try:
            ids.add(intent.network(reference).id)
        except NotFound:
            continue
    return any(item.network in ids for item in container.spec.endpoints)


def _has_volume(container: Container, wanted: Sequence[str]) -> bool:
    return any(text in (mount.source, mount.target) for mount in container.spec.mounts for text in wanted)
