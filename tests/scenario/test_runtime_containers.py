"""Containers as processes, with the real conmon and the real runtimes on a busybox root."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from linkspan.errors import CommandNotExecutable, CommandNotFound, Conflict, NotFound, RuntimeFailure
from linkspan.model.container import Container, ContainerSpec, Mount, Resources, Security
from linkspan.model.image import ImageConfig
from linkspan.runtime import cgroups, mountspace, processes
from linkspan.runtime.attachment import Attachment
from linkspan.runtime.conmon import Created, Launch
from linkspan.runtime.containers import Runtime
from linkspan.runtime.exec_process import ExecInput, build_exec
from linkspan.runtime.execution import ExecLaunch, ExecSession
from linkspan.runtime.filters import ANNOTATION, FilterCache
from linkspan.runtime.logs import read_log
from linkspan.runtime.mounts import ResolvedMount
from linkspan.runtime.probe import Machine, probe
from linkspan.runtime.spec import SpecInput, build

pytestmark = [
    pytest.mark.scenario,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("conmon") is None, reason="needs conmon"),
    pytest.mark.skipif(not Path("/usr/bin/busybox").exists(), reason="needs busybox-static"),
]

ID = "ab" * 32
INSTANCE = f"test{os.getpid()}"
PROGRAMS = "sh true cat sleep echo ls stty id env mount head tr grep pwd tty wc printf dd touch hostname kill".split(
    " "
)


@pytest.fixture(scope="session", params=["crun", "runc"])
def machine(request: pytest.FixtureRequest) -> Machine:
    if shutil.which(request.param) is None:
        pytest.skip(f"needs {request.param}")
    return probe(request.param)


class House:
    """One exec-root with its runtime and one root file system."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine = machine
        self.exec_root = folder / "exec"
        self.rootfs = folder / "rootfs"
        self.log = folder / "log"
        self.runtime = Runtime(self.exec_root, INSTANCE, machine)

    def launch(
        self,
        *command: str,
        spec: ContainerSpec | None = None,
        mounts: tuple[ResolvedMount, ...] = (),
        container: str = ID,
        **changes: object,
    ) -> Launch:
        asked = ContainerSpec(image="busybox", command=command, **changes) if spec is None else spec  # type: ignore[arg-type]
        path = self.runtime.cgroups_path(container, asked.cgroup_parent)
        given = SpecInput(
            container=Container(id=container, name="box", created=0.0, image_id="", spec=asked),
            image=ImageConfig(),
            rootfs=str(self.rootfs),
            sandbox="",
            hostname="box",
            mounts=mounts,
            cgroups_path=path,
            default_seccomp=self.machine.seccomp,
            init_path=self.machine.init_path,
            facts=self.machine.facts,
        )
        return Launch(
            id=container,
            config=build(given),
            cgroups_path=path,
            program=command[0],
            tty=asked.tty,
            open_stdin=asked.open_stdin,
            stdin_once=asked.stdin_once,
            binds=bool(mounts),
            log_path=self.log,
        )

    async def run(self, *command: str, **changes: object) -> int:
        """Runs a container to its end and removes it; its exit code."""
        await self.runtime.create(self.launch(*command, **changes))  # type: ignore[arg-type]
        await self.runtime.start(ID)
        code = (await self.runtime.wait(ID)).code
        await self.runtime.delete(ID)
        return code

    async def begin(self, *command: str, **changes: object) -> Created:
        created = await self.runtime.create(self.launch(*command, **changes))  # type: ignore[arg-type]
        await self.runtime.start(ID)
        return created

    def exec_launch(self, *command: str, **changes: object) -> ExecLaunch:
        tty = bool(changes.get("tty"))
        process = build_exec(
            ExecInput(
                spec=ContainerSpec(image="busybox"),
                image=ImageConfig(),
                hostname="box",
                command=command,
                tty=tty,
                facts=self.machine.facts,
            )
        )
        return ExecLaunch(process=process, program=command[0], **changes)  # type: ignore[arg-type]

    async def output(self) -> str:
        return b"".join([entry.data async for entry in read_log(self.log)]).decode()


Story = Callable[[House], Awaitable[None]]


