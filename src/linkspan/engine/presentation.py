"""Containers as they are shown: definition, state, networks, mounts and paths put together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from linkspan.engine.intent import Intent
from linkspan.engine.naming import SHORT_ID, has_names, names_of
from linkspan.engine.sandbox_folders import SandboxFolders
from linkspan.engine.views import AttachedNetwork, ContainerView, MountPoint
from linkspan.engine.volumes import Volumes
from linkspan.errors import ImageNotFound, LinkspanError
from linkspan.images.store import ImageStore
from linkspan.model.container import Container
from linkspan.model.endpoint import Endpoint, EndpointRequest
from linkspan.model.image import Image, ImageConfig
from linkspan.model.network import Network
from linkspan.model.sandbox import Sandbox
from linkspan.runtime.command import command_of


class Presentation:
    """Builds ``ContainerView``s. Reading only."""

    def __init__(
        self,
        intent: Intent,
        files: SandboxFolders,
        volumes: Volumes,
        images: ImageStore,
        runtime: str,
        log_path: Callable[[str], Path],
        exec_ids: Callable[[str], tuple[str, ...]],
    ) -> None:
        self._intent = intent
        self._files = files
        self._volumes = volumes
        self._images = images
        self._runtime = runtime
        self._log_path = log_path
        self._exec_ids = exec_ids

    def view(self, container: Container, *, size_rw: int | None = None, root_path: str = "") -> ContainerView:
        """One container, whole."""
        sandbox = self._intent.sandbox_of(container.id)
        shaped = self._intent.sandbox_owned_by(container.id)
        config = self._intent.image_configs.get(container.id, ImageConfig())
        command, entrypoint_length = _command(container, config)
        folder = self._files.folder(sandbox) if sandbox else None
        return ContainerView(
            container=container,
            state=self._intent.state(container.id),
            image=self._image(container.image_id),
            image_config=config,
            networks=self._networks(container, shaped),
            mounts=self._mounts(container),
            sandbox_id=sandbox.id if sandbox else "",
            sandbox_path=self._files.namespace_path(sandbox) if sandbox else "",
            hosts_path=str(folder / "hosts") if folder else "",
            hostname_path=str(folder / "hostname") if folder else "",
            resolv_path=str(folder / "resolv.conf") if folder else "",
            log_path=str(self._log_path(container.id)),
            runtime=self._runtime,
            storage_driver=self._images.storage_driver,
            exec_ids=self._exec_ids(container.id),
            size_rw=size_rw,
            command=command,
            entrypoint_length=entrypoint_length,
            publications=shaped.publications if shaped else (),
            root_path=root_path,
        )

    def _networks(self, container: Container, sandbox: Sandbox | None) -> tuple[AttachedNetwork, ...]:
        live = {item.network_id: item for item in self._intent.endpoints_in(sandbox.id)} if sandbox else {}
        attached = []
        for request in container.spec.endpoints:
            network = self._intent.networks.get(request.network)
            if network is not None:
                attached.append(_attached(container, network, request, live.get(network.id)))
        return tuple(attached)

    def _mounts(self, container: Container) -> tuple[MountPoint, ...]:
        points = []
        for mount in container.spec.mounts:
            source = str(self._volumes.path(mount.source)) if mount.kind == "volume" else mount.source
            points.append(MountPoint(mount=mount, source=source))
        return tuple(points)

    def _image(self, image_id: str) -> Image | None:
        try:
            return self._images.get(image_id)
        except ImageNotFound:
            return None


def _attached(
    container: Container, network: Network, request: EndpointRequest, endpoint: Endpoint | None
) -> AttachedNetwork:
    names: tuple[str, ...] = ()
    if has_names(network):
        names = names_of(container.name, container.id, container.spec.hostname or container.id[:SHORT_ID], request)
    return AttachedNetwork(network=network, request=request, endpoint=endpoint, names=names)


def _command(container: Container, config: ImageConfig) -> tuple[tuple[str, ...], int]:
    try:
        return command_of(container.spec, config)
    except LinkspanError:
        return (), 0
