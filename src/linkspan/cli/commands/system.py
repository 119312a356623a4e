"""``linkspan version`` and ``info``."""

from __future__ import annotations

import os
import sys

from linkspan import __version__
from linkspan.cli.client import API
from linkspan.cli.documents import Json, flag, mapping, number, sequence, text, texts
from linkspan.cli.failure import DaemonError, Failure, Unreachable
from linkspan.cli.grammar import Command, Option
from linkspan.cli.human import binary_size
from linkspan.cli.template import renderer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

FORMAT = Option("format", "string", "json, or a Go template", short="f", words=("json",))


def version(call: Call) -> int:
    """Prints the client's part even when no daemon answers; the status is 1 then."""
    machine = os.uname()
    client: dict[str, Json] = {
        "Version": __version__,
        "ApiVersion": API.removeprefix("/v"),
        "PythonVersion": sys.version.partition(" ")[0],
        "Os": machine.sysname.lower(),
        "Arch": machine.machine,
    }
    problem = ""
    try:
        server = call.client.get("/version")
    except (Unreachable, DaemonError) as failure:
        server, problem = None, failure.message
    layout = call.parsed.text("format")
    if layout:
        print(renderer(layout)({"Client": client, "Server": server}))
    else:
        print("Client: Linkspan")
        _lines(client, {"Version": "Version", "ApiVersion": "API version", "PythonVersion": "Python version"})
        print(f" OS/Arch:           {client['Os']}/{client['Arch']}")
        if server is not None:
            _server(server)
    if problem:
        raise Failure(problem)
    return 0


def _server(server: Json) -> None:
    print("\nServer:")
    _lines(server, {"Version": "Version", "ApiVersion": "API version", "KernelVersion": "Kernel"})
    print(f" OS/Arch:           {text(server, 'Os')}/{text(server, 'Arch')}")
    for component in sequence(server, "Components"):
        if text(component, "Name") not in ("", "Engine"):
            print(f" {text(component, 'Name') + ':':18} {text(component, 'Version')}")


def _lines(document: Json, names: dict[str, str]) -> None:
    for key, name in names.items():
        if text(document, key):
            print(f" {name + ':':18} {text(document, key)}")


def info(call: Call) -> int:
    """Warnings go to stderr, after what they are about."""
    document = call.client.get("/info")
    if call.parsed.text("format"):
        print(renderer(call.parsed.text("format"))(document))
        return 0
    print(f"Client:\n Version: {__version__}\n\nServer:")
    for line in (*_daemon_lines(document), *_machine_lines(document), *_setting_lines(document)):
        print(f" {line}")
    sys.stdout.flush()
    for warning in texts(document, "Warnings"):
        print(warning, file=sys.stderr)
    return 0


def _daemon_lines(document: Json) -> list[str]:
    named = {
        "Server Version": "ServerVersion",
        "Storage Driver": "Driver",
        "Cgroup Driver": "CgroupDriver",
        "Cgroup Version": "CgroupVersion",
        "Default Runtime": "DefaultRuntime",
    }
    return [
        f"Containers: {number(document, 'Containers')}",
        *(f" {state}: {number(document, f'Containers{state}')}" for state in ("Running", "Paused", "Stopped")),
        f"Images: {number(document, 'Images')}",
        *(f"{name}: {text(document, key)}" for name, key in named.items() if text(document, key)),
        f"Runtimes: {' '.join(sorted(mapping(document, 'Runtimes')))}",
        f"Network drivers: {' '.join(texts(document, 'Plugins', 'Network'))}",
        *_below("Security Options:", [_security(option) for option in texts(document, "SecurityOptions")]),
    ]


def _machine_lines(document: Json) -> list[str]:
    named = {"Kernel Version": "KernelVersion", "Operating System": "OperatingSystem", "OSType": "OSType"}
    return [
        *(f"{name}: {text(document, key)}" for name, key in named.items()),
        f"Architecture: {text(document, 'Architecture')}",
        f"CPUs: {number(document, 'NCPU')}",
        f"Total Memory: {binary_size(number(document, 'MemTotal'))}",
        f"Name: {text(document, 'Name')}",
    ]


def _setting_lines(document: Json) -> list[str]:
    status = [pair for pair in sequence(document, "DriverStatus") if isinstance(pair, list)]
    pools = sequence(document, "DefaultAddressPools")
    return [
        f"ID: {text(document, 'ID')}",
        f"Data Root: {text(document, 'DockerRootDir')}",
        *(f"Exec Root: {pair[1]}" for pair in status if pair[0] == "Exec Root Dir"),
        *_below(
            "Default Address Pools:", [f" Base: {text(pool, 'Base')}, Size: {number(pool, 'Size')}" for pool in pools]
        ),
        *_below("Labels:", texts(document, "Labels")),
        f"Live Restore Enabled: {str(flag(document, 'LiveRestoreEnabled')).lower()}",
    ]


def _below(head: str, lines: list[str]) -> list[str]:
    return [head, *(f" {line}" for line in lines)] if lines else []


def _security(option: str) -> str:
    """``name=seccomp,profile=builtin`` as people say it: ``seccomp``."""
    return option.removeprefix("name=").partition(",")[0]


COMMANDS = {
    "version": Command(version, options=(FORMAT,)),
    "system info": Command(info, options=(FORMAT,)),
}
