"""The networking half of the engine put together: what people define, what sandboxes claim, and what follows.

It knows no containers as processes, so tests and benchmarks use it as it is, over any kernel and any keeper.
"""

from __future__ import annotations

import logging

from linkspan.engine.claims import Claims
from linkspan.engine.config import DaemonConfig
from linkspan.engine.depths import Depths
from linkspan.engine.events import Events
from linkspan.engine.firewalls import Firewalls
from linkspan.engine.intent import Intent
from linkspan.engine.naming import Naming
from linkspan.engine.networks import Networks, Surroundings
from linkspan.engine.ports import Ports
from linkspan.engine.previews import Previews
from linkspan.engine.sandbox_folders import SandboxFolders
from linkspan.engine.sandboxes import Sandboxes
from linkspan.engine.services import Services
from linkspan.engine.wants import Wants
from linkspan.errors import LinkspanError
from linkspan.ipam.book import Book
from linkspan.keeper.face import Keeper
from linkspan.kernel.state import Facts
from linkspan.kernel.worker import Worker
from linkspan.store import Store

log = logging.getLogger(__name__)


class Networking:
    """Everything between intent and kernel. ``restore`` before use."""

    def __init__(
        self,
        config: DaemonConfig,
        store: Store,
        worker: Worker,
        facts: Facts,
        keeper: Keeper,
        ports: Ports,
        depths: Depths,
        surroundings: Surroundings,
    ) -> None:
        self.config = config
        self.worker = worker
        self.keeper = keeper
        self.ports = ports
        self.events = Events()
        self.intent = Intent(store)
        self.book = Book(self.intent.name_of)
        self.wants = Wants(self.intent, facts)
        self.firewalls = Firewalls(self.intent, self.wants, worker)
        self.files = SandboxFolders(config, self.intent)
        self.naming = Naming(config, self.intent)
        self.claims = Claims(self.intent, self.book)
        self.services = Services(config, self.intent, self.naming, ports, keeper, self.files, depths, facts)
        self.sandboxes = Sandboxes(self.intent, self.claims, self.wants, worker, self.events, self.files, self.services)
        self.previews = Previews(self.intent, self.claims, self.wants, self.sandboxes, self.services)
        self.networks = Networks(
            config,
            self.intent,
            self.book,
            self.wants,
            worker,
            self.sandboxes,
            self.events,
            surroundings,
            store.instance,
            self.services,
            self.previews,
            self.firewalls,
        )

    def restore(self) -> None:
        """Books what the stored intent holds, and writes the predefined networks at the first start."""
        self.networks.restore()
        self.networks.ensure_predefined()
        self.sandboxes.restore()

    async def resume(self) -> None:
        """After the kernel was led to the intent: files, names and ports follow."""
        self.files.sweep()
        for sandbox in self.intent.sandboxes.values():
            try:
                self.files.adopt(sandbox)
            except LinkspanError as error:
                log.error("%s", error)
        await self.sandboxes.adopt()
        self.services.translate_anew()
