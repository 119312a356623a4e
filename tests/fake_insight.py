"""Insight into nothing: answers that tests put in, and what they were asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from linkspan.dns.names import Figures
from linkspan.insight.views import DriftReport, Exposure, Finding, NetworkCommands, Repaired

if TYPE_CHECKING:
    from fake_engine import FakeEngine


class FakeInsight:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.ways: tuple[Exposure, ...] = ()
        self.report = DriftReport()
        self.repaired = Repaired()
        self.garbage = Repaired()
        self.findings: tuple[Finding, ...] = ()
        self.figures: tuple[Figures, ...] = ()
        self.dry: list[bool] = []

    async def exposures(self, container: str = "") -> tuple[Exposure, ...]:
        if not container:
            return self.ways
        name = self.engine.containers.find(container).container.name
        return tuple(each for each in self.ways if each.container == name)

    async def drift(self) -> DriftReport:
        return self.report

    async def repair(self) -> Repaired:
        return self.repaired

    async def collect_garbage(self, *, dry: bool) -> Repaired:
        self.dry.append(dry)
        return self.garbage

    async def diagnose(self) -> tuple[Finding, ...]:
        return self.findings

    def network_commands(self, reference: str) -> tuple[NetworkCommands, ...]:
        network = self.engine.networks.find(reference)
        return (NetworkCommands(headline=f"network {network.name}", commands=("ip link add br-1 type bridge",)),)

    async def name_figures(self) -> tuple[Figures, ...]:
        return self.figures
