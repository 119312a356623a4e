"""Texts that the runtime package reads: users, logs, mount tables, runtimes' complaints."""

from __future__ import annotations

import asyncio
import calendar
from pathlib import Path
from typing import Any

import pytest

from linkspan.errors import CommandNotExecutable, CommandNotFound, InvalidRequest, RuntimeFailure
from linkspan.runtime import cgroups
from linkspan.runtime.facts import CgroupMounts
from linkspan.runtime.failures import failure_of
from linkspan.runtime.logs import LONGEST, Assembler, Entry, read_log
from linkspan.runtime.mountspace import parse_mounts
from linkspan.runtime.probe import cgroup_mounts
from linkspan.runtime.users import Identity, resolve

PASSWD = """root:x:0:0:root:/root:/bin/sh
www:x:33:34:web:/var/www:/bin/false
broken line
7:x:70:71::/seven:
"""
GROUP = "root:x:0:\nweb:x:34:\nadm:x:4:www,other\naudio:x:29:www\n"


def test_a_user_is_found_by_name_number_and_group() -> None:
    root = Identity(uid=0, gid=0, additional=(0,), home="/root")
    assert resolve("", PASSWD, GROUP) == root
    assert resolve("", "", "") == Identity()
    assert resolve("www", PASSWD, GROUP) == Identity(uid=33, gid=34, additional=(34, 4, 29), home="/var/www")
    assert resolve("33", PASSWD, GROUP).gid == 34
    assert resolve("www:adm", PASSWD, GROUP) == Identity(uid=33, gid=4, additional=(4,), home="/var/www")
    assert resolve("1000:1001", PASSWD, GROUP) == Identity(uid=1000, gid=1001, additional=(1001,), home="/")
    assert resolve("7", PASSWD, GROUP).uid == 70
    assert resolve("www", PASSWD, GROUP, ("audio", "99")).additional == (34, 4, 29, 99)


@pytest.mark.parametrize("user", ["nobody", "root:nogroup", "99999999999", "-1"])
def test_a_user_that_cannot_be_found_is_refused(user: str) -> None:
    with pytest.raises(InvalidRequest):
        resolve(user, PASSWD, GROUP)


def line(second: int, stream: str, kind: str, text: str) -> str:
    return f"2026-11-23T18:52:{second:02}.000000005+00:00 {stream} {kind} {text}\n"


def read(path: Path, **options: Any) -> list[Entry]:
    async def whole() -> list[Entry]:
        return [entry async for entry in read_log(path, **options)]

    return asyncio.run(whole())


def test_pieces_of_a_line_are_joined_per_stream(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        line(1, "stdout", "P", "ab") + line(2, "stderr", "F", "err") + line(3, "stdout", "F", "c") + "torn li"
    )
    entries = read(log)
    assert [(entry.stream, entry.data) for entry in entries] == [(2, b"err\n"), (1, b"abc\n")]
    assert entries[1].time == 1795459921_000000005


def test_what_no_newline_ended_comes_at_the_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(line(1, "stdout", "F", "") + line(2, "stdout", "P", "prompt> "))
    assert [entry.data for entry in read(log)] == [b"\n", b"prompt> "]


def test_endless_lines_come_in_pieces() -> None:
    assembler = Assembler()
    long = "x" * (LONGEST // 2)
    assert assembler.feed(line(1, "stdout", "P", long).rstrip().encode()) is None
    entry = assembler.feed(line(1, "stdout", "P", long).rstrip().encode())
    assert entry is not None
    assert entry.data == b"x" * LONGEST


def test_an_offset_counts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("2026-11-23T20:52:01.500000000+02:00 stdout F a\n2026-11-23T13:52:01.5+-5 stdout F bad\n")
    assert [entry.time for entry in read(log)] == [1795459921_500000000]


@pytest.mark.parametrize("count", [0, 1, 2, 4999, 5000, 9999])
def test_the_tail_is_read_from_the_end(tmp_path: Path, count: int) -> None:
    log = tmp_path / "log"
    log.write_text("".join(line(number % 60, "stdout", "F", f"line {number}") for number in range(5000)))
    assert [entry.data.decode() for entry in read(log, tail=count)] == [
        f"line {number}\n" for number in range(max(0, 5000 - count), 5000)
    ]


def test_since_and_until_bound_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(line(number, "stdout", "F", str(number)) for number in range(10)))
    start = 1795459920
    assert [entry.data for entry in read(log, since=start + 3, until=start + 5.5)] == [b"3\n", b"4\n", b"5\n"]


