"""Every option of ``run``: what it does inside the container and on the host, with ``linkspan`` and ``docker``."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from container_lab import SLEEP, TRUE, Client, cgroup_value, one_sentence, pid_of, process_status
from daemons import Daemon

pytestmark = pytest.mark.scenario

MIB = 1024 * 1024


# --- the process ---------------------------------------------------------------------------------------------------


def test_environment_comes_from_files_and_flags_and_unset_names_are_left_out(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "environment"
    file.write_text("# comment\nFROM_FILE=one two\nBOTH=file\nHOME_OF_TEST\nNOWHERE_SET\n")
    words = ("--env-file", str(file), "-e", "BOTH=flag", "--env", "EMPTY=", "-e", "LINKSPAN_HOST", "-e", "UNSET")
    found = dict(line.split("=", 1) for line in client("run", "--rm", *words, "busybox", "env").splitlines())
    assert found["FROM_FILE"] == "one two"
    assert found["BOTH"] == "flag"
    assert found["EMPTY"] == ""
    assert found["LINKSPAN_HOST"] == client.daemon.environment["LINKSPAN_HOST"]
    assert not {"UNSET", "HOME_OF_TEST", "NOWHERE_SET"} & found.keys()
    assert found["PATH"] == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert found["HOME"] == "/root"
    assert re.fullmatch("[0-9a-f]{12}", found["HOSTNAME"])
    assert "TERM" not in found


def test_user_group_and_folder_of_the_process(client: Client) -> None:
    words = ("-u", "1234:5678", "--group-add", "777", "--group-add", "www-data", "-w", "/made/for/it")
    user, group, groups, folder = client.output("id -u; id -g; id -G; pwd", *words).splitlines()
    assert (user, group, folder) == ("1234", "5678", "/made/for/it")
    assert set(groups.split()) == {"5678", "33", "777"}
    assert client.output("id -un", "--user", "www-data").strip() == "www-data"
    assert "no matching entries in passwd file" in client.refused("run", "--rm", "-u", "nobodyhere", *TRUE, status=125)
    assert "needs to be an absolute path" in client.refused("run", "--rm", "-w", "relative", *TRUE, status=125)


def test_the_entrypoint_is_replaced_or_reset(client: Client) -> None:
    assert client("run", "--rm", "--entrypoint", "/bin/echo", "busybox", "a", "b c") == "a b c\n"
    assert client("run", "--rm", "--entrypoint", "", "busybox", "echo", "plain") == "plain\n"
    client("create", "--name", "it", "--entrypoint", "/bin/echo", "busybox", "x")
    assert client.inspect("it")["Config"]["Entrypoint"] == ["/bin/echo"]
    assert client.inspect("it")["Path"] == "/bin/echo"
    assert client.inspect("it")["Args"] == ["x"]


def test_an_init_reaps_orphans_and_passes_signals_on(client: Client) -> None:
    client("run", "-d", "--name", "it", "--init", "busybox", "sh", "-c", "trap 'exit 7' TERM; sleep 1000 & wait")
    listing = client("exec", "it", "ps", "-o", "pid,comm").splitlines()
    assert re.search(r"^ +1 +(tini|docker-init|catatonit)", "\n".join(listing), re.M), listing
    client("exec", "it", "sh", "-c", "(sleep 0.1 &) ; true")
    time.sleep(0.4)
    assert "Z" not in client("exec", "it", "ps", "-o", "stat")
    client("stop", "it")
    assert client.format("it", "{{.State.ExitCode}}") == "7"
    assert client.inspect("it")["HostConfig"]["Init"] is True


def test_labels_come_from_files_and_flags(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "labels"
    file.write_text("# comment\nfrom.file=yes\nboth=file\n")
    client("create", "--name", "it", "--label-file", str(file), "--label", "both=flag", "-l", "bare", *SLEEP)
    assert client.inspect("it")["Config"]["Labels"] == {"from.file": "yes", "both": "flag", "bare": ""}


def test_a_cidfile_is_written_once(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    identity = client("run", "-d", "--cidfile", str(file), "--stop-signal", "KILL", *SLEEP).strip()
    assert file.read_text() == identity
    assert "container ID file found" in client.refused("run", "--cidfile", str(file), *TRUE, status=125)
    assert client("ps", "-aq", "--no-trunc").split() == [identity]


def test_pull_policies(client: Client) -> None:
    assert client("run", "--rm", "--pull", "never", "busybox", "echo", "here") == "here\n"
    assert client("run", "--rm", "--pull=missing", "busybox", "echo", "here") == "here\n"
    said = client.refused("run", "--rm", "--pull", "never", "no-such-image", status=125)
    assert "no such image" in said.lower()
    unreachable = "127.0.0.1:9/nothing/here:1"
    said = client.refused("run", "--rm", unreachable, status=125)
    assert f"Unable to find image '{unreachable}' locally" in said
    assert "connection refused" in said
    assert client("ps", "-aq") == ""


def test_stop_signal_and_timeout_are_the_containers_own(client: Client) -> None:
    text = "trap 'exit 42' USR1; trap : TERM; while :; do sleep 0.05; done"
    client.script("polite", text, "--stop-signal", "SIGUSR1")
    client.script("stubborn", "trap '' TERM; while :; do sleep 0.05; done", "--stop-timeout", "1")
    time.sleep(0.3)
    client("stop", "polite")
    assert client.format("polite", "{{.State.ExitCode}}") == "42"
    begin = time.monotonic()
    client("stop", "stubborn")
    assert 0.9 < time.monotonic() - begin < 3
    assert client.format("stubborn", "{{.State.ExitCode}}") == "137"
    found = client.inspect("stubborn")["Config"]
    assert found["StopTimeout"] == 1


def test_a_terminal_is_given_on_request(client: Client) -> None:
    with client.terminal("run", "--rm", "-it", "busybox", "sh", rows=33, columns=101) as terminal:
        terminal.expect("# ")
        terminal.type("stty size; tty; echo TERM=$TERM\n")
        assert "33 101" in terminal.expect("TERM=xterm")
        terminal.resize(44, 120)
        time.sleep(0.3)
        terminal.type("stty size\n")
        terminal.expect("44 120")
        terminal.type("exit 9\n")
        assert terminal.end() == 9
    assert "not a TTY" in client.refused("run", "--rm", "-it", "busybox", "true", status=1 if client.is_docker else 125)


def test_a_detached_terminal_is_one_too(client: Client) -> None:
    client("run", "-td", "--name", "it", "busybox")
    assert client.state("it") == "running"
    assert client("exec", "it", "readlink", "/proc/1/fd/0").startswith("/dev/pts/")
    client("rm", "-f", "it")


# --- limits --------------------------------------------------------------------------------------------------------


def test_limits_are_in_the_cgroup(client: Client) -> None:
    words = ("--memory", "64m", "--memory-reservation", "32m", "--cpus", "0.5", "--pids-limit", "77")
    client.sleeper("it", *words, "--cpu-shares", "512", "--cpuset-cpus", "0", "--oom-score-adj", "300")
    pid = pid_of(client, "it")
    assert cgroup_value(pid, "memory", "memory.limit_in_bytes", "memory.max") == str(64 * MIB)
    assert cgroup_value(pid, "memory", "memory.soft_limit_in_bytes", "memory.low") == str(32 * MIB)
    assert cgroup_value(pid, "pids", "pids.max", "pids.max") == "77"
    assert cgroup_value(pid, "cpuset", "cpuset.cpus", "cpuset.cpus") == "0"
    quota = cgroup_value(pid, "cpu", "cpu.cfs_quota_us", "cpu.max")
    assert quota in ("50000", "50000 100000")
    assert cgroup_value(pid, "cpu", "cpu.shares", "cpu.weight") in ("512", "20", "59")
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "300"
    assert process_status(pid)["Cpus_allowed_list"] == "0"
    found = client.inspect("it")["HostConfig"]
    assert (found["Memory"], found["NanoCpus"], found["PidsLimit"]) == (64 * MIB, 500_000_000, 77)


def test_a_quota_can_be_given_in_microseconds(linkspan: Client) -> None:
    linkspan.sleeper("it", "--cpu-period", "50000", "--cpu-quota", "25000")
    pid = pid_of(linkspan, "it")
    assert cgroup_value(pid, "cpu", "cpu.cfs_quota_us", "cpu.max") in ("25000", "25000 50000")


def test_impossible_limits_are_refused_and_leave_nothing(client: Client) -> None:
    for words in (
        ("--memory", "4m"),
        ("--memory", "64m", "--memory-swap", "32m"),
        ("--memory-swap", "64m"),
        ("--memory", "32m", "--memory-reservation", "64m"),
        ("--cpus", "5000"),
        ("--cpus", "1", "--cpu-quota", "50000"),
        ("--cpu-period", "5"),
        ("--cpuset-cpus", "9999"),
        ("--cpuset-cpus", "a-b"),
        ("--blkio-weight", "5"),
        ("--oom-score-adj", "2000"),
        ("--ulimit", "nonsense=1"),
        ("--memory", "nonsense"),
        ("--cpus", "nonsense"),
        ("--shm-size", "-1"),
        ("--pids-limit", "x"),
    ):
        said = client.refused("run", "--rm", *words, *TRUE, status=125)
        one_sentence(said)
    assert client("ps", "-aq") == ""


def test_ulimits(linkspan: Client) -> None:
    linkspan.sleeper("it", "--ulimit", "nofile=64:128", "--ulimit", "core=0", "--ulimit", "nproc=500")
    limits = Path(f"/proc/{pid_of(linkspan, 'it')}/limits").read_text()
    assert re.search(r"Max open files +64 +128 ", limits)
    assert re.search(r"Max core file size +0 +0 ", limits)
    assert re.search(r"Max processes +500 +500 ", limits)
    assert {"Name": "nofile", "Soft": 64, "Hard": 128} in linkspan.inspect("it")["HostConfig"]["Ulimits"]


def test_a_container_that_wants_too_much_memory_is_killed_and_says_so(linkspan: Client) -> None:
    words = ("run", "--name", "it", "--memory", "16m", "--memory-swap", "16m", "--tmpfs", "/t:size=64m")
    assert linkspan.status(*words, "busybox", "sh", "-c", "exec tail /dev/zero") == 137
    assert linkspan.format("it", "{{.State.OOMKilled}} {{.State.ExitCode}}") == "true 137"


def test_forks_stop_at_the_limit_of_processes(linkspan: Client) -> None:
    text = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; wait"
    done = linkspan.run("run", "--rm", "--pids-limit", "5", "busybox", "sh", "-c", text)
    assert "can't fork" in done.stderr


# --- names and addresses -------------------------------------------------------------------------------------------


def test_names_are_the_containers_own(client: Client) -> None:
    client.sleeper("it", "--hostname", "wide", "--domainname", "example.org")
    assert client("exec", "it", "hostname").strip() == "wide"
    assert client("exec", "it", "cat", "/etc/hostname").strip() == "wide"
    assert client("exec", "it", "cat", "/proc/sys/kernel/domainname").strip() == "example.org"
    address = client.daemon.address("it")
    hosts = client("exec", "it", "cat", "/etc/hosts")
    assert re.search(rf"^{address}\s+wide\.example\.org wide$", hosts, re.M), hosts
    assert re.search(r"^127\.0\.0\.1\s+localhost$", hosts, re.M)
    assert re.search(r"^::1\s+localhost ip6-localhost ip6-loopback$", hosts, re.M)
    identity = client.sleeper("unnamed")
    assert client("exec", "unnamed", "hostname").strip() == identity[:12]
    assert re.search(rf"^\S+\s+{identity[:12]}$", client("exec", "unnamed", "cat", "/etc/hosts"), re.M)
    for key, file in (("HostsPath", "hosts"), ("HostnamePath", "hostname"), ("ResolvConfPath", "resolv.conf")):
        path = Path(client.inspect("it")[key])
        assert path.read_text() == client("exec", "it", "cat", f"/etc/{file}")


def test_more_hosts_and_the_resolvers_settings(client: Client) -> None:
    words = ("--add-host", "printer:10.9.8.7", "--add-host", "six:fd00::7", "--add-host", "outer:host-gateway")
    words += ("--dns", "10.1.1.1", "--dns", "fd00::53", "--dns-search", "example.org", "--dns-search", "test")
    hosts, resolver = client.output(
        "cat /etc/hosts; echo =; cat /etc/resolv.conf", *words, "--dns-option", "ndots:3"
    ).split("=")
    assert re.search(r"^10\.9\.8\.7\s+printer$", hosts, re.M)
    assert re.search(r"^fd00::7\s+six$", hosts, re.M)
    assert re.search(r"^172\.17\.0\.1\s+outer$", hosts, re.M)
    lines = [line for line in resolver.strip().splitlines() if not line.startswith("#")]
    assert sorted(lines) == ["nameserver 10.1.1.1", "nameserver fd00::53", "options ndots:3", "search example.org test"]
    assert "bad format for add-host" in client.refused("run", "--rm", "--add-host", "nonsense", *TRUE, status=125)
    client.refused("run", "--rm", "--dns", "nonsense", *TRUE, status=125)


def test_the_files_can_be_written_by_the_container_and_are_its_own(linkspan: Client) -> None:
    linkspan.sleeper("it")
    linkspan("exec", "it", "sh", "-c", "echo 10.0.0.9 mine >> /etc/hosts")
    assert "mine" in linkspan("exec", "it", "cat", "/etc/hosts")
    linkspan.sleeper("other")
    assert "mine" not in linkspan("exec", "other", "cat", "/etc/hosts")
    linkspan.sleeper("fixed", "--read-only")
    assert linkspan.status("exec", "fixed", "sh", "-c", "echo x >> /etc/hosts") != 0


def test_network_settings_of_a_run(client: Client) -> None:
    client("network", "create", "--subnet", "10.61.0.0/24", "--ipv6", "--subnet", "fd61::/64", "web")
    words = ("--network", "web", "--ip", "10.61.0.77", "--ip6", "fd61::77", "--mac-address", "02:42:0a:3d:00:4d")
    client.sleeper("it", *words, "--network-alias", "shop", "--network-alias", "store")
    endpoint = client.inspect("it")["NetworkSettings"]["Networks"]["web"]
    assert endpoint["IPAddress"] == "10.61.0.77"
    assert endpoint["GlobalIPv6Address"] == "fd61::77"
    assert endpoint["MacAddress"] == "02:42:0a:3d:00:4d"
    assert {"shop", "store"} <= set(endpoint["Aliases"])
    shown = client("exec", "it", "ip", "addr", "show", "eth0")
    assert "10.61.0.77/24" in shown
    assert "fd61::77/64" in shown
    assert "02:42:0a:3d:00:4d" in shown
    taken = client.refused("run", "--rm", "--network", "web", "--ip", "10.61.0.77", *TRUE, status=125)
    assert "10.61.0.77" in taken
    assert "it" in taken
    for words in (
        ("--network", "web", "--ip", "10.99.0.1"),
        ("--network", "web", "--mac-address", "nonsense"),
        ("--network", "no-such-network"),
        ("--network", "container:nobody"),
        ("--network", "bridge", "--network-alias", "x"),
        ("--network", "none", "--ip", "10.61.0.9"),
    ):
        client.refused("run", "--rm", *words, *TRUE, status=125)
    assert client("ps", "-a", "--format", "{{.Names}}").split() == ["it"]


# --- namespaces ----------------------------------------------------------------------------------------------------


def test_namespaces_are_the_containers_own_unless_asked_otherwise(client: Client) -> None:
    client.sleeper("own")
    client.sleeper("shared", "--pid", "host", "--ipc", "host", "--uts", "host", "--network", "host")
    own, shared, host = (
        f"/proc/{pid}/ns" for pid in (pid_of(client, "own"), pid_of(client, "shared"), client.daemon.pid)
    )
    for kind in ("pid", "ipc", "uts", "net", "mnt"):
        assert os.readlink(f"{own}/{kind}") != os.readlink(f"{host}/{kind}"), kind
    for kind in ("pid", "ipc", "uts", "net"):
        assert os.readlink(f"{shared}/{kind}") == os.readlink(f"{host}/{kind}"), kind
    client.sleeper("grouped", "--cgroupns", "private")
    assert os.readlink(f"/proc/{pid_of(client, 'grouped')}/ns/cgroup") != os.readlink(f"{host}/cgroup")


def test_a_cgroup_parent_holds_the_container(client: Client, daemon_groups: str) -> None:
    client.sleeper("it", "--cgroup-parent", f"/{daemon_groups}")
    groups = Path(f"/proc/{pid_of(client, 'it')}/cgroup").read_text()
    assert f"/{daemon_groups}/" in groups


@pytest.fixture
def daemon_groups(lab: Daemon) -> str:
    """A group below the daemon's own, which goes with it."""
    return f"linkspan-{lab.instance}/below"


