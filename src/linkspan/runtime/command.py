"""What runs, and with which environment: a container's definition mixed with its image's defaults. PURE.

Rules as in moby ``daemon/commit.go`` (merge), ``container.go`` (GetEntrypointAndArgs, CreateDaemonEnvironment).
"""

from __future__ import annotations

from collections.abc import Iterable

from linkspan.errors import InvalidRequest
from linkspan.model.container import ContainerSpec
from linkspan.model.image import ImageConfig

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def command_of(spec: ContainerSpec, image: ImageConfig) -> tuple[tuple[str, ...], int]:
    """The argument vector, and how many of its parts are the entrypoint.

    An entrypoint given with the container drops the image's command; an empty one (``--entrypoint ""``) drops
    the image's entrypoint. InvalidRequest when nothing is left to run.
    """
    command = spec.command or ()
    entrypoint = spec.entrypoint
    if not entrypoint:
        command = command or image.command or ()
        entrypoint = image.entrypoint or () if entrypoint is None else ()
    if entrypoint == ("",):
        entrypoint = ()
    vector = entrypoint + command
    if not vector:
        raise InvalidRequest("no command specified", remedy="the image has none: give one after the image's name")
    return vector, len(entrypoint)


def environment_of(spec: ContainerSpec, image: ImageConfig, hostname: str, home: str) -> tuple[str, ...]:
    """``NAME=value`` texts: our defaults, then the image's, then the container's, later ones winning by name.

    A name without ``=`` in the container's own list takes the variable away. ``home`` fills HOME where nobody
    set it; empty: leave it.
    """
    defaults = [DEFAULT_PATH, f"HOSTNAME={hostname}"]
    if spec.tty:
        defaults.append("TERM=xterm")
    variables = merged(defaults, [*image.env, *spec.env])
    if home and not any(text.startswith("HOME=") for text in variables):
        variables += (f"HOME={home}",)
    return variables


def merged(defaults: Iterable[str], later: Iterable[str]) -> tuple[str, ...]:
    """Environment texts with the later ones replacing, or removing (no ``=``), those before them by name."""
    variables = {text.partition("=")[0]: text for text in defaults}
    for text in later:
        name, equals, _ = text.partition("=")
        if equals:
            variables[name] = text
        else:
            variables.pop(name, None)
    return tuple(variables.values())


def working_directory_of(spec: ContainerSpec, image: ImageConfig) -> str:
    """The absolute path that the process starts in. InvalidRequest for a relative one."""
    path = spec.working_dir or image.working_dir or "/"
    if not path.startswith("/"):
        raise InvalidRequest(
            f"the working directory '{path}' is invalid, it needs to be an absolute path", remedy=f"write /{path}"
        )
    return path
