"""What containers live through: start, stop, restart, kill, pause, wait, rename, update, rm, prune; and who tells."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path

import pytest

from container_lab import SLEEP, Client, cgroup_value, line_of, pid_of, raw, running
from daemons import eventually

pytestmark = pytest.mark.scenario

MIB = 1024 * 1024


# --- start, stop, restart, kill --------------------------------------------------------------------------------------


def test_a_container_is_created_started_stopped_and_started_again(client: Client) -> None:
    identity = client("create", "--name", "it", "busybox", "sh", "-c", "echo up >> /log; exec sleep 1000").strip()
    assert re.fullmatch("[0-9a-f]{64}", identity)
    assert client.state("it") == "created"
    assert client("start", "it") == "it\n"
    assert client("start", identity[:12], "it") == f"{identity[:12]}\nit\n", "starting what runs is no error"
    first = client.inspect("it")["State"]
    assert first["Running"] is True
    assert first["StartedAt"] > "2020"
    assert first["FinishedAt"] == "0001-01-01T00:00:00Z"

    assert client("stop", "-t", "1", "it") == "it\n"
    assert client("stop", "it") == "it\n", "stopping what is stopped is no error"
    second = client.inspect("it")["State"]
    assert (second["Status"], second["Running"], second["ExitCode"], second["Pid"]) == ("exited", False, 137, 0)
    assert second["FinishedAt"] > first["StartedAt"]

    client("start", "it")
    assert client("exec", "it", "cat", "/log") == "up\nup\n", "what it wrote is there"
    assert client.inspect("it")["State"]["StartedAt"] > first["StartedAt"]
    assert client.inspect("it")["State"]["ExitCode"] == 0


def test_several_are_stopped_at_once_and_a_missing_one_is_named(client: Client) -> None:
    for name in ("one", "two", "three"):
        client.sleeper(name)
    said = client.run("stop", "one", "missing", "two")
    assert said.returncode == 1
    assert said.stdout.split() == ["one", "two"]
    assert "No such container: missing" in said.stderr
    assert client("ps", "--format", "{{.Names}}").split() == ["three"]


def test_restart_keeps_the_address_and_takes_stopped_ones_too(client: Client) -> None:
    client("network", "create", "web")
    client.sleeper("it", "--network", "web")
    address, pid = client.daemon.address("it"), pid_of(client, "it")
    client.sleeper("other", "--network", "web")
    assert client("restart", "-t", "0", "it") == "it\n"
    assert client.daemon.address("it") == address
    assert pid_of(client, "it") != pid
    client("stop", "other")
    client("restart", "other")
    assert client.state("other") == "running"


def test_signals_are_sent_by_name_or_number(client: Client) -> None:
    text = "trap 'echo usr1' USR1; trap 'echo hup' HUP; trap 'exit 3' INT; echo up; while :; do sleep 0.02; done"
    client.script("it", text)
    eventually(lambda: "up" in client("logs", "it"), "it is up")
    assert client("kill", "-s", "USR1", "it") == "it\n"
    eventually(lambda: "usr1" in client("logs", "it"), "it heard USR1")
    client("kill", "--signal", "1", "it")
    eventually(lambda: "hup" in client("logs", "it"), "it heard HUP")
    assert client.state("it") == "running"
    client("kill", "--signal", "SIGINT", "it")
    client.until("it", "exited")
    assert client.format("it", "{{.State.ExitCode}}") == "3"
    assert "is not running" in client.refused("kill", "it")
    client.sleeper("other")
    assert "nvalid signal: NONSENSE" in client.refused("kill", "-s", "NONSENSE", "other")
    client("kill", "other")
    assert client.format("other", "{{.State.Status}} {{.State.ExitCode}}") == "exited 137"


@pytest.mark.newer_docker
def test_a_stop_may_name_its_signal_and_its_patience(client: Client) -> None:
    text = "trap 'exit 4' USR2; trap '' TERM; echo up; while :; do sleep 0.02; done"
    client.script("it", text)
    client.script("deaf", text)
    eventually(lambda: "up" in client("logs", "it") and "up" in client("logs", "deaf"), "both are up")
    client("stop", "--signal", "USR2", "it")
    assert client.format("it", "{{.State.ExitCode}}") == "4"
    begin = time.monotonic()
    client("stop", "--timeout", "1", "deaf") if not client.is_docker else client("stop", "-t", "1", "deaf")
    assert 0.9 < time.monotonic() - begin < 4
    assert client.format("deaf", "{{.State.ExitCode}}") == "137"


def test_a_paused_container_stands_still(client: Client) -> None:
    client.script("it", "while :; do echo x >> /ticks; sleep 0.02; done")
    assert client("pause", "it") == "it\n"
    assert client.state("it") == "paused"
    assert client.inspect("it")["State"]["Paused"] is True
    assert "(Paused)" in client("ps", "--format", "{{.Status}}")
    pid = pid_of(client, "it")
    assert cgroup_value(pid, "freezer", "freezer.state", "cgroup.freeze") in ("FROZEN", "1")
    before = client("cp", "it:/ticks", "-")
    time.sleep(0.2)
    assert client("cp", "it:/ticks", "-") == before
    assert "already paused" in client.refused("pause", "it")
    assert "paused" in client.refused("exec", "it", "true")
    assert "paused" in client.refused("start", "it")
    client("unpause", "it")
    assert client.state("it") == "running"
    assert "not paused" in client.refused("unpause", "it")
    client("pause", "it")
    client("stop", "-t", "0", "it")
    assert client.state("it") == "exited"
    assert "is not running" in client.refused("pause", "it")


def test_a_paused_container_can_be_killed_and_removed(linkspan: Client) -> None:
    for name in ("one", "two"):
        linkspan.sleeper(name)
        linkspan("pause", name)
    linkspan("kill", "one")
    assert linkspan.state("one") == "exited"
    linkspan("rm", "-f", "two")
    assert linkspan("ps", "-a", "--format", "{{.Names}}").split() == ["one"]


# --- wait ------------------------------------------------------------------------------------------------------------


def test_wait_prints_exit_codes_in_order(client: Client) -> None:
    client.script("slow", "sleep 0.4; exit 7")
    client.script("fast", "exit 5")
    assert client("wait", "slow", "fast") == "7\n5\n"
    assert client("wait", "slow") == "7\n", "it has ended long ago"
    client("create", "--name", "never", *SLEEP)
    assert client("wait", "never") == "0\n", "it does not run"
    assert "No such container: missing" in client.refused("wait", "missing")


def test_each_condition_of_a_wait_has_its_moment(linkspan: Client) -> None:
    lab = linkspan.daemon
    identity = linkspan("create", "--name", "it", "busybox", "sh", "-c", "read x; exit 6").strip()
    linkspan("create", "--name", "fed", "-i", "busybox", "sh", "-c", "read x; exit 6")
    answers: dict[str, tuple[int, int]] = {}

    def wait(name: str, condition: str) -> threading.Thread:
        def ask() -> None:
            status, _, body = raw(lab, "POST", f"/v1.44/containers/{name}/wait?condition={condition}")
            answers[condition] = (status, json.loads(body)["StatusCode"])

        thread = threading.Thread(target=ask)
        thread.start()
        return thread

    threads = [wait("fed", condition) for condition in ("not-running", "next-exit", "removed")]
    threads[0].join(5)
    assert answers["not-running"] == (200, 0), "a container that never ran does not run"
    with running(linkspan.start("start", "-ai", "fed", stdin=-1)) as started:
        eventually(lambda: linkspan.state("fed") == "running", "fed runs")
        assert set(answers) == {"not-running"}
        assert started.stdin is not None
        started.stdin.write(b"go\n")
        started.stdin.flush()
        assert started.wait(timeout=10) == 6
    threads[1].join(5)
    assert answers["next-exit"] == (200, 6)
    assert "removed" not in answers
    linkspan("rm", "fed")
    threads[2].join(5)
    assert answers["removed"] == (200, 6)
    status, _, body = raw(lab, "POST", f"/v1.44/containers/{identity}/wait?condition=nonsense")
    assert status == 400, body


# --- rename, update, top, stats, port --------------------------------------------------------------------------------


def test_a_renamed_container_is_found_under_its_new_name_alone(client: Client) -> None:
    client.sleeper("old")
    client.sleeper("other")
    assert client("rename", "old", "new") == ""
    assert client.format("new", "{{.Name}}") == "/new"
    assert "No such container: old" in client.refused("stop", "old")
    assert "already in use" in client.refused("rename", "new", "other")
    client.refused("rename", "new", "new")
    client.refused("rename", "new", "bad name")
    client("rename", "other", "old")
    assert set(client("ps", "--format", "{{.Names}}").split()) == {"new", "old"}


def test_limits_and_policy_are_changed_while_it_runs(client: Client) -> None:
    client.sleeper("it", "--memory", "64m", "--memory-swap", "128m")
    pid = pid_of(client, "it")
    words = ("--memory", "32m", "--memory-swap", "64m", "--cpus", "0.25", "--pids-limit", "55", "--restart", "always")
    assert client("update", *words, "it") == "it\n"
    assert cgroup_value(pid, "memory", "memory.limit_in_bytes", "memory.max") == str(32 * MIB)
    assert cgroup_value(pid, "cpu", "cpu.cfs_quota_us", "cpu.max") in ("25000", "25000 100000")
    assert cgroup_value(pid, "pids", "pids.max", "pids.max") == "55"
    found = client.inspect("it")["HostConfig"]
    assert (found["Memory"], found["NanoCpus"], found["PidsLimit"]) == (32 * MIB, 250_000_000, 55)
    assert found["RestartPolicy"] == {"Name": "always", "MaximumRetryCount": 0}
    client("update", "--restart", "no", "it")
    assert client.inspect("it")["HostConfig"]["Memory"] == 32 * MIB
    client.refused("update", "--memory", "1m", "it")
    assert cgroup_value(pid, "memory", "memory.limit_in_bytes", "memory.max") == str(32 * MIB)
    client("stop", "it")
    client("update", "--pids-limit", "44", "it")
    client("start", "it")
    assert cgroup_value(pid_of(client, "it"), "pids", "pids.max", "pids.max") == "44"


def test_top_shows_the_containers_processes_with_the_hosts_pids(client: Client) -> None:
    client.script("it", "sleep 999 & exec sleep 998")
    lines = client("top", "it").splitlines()
    assert lines[0].split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert sorted(line.split()[-1] for line in lines[1:]) == ["998", "999"]
    assert str(pid_of(client, "it")) in [line.split()[1] for line in lines[1:]]
    short = client("top", "it", "-o", "pid,comm").splitlines()
    assert short[0].split() == ["PID", "COMMAND"]
    assert {line.split()[1] for line in short[1:]} == {"sleep"}
    client("stop", "-t", "0", "it")
    assert "is not running" in client.refused("top", "it")


def test_stats_show_what_it_uses(client: Client) -> None:
    client.script("it", "while :; do :; done", "--memory", "64m", "--pids-limit", "10")
    row = client("stats", "--no-stream", "--format", "{{json .}}", "it")
    shown = json.loads(row)
    assert shown["Name"] == "it"
    assert float(shown["CPUPerc"].rstrip("%")) > 10
    assert shown["MemUsage"].endswith("/ 64MiB")
    assert int(shown["PIDs"]) >= 1
    table = client("stats", "--no-stream").splitlines()
    assert table[0].split()[:3] == ["CONTAINER", "ID", "NAME"]
    assert "it" in table[1].split()
    with running(client.start("stats", "--format", "{{.Name}} {{.NetIO}}", "it")) as process:
        assert "it " in line_of(process)
    assert "No such container" in client.refused("stats", "--no-stream", "missing")


def test_stats_over_the_api_compare_two_readings(linkspan: Client) -> None:
    linkspan.script("it", "while :; do :; done")
    _, _, body = raw(linkspan.daemon, "GET", "/containers/it/stats?stream=false")
    found = json.loads(body)
    assert found["precpu_stats"]["cpu_usage"]["total_usage"] > 0
    assert found["cpu_stats"]["cpu_usage"]["total_usage"] > found["precpu_stats"]["cpu_usage"]["total_usage"]
    assert found["cpu_stats"]["online_cpus"] >= 1
    assert found["networks"]["eth0"]["rx_bytes"] >= 0
    assert found["pids_stats"]["current"] >= 1
    begin = time.monotonic()
    _, _, body = raw(linkspan.daemon, "GET", "/containers/it/stats?stream=false&one-shot=true")
    assert time.monotonic() - begin < 0.5
    assert json.loads(body)["cpu_stats"]["cpu_usage"]["total_usage"] > 0


def test_port_lists_nothing_where_nothing_is_published(client: Client) -> None:
    client.sleeper("it", "--expose", "80")
    assert client("port", "it") == ""
    assert "No public port '80" in client.refused("port", "it", "80")
    assert "80/tcp" in client("ps", "--format", "{{.Ports}}")


# --- rm and prune ----------------------------------------------------------------------------------------------------


def test_rm_takes_stopped_ones_and_by_force_all(client: Client) -> None:
    client.sleeper("busy")
    client("create", "--name", "idle", *SLEEP)
    done = client.run("rm", "busy", "idle", "missing")
    assert done.returncode == 1
    assert done.stdout == "idle\n"
    assert "container is running" in done.stderr
    assert "No such container: missing" in done.stderr
    assert client("rm", "-f", "busy") == "busy\n"
    assert client.status("rm", "-f", "busy") in (0, 1)
    assert client("ps", "-aq") == ""


def test_nothing_of_a_removed_container_is_left_on_disk(linkspan: Client) -> None:
    lab = linkspan.daemon
    linkspan("run", "--rm", "-v", "/anonymous", "busybox", "true")
    before = {path for path in lab.data_root.rglob("*") if path.is_dir()}
    identity = linkspan.sleeper("it", "--tmpfs", "/t", "-v", "/anonymous")
    linkspan("exec", "it", "touch", "/file", "/anonymous/file")
    linkspan("rm", "-f", "-v", "it")
    assert {path for path in lab.data_root.rglob("*") if path.is_dir()} - before == set()
    assert not [path for path in lab.folder.rglob("*") if identity in str(path)]
    assert not [path for path in lab.cgroups() if identity in str(path)]


def test_prune_removes_what_does_not_run(client: Client) -> None:
    client.sleeper("busy")
    client("create", "--name", "kept", "--label", "keep", *SLEEP)
    client("create", "--name", "idle", *SLEEP)
    identity = client.format("idle", "{{.Id}}")
    said = client("container", "prune", "--force", "--filter", "label!=keep")
    assert identity in said
    assert "Total reclaimed space:" in said
    assert set(client("ps", "-a", "--format", "{{.Names}}").split()) == {"busy", "kept"}
    client("container", "prune", "--force", "--filter", "until=1h")
    assert "kept" in client("ps", "-a", "--format", "{{.Names}}")
    refused = client.run("container", "prune", stdin="n\n")
    assert "WARNING" in refused.stdout
    assert "kept" in client("ps", "-a", "--format", "{{.Names}}")
    client.run("container", "prune", stdin="y\n")
    assert client("ps", "-a", "--format", "{{.Names}}").split() == ["busy"]


# --- policies --------------------------------------------------------------------------------------------------------


def test_a_policy_restarts_what_fails_and_counts(linkspan: Client, tmp_path: Path) -> None:
    linkspan.script("it", "echo x >> /t/tries; exit 3", "--restart", "on-failure:2", "-v", f"{tmp_path}:/t")
    linkspan.until("it", "exited")
    assert (tmp_path / "tries").read_text() == "x\n" * 3
    assert linkspan.format("it", "{{.RestartCount}} {{.State.ExitCode}}") == "2 3"
    linkspan.script("fine", "exit 0", "--restart", "on-failure")
    linkspan.until("fine", "exited")
    assert linkspan.format("fine", "{{.RestartCount}}") == "0"


def test_always_restarts_until_somebody_stops_it(linkspan: Client, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    linkspan.script("it", "echo x >> /t/tries; exit 0", "--restart", "always", "-v", f"{tmp_path}:/t")
    eventually(lambda: tries.exists() and len(tries.read_text()) >= 6, "it runs the third time")
    assert linkspan("ps", "--format", "{{.Names}}").split() == ["it"]
    linkspan("stop", "it")
    eventually(lambda: linkspan.state("it") == "exited", "it is stopped")
    count = tries.read_text()
    time.sleep(0.8)
    assert tries.read_text() == count
    linkspan("start", "it")
    eventually(lambda: len(tries.read_text()) > len(count) + 2, "it restarts again after a start")
    linkspan("rm", "-f", "it")


def test_a_killed_one_is_restarted_unless_a_person_killed_it(linkspan: Client) -> None:
    linkspan("run", "-d", "--name", "it", "--restart", "unless-stopped", *SLEEP)
    pid = pid_of(linkspan, "it")
    linkspan.daemon.run("kill", "-9", str(pid))
    eventually(lambda: linkspan.state("it") == "running" and pid_of(linkspan, "it") not in (0, pid), "it runs again")
    linkspan("kill", "it")
    time.sleep(0.4)
    assert linkspan.state("it") == "exited"


def test_a_policy_and_rm_exclude_each_other(client: Client) -> None:
    said = client.refused("run", "--rm", "--restart", "always", *SLEEP, status=125)
    assert "restart" in said.lower()
    for policy in ("nonsense", "always:3", "on-failure:-1", "on-failure:x"):
        assert client.status("create", f"--restart={policy}", *SLEEP) in (1, 125), policy
    assert client("ps", "-aq") == ""
