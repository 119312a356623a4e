#!/usr/bin/env python3
"""A container network in a hundred lines: two namespaces and a bridge, on Linkspan's own ``kernel`` package.

Run it as root: ``sudo .venv/bin/python docs/hundred_lines.py``. It works in a network namespace of its own, so this
machine's network is not touched, and takes away what it made. docs/hundred-lines.md explains it line by line.
"""

from __future__ import annotations

import errno
import socket
import subprocess
import tempfile
from pathlib import Path

from linkspan import libc
from linkspan.kernel import netns
from linkspan.kernel.diff import diff
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.render import commands
from linkspan.kernel.state import Address, Bridge, Namespace, Object, Route, State, Veth, state_of

INSTANCE, GROUP = "00c0ffee", 0x00C0FFEE  # every link carries both: what has no mark of ours is never touched
BRIDGE = "br-hundred"
HOSTS = {"red": "10.99.0.2", "blue": "10.99.0.3"}


def network() -> list[Object]:
    """What the machine should have for the network: a bridge, which is a switch, with the gateway's address."""
    alias = f"linkspan:{INSTANCE}:network:hundred"
    return [
        Bridge(name=BRIDGE, mac="02:00:00:00:00:01", alias=alias, group=GROUP),
        Address(link=BRIDGE, address="10.99.0.1/24"),
    ]


def host(name: str, address: str) -> list[Object]:
    """What it should have for one container: a namespace, and a cable from there to the bridge."""
    number = int(address.rpartition(".")[2])
    return [
        Namespace(name=name),
        Veth(
            name=f"veth-{name}",
            master=BRIDGE,
            alias=f"linkspan:{INSTANCE}:endpoint:{name}",
            group=GROUP,
            peer_namespace=name,
            peer_name="eth0",
            peer_mac=f"02:00:00:00:00:{number:02x}",
        ),
        Address(namespace=name, link="eth0", address=f"{address}/24"),
        Route(namespace=name, destination="0.0.0.0/0", gateway="10.99.0.1", link="eth0"),
    ]


def make(kernel: LinuxKernel, want: State, title: str) -> None:
    """Compares what we want with what the kernel has, shows the difference as commands, and applies it."""
    print(f"\n# {title}")
    steps = diff(want, kernel.read(HOSTS))
    for step in steps:
        for command in commands(step):
            print(command)
    kernel.apply(steps)
    print(f"# {len(steps)} steps")


def reaches(kernel: LinuxKernel, source: str, destination: str) -> bool:
    """Whether one host hears from another: nobody listens there, so a refusal is the answer."""
    with kernel.namespaces.opened(source) as descriptor, netns.entered(descriptor), socket.socket() as knock:
        knock.settimeout(2)
        answered = knock.connect_ex((destination, 80)) == errno.ECONNREFUSED
    print(f"{source} -> {destination}: {'an answer' if answered else 'silence'}")
    return answered


def walk(folder: Path) -> bool:
    """The whole story. True when every step did what it should."""
    libc.unshare(libc.CLONE_NEWNET)
    netns.prepare(folder)
    kernel = LinuxKernel(folder, INSTANCE, GROUP)
    try:
        both = state_of([*network(), *host("red", HOSTS["red"]), *host("blue", HOSTS["blue"])])
        make(kernel, both, "two hosts on one bridge")
        reached = reaches(kernel, "red", HOSTS["blue"]) and reaches(kernel, "blue", "10.99.0.1")

        make(kernel, both, "again: nothing is left to do")
        settled = not diff(both, kernel.read(HOSTS))

        subprocess.run(["nsenter", f"--net={folder}/netns/red", "ip", "link", "del", "eth0"], check=True)
        make(kernel, both, "somebody pulled a cable: what is missing comes back, the rest is left alone")
        healed = reaches(kernel, "red", HOSTS["blue"])

        make(kernel, {}, "nothing wanted: everything goes")
        return reached and settled and healed and not kernel.read(HOSTS)
    finally:
        kernel.close()
        netns.release(folder)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="linkspan-hundred-") as scratch:
        raise SystemExit(0 if walk(Path(scratch)) else 1)
