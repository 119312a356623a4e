"""Control groups of containers: where they are, who is in them, what they use, and their removal.

Layout: ``/linkspan-INSTANCE/ID`` under each controller (v1, hybrid) or under the one tree (v2), made by the
runtime. Sources: Documentation/admin-guide/cgroup-v1/, cgroup-v2.rst, and proc(5) for the host's CPU time.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from linkspan.runtime.facts import CgroupMounts

NANOSECONDS_PER_TICK = 10**9 // os.sysconf("SC_CLK_TCK")
_UNLIMITED = 1 << 62
"""v1 writes 'no limit' as a number near 2**63."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """One reading. Nanoseconds and bytes; ``time`` in Unix seconds. Counters that the kernel lacks are 0."""

    time: float
    cpu_total: int = 0
    cpu_user: int = 0
    cpu_kernel: int = 0
    system_cpu: int = 0
    """CPU time of the whole host."""
    online_cpus: int = 1
    memory_usage: int = 0
    memory_limit: int = 0
    """The host's memory where no limit is set."""
    memory_stats: dict[str, int] = {}
    pids: int = 0
    pids_limit: int = 0
    """0: none."""
    block_read: int = 0
    block_write: int = 0


def path_of(instance: str, container: str, parent: str = "") -> str:
    """A container's path below each hierarchy. ``parent`` is what ``--cgroup-parent`` asked for."""
    folder = "/".join(part for part in parent.split("/") if part not in ("", ".", ".."))
    return f"/{folder or folder_of(instance)}/{container}"


def folder_of(instance: str) -> str:
    """The folder that holds one daemon's containers, and nobody else's."""
    return f"linkspan-{instance}"


def processes_in(mounts: CgroupMounts, path: str) -> tuple[int, ...]:
    """Host pids of all processes in the group and below it, ascending; empty when it does not exist."""
    for point in _folders(mounts, path):
        found: set[int] = set()
        for folder, _, _ in os.walk(point):
            found.update(int(word) for word in _text(Path(folder), "cgroup.procs").split())
        if found:
            return tuple(sorted(found))
    return ()


def is_frozen(mounts: CgroupMounts, path: str) -> bool:
    """Whether the group is paused, or about to be (``FREEZING``)."""
    if mounts.version == "v2":
        return _text(Path(mounts.unified + path), "cgroup.freeze").strip() == "1"
    state = _text(Path(mounts.controllers.get("freezer", "/nonexistent") + path), "freezer.state").strip()
    return state in ("FREEZING", "FROZEN")


def remove(mounts: CgroupMounts, path: str) -> bool:
    """Removes the group and what is below it in every hierarchy; False where somebody is still in it."""
    for point in _folders(mounts, path):
        for folder, _, _ in os.walk(point, topdown=False):
            _rmdir(folder)
    return not _folders(mounts, path)


def remove_folder(mounts: CgroupMounts, instance: str) -> None:
    """Removes the daemon's own folder, and parents that containers asked for below it, where nobody is in them."""
    remove(mounts, "/" + folder_of(instance))


def usage(mounts: CgroupMounts, path: str) -> Usage:
    """Reads what the group uses now; zeros for what is not there."""
    host = _HostReading.take()
    if mounts.version == "v2":
        return _usage_v2(Path(mounts.unified + path), host)
    if mounts.version == "v1":
        return _usage_v1({name: Path(point + path) for name, point in mounts.controllers.items()}, host)
    return Usage(time=time.time(), system_cpu=host.cpu, online_cpus=host.cpus, memory_limit=host.memory)


class _HostReading(msgspec.Struct, frozen=True):
    cpu: int
    cpus: int
    memory: int

    @staticmethod
    def take() -> _HostReading:
        # user nice system idle iowait irq softirq steal; guest times are counted in user already (proc(5)).
        words = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return _HostReading(sum(map(int, words)) * NANOSECONDS_PER_TICK, os.cpu_count() or 1, memory)


def _usage_v2(folder: Path, host: _HostReading) -> Usage:
    cpu = _table(_text(folder, "cpu.stat"))
    limit = _number(_text(folder, "memory.max"))
    read = write = 0
    for line in _text(folder, "io.stat").splitlines():
        pairs = dict(word.split("=", 1) for word in line.split()[1:] if "=" in word)
        read += _number(pairs.get("rbytes", ""))
        write += _number(pairs.get("wbytes", ""))
    return Usage(
        time=time.time(),
        cpu_total=cpu.get("usage_usec", 0) * 1000,
        cpu_user=cpu.get("user_usec", 0) * 1000,
        cpu_kernel=cpu.get("system_usec", 0) * 1000,
        system_cpu=host.cpu,
        online_cpus=host.cpus,
        memory_usage=_number(_text(folder, "memory.current")),
        memory_limit=min(limit or host.memory, host.memory),
        memory_stats=_table(_text(folder, "memory.stat")),
        pids=_number(_text(folder, "pids.current")),
        pids_limit=_number(_text(folder, "pids.max")),
        block_read=read,
        block_write=write,
    )


def _usage_v1(folders: dict[str, Path], host: _HostReading) -> Usage:
    nowhere = Path("/nonexistent")
    cpu, memory = folders.get("cpuacct", nowhere), folders.get("memory", nowhere)
    pids, block = folders.get("pids", nowhere), folders.get("blkio", nowhere)
    times = _table(_text(cpu, "cpuacct.stat"))
    limit = _number(_text(memory, "memory.limit_in_bytes"))
    read = write = 0
    for line in _text(block, "blkio.throttle.io_service_bytes_recursive").splitlines():
        words = line.split()
        if len(words) == 3 and words[1] == "Read":
            read += int(words[2])
        elif len(words) == 3 and words[1] == "Write":
            write += int(words[2])
    return Usage(
        time=time.time(),
        cpu_total=_number(_text(cpu, "cpuacct.usage")),
        cpu_user=times.get("user", 0) * NANOSECONDS_PER_TICK,
        cpu_kernel=times.get("system", 0) * NANOSECONDS_PER_TICK,
        system_cpu=host.cpu,
        online_cpus=host.cpus,
        memory_usage=_number(_text(memory, "memory.usage_in_bytes")),
        memory_limit=host.memory if not limit or limit > _UNLIMITED else min(limit, host.memory),
        memory_stats=_table(_text(memory, "memory.stat")),
        pids=_number(_text(pids, "pids.current")),
        pids_limit=_number(_text(pids, "pids.max")),
        block_read=read,
        block_write=write,
    )


def _folders(mounts: CgroupMounts, path: str) -> list[Path]:
    return [folder for point in mounts.mount_points if os.path.isdir(folder := Path(point + path))]


def _text(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text()
    except OSError:
        return ""


def _table(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {words[0]: int(words[1]) for words in pairs if len(words) == 2 and words[1].isdecimal()}


def _number(text: str) -> int:
    """The number in a file; 0 for ``max`` or nothing."""
    text = text.strip()
    return int(text) if text.isdecimal() else 0


def _rmdir(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError:
        return
