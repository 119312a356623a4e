"""The endpoints of the Docker Engine API, one noun a file; ``unsupported`` names those that we do not have."""

from __future__ import annotations

from linkspan.api.router import Router
from linkspan.api.routes import (
    archives,
    attachments,
    containers,
    execs,
    images,
    insight,
    networks,
    plans,
    readings,
    system,
    transfers,
    unsupported,
    volumes,
)


def router() -> Router:
    """All routes. Fixed paths come before those with parameters, and ``unsupported`` last."""
    found = Router()
    for noun in (
        system,
        containers,
        attachments,
        readings,
        archives,
        execs,
        images,
        transfers,
        networks,
        volumes,
        plans,
        insight,
        unsupported,
    ):
        noun.add_to(found)
    return found
