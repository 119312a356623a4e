"""The OCI ``process.json`` of a further process in a running container (``exec``). PURE."""

from __future__ import annotations

import msgspec

from linkspan.errors import InvalidRequest
from linkspan.model.container import ContainerSpec, Ulimit
from linkspan.model.image import ImageConfig
from linkspan.runtime import capabilities, oci, resources
from linkspan.runtime.command import environment_of, merged, working_directory_of
from linkspan.runtime.facts import Facts
from linkspan.runtime.users import Identity


class ExecInput(msgspec.Struct, frozen=True, kw_only=True):
    """What to run, and the container that it runs in."""

    spec: ContainerSpec
    image: ImageConfig
    hostname: str
    command: tuple[str, ...]
    env: tuple[str, ...] = ()
    working_dir: str = ""
    """Empty: the container's."""
    identity: Identity = Identity()
    tty: bool = False
    privileged: bool = False
    console_size: tuple[int, int] | None = None
    """Rows and columns."""
    default_ulimits: tuple[Ulimit, ...] = ()
    no_new_privileges: bool = False
    facts: Facts


def build_exec(given: ExecInput) -> bytes:
    """The text of ``process.json``. InvalidRequest without a command or with a relative working directory."""
    if not given.command:
        raise InvalidRequest("no exec command specified")
    spec, identity = given.spec, given.identity
    if given.privileged:
        spec = msgspec.structs.replace(spec, security=msgspec.structs.replace(spec.security, privileged=True))
    if given.working_dir:
        spec = msgspec.structs.replace(spec, working_dir=given.working_dir)
    spec = msgspec.structs.replace(spec, tty=given.tty)
    environment = merged(environment_of(spec, given.image, given.hostname, ""), given.env)
    if not any(text.startswith("HOME=") for text in environment):
        environment += (f"HOME={identity.home}",)
    size = given.console_size
    process = oci.Process(
        terminal=given.tty,
        console_size=oci.ConsoleSize(height=size[0], width=size[1]) if size and given.tty else None,
        user=oci.User(uid=identity.uid, gid=identity.gid, additional_gids=identity.additional),
        args=given.command,
        env=environment,
        cwd=working_directory_of(spec, given.image),
        capabilities=capabilities.for_user(capabilities.granted(spec.security, given.facts.capabilities), identity.uid),
        rlimits=resources.rlimits(spec.resources.ulimits, given.default_ulimits, given.facts),
        no_new_privileges=spec.security.no_new_privileges or given.no_new_privileges,
        oom_score_adj=resources.oom_score(spec.oom_score_adj, given.facts),
    )
    return msgspec.json.encode(process)
