"""What stands between a definition and its process: root file system, volumes, user, and the OCI configuration."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from linkspan.engine.config import DaemonConfig
from linkspan.engine.intent import Intent
from linkspan.engine.sandbox_folders import SandboxFolders
from linkspan.engine.signals import signal_number
from linkspan.engine.volumes import Volumes
from linkspan.errors import InvalidRequest
from linkspan.images.rootfs import RootFileSystems, RootFs
from linkspan.model.container import Container, Mount
from linkspan.model.image import ImageConfig
from linkspan.model.sandbox import Sandbox
from linkspan.runtime import users
from linkspan.runtime.command import command_of, working_directory_of
from linkspan.runtime.conmon import Launch
from linkspan.runtime.containers import Runtime
from linkspan.runtime.host_devices import device_nodes
from linkspan.runtime.mounts import ResolvedMount, SandboxFiles
from linkspan.runtime.spec import SpecInput, build, network_sysctls

DEFAULT_STOP_SIGNAL = "SIGTERM"
LOG_NAME = "container.log"
UNITS = ("", "k", "m", "g", "t", "p")
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)i?b?", re.IGNORECASE)


class Launching:
    """Prepares starts. Everything that it makes, ``unmount`` and the removal of the container take away."""

    def __init__(
        self,
        config: DaemonConfig,
        intent: Intent,
        files: SandboxFolders,
        volumes: Volumes,
        roots: RootFileSystems,
        runtime: Runtime,
    ) -> None:
        self._config = config
        self._intent = intent
        self._files = files
        self._volumes = volumes
        self._roots = roots
        self._runtime = runtime

    def log_path(self, container_id: str) -> Path:
        """Where conmon writes the container's output."""
        return self._config.data_root / "containers" / container_id / LOG_NAME

    async def mount(self, container: Container) -> RootFs:
        """Mounts the root file system and makes the working directory in it, as Docker does."""
        root = await self._roots.mount(container.id)
        root.ensure_folder(working_directory_of(container.spec, self._image_config(container)))
        return root

    async def unmount(self, container_id: str) -> None:
        """Unmounts the root file system; what the container wrote stays."""
        await self._roots.unmount(container_id)

    async def launch(self, container: Container, sandbox: Sandbox, root: RootFs) -> Launch:
        """The order to the runtime. InvalidRequest for a user, bind source or command that does not exist."""
        spec = container.spec
        config = self._image_config(container)
        command, _ = command_of(spec, config)
        mounts = await self.mounts(container, root)
        folder = self._files.folder(sandbox)
        cgroups = self._runtime.cgroups_path(container.id, spec.cgroup_parent)
        machine = self._runtime.machine
        log_path = self.log_path(container.id) if spec.log.driver != "none" else None
        if log_path is not None:
            log_path.parent.mkdir(mode=0o710, parents=True, exist_ok=True)
        given = SpecInput(
            container=container,
            image=config,
            rootfs=str(root.path),
            sandbox=self._files.namespace_path(sandbox) or None,
            sandbox_sysctls=self._sandbox_sysctls(container, sandbox),
            hostname=sandbox.hostname,
            files=SandboxFiles(
                hosts=str(folder / "hosts"), hostname=str(folder / "hostname"), resolv=str(folder / "resolv.conf")
            ),
            mounts=mounts,
            cgroups_path=cgroups,
            identity=self.identity(container, root, spec.user or config.user),
            default_seccomp=machine.seccomp,
            init_path=machine.init_path,
            devices=device_nodes(spec.resources.devices, privileged=spec.security.privileged),
            default_ulimits=self._config.default_ulimits,
            no_new_privileges=self._config.no_new_privileges,
            facts=machine.facts,
        )
        return Launch(
            id=container.id,
            config=build(given),
            cgroups_path=cgroups,
            program=command[0],
            tty=spec.tty,
            open_stdin=spec.open_stdin,
            stdin_once=spec.stdin_once,
            binds=any(mount.kind == "bind" for mount in spec.mounts),
            log_path=log_path,
            log_max=_log_limit({**self._config.default_log_options, **spec.log.options}.get("max-size", "")),
        )

    def _sandbox_sysctls(self, container: Container, sandbox: Sandbox) -> dict[str, str]:
        """What the owner's start would have set, for a partner that starts before its owner."""
        owner = self._intent.containers.get(sandbox.owner)
        if owner is None or sandbox.host or sandbox.members != {container.id}:
            return {}
        return network_sysctls(owner.spec)

    async def mounts(self, container: Container, root: RootFs) -> tuple[ResolvedMount, ...]:
        """Its mounts with the host paths behind them; fresh volumes are filled from the image. InvalidRequest."""
        return tuple([await self._resolved(root, mount) for mount in container.spec.mounts])

    def identity(self, container: Container, root: RootFs, user: str) -> users.Identity:
        """Who ``user`` is in the container's own /etc/passwd and /etc/group. InvalidRequest."""
        passwd = root.read_text("/etc/passwd") or ""
        group = root.read_text("/etc/group") or ""
        return users.resolve(user, passwd, group, container.spec.group_add)

    def stop_signal(self, container: Container) -> int:
        """The signal that asks the container to end: its own, else the image's, else SIGTERM.

        An image may name a signal that does not exist here: its containers can be stopped all the same.
        """
        text = container.spec.stop_signal or self._image_config(container).stop_signal or DEFAULT_STOP_SIGNAL
        try:
            return signal_number(text)
        except InvalidRequest:
            return signal_number(DEFAULT_STOP_SIGNAL)

    def _image_config(self, container: Container) -> ImageConfig:
        return self._intent.image_configs.get(container.id, ImageConfig())

    async def _resolved(self, root: RootFs, mount: Mount) -> ResolvedMount:
        match mount.kind:
            case "volume":
                folder = self._volumes.path(mount.source)
                folder.mkdir(parents=True, exist_ok=True)
                if not mount.no_copy and not any(folder.iterdir()):
                    await asyncio.to_thread(root.copy_up, mount.target, folder)
                return ResolvedMount(mount=mount, source=str(folder))
            case "bind":
                check_source(mount)
                source = Path(mount.source)
                if not source.exists():
                    source.mkdir(parents=True, exist_ok=True)
                return ResolvedMount(mount=mount, source=str(source.resolve()), is_folder=source.is_dir())
            case _:
                return ResolvedMount(mount=mount)


def check_source(mount: Mount) -> None:
    """InvalidRequest for a bind whose source is missing, unless it is one that is made (``-v``)."""
    if mount.kind == "bind" and not mount.create_source and not Path(mount.source).exists():
        raise InvalidRequest(
            f'invalid mount config for type "bind": bind source path does not exist: {mount.source}',
            remedy="make it first, or use -v, which does",
        )


def _log_limit(text: str) -> int:
    """``--log-opt max-size``: bytes, or ``10m``, ``1.5g``, ``64kb``; 0 is no limit."""
    if not text or text == "-1":
        return 0
    match = SIZE.fullmatch(text)
    if match is None:
        raise InvalidRequest(f"invalid log option max-size={text}", remedy="give bytes, or a number with k, m or g")
    return int(float(match[1]) * 1024 ** UNITS.index(match[2].lower()))