# --- all together --------------------------------------------------------------------------------------------------


def test_what_cannot_be_honoured_is_refused_and_not_forgotten(client: Client) -> None:
    for words in (
        ("--health-cmd", "true"),
        ("--volumes-from", "x"),
        ("--storage-opt", "size=1g"),
        ("--userns", "private"),
        ("--log-driver", "syslog"),
        ("--log-opt", "nonsense=1"),
        ("--log-opt", "max-size=nonsense"),
        ("--link", "x:y"),
        ("--runtime", "nonsense"),
        ("--isolation", "hyperv") if client.is_docker else ("--volume-driver", "nonsense", "-v", "x:/x"),
    ):
        said = client.refused("run", "--rm", *words, *TRUE, status=125)
        one_sentence(said)
    assert client("ps", "-aq") == ""


def test_bad_names_and_missing_images(client: Client) -> None:
    client("create", "--name", "taken", *SLEEP)
    said = client.refused("run", "--name", "taken", *TRUE, status=125)
    assert "is already in use" in said
    for name in ("-dash", "a b", "x", "/", "_under"):
        client.refused("run", f"--name={name}", *TRUE, status=125)
    client.refused("run", "--pull=never", "UPPER/case", status=125)
    assert client("ps", "-a", "--format", "{{.Names}}").split() == ["taken"]


