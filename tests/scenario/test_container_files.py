"""Files of containers: cp both ways, archives, diff, export, and volumes of all kinds."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from container_lab import SLEEP, Client, raw
from daemons import LINKSPAN, Daemon

pytestmark = pytest.mark.scenario


def piped(client: Client, *words: str, data: bytes = b"") -> tuple[int, bytes, bytes]:
    """A command with bytes on its standard input: exit status, output, errors."""
    done = subprocess.run(
        [*client.daemon.namespace.prefix(), client.program, *words],
        env=client.daemon.environment,
        input=data,
        capture_output=True,
        check=False,
        timeout=60,
        pass_fds=(client.daemon.namespace.descriptor,),
    )
    return done.returncode, done.stdout, done.stderr


def archive(**files: str) -> bytes:
    """A tar archive of small files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            info.mode = 0o640
            info.uid = info.gid = 1234
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


STATES = [(LINKSPAN, "running"), (LINKSPAN, "stopped"), (LINKSPAN, "never started"), ("docker", "stopped")]


@pytest.fixture(params=STATES, ids=lambda each: f"{Path(each[0]).name}, {each[1]}")
def it(request: pytest.FixtureRequest, lab: Daemon) -> Client:
    """A client of the container ``it``, which is in one of the states in which files can be copied."""
    program, state = request.param
    if shutil.which(program) is None:
        pytest.skip("no docker client here")
    client = Client(lab, program)
    if state == "running":
        client.sleeper("it")
    else:
        client("create", "--name", "it", "--stop-signal", "KILL", *SLEEP)
    if state == "stopped":
        client("start", "it")
        client("stop", "it")
    return client


# --- cp --------------------------------------------------------------------------------------------------------------


