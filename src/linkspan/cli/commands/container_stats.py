"""``linkspan stats``: one connection a container, read as answers come."""

from __future__ import annotations

import os
import sys
import time
from select import POLLIN, poll

from linkspan.cli.client import Client, Reply, checked, segment
from linkspan.cli.documents import Json, at, mapping, number, sequence, text
from linkspan.cli.grammar import Command, Option
from linkspan.cli.human import binary_size, decimal_size
from linkspan.cli.jsontext import decode
from linkspan.cli.listing import FORMAT, NO_TRUNC, rendered
from linkspan.cli.template.value import Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

COLUMNS = (
    ("CONTAINER ID", "ID"),
    ("NAME", "Name"),
    ("CPU %", "CPUPerc"),
    ("MEM USAGE / LIMIT", "MemUsage"),
    ("MEM %", "MemPerc"),
    ("NET I/O", "NetIO"),
    ("BLOCK I/O", "BlockIO"),
    ("PIDS", "PIDs"),
)
PERIOD = 1.0
"""Seconds between pictures."""


def stats(call: Call) -> int:
    """Names are looked up once; ``--no-stream`` takes one sample of each and ends."""
    parsed = call.parsed
    names = call.words or _running(call.client, parsed.flag("all"))
    once = parsed.flag("no-stream")
    samples: dict[str, Json] = {}
    if once:
        waiting = [(name, _ask(call.client, name, stream=False)) for name in names]
        for name, reply in waiting:
            reply.read_head()
            samples[name] = checked(reply).document()
        sys.stdout.write(_picture(call, names, samples))
        return 0
    return _stream(call, names, samples)


def _running(client: Client, every: bool) -> list[str]:
    found = sequence(client.get("/containers/json", {"all": every or None}))
    return [text(container, "Id") for container in found]


def _ask(client: Client, name: str, *, stream: bool) -> Reply:
    return client.begin("GET", f"/containers/{segment(name)}/stats", {"stream": stream})


def _stream(call: Call, names: list[str], samples: dict[str, Json]) -> int:
    replies = {name: _Feed(_ask(call.client, name, stream=True)) for name in names}
    for feed in replies.values():
        feed.reply.read_head()
        checked(feed.reply)
    due = time.monotonic()
    clear = "\x1b[2J\x1b[H" if os.isatty(1) else ""
    while replies:
        waiting = poll()
        descriptors = {feed.reply.fileno(): name for name, feed in replies.items()}
        for descriptor in descriptors:
            waiting.register(descriptor, POLLIN)
        for descriptor, _ in waiting.poll(max(0, int((due - time.monotonic()) * 1000))):
            name = descriptors[descriptor]
            sample = replies[name].next()
            if sample is None:
                del replies[name]
                samples.pop(name, None)
            else:
                samples[name] = sample
        if time.monotonic() >= due and (samples or not replies):
            sys.stdout.write(clear + _picture(call, names, samples))
            sys.stdout.flush()
            due = time.monotonic() + PERIOD
    return 0


class _Feed:
    """The samples of one container's endless answer."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self._pieces = reply.pieces()
        self._rest = b""

    def next(self) -> Json:
        """The next sample; None when the container is gone. Blocks until one is whole."""
        while b"\n" not in self._rest:
            piece = next(self._pieces, b"")
            if not piece:
                return None
            self._rest += piece
        *lines, self._rest = self._rest.split(b"\n")
        return decode(lines[-1])


def _picture(call: Call, names: list[str], samples: dict[str, Json]) -> str:
    whole = call.parsed.flag("no-trunc")
    rows = [stats_row(samples[name], name, whole) for name in names if name in samples]
    return rendered(rows, COLUMNS, call.parsed.text("format"))


def stats_row(sample: Json, container: str, whole: bool = False) -> Row:
    """Display fields of one sample, computed as Docker's client does."""
    usage, limit = memory_usage(sample), number(sample, "memory_stats", "limit")
    received = sum(number(device, "rx_bytes") for device in mapping(sample, "networks").values())
    sent = sum(number(device, "tx_bytes") for device in mapping(sample, "networks").values())
    read, written = _blocks(sample)
    identifier = text(sample, "id")
    fields = {
        "Container": container,
        "ID": identifier if whole else identifier[:12],
        "Name": text(sample, "name").removeprefix("/"),
        "CPUPerc": f"{cpu_percent(sample):.2f}%",
        "MemUsage": f"{binary_size(usage)} / {binary_size(limit)}",
        "MemPerc": f"{100 * usage / limit if limit else 0:.2f}%",
        "NetIO": f"{decimal_size(received, 3)} / {decimal_size(sent, 3)}",
        "BlockIO": f"{decimal_size(read, 3)} / {decimal_size(written, 3)}",
        "PIDs": str(number(sample, "pids_stats", "current")),
    }
    return Row("stats", fields)


def memory_usage(sample: Json) -> int:
    """Bytes without the file cache that the kernel could drop: cgroup v1 and v2 name it differently."""
    usage = number(sample, "memory_stats", "usage")
    for key in ("total_inactive_file", "inactive_file"):
        cache = at(sample, "memory_stats", "stats", key)
        if isinstance(cache, int) and cache < usage:
            return usage - cache
    return usage


def cpu_percent(sample: Json) -> float:
    """Of one CPU: two busy CPUs are 200."""
    spent = number(sample, "cpu_stats", "cpu_usage", "total_usage") - number(
        sample, "precpu_stats", "cpu_usage", "total_usage"
    )
    passed = number(sample, "cpu_stats", "system_cpu_usage") - number(sample, "precpu_stats", "system_cpu_usage")
    cpus = number(sample, "cpu_stats", "online_cpus") or 1
    return spent / passed * cpus * 100 if spent > 0 and passed > 0 else 0.0


def _blocks(sample: Json) -> tuple[int, int]:
    read = written = 0
    for entry in sequence(sample, "blkio_stats", "io_service_bytes_recursive"):
        if text(entry, "op").lower() == "read":
            read += number(entry, "value")
        elif text(entry, "op").lower() == "write":
            written += number(entry, "value")
    return read, written


COMMANDS = {
    "container stats": Command(
        stats,
        arguments="[CONTAINER...]",
        most=None,
        nouns=("running",),
        options=(
            Option("all", "flag", "Stopped containers too", short="a"),
            FORMAT,
            Option("no-stream", "flag", "One picture only"),
            NO_TRUNC,
        ),
    )
}
