"""The steps of a dry run, Linkspan's own extension of the API."""

from __future__ import annotations

from collections.abc import Sequence

from linkspan.api.wire.decoding import Json
from linkspan.engine.views import PlannedStep


def steps(planned: Sequence[PlannedStep]) -> Json:
    """``{"Steps": [{"Scope", "Action", "Object", "Commands"}]}``"""
    return {
        "Steps": [
            {"Scope": each.scope, "Action": each.action, "Object": each.object, "Commands": list(each.commands)}
            for each in planned
        ]
    }