def test_a_file_goes_in_and_comes_out(it: Client, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("content\n")
    source.chmod(0o751)
    it("cp", str(source), "it:/etc/named")
    it("cp", str(source), "it:/etc")
    it("cp", "it:/etc/named", str(tmp_path / "back"))
    it("cp", "it:/etc/source", str(tmp_path / "folder-less"))
    assert (tmp_path / "back").read_text() == "content\n"
    assert (tmp_path / "back").stat().st_mode & 0o7777 == 0o751
    assert (tmp_path / "folder-less").read_text() == "content\n"
    it("start", "it")
    assert it("exec", "it", "cat", "/etc/named") == "content\n"


def test_folders_go_in_and_come_out(it: Client, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep/er").mkdir(parents=True)
    (tree / "deep/er/file").write_text("x")
    (tree / "link").symlink_to("deep/er/file")
    (tree / "empty").mkdir()
    it("cp", str(tree), "it:/new")
    it("cp", str(tree), "it:/tmp")
    it("cp", f"{tree}/.", "it:/tmp")
    for place in ("/new", "/tmp/tree", "/tmp"):
        out = tmp_path / "out" / place.strip("/").replace("/", "-")
        out.mkdir(parents=True)
        it("cp", f"it:{place}/.", str(out))
        assert (out / "deep/er/file").read_text() == "x"
        assert os.readlink(out / "link") == "deep/er/file"
        assert (out / "empty").is_dir()


def test_archives_go_through_standard_streams(it: Client) -> None:
    status, _, error = piped(it, "cp", "-", "it:/etc", data=archive(one="1", two="22"))
    assert status == 0, error
    status, out, error = piped(it, "cp", "it:/etc/two", "-")
    assert status == 0, error
    with tarfile.open(fileobj=io.BytesIO(out)) as tar:
        (member,) = tar.getmembers()
        assert (member.name, member.size, member.mode, member.uid) == ("two", 2, 0o640, 1234)
        file = tar.extractfile(member)
        assert file is not None
        assert file.read() == b"22"


@pytest.mark.newer_docker
def test_cp_tells_what_is_missing(client: Client, tmp_path: Path) -> None:
    client.sleeper("it")
    (tmp_path / "file").write_text("x")
    assert "no such container: missing" in client.refused("cp", "missing:/x", str(tmp_path)).lower()
    assert "/no/such" in client.refused("cp", "it:/no/such", str(tmp_path))
    client.refused("cp", str(tmp_path / "none"), "it:/")
    client.refused("cp", str(tmp_path / "file"), "it:/no/such/folder/name")
    client.refused("cp", "it:/etc", str(tmp_path / "file"))
    client.refused("cp", "it:/etc", "it:/tmp")
    client.refused("cp", str(tmp_path), str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["file"]


def test_cp_goes_through_volumes_and_binds_of_a_running_container(client: Client, tmp_path: Path) -> None:
    (tmp_path / "bound").mkdir()
    (tmp_path / "file").write_text("x")
    client.sleeper("it", "-v", "data:/data", "-v", f"{tmp_path}/bound:/bound", "--tmpfs", "/mem")
    for place in ("data", "bound", "mem"):
        client("cp", str(tmp_path / "file"), f"it:/{place}/")
        client("cp", f"it:/{place}/file", str(tmp_path / place))
        assert (tmp_path / place if place != "bound" else tmp_path / "bound/bound").is_file() or place == "bound"
    assert (tmp_path / "bound/file").read_text() == "x"
    assert client("run", "--rm", "-v", "data:/d", "busybox", "cat", "/d/file") == "x"
    client("rm", "-f", "-v", "it")
    client("volume", "rm", "data")


def test_cp_goes_into_a_volume_of_a_stopped_container(client: Client, tmp_path: Path) -> None:
    bound, file = tmp_path / "bound", tmp_path / "file"
    bound.mkdir()
    file.write_text("x")
    words = ("-v", "data:/data", "-v", f"{bound}:/deep/bound", "-v", f"{file}:/one:ro", "-v", f"{bound}:/fixed:ro")
    client("create", "--name", "it", *words, *SLEEP)
    for place in ("data", "deep/bound"):
        client("cp", str(file), f"it:/{place}/file")
        client("cp", f"it:/{place}/file", str(tmp_path / "back"))
        assert (tmp_path / "back").read_text() == "x"
    assert (bound / "file").read_text() == "x"
    assert client("run", "--rm", "-v", "data:/d", "busybox", "cat", "/d/file") == "x"
    client("cp", "it:/one", str(tmp_path / "one"))
    assert (tmp_path / "one").read_text() == "x"
    assert "read-only" in client.refused("cp", str(file), "it:/fixed/other")
    assert client.daemon.mounts() == [point for point in client.daemon.mounts() if "merged" not in point]
    client("start", "it")
    assert client("exec", "it", "cat", "/data/file") == "x"


def test_links_never_lead_out_of_the_container(client: Client, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "secret").write_text("secret")
    depth = "/".join([".."] * 30)
    client.sleeper("it")
    client("exec", "it", "ln", "-s", f"{depth}{victim}", "/tmp/out")
    client("exec", "it", "ln", "-s", str(victim), "/tmp/absolute")
    (tmp_path / "file").write_text("evil")
    for name in ("out", "absolute"):
        client.run("cp", str(tmp_path / "file"), f"it:/tmp/{name}/file")
        done = client.run("cp", f"it:/tmp/{name}/secret", str(tmp_path / f"got-{name}"))
        assert done.returncode != 0
    hostile = io.BytesIO()
    with tarfile.open(fileobj=hostile, mode="w") as tar:
        for name in (f"{depth}{victim}/evil", str(victim / "evil2"), "absolute/evil3"):
            info = tarfile.TarInfo(name)
            info.size = 4
            tar.addfile(info, io.BytesIO(b"evil"))
    piped(client, "cp", "-", "it:/tmp", data=hostile.getvalue())
    assert sorted(os.listdir(victim)) == ["secret"]
    assert (victim / "secret").read_text() == "secret"
    assert sorted(os.listdir(tmp_path)) == ["file", "victim"]


def test_a_read_only_container_takes_no_files(linkspan: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    linkspan.sleeper("it", "--read-only", "--tmpfs", "/mem")
    said = linkspan.refused("cp", str(tmp_path / "file"), "it:/etc/file")
    assert "read-only" in said
    linkspan("cp", str(tmp_path / "file"), "it:/mem/file")
    assert linkspan("exec", "it", "cat", "/mem/file") == "x"


def test_the_archive_endpoints_as_docker_has_them(linkspan: Client) -> None:
    lab = linkspan.daemon
    linkspan.sleeper("it")
    status, headers, body = raw(lab, "HEAD", "/v1.44/containers/it/archive?path=/etc/hostname")
    assert status == 200
    assert body == b""
    assert "x-docker-container-path-stat" in headers
    assert raw(lab, "GET", "/v1.44/containers/it/archive?path=/none")[0] == 404
    assert raw(lab, "GET", "/v1.44/containers/it/archive")[0] == 400
    assert raw(lab, "GET", "/v1.44/containers/missing/archive?path=/")[0] == 404
    assert raw(lab, "PUT", "/v1.44/containers/it/archive?path=/etc/passwd")[0] == 400
    assert raw(lab, "PUT", "/v1.44/containers/it/archive?path=/none")[0] == 404
    linkspan("exec", "it", "mkdir", "/there")
    conflict = archive(there="a file")
    assert (
        put(linkspan, "/?noOverwriteDirNonDir=1".replace("/?", "/v1.44/containers/it/archive?path=/&"), conflict) == 400
    )
    assert put(linkspan, "/v1.44/containers/it/archive?path=/", b"no archive at all" * 100) == 400
    assert linkspan("exec", "it", "ls", "-d", "/there").strip() == "/there"


def put(client: Client, target: str, body: bytes) -> int:
    """The status of a PUT with an archive."""
    words = ("curl", "-sS", "--unix-socket", str(client.daemon.socket), "-X", "PUT", "--data-binary", "@-")
    done = subprocess.run(
        [*words, "-o", "/dev/null", "-w", "%{http_code}", f"http://x{target}"],
        input=body,
        capture_output=True,
        check=True,
    )
    return int(done.stdout)


# --- diff and export ------------------------------------------------------------------------------------------------


def test_diff_tells_what_was_added_changed_and_deleted(client: Client) -> None:
    client(
        "run",
        "--name",
        "it",
        "busybox",
        "sh",
        "-c",
        "touch /new; echo x >> /etc/passwd; rm /etc/group; mkdir /a; touch /a/b",
    )
    assert sorted(client("diff", "it").splitlines()) == [
        "A /a",
        "A /a/b",
        "A /new",
        "C /etc",
        "C /etc/passwd",
        "D /etc/group",
    ]
    client("create", "--name", "idle", *SLEEP)
    assert client("diff", "idle") == ""


def test_export_writes_the_whole_root(it: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    it("cp", str(tmp_path / "file"), "it:/mine")
    it("export", "-o", str(tmp_path / "it.tar"), "it")
    with tarfile.open(tmp_path / "it.tar") as tar:
        names = set(tar.getnames())
        assert {"mine", "bin/busybox", "etc/passwd"} <= {name.removeprefix("./") for name in names}
        assert not any(name.startswith("/") or ".." in name.split("/") for name in names)
    status, out, _ = piped(it, "export", "it")
    assert status == 0
    assert len(out) > 500_000
    it("import", str(tmp_path / "it.tar"), "again:1")
    assert it("run", "--rm", "again:1", "/bin/cat", "/mine") == "mine"
    it("rmi", "again:1")


# --- volumes --------------------------------------------------------------------------------------------------------


@pytest.mark.newer_docker
def test_a_named_volume_outlives_its_containers(client: Client) -> None:
    assert client("volume", "create", "--label", "a=b", "data") == "data\n"
    client.output("echo kept > /data/file", "-v", "data:/data")
    assert client.output("cat /data/file", "--mount", "type=volume,src=data,dst=/data,readonly").strip() == "kept"
    client.sleeper("it", "-v", "data:/data")
    assert "in use" in client.refused("volume", "rm", "data")
    assert "it" in client.refused("volume", "rm", "data")
    client("rm", "-f", "-v", "it")
    assert client("volume", "ls", "-q") == "data\n", "rm -v leaves what has a name"
    found = json.loads(client("volume", "inspect", "data"))[0]
    assert (found["Driver"], found["Labels"], found["Scope"]) == ("local", {"a": "b"}, "local")
    assert (Path(found["Mountpoint"]) / "file").read_text() == "kept\n"
    assert client("volume", "rm", "data") == "data\n"
    assert client("volume", "ls", "-q") == ""
    assert "no such volume" in client.refused("volume", "rm", "data")


def test_anonymous_volumes_go_with_rm_v_and_with_run_rm(client: Client) -> None:
    client.sleeper("it", "-v", "/data", "--mount", "type=volume,dst=/more")
    names = client("volume", "ls", "-q").split()
    assert len(names) == 2
    assert all(len(name) == 64 for name in names)
    client("rm", "-f", "it")
    assert client("volume", "ls", "-q", "-f", "dangling=true").split() == names
    assert client("volume", "prune", "-f").count("\n") >= 3
    assert client("volume", "ls", "-q") == ""
    client.sleeper("it", "-v", "/data", "-v", "named:/named")
    client("rm", "-f", "-v", "it")
    assert client("volume", "ls", "-q").split() == ["named"]
    client("run", "--rm", "-v", "/data", "busybox", "true")
    assert client("volume", "ls", "-q").split() == ["named"]
    client("volume", "rm", "named")


def test_a_fresh_volume_is_filled_from_the_image_and_a_used_one_is_not(client: Client) -> None:
    image = client.output("ls -A /etc").split()
    assert client.output("ls -A /etc", "-v", "filled:/etc").split() == image
    assert client.output("cat /etc/hosts", "-v", "filled:/etc").startswith("127.0.0.1"), "our files stay over it"
    assert client.output("ls -A /elsewhere", "-v", "filled:/elsewhere").split() == image
    client.output("rm /etc/passwd", "-v", "filled:/etc")
    assert "passwd" not in client.output("ls /etc", "-v", "filled:/etc")
    assert set(client.output("ls -A /etc", "-v", "empty:/etc:nocopy").split()) == {"hostname", "hosts", "resolv.conf"}
    client("create", "--name", "it", "-v", "early:/etc", *SLEEP)
    client("cp", "it:/etc/passwd", "-")
    client("rm", "it")
    assert "passwd" in client.output("ls -A /early", "-v", "early:/early"), "cp has filled it"


def test_the_folder_of_a_volume_has_the_images_owner_and_mode(linkspan: Client) -> None:
    assert linkspan.output("stat -c '%a %u' /tmp", "-v", "temporary:/tmp").strip() == "1777 0"
    linkspan("volume", "rm", "temporary")


def test_two_containers_share_a_volume(linkspan: Client) -> None:
    linkspan.sleeper("one", "-v", "shared:/data")
    linkspan.sleeper("two", "-v", "shared:/other")
    linkspan("exec", "one", "sh", "-c", "echo from one > /data/file")
    assert linkspan("exec", "two", "cat", "/other/file") == "from one\n"
    linkspan("rm", "-f", "one", "two")
    linkspan("volume", "rm", "shared")


@pytest.mark.newer_docker
def test_volumes_are_listed_filtered_and_pruned(client: Client) -> None:
    client("volume", "create", "--label", "tier=front", "one")
    client("volume", "create", "two")
    client("create", "--name", "it", "-v", "one:/data", *SLEEP)
    assert client("volume", "ls", "-q").split() == ["one", "two"]
    assert client("volume", "ls", "-q", "-f", "label=tier").split() == ["one"]
    assert client("volume", "ls", "-q", "-f", "name=tw").split() == ["two"]
    assert client("volume", "ls", "-q", "-f", "dangling=true").split() == ["two"]
    assert client("volume", "ls", "-q", "-f", "driver=local").split() == ["one", "two"]
    assert client("volume", "ls", "--format", "{{.Name}} {{.Driver}}").splitlines() == ["one local", "two local"]
    client("volume", "prune", "-f")
    assert client("volume", "ls", "-q").split() == ["one", "two"], "named ones are kept"
    client("volume", "prune", "-f", "-a")
    assert client("volume", "ls", "-q").split() == ["one"]
    client("rm", "it")
    client("volume", "rm", "one")
    client.refused("volume", "create", "bad name")
    client.refused("volume", "create", "--driver", "nonsense", "x")


# --- both drivers ---------------------------------------------------------------------------------------------------


def test_without_overlayfs_copies_do_the_same(tmp_path: Path, image_archives: list[Path]) -> None:
    daemon = Daemon(tmp_path / "d", "--storage-driver", "vfs")
    daemon.start()
    try:
        client = Client(daemon, LINKSPAN)
        client("load", "-q", "-i", str(image_archives[0]))
        client("run", "--name", "it", "busybox", "sh", "-c", "touch /new; rm /etc/group")
        assert sorted(client("diff", "it").splitlines()) == ["A /new", "C /etc", "D /etc/group"]
        assert client.inspect("it")["GraphDriver"]["Name"] == "vfs"
        assert client("info", "--format", "{{.Driver}}").strip() == "vfs"
        client("start", "it")
        assert daemon.take_down() == []
        assert "Traceback" not in daemon.log_text
    finally:
        daemon.erase()
