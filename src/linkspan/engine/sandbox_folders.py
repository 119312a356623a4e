"""The files of each sandbox: what goes into them, and how they follow changes without losing a container's own edits.

A container may edit its /etc/hosts and /etc/resolv.conf. So a change takes out those lines of /etc/hosts that we no
longer say, adds those that are new, and leaves the rest as it is. Lines of resolv.conf(5) mean something together: one
that was edited is the container's from then on (Docker's rule).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from linkspan.engine import files
from linkspan.engine.claims import addresses_of
from linkspan.engine.config import DaemonConfig
from linkspan.engine.files import HostsEntry
from linkspan.engine.intent import Intent
from linkspan.engine.naming import SHORT_ID, linked, wanted_resolver
from linkspan.engine.surroundings import host_resolver, text_of
from linkspan.model.container import Container, ContainerSpec
from linkspan.model.endpoint import Endpoint
from linkspan.model.sandbox import Sandbox
from linkspan.plan.gateways import by_priority, gateway_of
from linkspan.plan.sandbox import namespace_of

NAMES_SERVER = "127.0.0.11"
"""Where a sandbox finds the resolver (Docker's address)."""
HOSTS, HOSTNAME, RESOLVER = "hosts", "hostname", "resolv.conf"
SAID = "resolv.conf.said"
"""What we last wrote into the one before: a daemon that starts again sees by it whether the container edited that."""


class SandboxFolders:
    """Three files for each sandbox below the exec-root. RuntimeFailure when they cannot be written."""

    def __init__(self, config: DaemonConfig, intent: Intent) -> None:
        self._config = config
        self._intent = intent
        self._folder = config.exec_root / "sandboxes"
        self._said: dict[Path, str] = {}
        """What we last wrote into each file."""

    def folder(self, sandbox: Sandbox) -> Path:
        """Where the sandbox's three files lie."""
        return self._folder / sandbox.id[:12]

    def namespace_path(self, sandbox: Sandbox) -> str:
        """The pin of the sandbox's namespace; empty for the host's own."""
        return "" if sandbox.host else str(self._config.exec_root / "netns" / namespace_of(sandbox))

    def remove(self, sandbox: Sandbox) -> None:
        """The sandbox is gone. Absence is success."""
        folder = self.folder(sandbox)
        for name in (HOSTS, HOSTNAME, RESOLVER):
            self._said.pop(folder / name, None)
        shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Removes what a daemon left that ended between two steps: folders of sandboxes that are no more."""
        known = {self.folder(sandbox) for sandbox in self._intent.sandboxes.values()}
        for folder in self._folder.glob("*"):
            if folder not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def write(self, sandbox: Sandbox) -> None:
        """Makes the files say what holds now, in place."""
        folder = self.folder(sandbox)
        owner = self._intent.containers.get(sandbox.owner)
        if owner is None and folder.exists():
            return
        spec = owner.spec if owner else None
        self._write(folder / HOSTS, self._hosts(sandbox, spec))
        self._write(folder / HOSTNAME, sandbox.hostname + "\n")
        self._write_resolver(folder, self._resolver(sandbox, spec))

    def adopt(self, sandbox: Sandbox) -> None:
        """After a restart of the daemon: what the files should say is taken as said, and missing ones are made."""
        folder = self.folder(sandbox)
        if not all((folder / name).exists() for name in (HOSTS, HOSTNAME, RESOLVER)):
            self.write(sandbox)
            return
        owner = self._intent.containers.get(sandbox.owner)
        spec = owner.spec if owner else None
        self._said[folder / HOSTNAME] = sandbox.hostname + "\n"
        self._said[folder / RESOLVER] = text_of(folder / SAID)
        self._write_resolver(folder, self._resolver(sandbox, spec))
        if owner is not None:
            self._said[folder / HOSTS] = ""
            self._write(folder / HOSTS, self._hosts(sandbox, spec))

    def _write(self, path: Path, text: str) -> None:
        said = self._said.get(path)
        if said != text:
            files.write_in_place(path, text, instead_of=said)
            self._said[path] = text

    def _write_resolver(self, folder: Path, text: str) -> None:
        path = folder / RESOLVER
        said = self._said.get(path)
        if said != text and files.write_unless_edited(path, text, instead_of=said):
            files.write_in_place(folder / SAID, text)
            self._said[path] = text

    def _hosts(self, sandbox: Sandbox, spec: ContainerSpec | None) -> str:
        endpoints = self._intent.endpoints_in(sandbox.id)
        gateways = self._config.host_gateway or self._gateways(endpoints)
        extra = files.extra_entries(spec.extra_hosts if spec else (), gateways)
        if sandbox.host:
            lines = text_of(Path("/etc/hosts"))
            return lines + "".join(f"{item.address}\t{' '.join(item.names)}\n" for item in extra)
        names = _own_names(sandbox.hostname, spec.domainname if spec else "")
        addresses = [address for endpoint in endpoints for address in addresses_of(endpoint)]
        own = [HostsEntry(str(address), names) for address in addresses]
        return files.hosts_text((*extra, *self._linked(spec)), own)

    def _linked(self, spec: ContainerSpec | None) -> list[HostsEntry]:
        """The default bridge has no resolver: its links are lines of /etc/hosts, as with Docker."""
        entries = []
        for text in spec.links if spec else ():
            other, alias = linked(self._intent, text)
            if other is None:
                continue  # removed since
            names = tuple(dict.fromkeys((alias, other.id[:SHORT_ID], other.name)))
            entries += [HostsEntry(address, names) for address in self._on_default_bridge(other)]
        return entries

    def _on_default_bridge(self, container: Container) -> list[str]:
        sandbox = self._intent.sandbox_owned_by(container.id)
        endpoints = self._intent.endpoints_in(sandbox.id) if sandbox else []
        return [
            str(address)
            for endpoint in endpoints
            if self._intent.networks[endpoint.network_id].predefined
            for address in addresses_of(endpoint)
        ]

    def _resolver(self, sandbox: Sandbox, spec: ContainerSpec | None) -> str:
        endpoints = self._intent.endpoints_in(sandbox.id)
        pairs = self._intent.placed(endpoints)
        wanted = wanted_resolver(spec, [network.bridge for network, _ in by_priority(pairs)], self._config)
        if sandbox.resolver_port:
            return files.own_resolver_text(host_resolver(), wanted, NAMES_SERVER)
        if sandbox.host:
            return files.resolver_text(host_resolver(), wanted, None)
        versions = {address.version for item in endpoints for address in addresses_of(item)}
        return files.resolver_text(host_resolver(behind_stub=True), wanted, versions)

    def _gateways(self, endpoints: Sequence[Endpoint]) -> tuple[str, ...]:
        pairs = self._intent.placed(endpoints)
        for network, _ in by_priority(pairs):
            found = [gateway for version in (4, 6) if (gateway := gateway_of(network, version))]
            if found:
                return tuple(found)
        return ()


def _own_names(hostname: str, domainname: str) -> tuple[str, ...]:
    return (f"{hostname}.{domainname}", hostname) if domainname else (hostname,)
