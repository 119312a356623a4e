"""What a start, a stop, a connect or a disconnect would ask of the kernel. Nothing stays claimed or reserved."""

from __future__ import annotations

from linkspan.engine.claims import Claims
from linkspan.engine.intent import Intent
from linkspan.engine.sandboxes import Sandboxes
from linkspan.engine.services import Services
from linkspan.engine.wants import Wants
from linkspan.kernel.state import Scope, State
from linkspan.model.container import Container
from linkspan.model.endpoint import EndpointRequest
from linkspan.model.network import Network

Preview = tuple[dict[Scope, State], dict[str, str]]
"""Scopes as they would be, and what to call their ids."""


class Previews:
    """Dry runs of what ``Sandboxes`` does. Raises what that would raise."""

    def __init__(self, intent: Intent, claims: Claims, wants: Wants, sandboxes: Sandboxes, services: Services) -> None:
        self._intent = intent
        self._claims = claims
        self._wants = wants
        self._sandboxes = sandboxes
        self._services = services

    def start(self, container: Container) -> Preview:
        """The scopes that a start of ``container`` would add, and what to call their ids.

        Addresses are claimed to see which they would be, and given back.
        """
        owner = container.id if container.spec.network_mode.kind != "container" else self._sandboxes.owner_of(container)
        if self._intent.sandbox_owned_by(owner) is not None:
            return {}, {}
        shape = container if owner == container.id else self._intent.containers[owner]
        networks = [self._sandboxes.network_of(shape, item) for item in shape.spec.endpoints]
        with self._claims.unmoved(networks):
            sandbox, endpoints = self._sandboxes.design(shape, frozenset())
            self._claims.release(endpoints, sandbox.owner)
            sandbox = self._services.prepare(shape, sandbox, endpoints)
            self._services.forget(sandbox)
        names = {sandbox.id: f"sandbox of {shape.name}"}
        for network, endpoint in zip(networks, endpoints, strict=True):
            names |= {network.id: f"network {network.name}", endpoint.id: f"endpoint of {shape.name} on {network.name}"}
        return self._sandboxes.all_scopes(sandbox, endpoints, endpoints), names

    def connect(self, network: Network, container: Container, request: EndpointRequest) -> Preview:
        """The scopes that ``connect`` would add or change, and what to call their ids."""
        sandbox = self._intent.sandbox_owned_by(container.id)
        if sandbox is None:
            return {}, {}
        present = self._intent.endpoints_in(sandbox.id)
        with self._claims.unmoved([network]):
            endpoint = self._claims.claim(container.id, sandbox.id, network, request, present)
            self._claims.release([endpoint], container.id)
        names = {sandbox.id: f"sandbox of {container.name}", network.id: f"network {network.name}"}
        names[endpoint.id] = f"endpoint of {container.name} on {network.name}"
        shaped = self._services.prepare(container, sandbox, [*present, endpoint])
        if not sandbox.publications:
            self._services.forget(shaped)
        return self._sandboxes.all_scopes(shaped, [*present, endpoint], [endpoint]), names

    def disconnect(self, network: Network, container: Container) -> Preview:
        """The scopes that ``disconnect`` would change, and what to call their ids."""
        sandbox = self._intent.sandbox_owned_by(container.id)
        present = self._intent.endpoints_in(sandbox.id) if sandbox else []
        leaving = [item for item in present if item.network_id == network.id]
        if sandbox is None or not leaving:
            return {}, {}
        rest = [item for item in present if item not in leaving]
        names = {sandbox.id: f"sandbox of {container.name}"}
        names |= {item.id: f"endpoint of {container.name} on {network.name}" for item in leaving}
        dissolved: dict[Scope, State] = {("endpoint", item.id): {} for item in leaving}
        return dissolved | self._wants.sandbox(sandbox, rest), names

    def stop(self, container: Container) -> Preview:
        """The scopes that its stop would dissolve: none while partners run."""
        sandbox = self._intent.sandbox_of(container.id)
        if sandbox is None or sandbox.members != {container.id}:
            return {}, {}
        endpoints = self._intent.endpoints_in(sandbox.id)
        names = {sandbox.id: f"sandbox of {container.name}"}
        for endpoint in endpoints:
            network = self._intent.networks[endpoint.network_id]
            names[endpoint.id] = f"endpoint of {container.name} on {network.name}"
        scopes: dict[Scope, State] = {("endpoint", item.id): {} for item in endpoints}
        return scopes | {("sandbox", sandbox.id): {}}, names