def test_the_exit_status_is_the_programs_own_or_says_why_nothing_ran(client: Client) -> None:
    for status in (0, 1, 42, 255):
        assert client.status("run", "--rm", "busybox", "sh", "-c", f"exit {status}") == status
    assert client.status("run", "--rm", "busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?") == 137
    assert client.status("run", "--rm", "busybox", "no-such-program") == 127
    assert client.status("run", "--rm", "busybox", "/no/such/program") == 127
    assert client.status("run", "--rm", "busybox", "/etc/passwd") == 126
    assert client.status("run", "--rm", "busybox", "/etc") == 126
    assert client.status("run", "--rm", "--no-such-flag", "busybox") == 125
    assert client("ps", "-aq") == "", "what did not start was removed"
    assert client.status("run", "--name", "kept", "busybox", "no-such-program") == 127
    assert client.state("kept") == "created"
    assert client.format("kept", "{{.State.ExitCode}}") == "127"
    assert "no-such-program" in client.format("kept", "{{.State.Error}}")


def test_ctrl_c_in_a_terminal_reaches_the_program(linkspan: Client) -> None:
    text = "trap 'exit 5' INT; echo up; read x"
    with linkspan.terminal("run", "--rm", "-it", "busybox", "sh", "-c", text) as terminal:
        terminal.expect("up")
        terminal.type("\x03")
        assert terminal.end() == 5
