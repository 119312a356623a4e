"""Others' firewalls as they were read last: what of them is in our networks' way, and which command lifts it.

Read at the start and after each change that somebody made, not at each question: a host may have thousands of rules.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from linkspan.engine.intent import Intent
from linkspan.engine.naming import reaches_out
from linkspan.engine.wants import Wants
from linkspan.errors import KernelFailure
from linkspan.insight.firewalls import sentence
from linkspan.kernel import foreign
from linkspan.kernel.foreign import Obstacle
from linkspan.kernel.nft import Nft, NftError
from linkspan.kernel.passage import Ruleset
from linkspan.kernel.worker import Worker
from linkspan.model.network import Network
from linkspan.plan.bridge import options_of

log = logging.getLogger(__name__)


class Firewalls:
    """The engine's view of them. ``look`` before the first question; until then nothing is in the way."""

    def __init__(self, intent: Intent, wants: Wants, worker: Worker) -> None:
        self._intent = intent
        self._wants = wants
        self._worker = worker
        self._rules = Ruleset(chains=(), interfaces={})
        self._logged: frozenset[str] = frozenset()

    async def look(self) -> None:
        """Reads them again, and writes to the log what is newly in the way. KernelFailure."""
        self._rules = await self._worker.call(read_rules)
        warnings = self.warnings()
        for warning in warnings:
            if warning not in self._logged:
                log.warning("%s", warning)
        self._logged = frozenset(warnings)

    def outgoing(self) -> list[Network]:
        """The networks in the kernel whose containers may reach the outside, and be reached."""
        return [item for item in self._intent.networks.values() if reaches_out(item) and item.id in self._wants.raised]

    def warnings(self, networks: Iterable[Network] | None = None) -> tuple[str, ...]:
        """One sentence for each chain in the way of these networks, or of all that are in the kernel."""
        concerned = self.outgoing() if networks is None else [item for item in networks if reaches_out(item)]
        bridges = [options_of(item).bridge_name for item in concerned]
        return tuple(warning(each) for each in foreign.obstacles(self._rules, bridges))


def warning(obstacle: Obstacle) -> str:
    """What is in the way and what lifts it, in one line."""
    return f"{sentence(obstacle)}; lift it with: {obstacle.remedy}"


def read_rules() -> Ruleset:
    """All chains of others, on the kernel thread. KernelFailure."""
    nft = Nft()
    try:
        return foreign.read(nft)
    except (NftError, OSError) as error:
        raise KernelFailure(f"the host's firewall cannot be read: {error}") from error
    finally:
        nft.close()
