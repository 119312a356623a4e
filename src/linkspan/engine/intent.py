"""All that people asked for, in memory, with the store behind it.

Reading is a dictionary look-up. Writing goes to the store first, in one transaction, and to memory after it, so
memory never says more than the disk. Intent is written before its effect: then recovery is the start-up path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from linkspan.engine.groups import Groups
from linkspan.errors import Conflict, InvalidRequest, NotFound
from linkspan.model.address import IPAddress, IPNetwork
from linkspan.model.container import Container, ContainerState
from linkspan.model.endpoint import Endpoint
from linkspan.model.image import ImageConfig
from linkspan.model.names import split_link
from linkspan.model.network import Network
from linkspan.model.sandbox import Sandbox
from linkspan.model.volume import Volume
from linkspan.store import Store

Record = Network | Container | Sandbox | Endpoint | Volume
Cursor = tuple[str, IPNetwork, IPAddress]
"""Network id, subnet, and the last address that was picked there."""


class Intent:
    """The records by id (volumes by name), and how to find them by what people call them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.networks: dict[str, Network] = {item.id: item for item in store.networks.all().values()}
        self.containers: dict[str, Container] = {item.id: item for item in store.containers.all().values()}
        self.states: dict[str, ContainerState] = dict(store.states.all())
        self.sandboxes: dict[str, Sandbox] = {item.id: item for item in store.sandboxes.all().values()}
        self.endpoints: dict[str, Endpoint] = {item.id: item for item in store.endpoints.all().values()}
        self.volumes: dict[str, Volume] = {item.name: item for item in store.volumes.all().values()}
        self.image_configs: dict[str, ImageConfig] = dict(store.image_configs.all())
        self._container_names = {item.name: item.id for item in self.containers.values()}
        self._links, self._owned, self._rooms = Groups(), Groups(), Groups()
        """Containers by the names that they have links to; sandboxes by owner and by member."""
        self._inside, self._around = Groups(), Groups()
        """Endpoints by sandbox and by network."""
        for container in self.containers.values():
            self._group_container(container.id, None, container)
        for sandbox in self.sandboxes.values():
            self._group_sandbox(sandbox.id, None, sandbox)
        for endpoint in self.endpoints.values():
            self._group_endpoint(endpoint.id, None, endpoint)

    def commit(
        self,
        *,
        put: Iterable[Record] = (),
        drop: Iterable[Record] = (),
        states: Mapping[str, ContainerState] | None = None,
        image_configs: Mapping[str, ImageConfig] | None = None,
        cursors: Iterable[Cursor] = (),
    ) -> None:
        """Writes it all, or nothing. StoreFailure."""
        put, drop = tuple(put), tuple(drop)
        with self.store.transaction():
            for record in drop:
                self._drop_stored(record)
            for record in put:
                self._put_stored(record)
            for container_id, state in (states or {}).items():
                self.store.states.put(container_id, state)
            for container_id, config in (image_configs or {}).items():
                self.store.image_configs.put(container_id, config)
            for network_id, subnet, last in cursors:
                self.store.cursors.put(network_id, subnet, last)
        for record in drop:
            self._drop_remembered(record)
        for record in put:
            self._put_remembered(record)
        self.states.update(states or {})
        self.image_configs.update(image_configs or {})

    def state(self, container_id: str) -> ContainerState:
        """The container's state; a fresh one where none was stored."""
        return self.states.get(container_id, ContainerState())

    def network(self, reference: str) -> Network:
        """By full id, then name, then unique id prefix. NotFound, or InvalidRequest for an ambiguous prefix."""
        if reference in self.networks:
            return self.networks[reference]
        for network in self.networks.values():
            if network.name == reference:
                return network
        return self.networks[_by_prefix(reference, self.networks, "network")]

    def container(self, reference: str) -> Container:
        """By full id, then name (with or without the API's leading slash), then unique id prefix."""
        name = reference.removeprefix("/")
        if name in self.containers:
            return self.containers[name]
        if name in self._container_names:
            return self.containers[self._container_names[name]]
        return self.containers[_by_prefix(name, self.containers, "container")]

    def container_named(self, name: str) -> Container | None:
        """The container with exactly this name."""
        identity = self._container_names.get(name)
        return self.containers[identity] if identity else None

    def settled_link(self, text: str) -> str:
        """A link with the name of the container that it means: people may say an id. NotFound, InvalidRequest."""
        said, alias = split_link(text)
        return f"{self.container(said).name}:{alias}"

    def name_of(self, container_id: str) -> str:
        """What a person calls this container: its name, or its short id when it was removed."""
        container = self.containers.get(container_id)
        if container is not None:
            return container.name
        sandbox = self.sandbox_owned_by(container_id)
        return sandbox.owner_name if sandbox is not None else container_id[:12]

    def sandbox_owned_by(self, container_id: str) -> Sandbox | None:
        """The live sandbox that this container's definition shapes."""
        return next((self.sandboxes[item] for item in self._owned.of(container_id)), None)

    def sandbox_of(self, container_id: str) -> Sandbox | None:
        """The live sandbox that this container runs in."""
        return next((self.sandboxes[item] for item in self._rooms.of(container_id)), None)

    def endpoints_in(self, sandbox_id: str) -> list[Endpoint]:
        """The sandbox's endpoints in the order of their interface names."""
        found = [self.endpoints[item] for item in self._inside.of(sandbox_id)]
        return sorted(found, key=lambda item: (len(item.interface), item.interface))

    def placed(self, endpoints: Iterable[Endpoint]) -> list[tuple[Network, Endpoint]]:
        """Endpoints with the network that each is on, as plans take them."""
        return [(self.networks[item.network_id], item) for item in endpoints]

    def endpoints_on(self, network_id: str) -> list[Endpoint]:
        """The live endpoints of a network."""
        return [self.endpoints[item] for item in self._around.of(network_id)]

    def linking_to(self, name: str) -> list[Container]:
        """Containers whose definitions have a link to this name, or to the container's id or its first digits."""
        target = self._container_names.get(name, "")
        said = (name, *(target[:digits] for digits in range(1, len(target) + 1)))
        return [self.containers[item] for text in dict.fromkeys(said) for item in self._links.of(text)]

    def _put_stored(self, record: Record) -> None:
        match record:
            case Network():
                self.store.networks.put(record.id, record)
            case Container():
                self.store.containers.put(record.id, record)
            case Sandbox():
                self.store.sandboxes.put(record.id, record)
            case Endpoint():
                self.store.endpoints.put(record.id, record)
            case Volume():
                self.store.volumes.put(record.name, record)

    def _drop_stored(self, record: Record) -> None:
        match record:
            case Network():
                self.store.networks.delete(record.id)
                self.store.cursors.delete(record.id)
            case Container():
                self.store.containers.delete(record.id)
                self.store.states.delete(record.id)
                self.store.image_configs.delete(record.id)
            case Sandbox():
                self.store.sandboxes.delete(record.id)
            case Endpoint():
                self.store.endpoints.delete(record.id)
            case Volume():
                self.store.volumes.delete(record.name)

    def _put_remembered(self, record: Record) -> None:
        match record:
            case Network():
                self.networks[record.id] = record
            case Container():
                before = self.containers.get(record.id)
                if before is not None:
                    self._forget_name(before)
                self._group_container(record.id, before, record)
                self.containers[record.id] = record
                self._container_names[record.name] = record.id
            case Sandbox():
                self._group_sandbox(record.id, self.sandboxes.get(record.id), record)
                self.sandboxes[record.id] = record
            case Endpoint():
                self._group_endpoint(record.id, self.endpoints.get(record.id), record)
                self.endpoints[record.id] = record
            case Volume():
                self.volumes[record.name] = record

    def _drop_remembered(self, record: Record) -> None:
        match record:
            case Network():
                self.networks.pop(record.id, None)
            case Container():
                before = self.containers.pop(record.id, None)
                self._forget_name(before or record)
                self._group_container(record.id, before, None)
                self.states.pop(record.id, None)
                self.image_configs.pop(record.id, None)
            case Sandbox():
                self._group_sandbox(record.id, self.sandboxes.pop(record.id, None), None)
            case Endpoint():
                self._group_endpoint(record.id, self.endpoints.pop(record.id, None), None)
            case Volume():
                self.volumes.pop(record.name, None)

    def _group_container(self, identity: str, before: Container | None, now: Container | None) -> None:
        self._links.move(identity, _linked(before), _linked(now))

    def _group_sandbox(self, identity: str, before: Sandbox | None, now: Sandbox | None) -> None:
        self._owned.move(identity, [before.owner] if before else (), [now.owner] if now else ())
        self._rooms.move(identity, before.members if before else (), now.members if now else ())

    def _group_endpoint(self, identity: str, before: Endpoint | None, now: Endpoint | None) -> None:
        self._inside.move(identity, [before.sandbox_id] if before else (), [now.sandbox_id] if now else ())
        self._around.move(identity, [before.network_id] if before else (), [now.network_id] if now else ())

    def _forget_name(self, container: Container) -> None:
        """The name may belong to another container by now."""
        if self._container_names.get(container.name) == container.id:
            del self._container_names[container.name]

    def check_container_name(self, name: str) -> None:
        """Conflict when a container has this name, naming it."""
        holder = self.container_named(name)
        if holder is not None:
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{holder.id}"',
                whose=holder.id,
                remedy="remove or rename that container to use the name again",
            )


def _linked(container: Container | None) -> set[str]:
    """The names that a definition has links to."""
    if container is None:
        return set()
    spec = container.spec
    return {split_link(text)[0] for text in (*spec.links, *(text for item in spec.endpoints for text in item.links))}


def _by_prefix(prefix: str, known: Iterable[str], noun: str) -> str:
    found = [identity for identity in known if prefix and identity.startswith(prefix)]
    if len(found) > 1:
        raise InvalidRequest(f"multiple IDs found with provided prefix: {prefix}", remedy="give more of its digits")
    if not found:
        text = f"network {prefix} not found" if noun == "network" else f"No such {noun}: {prefix}"
        raise NotFound(text)
    return found[0]
