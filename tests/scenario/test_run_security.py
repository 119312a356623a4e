"""What a container's processes may do: capabilities, seccomp, masked paths, devices, sysctls."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from container_lab import TRUE, Client, mounts_inside, pid_of, process_status

pytestmark = pytest.mark.scenario

DOCKERS_CAPABILITIES = 0xA80425FB
"""CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE
SETFCAP (moby, oci/caps/defaults.go)."""


def test_the_default_capabilities_are_dockers(client: Client) -> None:
    client.sleeper("it")
    status = process_status(pid_of(client, "it"))
    for kind in ("CapPrm", "CapEff", "CapBnd"):
        assert int(status[kind], 16) == DOCKERS_CAPABILITIES, kind
    assert int(status["CapInh"], 16) == 0
    assert int(status["CapAmb"], 16) == 0
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == "0"


def test_another_user_has_no_capabilities_in_effect(linkspan: Client) -> None:
    linkspan.sleeper("it", "--user", "33")
    status = process_status(pid_of(linkspan, "it"))
    assert int(status["CapEff"], 16) == 0
    assert int(status["CapPrm"], 16) == 0
    assert int(status["CapBnd"], 16) == DOCKERS_CAPABILITIES


def test_capabilities_are_added_and_dropped(client: Client) -> None:
    client.sleeper("it", "--cap-add", "net_admin", "--cap-drop", "CAP_CHOWN", "--cap-drop", "mknod")
    effective = int(process_status(pid_of(client, "it"))["CapEff"], 16)
    assert effective == (DOCKERS_CAPABILITIES | 1 << 12) & ~(1 << 0) & ~(1 << 27)
    client.sleeper("few", "--cap-drop", "all", "--cap-add", "NET_RAW")
    assert int(process_status(pid_of(client, "few"))["CapEff"], 16) == 1 << 13
    client.sleeper("none", "--cap-drop", "ALL")
    assert int(process_status(pid_of(client, "none"))["CapBnd"], 16) == 0
    said = client.refused("run", "--rm", "--cap-add", "CAP_FLY", *TRUE, status=125)
    assert "CAP_FLY" in said


def test_the_default_seccomp_profile_refuses_what_docker_refuses(client: Client) -> None:
    tried = ("unshare -m true", "unshare -U true", "mount -t tmpfs x /tmp", "unshare -n true")
    text = "; ".join(f"{each} && echo {each}" for each in tried)
    assert client("run", "--rm", "busybox", "sh", "-c", f"{text}; true") == ""
    unconfined = ("--security-opt", "seccomp=unconfined")
    assert client.output("unshare -U true && echo done", *unconfined).strip() == "done"
    client.sleeper("it", *unconfined)
    assert process_status(pid_of(client, "it"))["Seccomp"] == "0"
    assert client.output("unshare -m true && echo done", "--cap-add", "SYS_ADMIN").strip() == "done"


def test_a_seccomp_profile_of_ones_own_is_used(client: Client, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    words = ("run", "--rm", "--security-opt", f"seccomp={profile}", "busybox")
    done = client.run(*words, "mkdir", "/new")
    assert done.returncode == 1
    assert "Permission denied" in done.stderr
    assert client.status(*words, "touch", "/new") == 0
    profile.write_text("{ nonsense")
    client.refused(*words, "true", status=125)
    said = client.refused("run", "--rm", "--security-opt", "nonsense=1", *TRUE, status=125)
    assert "nonsense" in said


def test_no_new_privileges(client: Client) -> None:
    client.sleeper("it", "--security-opt", "no-new-privileges")
    assert process_status(pid_of(client, "it"))["NoNewPrivs"] == "1"
    client.sleeper("not", "--security-opt", "no-new-privileges:false")
    assert process_status(pid_of(client, "not"))["NoNewPrivs"] == "0"


def test_kernel_paths_are_masked_and_read_only(linkspan: Client) -> None:
    look = "wc -c < /proc/keys; ls /sys/firmware | wc -l; echo 1 > /proc/sys/vm/swappiness; mkdir /sys/x"
    done = linkspan.run("run", "--rm", "busybox", "sh", "-c", look)
    assert done.stdout.split() == ["0", "0"]
    assert done.stderr.count("ead-only file system") == 2, done.stderr
    linkspan.sleeper("it", "--security-opt", "systempaths=unconfined")
    assert "/proc/keys" not in mounts_inside(pid_of(linkspan, "it"))
    assert "/proc/sys" not in mounts_inside(pid_of(linkspan, "it"))


def test_a_privileged_container_has_all_that_the_daemon_has(client: Client) -> None:
    client.sleeper("it", "--privileged")
    pid = pid_of(client, "it")
    status = process_status(pid)
    own = process_status(client.daemon.pid)
    assert int(status["CapEff"], 16) == int(own["CapBnd"], 16)
    assert status["Seccomp"] == "0"
    mounts = mounts_inside(pid)
    assert "rw" in mounts["/sys"][1]
    assert not {"/proc/keys", "/proc/sys", "/sys/firmware"} & mounts.keys()
    nodes = client("exec", "it", "ls", "/dev").split()
    assert {"loop-control", "kmsg"} & set(os.listdir("/dev")) <= set(nodes)
    assert client("exec", "it", "sh", "-c", "mount -t tmpfs x /tmp && echo done").strip() == "done"


def test_devices_are_given_with_the_access_asked_for(client: Client, tmp_path: Path) -> None:
    node = tmp_path / "nothing"
    os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(250, 77))  # there is no such device: who may open it gets ENXIO
    words = ("--device", f"{node}:/dev/readable:r", "--device", "/dev/full:/dev/over")
    text = "mknod /bare c 250 78; (: < /dev/readable); (: > /dev/readable); (: < /bare); ls /dev/over"
    for options, said in (
        (words, ["No such device or address", "Operation not permitted", "Operation not permitted", "/dev/over"]),
        (("--privileged", *words), ["No such device or address"] * 3 + ["/dev/over"]),
    ):
        shown = client.output(f"exec 2>&1; {text}", *options)
        assert [line.rpartition(": ")[2] for line in shown.splitlines()] == said
    client.refused("run", "--rm", "--device", "/dev/no-such-device", *TRUE, status=125)


def test_sysctls_of_the_containers_namespaces(client: Client) -> None:
    words = ("--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=4096")
    assert client.output("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax", *words).split() == ["1", "4096"]
    said = client.refused("run", "--rm", "--sysctl", "vm.swappiness=1", *TRUE, status=125)
    assert "vm.swappiness" in said
    said = client.refused("run", "--rm", "--network", "host", "--sysctl", "net.ipv4.ip_forward=1", *TRUE, status=125)
    assert "host network" in said
    assert client("ps", "-aq") == ""


def test_a_partner_that_starts_first_finds_the_owners_network_settings(client: Client) -> None:
    client("create", "--name", "owner", "--sysctl", "net.core.somaxconn=77", "busybox", "sleep", "1000")
    client.sleeper("partner", "--network", "container:owner")
    values = "cat /proc/sys/net/core/somaxconn /proc/sys/net/ipv4/ip_unprivileged_port_start"
    assert client("exec", "partner", "sh", "-c", values).split() == ["77", "0"]
    client.sleeper("second", "--network", "container:owner", "--sysctl", "net.core.somaxconn=78")
    client("start", "owner")
    assert client("exec", "owner", "sh", "-c", values).split() == ["77", "0"]