def test_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "none") == []


def test_following_goes_over_to_a_log_that_was_begun_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(line(1, "stdout", "F", "old"))

    async def story() -> list[bytes]:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        found: list[bytes] = []

        async def follow() -> None:
            found.extend([entry.data async for entry in read_log(log, over=over)])

        reading = asyncio.create_task(follow())
        await asyncio.sleep(0.05)
        (tmp_path / "new").write_text(line(2, "stdout", "F", "new"))
        (tmp_path / "new").rename(log)
        await asyncio.sleep(0.05)
        with log.open("a") as file:
            file.write(line(3, "stdout", "F", "newer"))
        await asyncio.sleep(0.05)
        over.set_result(None)
        await asyncio.wait_for(reading, 2)
        return found

    assert asyncio.run(story()) == [b"old\n", b"new\n", b"newer\n"]


@pytest.mark.parametrize(
    ("output", "program", "kind"),
    [
        ("executable file `nope` not found in $PATH: No such file or directory", "nope", CommandNotFound),
        ('exec: "nope": executable file not found in $PATH', "nope", CommandNotFound),
        ('exec: "/x/y": stat /x/y: no such file or directory', "/x/y", CommandNotFound),
        ("open executable: Permission denied", "/bin/text", CommandNotExecutable),
        ("open executable: Operation not permitted", "/etc", CommandNotExecutable),
        ("mount `/none` to `data`: No such file or directory", "true", RuntimeFailure),
        ("", "true", RuntimeFailure),
    ],
)
def test_runtimes_complaints_are_told_apart(output: str, program: str, kind: type[RuntimeFailure]) -> None:
    assert type(failure_of(output, program, "create")) is kind


MOUNTINFO = """31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
50 31 0:40 / /mnt/with\\040space rw,relatime - ext4 /dev/x rw
"""


def test_cgroup_trees_are_recognised() -> None:
    entries = parse_mounts(MOUNTINFO)
    assert entries[1].shared
    assert entries[4].point == "/mnt/with space"
    hybrid = cgroup_mounts(entries)
    assert hybrid.version == "v1"
    assert hybrid.hybrid
    assert hybrid.controllers == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "name=systemd": "/sys/fs/cgroup/systemd",
    }
    assert cgroup_mounts(entries[3:4]) == CgroupMounts(version="v2", unified="/sys/fs/cgroup/unified")
    assert cgroup_mounts(entries[:1]).version == "none"


def test_a_cgroup_path_stays_below_its_parent() -> None:
    assert cgroups.path_of("inst", "c1") == "/linkspan-inst/c1"
    assert cgroups.path_of("inst", "c1", "/a/b/") == "/a/b/c1"
    assert cgroups.path_of("inst", "c1", "../../x") == "/x/c1"


def test_usage_is_read_from_a_v2_tree(tmp_path: Path) -> None:
    folder = tmp_path / "linkspan-i/c"
    folder.mkdir(parents=True)
    files = {
        "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\n",
        "memory.current": "4096\n",
        "memory.max": "max\n",
        "memory.stat": "anon 5\ninactive_file 6\n",
        "pids.current": "2\n",
        "pids.max": "max\n",
        "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=1\n254:0 rbytes=1 wbytes=2\n",
        "cgroup.procs": "30\n20\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    mounts = CgroupMounts(version="v2", unified=str(tmp_path))
    usage = cgroups.usage(mounts, "/linkspan-i/c")
    assert (usage.cpu_total, usage.cpu_user, usage.cpu_kernel) == (30_000, 20_000, 10_000)
    assert (usage.memory_usage, usage.memory_stats["inactive_file"], usage.pids, usage.pids_limit) == (4096, 6, 2, 0)
    assert usage.memory_limit > 1 << 20
    assert (usage.block_read, usage.block_write) == (11, 22)
    assert cgroups.processes_in(mounts, "/linkspan-i/c") == (20, 30)


def test_a_bound_that_is_a_lines_own_time_takes_the_line_in(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for nanoseconds in range(123_456_700, 123_457_300, 37):
        log.write_text(f"2026-01-01T00:00:00.{nanoseconds}+00:00 stdout F here\n")
        moment = calendar.timegm((2026, 1, 1, 0, 0, 0)) + nanoseconds / 1e9
        assert len(read(log, since=moment, until=moment)) == 1, nanoseconds
