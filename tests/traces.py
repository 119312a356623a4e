"""What Linkspan can leave on a machine: links, tables, pins, mounts, cgroups, processes. Read before and after.

On a machine of our own (``strict``) everything new counts. On one where other things come and go, only what has our
name or the temporary folder of this test run in it does.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = {"conmon", "crun", "runc", "nginx", "skopeo", "umoci"}
"""Processes that a strict check counts by name."""
CGROUP_DEPTH = 4


def snapshot(folder: Path, *, strict: bool) -> set[str]:
    """Traces as lines that a person can read."""
    return {
        *(f"link {line}" for line in links() if strict or " linkspan:" in line),
        *(f"nftables table {name}" for name in tables() if strict or "linkspan" in name),
        *(f"namespace pin /run/netns/{name}" for name in (pins() if strict else ())),
        *(f"mount {path}" for path in mounts() if strict or Path(path).is_relative_to(folder)),
        *(f"cgroup {path}" for path in (cgroups() if strict else ())),
        *(f"process {line}" for line in processes(str(folder), strict=strict)),
    }


def links() -> Iterator[str]:
    """Name and alias of each link in this network namespace."""
    for entry in Path("/sys/class/net").glob("*"):
        try:
            yield f"{entry.name} {(entry / 'ifalias').read_text().strip()}".strip()
        except OSError:  # a link that goes, or bonding_masters, which is none
            continue


def tables() -> list[str]:
    """Family and name of each nftables table in this network namespace."""
    try:
        done = subprocess.run(["nft", "-j", "list", "tables"], capture_output=True, check=False)
    except FileNotFoundError:
        return []
    if done.returncode:
        return []
    found = [item["table"] for item in json.loads(done.stdout)["nftables"] if "table" in item]
    return [f"{table['family']} {table['name']}" for table in found]


def pins() -> list[str]:
    """Named network namespaces, as ip-netns(8) keeps them."""
    try:
        return os.listdir("/run/netns")
    except FileNotFoundError:
        return []


def mounts() -> list[str]:
    """Mount points that this process sees."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4].replace("\\040", " ") for line in lines]


def cgroups() -> Iterator[str]:
    """Folders of ours in any cgroup hierarchy."""
    top = Path("/sys/fs/cgroup")
    for folder, below, _ in os.walk(top):
        yield from (os.path.join(folder, name) for name in below if name.startswith("linkspan"))
        if len(Path(folder).relative_to(top).parts) >= CGROUP_DEPTH:
            below.clear()


def processes(folder: str, *, strict: bool) -> Iterator[str]:
    """Processes whose command line names the folder. Never this one or a parent."""
    mine = lineage()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in mine:
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # it ended
            continue
        words = command.split()
        named = strict and bool(words) and os.path.basename(words[0]).rstrip(":") in PROGRAMS
        if folder in command or named:
            yield f"{entry.name} {command[:160]}"


def lineage() -> set[int]:
    """This process and the ones it comes from: their command lines may name the folder too."""
    found = set()
    pid = os.getpid()
    while pid > 0:
        found.add(pid)
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            break
        pid = int(status.rpartition(")")[2].split()[1])
    return found
