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
    document = call.client.get("/info")
    if call.parsed.text("format"):
        print(renderer(call.parsed.text("format"))(document))
        return 0
    print("Client:\n Version: " + __version__ + "\n\nServer:")
    print(f" Containers: {number(document, 'Containers')}")
    for name, key in (
        ("Running", "ContainersRunning"),
        ("Paused", "ContainersPaused"),
        ("Stopped", "ContainersStopped"),
    ):
        print(f"  {name}: {number(document, key)}")
    print(f" Images: {number(document, 'Images')}")
    for name, key in (
        ("Server Version", "ServerVersion"),
        ("Storage Driver", "Driver"),
        ("Cgroup Driver", "CgroupDriver"),
        ("Cgroup Version", "CgroupVersion"),
        ("Default Runtime", "DefaultRuntime"),
    ):
        if text(document, key):
            print(f" {name}: {text(document, key)}")
    print(f" Runtimes: {' '.join(sorted(mapping(document, 'Runtimes')))}")
    print(f" Network drivers: {' '.join(texts(document, 'Plugins', 'Network'))}")
    if texts(document, "SecurityOptions"):
        print(" Security Options:")
        for option in texts(document, "SecurityOptions"):
            print(f"  {option.removeprefix('name=').partition(',')[0]}")
    for name, key in (
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
    ):
        print(f" {name}: {text(document, key)}")
    print(f" CPUs: {number(document, 'NCPU')}")
    print(f" Total Memory: {binary_size(number(document, 'MemTotal'))}")
    for name, key in (("Name", "Name"), ("ID", "ID"), ("Data Root", "DockerRootDir")):
        print(f" {name}: {text(document, key)}")
    for pair in sequence(document, "DriverStatus"):
        if isinstance(pair, list) and pair[0] == "Exec Root Dir":
            print(f" Exec Root: {pair[1]}")
    pools = sequence(document, "DefaultAddressPools")
    if pools:
        print(" Default Address Pools:")
        for pool in pools:
            print(f"   Base: {text(pool, 'Base')}, Size: {number(pool, 'Size')}")
    if texts(document, "Labels"):
        print(" Labels:")
        for label in texts(document, "Labels"):
            print(f"  {label}")
    print(f" Live Restore Enabled: {str(flag(document, 'LiveRestoreEnabled')).lower()}")
    sys.stdout.flush()
    for warning in texts(document, "Warnings"):
        print(warning, file=sys.stderr)
    return 0


COMMANDS = {
    "version": Command(version, options=(FORMAT,)),
    "system info": Command(info, options=(FORMAT,)),
}
