"""What insight found, Linkspan's own extension of the API: every list under a name, members spelled as Docker's."""

from __future__ import annotations

from collections.abc import Sequence

from linkspan.api.wire.decoding import Json
from linkspan.dns.names import Figures
from linkspan.engine.views import NetworkView
from linkspan.insight.views import DriftEntry, DriftReport, Exposure, Finding, ForeignRule, NetworkCommands, Repaired


def exposures(found: Sequence[Exposure]) -> Json:
    """``{"Exposures": […]}``"""
    return {"Exposures": [_exposure(each) for each in found]}


def drift(report: DriftReport) -> Json:
    """``{"Drift": […], "Foreign": […]}``; both empty where all is as it should be."""
    return {"Drift": [_entry(each) for each in report.entries], "Foreign": [_foreign(each) for each in report.foreign]}


def repaired(done: Repaired) -> Json:
    """``{"Done": […], "Failed": […]}``, one sentence each."""
    return {"Done": list(done.done), "Failed": list(done.failed)}


def findings(found: Sequence[Finding]) -> Json:
    """``{"Findings": […]}`` of ``doctor``."""
    return {
        "Findings": [
            {"Check": each.check, "Level": each.level, "Text": each.text, "Remedy": each.remedy} for each in found
        ]
    }


def commands(parts: Sequence[NetworkCommands]) -> Json:
    """``{"Parts": [{"Headline", "Commands"}]}``"""
    return {"Parts": [{"Headline": each.headline, "Commands": list(each.commands)} for each in parts]}


def figures(found: Sequence[Figures]) -> Json:
    """``{"Resolvers": […]}``, times in nanoseconds as everywhere in the API."""
    return {"Resolvers": [_figures(each) for each in found]}


def network(view: NetworkView) -> Json:
    """What ``GET /networks/{id}`` of Docker's has no member for."""
    definition = view.network
    return {
        "Name": definition.name,
        "Id": definition.id,
        "Interface": definition.bridge.bridge_name if definition.bridge else "",
        "Drifted": view.drifted,
        "Usage": [{"Subnet": each.subnet, "Capacity": each.capacity, "InUse": each.in_use} for each in view.usage],
        "Members": [
            {
                "Name": each.name,
                "Id": each.container_id,
                "Interface": each.endpoint.interface,
                "HostInterface": each.endpoint.host_interface,
                "MacAddress": each.endpoint.mac,
                "Addresses": [str(address) for address in (each.endpoint.ipv4, each.endpoint.ipv6) if address],
            }
            for each in view.members
        ],
    }


def _exposure(way: Exposure) -> Json:
    return {
        "Container": way.container,
        "Network": way.network,
        "Protocol": way.protocol,
        "Address": way.address,
        "HostPort": way.host_port,
        "Port": way.port,
        "Count": way.count,
        "Reach": way.reach,
        "Sources": list(way.sources),
        "Way": way.way,
        "Pending": way.pending,
        "Contradiction": way.contradiction,
    }


def _entry(entry: DriftEntry) -> Json:
    return {
        "Scope": entry.scope,
        "Object": entry.object,
        "State": entry.state,
        "Detail": entry.detail,
        "Status": entry.status,
        "Commands": list(entry.commands),
    }


def _foreign(rule: ForeignRule) -> Json:
    return {"Owner": rule.owner, "Where": rule.where, "What": rule.what, "Remedy": rule.remedy}


def _figures(each: Figures) -> Json:
    return {
        "Id": each.id,
        "Name": each.name,
        "Queries": each.queries,
        "Local": each.local,
        "Cached": each.cached,
        "Forwarded": each.forwarded,
        "Refused": each.refused,
        "Failed": each.failed,
        "Time": round(each.seconds * 1e9),
        "Slowest": round(each.slowest * 1e9),
        "Buckets": list(each.buckets),
    }
