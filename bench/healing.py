"""Healing: from a blow of somebody else until a published port answers again, and until everything is back.

500 endpoints in 500 sandboxes, each with one published port; in one of them a server listens. A neighbour on a cable
of its own knocks at that server's published port all the time. The blows: ``nft flush ruleset`` by the nft program,
and the bridge with all its ports deleted by the ip program. Time runs from the end of that program, when the blow has
fallen. Everything is back when both tables have as many elements as before and the bridge as many ports.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from engine_half import Daemon, in_own_namespace, opened
from figures import line

from linkspan.kernel import netns
from linkspan.kernel.nft import Nft
from linkspan.model.container import PortBinding
from linkspan.model.network import NetworkRequest

FIRST_PORT = 20000
HOST, NEIGHBOUR = "198.51.100.1/24", "198.51.100.2/24"
"""TEST-NET-2 (RFC 5737)."""
STEP = 0.01
"""Seconds from one knock to the next, and that one may take."""
LOOK = 0.02
"""Seconds between looks at the tables, which themselves take some."""
PATIENCE = 60.0


def published(number: int) -> tuple[PortBinding, ...]:
    """``-p N:80``."""
    return (PortBinding(port=80, host_port=str(FIRST_PORT + number)),)


def program(*words: str) -> str:
    """What a program prints, run in the namespace of the calling thread."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


class Neighbour:
    """A host at the other end of a cable, in a namespace that goes with it."""

    def __init__(self) -> None:
        self._socket = netns.create()
        self._namespace = self._socket.namespace()
        path = f"/proc/{os.getpid()}/fd/{self._namespace}"
        program("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan0", "netns", path)
        program("ip", "address", "add", HOST, "dev", "lan0")
        program("ip", "link", "set", "lan0", "up")
        with netns.entered(self._namespace):
            program("ip", "address", "add", NEIGHBOUR, "dev", "lan0")
            program("ip", "link", "set", "lan0", "up")

    def close(self) -> None:
        """The cable goes too."""
        os.close(self._namespace)
        self._socket.close()

    async def until_open(self, port: int) -> float:
        """The moment at which a knock was answered."""
        deadline = time.perf_counter() + PATIENCE
        while (began := time.perf_counter()) < deadline:
            if await self._knock(port):
                return time.perf_counter()
            await asyncio.sleep(max(0.0, began + STEP - time.perf_counter()))
        raise SystemExit(f"port {port} does not answer again within {PATIENCE:.0f} s")

    async def _knock(self, port: int) -> bool:
        with netns.entered(self._namespace):
            client = socket.socket()
        with client:
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.timeout(STEP):
                    await loop.sock_connect(client, (HOST.partition("/")[0], port))
                    return await loop.sock_recv(client, 1) == b"x"
            except OSError:  # TimeoutError too
                return False


@contextlib.contextmanager
def answering(namespace: int) -> Iterator[None]:
    """A server on port 80 that says one letter to everybody who comes."""
    with netns.entered(namespace):
        listener = socket.create_server(("", 80), backlog=64)
    listener.setblocking(False)

    def greet() -> None:
        with contextlib.suppress(OSError):
            client, _ = listener.accept()
            with client:
                client.send(b"x")

    asyncio.get_running_loop().add_reader(listener, greet)
    try:
        yield
    finally:
        asyncio.get_running_loop().remove_reader(listener)
        listener.close()


def size(bridge: str) -> tuple[int, int, int]:
    """Elements of the inet and of the bridge table, and ports of the bridge that are up."""
    nft = Nft()
    try:
        counts = [
            sum(len(list_of(part)) for kind, part in nft.table(family, "linkspan") if is_ours(kind, part.get("name")))
            for family in ("inet", "bridge")
        ]
    finally:
        nft.close()
    words = ("ip", "-br", "link", "show", "master", bridge)
    found = subprocess.run(words, check=False, capture_output=True, text=True).stdout
    return counts[0], counts[1], sum(" UP " in each for each in found.splitlines())


def is_ours(kind: str, name: object) -> bool:
    """Whether we fill it: sets of refusals are filled by frames."""
    return kind in ("set", "map") and not str(name).startswith("refused")


def list_of(part: dict[str, object]) -> list[object]:
    found = part.get("elem", [])
    return found if isinstance(found, list) else []


async def until_whole(bridge: str, whole: tuple[int, int, int]) -> float:
    """The moment at which everything was seen to be back."""
    deadline = time.perf_counter() + PATIENCE
    found = whole
    while time.perf_counter() < deadline:
        found = await asyncio.to_thread(size, bridge)
        if found == whole:
            return time.perf_counter()
        await asyncio.sleep(LOOK)
    raise SystemExit(f"of {whole} elements and ports only {found} are back within {PATIENCE:.0f} s")


async def blows(daemon: Daemon, neighbour: Neighbour, what: str, words: list[str], bridge: str, rounds: int) -> None:
    """Strikes ``rounds`` times and prints how long it took to answer, and to be whole."""
    port = FIRST_PORT + 1
    answered, back = [], []
    whole = await asyncio.to_thread(size, bridge)
    for _ in range(rounds):
        await neighbour.until_open(port)
        process = await asyncio.create_subprocess_exec(*words)
        if await process.wait():
            raise SystemExit(f"{' '.join(words)} fails")
        began = time.perf_counter()
        answered.append(await neighbour.until_open(port) - began)
        back.append(await until_whole(bridge, whole) - began)
        await daemon.healing.repair()  # forgives: the fifth blow within a minute would be taken for an insistence
        await asyncio.sleep(0.5)
    print(line(f"{what}: a published port answers", answered))
    print(line(f"{what}: everything is back", back))


async def run(folder: Path, present: int, rounds: int, bridges: int) -> None:
    async with opened(folder, healing=True) as daemon:
        created = await daemon.networks.create(NetworkRequest(name="bench", enable_ipv6=True))
        network = daemon.intent.networks[created.id]
        bridge = network.bridge.bridge_name if network.bridge else ""
        await daemon.populate(created.id, range(1, present + 1), ports=published)
        namespace = daemon.namespace(daemon.intent.containers[f"{1:064x}"])
        neighbour = Neighbour()
        try:
            with answering(namespace):
                await asyncio.sleep(2)  # links come up, announcements end
                print("elements of both tables, ports of the bridge:", await asyncio.to_thread(size, bridge))
                flush = ["nft", "flush", "ruleset"]
                await blows(daemon, neighbour, "nft flush ruleset", flush, bridge, rounds)
                delete = ["ip", "link", "delete", bridge]
                await blows(daemon, neighbour, f"a bridge with {present} ports deleted", delete, bridge, bridges)
        finally:
            neighbour.close()
            os.close(namespace)
            await daemon.empty()
            await daemon.networks.remove(created.id)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--present", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--bridges", type=int, default=3, help="how many times the bridge is deleted")
    options = parser.parse_args()
    in_own_namespace(lambda folder: run(folder, options.present, options.rounds, options.bridges))


if __name__ == "__main__":
    main()
