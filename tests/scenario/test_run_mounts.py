"""What is mounted in a container: binds, tmpfs, a read-only root; and what cannot be."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from container_lab import TRUE, Client, mounts_inside, one_sentence, pid_of

pytestmark = pytest.mark.scenario


def test_binds_show_the_hosts_files(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host\n")
    words = ("-v", f"{tmp_path}:/here", "-v", f"{tmp_path}/file:/one:ro", "-v", f"{tmp_path}/new/deep:/made")
    words += ("--mount", f"type=bind,src={tmp_path},dst=/again,readonly")
    client.sleeper("it", *words)
    text = "cat /here/file /one /again/file; echo back > /here/back; echo x > /one; echo x > /again/y; ls -d /made"
    done = client.run("exec", "it", "sh", "-c", text)
    assert done.stdout.splitlines() == ["from the host"] * 3 + ["/made"]
    assert done.stderr.count("Read-only file system") == 2
    assert (tmp_path / "back").read_text() == "back\n"
    assert (tmp_path / "new/deep").is_dir(), "-v makes a missing folder"
    shown = {mount["Destination"]: mount for mount in client.inspect("it")["Mounts"]}
    assert shown["/one"] == {
        "Type": "bind",
        "Source": f"{tmp_path}/file",
        "Destination": "/one",
        "Mode": "ro",
        "RW": False,
        "Propagation": "rprivate",
    }
    said = client.refused("run", "--rm", "--mount", f"type=bind,src={tmp_path}/none,dst=/x", *TRUE, status=125)
    assert "bind source path does not exist" in said
    assert not (tmp_path / "none").exists()


def test_a_bind_may_follow_what_the_host_mounts_later(linkspan: Client) -> None:
    folder = linkspan.daemon.data_root / "followed"  # on a mount that is shared with every other namespace
    (folder / "later").mkdir(parents=True, exist_ok=True)
    linkspan.sleeper("it", "-v", f"{folder}:/here:rslave", "-v", f"{folder}:/apart")
    subprocess.run(["mount", "-t", "tmpfs", "later", folder / "later"], check=True)
    try:
        mounts = mounts_inside(pid_of(linkspan, "it"))
        assert "/here/later" in mounts
        assert "/apart/later" not in mounts
        modes = {mount["Destination"]: mount["Propagation"] for mount in linkspan.inspect("it")["Mounts"]}
        assert modes == {"/here": "rslave", "/apart": "rprivate"}
    finally:
        subprocess.run(["umount", folder / "later"], check=True)


def test_what_the_host_mounts_after_the_daemons_start_can_be_bound(linkspan: Client, tmp_path: Path) -> None:
    linkspan.sleeper("first")
    subprocess.run(["mount", "-t", "tmpfs", "--make-private", "later", tmp_path], check=True)
    try:
        (tmp_path / "file").write_text("on the new mount")
        assert linkspan.output("cat /here/file", "-v", f"{tmp_path}:/here") == "on the new mount"
        assert linkspan("exec", "first", "echo", "alive") == "alive\n"
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert linkspan.output("ls /here", "-v", f"{tmp_path}:/here") == ""


def test_bad_mounts_are_refused(client: Client, tmp_path: Path) -> None:
    for words in (
        ("-v", f"{tmp_path}:relative"),
        ("-v", f"{tmp_path}:/"),
        ("-v", f"{tmp_path}:/a:nonsense"),
        ("-v", f"{tmp_path}:/a", "-v", f"{tmp_path}:/a:ro"),
        ("--mount", "type=nonsense,dst=/a"),
        ("--mount", "type=bind,dst=/a"),
        ("--mount", "type=tmpfs,src=x,dst=/a"),
        ("--mount", f"type=bind,src={tmp_path}"),
        ("--tmpfs", "relative"),
        ("--tmpfs", "/a:nonsense"),
        ("--tmpfs", "/a:size=nonsense"),
        ("-v", "bad%name:/a"),
    ):
        said = client.refused("run", "--rm", *words, *TRUE, status=125)
        one_sentence(said)
    assert client("ps", "-aq") == ""
    assert client("volume", "ls", "-q") == ""


def test_a_read_only_root_with_a_tmpfs(client: Client) -> None:
    words = ("--read-only", "--tmpfs", "/run:size=1m,mode=700", "--mount", "type=tmpfs,dst=/cache,tmpfs-size=2m")
    client.sleeper("it", *words, "--tmpfs", "/plain")
    done = client.run(
        "exec", "it", "sh", "-c", "touch /x; touch /run/x /cache/x /plain/x && echo done; stat -c %a /run"
    )
    assert "Read-only file system" in done.stderr
    assert done.stdout.split() == ["done", "700"]
    mounts = mounts_inside(pid_of(client, "it"))
    assert "ro" in mounts["/"][1]
    assert mounts["/run"][0] == "tmpfs"
    assert {"size=1024k", "nosuid", "nodev", "noexec"} <= mounts["/run"][1]
    assert "size=2048k" in mounts["/cache"][1]
    assert client.inspect("it")["HostConfig"]["Tmpfs"] == {"/run": "size=1m,mode=700", "/plain": ""}


def test_the_size_of_shared_memory(linkspan: Client) -> None:
    linkspan.sleeper("it", "--shm-size", "8m")
    assert "size=8192k" in mounts_inside(pid_of(linkspan, "it"))["/dev/shm"][1]
    linkspan.sleeper("plain")
    assert "size=65536k" in mounts_inside(pid_of(linkspan, "plain"))["/dev/shm"][1]
