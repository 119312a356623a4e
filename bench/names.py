"""Names: answers a second on one core, latency at half of what is asked for, and what a change of names costs.

A server process with one sandbox among 1,000 containers (three names each) answers on loopback sockets; this process
asks, from the other core where there is one. The floor is an echo of the same loop: the same datagrams back, unread.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import os
import socket
import struct
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop
from figures import line, median, p99

from linkspan.dns.names import Client, Host, Zone
from linkspan.dns.resolver import Resolver
from linkspan.dns.server import RECEIVE_BUFFER, SO_RCVBUFFORCE, serve
from linkspan.dns.table import Directory

CONTAINERS = 1000
WINDOW = 16
"""Queries under way when it is asked as fast as it answers."""


def zone(count: int) -> Zone:
    hosts = tuple(
        Host(
            id=f"{number:064x}",
            names=(f"c{number}", f"alias{number}", f"{number:012x}"),
            addresses=(f"172.18.{number // 250}.{number % 250 + 2}", f"fd00::{number + 2:x}"),
        )
        for number in range(count)
    )
    return Zone(id="net", name="bench", hosts=hosts)


def query(identity: int, number: int) -> bytes:
    """A question for the address of one container, with EDNS, as a stub resolver sends it."""
    name = f"c{number}".encode()
    question = bytes((len(name),)) + name + b"\0\0\1\0\1"
    return struct.pack("!6H", identity, 0x0100, 1, 0, 0, 1) + question + b"\0\0\x29\x04\xd0" + b"\0" * 6


def no_upstream(*_: object) -> socket.socket:
    raise OSError("nothing is asked elsewhere here")


async def answering(told: Connection, echo: bool) -> None:
    udp, tcp = socket.socket(type=socket.SOCK_DGRAM), socket.socket()
    udp.bind(("127.0.0.1", 0))
    tcp.bind(("127.0.0.1", 0))
    if echo:
        udp.setblocking(False)
        asyncio.get_running_loop().add_reader(udp, send_back, udp)
    else:
        directory = Directory()
        directory.put_zone(zone(CONTAINERS))
        resolver = Resolver(directory)
        resolver.put_client(Client(id="c", name="bench", zones=("net",)), no_upstream)
        await serve(resolver, "c", udp, tcp)
    gc.freeze()
    told.send(udp.getsockname())
    await asyncio.Event().wait()


def send_back(udp: socket.socket) -> None:
    for _ in range(64):
        try:
            data, sender = udp.recvfrom(4096)
        except BlockingIOError:
            return
        udp.sendto(data, sender)


def process(told: Connection, echo: bool, own_core: bool) -> None:
    if own_core:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    uvloop.run(answering(told, echo))


def processor_seconds(pid: int) -> float:
    """What a process has used so far (proc(5): utime and stime in /proc/PID/stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def with_server(echo: bool, measure: Callable[[socket.socket, int], None]) -> None:
    here, there = multiprocessing.Pipe()
    cores = sorted(os.sched_getaffinity(0))
    child = multiprocessing.get_context("spawn").Process(target=process, args=(there, echo, len(cores) > 1))
    child.start()
    try:
        with socket.socket(type=socket.SOCK_DGRAM) as asking:
            asking.connect(here.recv())
            asking.settimeout(2)
            asking.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
            if len(cores) > 1:
                os.sched_setaffinity(0, set(cores[:-1]))
            measure(asking, child.pid or 0)
    finally:
        os.sched_setaffinity(0, set(cores))
        child.terminate()
        child.join()


def throughput(asking: socket.socket, server: int, seconds: float, names: int) -> str:
    """Answers a second with a window of queries under way, and the server's processor time for each."""
    queries = [query(number & 0xFFFF, number % names) for number in range(4096)]
    for number in range(WINDOW):
        asking.send(queries[number])
    count = 0
    used = processor_seconds(server)
    began = time.perf_counter()
    while (now := time.perf_counter()) - began < seconds:
        for _ in range(64):
            asking.recv(4096)
            asking.send(queries[count & 4095])
            count += 1
    used = processor_seconds(server) - used
    for _ in range(WINDOW):
        asking.recv(4096)
    return f"{count / (now - began):12,.0f}, {used / count * 1e6:.1f} µs of processor each"


def latencies(asking: socket.socket, rate: float, seconds: float, names: int) -> list[float]:
    """Seconds from the moment at which each query was due to its answer; late senders do not hide."""
    asking.setblocking(False)
    due: list[float] = []
    samples: list[float] = []
    total = int(rate * seconds)
    began = time.perf_counter() + 0.01
    last = began + seconds + 1
    while len(samples) < total and (now := time.perf_counter()) < last:
        if len(due) < total and now >= began + len(due) / rate:
            asking.send(query(len(due) & 0xFFFF, len(due) % names))
            due.append(began + len(due) / rate)
        try:
            data = asking.recv(4096)
        except BlockingIOError:
            continue
        ended = time.perf_counter()
        number = int.from_bytes(data[:2])
        number += (len(due) - 1 - number) & ~0xFFFF
        samples.append(ended - due[number])
    asking.setblocking(True)
    if len(samples) < total:
        print(f"  {total - len(samples)} of {total} were not answered")
    return samples


def changes(rounds: int) -> None:
    """What a swap of the table costs, and one container more or less."""
    directory = Directory()
    swaps, puts, drops = [], [], []
    for number in range(rounds):
        whole = zone(CONTAINERS)
        host = Host(id="new", names=("new", "alias1", "0123456789ab"), addresses=("172.18.9.9", "fd00::9:9"))
        for samples, change in (
            (swaps, lambda whole=whole: directory.put_zone(whole)),
            (puts, lambda host=host: directory.put_host("net", host)),
            (drops, lambda: directory.drop_host("net", "new")),
        ):
            before = time.perf_counter()
            change()
            if number:
                samples.append(time.perf_counter() - before)
    print(line(f"swap the table of {CONTAINERS} containers", swaps))
    print(line("one container more among them", puts))
    print(line("one container less among them", drops))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rate", type=float, default=15_000)
    options = parser.parse_args()
    gc.freeze()
    changes(50)

    def asked(asking: socket.socket, server: int) -> None:
        throughput(asking, server, 1.0, CONTAINERS)  # warms up both processes; does not count
        for names, what in ((50, "50 names, as they repeat"), (CONTAINERS, f"{CONTAINERS} names in turn")):
            print(f"answers a second, {what:<26} {throughput(asking, server, options.seconds, names)}")
        samples = latencies(asking, options.rate, options.seconds, 50)
        print(
            f"latency at {options.rate:,.0f} a second: {median(samples) * 1e6:.0f} µs median, "
            f"{p99(samples) * 1e6:.0f} µs p99, n={len(samples)}"
        )

    def floor(asking: socket.socket, server: int) -> None:
        print(f"echoes a second (floor) {throughput(asking, server, options.seconds, 50):>52}")

    with_server(False, asked)
    with_server(True, floor)


if __name__ == "__main__":
    main()
