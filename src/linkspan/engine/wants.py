"""From intent to want: which scopes exist, and what each should hold in the kernel."""

from __future__ import annotations

from collections.abc import Sequence

from linkspan.engine.intent import Intent
from linkspan.kernel.state import Facts, Scope, State, state_of
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network
from linkspan.model.sandbox import Sandbox
from linkspan.plan import bridge, host
from linkspan.plan import sandbox as sandbox_plan

HOST_SCOPE: Scope = ("host", "")
DEFAULT_NEEDED = "default bridge needed"
"""Name of the stored fact that the default bridge has had an endpoint: from then on it is there at start."""


class Wants:
    """Plans scopes out of intent. ``raised`` are the bridge networks that have been needed: they are in the kernel."""

    def __init__(self, intent: Intent, facts: Facts) -> None:
        self.intent = intent
        self.facts = facts
        self.raised: set[str] = set()

    def raise_stored(self) -> None:
        """At the start of the daemon: all created networks are wanted, the default one if it was ever needed."""
        needed = self.intent.store.meta.get(DEFAULT_NEEDED) is not None
        self.raised |= {
            item.id
            for item in self.intent.networks.values()
            if item.driver == "bridge" and (not item.predefined or needed)
        }

    def note_need(self, network: Network) -> None:
        """Before the first endpoint of the default bridge: from now on it is there at start. StoreFailure."""
        if network.predefined and network.driver == "bridge" and network.id not in self.raised:
            self.intent.store.meta.put(DEFAULT_NEEDED, "yes")

    def mark_raised(self, network: Network) -> None:
        """The network is in the kernel now."""
        if network.driver == "bridge":
            self.raised.add(network.id)

    def unmark_raised(self, network_id: str) -> None:
        """The network, or a part of it, is not in the kernel: it is raised when it is needed next."""
        self.raised.discard(network_id)

    def raising(self, network: Network) -> dict[Scope, State]:
        """What is still missing before ``network`` can have endpoints: often nothing."""
        wants: dict[Scope, State] = {}
        if network.driver != "bridge" or network.id in self.raised:
            return wants
        wants[HOST_SCOPE] = self._host(network)
        wants[("network", network.id)] = state_of(bridge.network(network, self.facts))
        return wants

    def host(self) -> dict[Scope, State]:
        """The host scope as the facts have it now."""
        return {HOST_SCOPE: self._host()}

    def lowering(self, network: Network) -> dict[Scope, State]:
        """The network's scope, dissolved, and what the host needs without it: for one that the intent has dropped."""
        return {("network", network.id): {}, HOST_SCOPE: self._host()}

    def endpoint(self, sandbox: Sandbox, network: Network, endpoint: Endpoint) -> dict[Scope, State]:
        """The scope of one endpoint; host and null networks want nothing."""
        objects: State = {}
        if network.driver == "bridge":
            namespace = sandbox_plan.namespace_of(sandbox)
            objects = state_of(bridge.endpoint(network, endpoint, namespace, self.facts))
        return {("endpoint", endpoint.id): objects}

    def sandbox(self, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> dict[Scope, State]:
        """The scope of the sandbox itself: namespace and default routes."""
        pairs = self.intent.placed(endpoints)
        return {("sandbox", sandbox.id): state_of(sandbox_plan.sandbox(sandbox, pairs))}

    def everything(self) -> dict[Scope, State]:
        """All scopes, for start-up and recovery. What is wanted counts as raised from now on."""
        wants: dict[Scope, State] = {}
        networks = self._needed()
        if networks:
            wants[HOST_SCOPE] = self._host()
        for network in networks:
            wants[("network", network.id)] = state_of(bridge.network(network, self.facts))
            self.raised.add(network.id)
        for sandbox in self.intent.sandboxes.values():
            endpoints = self.intent.endpoints_in(sandbox.id)
            wants |= self.sandbox(sandbox, endpoints)
            for endpoint in endpoints:
                wants |= self.endpoint(sandbox, self.intent.networks[endpoint.network_id], endpoint)
        return wants

    def _needed(self) -> list[Network]:
        """Networks that are in the kernel or on the way into it: created ones, and the default one once it was used."""
        needed = self.raised | {endpoint.network_id for endpoint in self.intent.endpoints.values()}
        return [
            item
            for item in self.intent.networks.values()
            if item.driver == "bridge" and (item.id in needed or not item.predefined)
        ]

    def _host(self, *further: Network) -> State:
        """What the needed networks and ``further`` rest on; nothing without any."""
        networks = (*self._needed(), *further)
        ipv6 = any(item.enable_ipv6 for item in networks)
        return state_of(host.base(self.facts, ipv6=ipv6)) if networks else {}