@pytest.fixture
def tell(machine: Machine, tmp_path: Path) -> Callable[[Story], None]:
    """Runs a story in a house of its own, and proves that nothing is left of it."""
    programs = tmp_path / "rootfs/bin"
    programs.mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", programs)
    for name in PROGRAMS:
        (programs / name).symlink_to("busybox")
    for name in ("proc", "dev", "sys", "etc", "tmp"):
        (tmp_path / "rootfs" / name).mkdir()
    (programs / "text").write_text("no program\n")

    def run(story: Story) -> None:
        async def whole() -> None:
            (tmp_path / "exec").mkdir()
            mountspace.prepare_mounts(tmp_path / "exec")
            house = House(machine, tmp_path)
            try:
                await story(house)
                await house.runtime.delete(ID)
                assert house.runtime.bundle_ids() == frozenset()
            finally:
                await house.runtime.delete(ID)
                house.runtime.close()
                mountspace.release_mounts(tmp_path / "exec")

        before = zombies()
        asyncio.run(whole())
        assert zombies() == before
        assert list(tmp_path.glob("exec/oci/[!.]*")) == []
        assert list(Path("/sys/fs/cgroup").glob(f"**/*{INSTANCE}*")) == []
        assert not any(str(tmp_path) in line for line in commands())
        assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()

    return run


def commands() -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(file.read_text(errors="replace").replace("\0", " "))
        except OSError:
            continue
    return found


def zombies() -> list[str]:
    """Ended children of this process that nobody has reaped."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, fields = file.read_text(errors="replace").rpartition(")")
        except OSError:
            continue
        if fields.split()[:2] == ["Z", str(os.getpid())]:
            found.append(head)
    return found


async def collect(source: Attachment | ExecSession) -> tuple[bytes, bytes]:
    """Everything until the end: stdout, stderr."""
    found = {1: b"", 2: b""}
    while (frame := await source.read()) is not None:
        found[frame[0]] += frame[1]
    return found[1], found[2]


def test_exit_codes_are_the_programs_own(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        assert await house.run("true") == 0
        assert await house.run("sh", "-c", "exit 3") == 3
        assert await house.run("sh", "-c", "kill -9 $$; sleep 1") in (0, 137)

    tell(story)


def test_a_missing_program_is_told_apart_from_one_that_cannot_be_executed(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        for program in ("nope", "/no/such/program"):
            with pytest.raises(CommandNotFound, match=program):
                await house.begin(program)
        with pytest.raises(CommandNotFound, match="nope"):
            await house.begin("nope", tty=True)
        for program in ("/bin/text", "/etc"):
            with pytest.raises(CommandNotExecutable, match="permission denied"):
                await house.begin(program)
        assert house.runtime.bundle_ids() == frozenset()

    tell(story)


def test_a_refused_container_leaves_nothing_and_says_why(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        launch = house.launch("true", sysctls={"net.ipv4.no_such_setting": "1"})
        with pytest.raises(RuntimeFailure, match="no_such_setting"):
            await house.runtime.create(launch)
        assert house.runtime.bundle_ids() == frozenset()
        with pytest.raises(NotFound):
            await house.runtime.start(ID)

    tell(story)


def test_the_log_holds_both_streams_and_unfinished_lines(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        await house.begin("sh", "-c", "echo one; sleep 0.1; echo two >&2; sleep 0.1; printf three")
        await house.runtime.wait(ID)
        entries = [entry async for entry in read_log(house.log)]
        assert [(entry.stream, entry.data) for entry in entries] == [(1, b"one\n"), (2, b"two\n"), (1, b"three")]
        assert all(abs(entry.time / 1e9 - time.time()) < 60 for entry in entries)

    tell(story)


def test_following_a_log_ends_with_the_container(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        await house.begin("sh", "-c", "echo a; sleep 0.2; echo b; sleep 0.2; printf c")
        lines = house.runtime.logs(ID, house.log, follow=True, tail=None)
        assert [entry.data async for entry in lines] == [b"a\n", b"b\n", b"c"]

    tell(story)


def test_input_and_its_end_sent_before_the_start_reach_the_program(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        await house.runtime.create(house.launch("sh", "-c", "cat; echo end >&2", open_stdin=True, stdin_once=True))
        client = await house.runtime.attach(ID)
        text = b"line\n" * 10_000
        sending = asyncio.create_task(client.write(text))
        await house.runtime.start(ID)
        reading = asyncio.create_task(collect(client))
        await sending
        client.half_close()
        assert await reading == (text, b"end\n")
        client.close()
        assert (await house.runtime.wait(ID)).code == 0

    tell(story)


def test_no_output_is_lost_to_a_client_that_attached_before_the_start(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        for _ in range(5):
            await house.runtime.create(house.launch("echo", "hello"))
            clients = [await house.runtime.attach(ID) for _ in range(3)]
            await house.runtime.start(ID)
            for client in clients:
                assert await collect(client) == (b"hello\n", b"")
                client.close()
            await house.runtime.delete(ID)

    tell(story)


def test_who_only_looks_on_does_not_end_the_input_when_leaving(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        await house.runtime.create(house.launch("cat", open_stdin=True, stdin_once=True))
        owner, visitor = await house.runtime.attach(ID), await house.runtime.attach(ID)
        await house.runtime.start(ID)
        visitor.leave()
        await owner.write(b"still here\n")
        assert await owner.read() == (1, b"still here\n")
        owner.half_close()
        assert (await house.runtime.wait(ID)).code == 0
        owner.close()

    tell(story)


def test_an_open_input_survives_its_client_where_it_is_not_for_once(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        await house.begin("cat", open_stdin=True)
        first = await house.runtime.attach(ID)
        first.half_close()
        first.close()
        second = await house.runtime.attach(ID)
        await second.write(b"again\n")
        assert await second.read() == (1, b"again\n")
        second.close()

    tell(story)


def test_a_terminal_has_a_size_and_can_be_left_and_taken_up_again(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        launch = house.launch("sh", "-c", "read x; stty size; read y; tty", tty=True, open_stdin=True, stdin_once=True)
        await house.runtime.create(launch)
        client = await house.runtime.attach(ID)
        await house.runtime.start(ID)
        await house.runtime.resize(ID, 33, 99)
        await asyncio.sleep(0.2)
        await client.write(b"\r")
        text = b""
        while b"33 99" not in text:
            frame = await asyncio.wait_for(client.read(), 5)
            assert frame is not None
            text += frame[1]
        client.leave()
        client = await house.runtime.attach(ID)
        await client.write(b"\r")
        assert b"/dev/pts/0" in (await collect(client))[0]
        client.close()

    tell(story)


def test_attaching_to_what_has_ended_is_a_conflict(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        await house.begin("true")
        await house.runtime.wait(ID)
        with pytest.raises(Conflict):
            await house.runtime.attach(ID)
        with pytest.raises(Conflict):
            await house.runtime.kill(ID, signal.SIGTERM)

    tell(story)


def test_an_exec_gives_its_streams_and_its_exit_code(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        await house.begin("sleep", "60")
        launch = house.exec_launch("sh", "-c", "cat; echo bad >&2; exit 7", stdin=True)
        session = await house.runtime.execute(ID, launch)
        assert session.pid in house.runtime.processes(ID)
        await session.write(b"text")
        session.half_close()
        assert await collect(session) == (b"text", b"bad\n")
        assert await session.exit_code() == 7
        session.close()
        session = await house.runtime.execute(ID, house.exec_launch("sh", "-c", "kill -TERM $$; sleep 9"))
        assert await session.exit_code() == 143
        session.close()

    tell(story)


def test_an_exec_on_a_terminal_has_a_controlling_terminal_of_the_asked_size(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        await house.begin("sleep", "60")
        launch = house.exec_launch(
            "sh", "-c", "read x; stty size; tty; exit 4", tty=True, stdin=True, console_size=(20, 70)
        )
        session = await house.runtime.execute(ID, launch)
        await asyncio.sleep(0.2)
        await session.write(b"\r")
        text, _ = await collect(session)
        assert b"20 70" in text
        assert b"/dev/pts/" in text
        assert await session.exit_code() == 4
        session.close()

    tell(story)


def test_a_detached_exec_goes_on_without_anybody(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        await house.begin("sleep", "60")
        launch = house.exec_launch("sh", "-c", "sleep 0.1; echo done > /tmp/mark", stdout=False, stderr=False)
        session = await house.runtime.execute(ID, launch)
        session.close()
        assert await session.exit_code() == 0
        assert (house.rootfs / "tmp/mark").read_text() == "done\n"

    tell(story)


def test_an_exec_of_a_missing_program_is_told_like_dockers(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        await house.begin("sleep", "60")
        with pytest.raises(CommandNotFound, match=r"OCI runtime exec failed.*executable file not found in"):
            await house.runtime.execute(ID, house.exec_launch("nope"))
        with pytest.raises(CommandNotExecutable, match="permission denied"):
            await house.runtime.execute(ID, house.exec_launch("/bin/text"))
        with pytest.raises(CommandNotFound):
            await house.runtime.execute(ID, house.exec_launch("nope", tty=True))

    tell(story)


def test_a_paused_container_stands_still_and_can_be_killed(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        await house.begin("sh", "-c", "while true; do echo x; sleep 0.02; done")
        await house.runtime.pause(ID)
        await asyncio.sleep(0.05)
        size = house.log.stat().st_size
        await asyncio.sleep(0.2)
        assert house.log.stat().st_size == size
        await house.runtime.unpause(ID)
        await asyncio.sleep(0.2)
        assert house.log.stat().st_size > size
        await house.runtime.pause(ID)
        await house.runtime.kill(ID, signal.SIGKILL)
        assert (await asyncio.wait_for(house.runtime.wait(ID), 5)).code == 137

    tell(story)


def test_an_exec_that_comes_when_the_container_has_just_ended_is_a_conflict(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        created = await house.begin("sleep", "1000")
        os.kill(created.pid, signal.SIGKILL)
        with pytest.raises(Conflict, match="is not running"):
            await house.runtime.execute(ID, house.exec_launch("true"))

    tell(story)


def test_a_stop_signal_reaches_the_program(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        await house.begin("sh", "-c", "trap 'exit 5' TERM; while true; do sleep 0.05; done")
        await asyncio.sleep(0.1)
        await house.runtime.kill(ID, signal.SIGTERM)
        assert (await asyncio.wait_for(house.runtime.wait(ID), 5)).code == 5

    tell(story)


def test_limits_are_in_the_cgroup_and_can_be_changed(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        await house.begin("sleep", "60", resources=Resources(memory=64 << 20, pids_limit=50, nano_cpus=500_000_000))
        usage = house.runtime.usage(ID)
        assert (usage.memory_limit, usage.pids_limit) == (64 << 20, 50)
        assert 1 <= usage.pids <= 50
        assert usage.system_cpu > usage.cpu_total > 0
        await house.runtime.update(ID, Resources(memory=128 << 20, memory_swap=256 << 20, pids_limit=60))
        usage = house.runtime.usage(ID)
        assert (usage.memory_limit, usage.pids_limit) == (128 << 20, 60)

    tell(story)


def test_a_container_out_of_memory_is_told_so(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        limits = Resources(memory=16 << 20, memory_swap=16 << 20)
        await house.begin("sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=64M count=1", resources=limits)
        outcome = await asyncio.wait_for(house.runtime.wait(ID), 20)
        assert (outcome.code, outcome.oom_killed) == (137, True)

    tell(story)


def test_a_restarted_daemon_takes_up_what_runs_and_what_has_ended(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        created = await house.begin("sh", "-c", "read x; echo got $x; exit 6", open_stdin=True)
        house.runtime.close()
        house.runtime = Runtime(house.exec_root, INSTANCE, house.machine)
        assert await house.runtime.adopt(ID, created)
        assert house.runtime.ended(ID) is None
        client = await house.runtime.attach(ID)
        await client.write(b"word\n")
        assert await collect(client) == (b"got word\n", b"")
        client.close()
        assert (await house.runtime.wait(ID)).code == 6
        house.runtime.close()
        house.runtime = Runtime(house.exec_root, INSTANCE, house.machine)
        assert await house.runtime.adopt(ID, created)
        assert (await house.runtime.wait(ID)).code == 6
        await house.runtime.delete(ID)
        assert not await house.runtime.adopt(ID, created)

    tell(story)


def test_a_container_whose_monitor_was_killed_ends_too(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        created = await house.begin("sleep", "60")
        os.kill(created.monitor_pid, signal.SIGKILL)
        outcome = await asyncio.wait_for(house.runtime.wait(ID), 5)
        assert outcome.code == 137
        await house.runtime.delete(ID)
        assert not processes.is_alive(created.pid, created.pid_start)

    tell(story)


def test_capabilities_seccomp_and_paths_are_dockers(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        await house.begin("sh", "-c", "grep -E 'CapEff|Seccomp:|NoNew' /proc/self/status; mount | grep 'on /proc/sys '")
        await house.runtime.wait(ID)
        text = await house.output()
        assert "00000000a80425fb" in text
        assert f"Seccomp:\t{2 if house.machine.seccomp else 0}" in text
        assert "NoNewPrivs:\t0" in text
        assert "on /proc/sys type proc (ro" in text

    tell(story)


def test_a_filter_compiled_ahead_is_the_one_that_the_runtime_would_make(
    tell: Callable[[Story], None], machine: Machine
) -> None:
    if machine.runtime_name != "crun" or machine.seccomp is None:
        pytest.skip("needs crun and a default profile")

    async def story(house: House) -> None:
        await house.runtime.warm_up()
        own = '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["chmod"],"action":"SCMP_ACT_ERRNO"}]}'
        for security in (Security(), Security(cap_add=("SYS_ADMIN",)), Security(seccomp=own)):
            launch = house.launch("sleep", "60", security=security)
            ahead = json.loads(FilterCache().annotated(launch.config))["annotations"][ANNOTATION]
            # Annotations of its own keep the runtime from using ours.
            config = launch.config[:-1] + b',"annotations":{"a":"b"}}'
            await house.runtime.create(msgspec.structs.replace(launch, config=config))
            assert (house.exec_root / "oci" / ID / "seccomp.bpf").read_bytes() == base64.b64decode(ahead)
            await house.runtime.delete(ID)

    tell(story)


def test_an_exec_is_under_the_containers_filter(tell: Callable[[Story], None], machine: Machine) -> None:
    if machine.seccomp is None:
        pytest.skip("needs a default profile")

    async def story(house: House) -> None:
        await house.begin("sleep", "60")
        session = await house.runtime.execute(ID, house.exec_launch("grep", "Seccomp:", "/proc/self/status"))
        assert await collect(session) == (b"Seccomp:\t2\n", b"")
        session.close()

    tell(story)


def test_a_privileged_container_gets_what_the_daemon_has(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        await house.begin("sh", "-c", "grep CapEff /proc/self/status; mount", security=Security(privileged=True))
        await house.runtime.wait(ID)
        text = await house.output()
        held = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapPrm"))
        assert held.split()[1] in text
        assert any("on /sys type sysfs (rw" in line for line in text.splitlines())

    tell(story)


def test_mounts_appear_as_asked(tell: Callable[[Story], None], tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host/file").write_text("from the host\n")
    asked = (
        ResolvedMount(mount=Mount(kind="bind", target="/data", read_only=True), source=str(tmp_path / "host")),
        ResolvedMount(mount=Mount(kind="tmpfs", target="/scratch", tmpfs_size=1 << 20)),
    )

    async def story(house: House) -> None:
        command = "cat /data/file; touch /data/x; touch /scratch/y; mount | grep scratch; touch /z; hostname"
        await house.begin("sh", "-c", command, mounts=asked, read_only=True)
        await house.runtime.wait(ID)
        text = await house.output()
        assert "from the host" in text
        assert "touch: /data/x: Read-only file system" in text
        assert "touch: /z: Read-only file system" in text
        assert "noexec" in text
        assert "box\n" in text

    tell(story)


def test_an_init_reaps_and_forwards(tell: Callable[[Story], None], machine: Machine) -> None:
    if not machine.init_path:
        pytest.skip("needs a static init")

    async def story(house: House) -> None:
        await house.begin("sh", "-c", "cat /proc/1/cmdline; exit 9", init=True)
        assert (await house.runtime.wait(ID)).code == 9
        assert "docker-init" in await house.output()

    tell(story)


def test_a_created_container_can_be_deleted_without_a_start(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        created = await house.runtime.create(house.launch("true"))
        await house.runtime.delete(ID)
        assert not processes.is_alive(created.pid, created.pid_start)
        assert not processes.is_alive(created.monitor_pid, created.monitor_start)

    tell(story)


def test_a_create_that_is_cancelled_leaves_nothing(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        for delay in (0.0, 0.002, 0.01, 0.02, 0.04):
            creating = asyncio.create_task(house.runtime.create(house.launch("true")))
            await asyncio.sleep(delay)
            creating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await creating
            await house.runtime.delete(ID)
            assert house.runtime.bundle_ids() == frozenset()

    tell(story)


def test_what_an_unknown_daemon_left_can_be_deleted(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        created = await house.begin("sleep", "60")
        house.runtime.close()
        house.runtime = Runtime(house.exec_root, INSTANCE, house.machine)
        assert house.runtime.bundle_ids() == {ID}
        await house.runtime.delete(ID)
        assert not processes.is_alive(created.monitor_pid, created.monitor_start)

    tell(story)


def test_a_container_in_the_hosts_pid_namespace_ends_with_all_its_processes(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        await house.begin("sh", "-c", "sleep 61 & sleep 62 & wait", pid_mode="host")
        await asyncio.sleep(0.1)
        pids = house.runtime.processes(ID)
        assert len(pids) == 3
        await house.runtime.delete(ID)
        assert [pid for pid in pids if processes.start_time(pid)] == []

    tell(story)


def test_a_cgroup_parent_is_honoured(tell: Callable[[Story], None]) -> None:
    async def story(house: House) -> None:
        parent = f"parent-{INSTANCE}"
        await house.begin("sleep", "60", cgroup_parent=f"/{parent}")
        assert len(house.runtime.processes(ID)) == 1
        await house.runtime.delete(ID)
        for point in house.machine.facts.cgroups.mount_points:
            folder = Path(point, parent)
            if folder.exists():
                assert [entry for entry in folder.iterdir() if entry.is_dir()] == []
                folder.rmdir()

    tell(story)


@asynccontextmanager
async def prepared(*folders: Path) -> AsyncIterator[None]:
    mountspace.prepare_mounts(*folders)
    try:
        yield
    finally:
        mountspace.release_mounts(*folders)


def test_mounts_made_later_reach_the_runtime_and_are_not_pinned_there(
    tell: Callable[[Story], None], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    (data / "root").mkdir(parents=True)

    async def story(house: House) -> None:
        async with prepared(data):
            # The launcher makes its namespace with the first start; the root is mounted only then.
            assert await house.run("true") == 0
            subprocess.run(["mount", "--bind", house.rootfs, data / "root"], check=True)
            launch = house.launch("true")
            launch = Launch(
                id=ID,
                config=launch.config.replace(str(house.rootfs).encode(), str(data / "root").encode()),
                cgroups_path=launch.cgroups_path,
                program="true",
            )
            await house.runtime.create(launch)
            await house.runtime.start(ID)
            assert (await house.runtime.wait(ID)).code == 0
            await house.runtime.delete(ID)
            subprocess.run(["umount", data / "root"], check=True)
            holders = [
                file for file in Path("/proc").glob("[0-9]*/task/*/mountinfo") if str(data / "root") in _text(file)
            ]
            assert holders == []

    tell(story)


def test_where_the_root_is_no_mount_point_runtimes_live_under_a_bind_of_it(
    tell: Callable[[Story], None], machine: Machine, tmp_path: Path
) -> None:
    async def story(house: House) -> None:
        house.runtime.close()
        changed = msgspec.structs.replace(machine, root_is_mount_point=False)
        house.runtime = Runtime(house.exec_root, INSTANCE, changed)
        assert await house.run("true") == 0

    tell(story)


@pytest.mark.parametrize("is_mount_point", [True, False], ids=["root is a mount point", "root is none"])
def test_a_mount_made_after_the_first_container_is_seen_by_the_next(
    tell: Callable[[Story], None], machine: Machine, tmp_path: Path, is_mount_point: bool
) -> None:
    if is_mount_point and not machine.root_is_mount_point:
        pytest.skip("in a plain chroot the root is no mount point, and cannot be taken for one")
    place = tmp_path / "later"
    place.mkdir()
    bound = ResolvedMount(mount=Mount(kind="bind", target="/data"), source=str(place))

    async def story(house: House) -> None:
        house.runtime.close()
        changed = msgspec.structs.replace(machine, root_is_mount_point=is_mount_point)
        house.runtime = Runtime(house.exec_root, INSTANCE, changed)
        assert await house.run("sh", "-c", "[ -e /data/file ]", mounts=(bound,)) == 1
        subprocess.run(["mount", "-t", "tmpfs", "--make-private", "later", place], check=True)
        try:
            (place / "file").touch()
            assert await house.run("sh", "-c", "[ -e /data/file ]", mounts=(bound,)) == 0
        finally:
            subprocess.run(["umount", place], check=True)
        assert await house.run("sh", "-c", "[ -e /data/file ]", mounts=(bound,)) == 1

    tell(story)


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def test_removal_leaves_other_daemons_alone(machine: Machine) -> None:
    mounts = machine.facts.cgroups
    folder = Path(mounts.mount_points[0], cgroups.folder_of(f"{INSTANCE}-other"))
    folder.mkdir()
    try:
        cgroups.remove_folder(mounts, INSTANCE)
        assert folder.is_dir()
    finally:
        folder.rmdir()
