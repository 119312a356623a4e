from __future__ import annotations

import base64
import io
import json
import os
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_fake_daemon import FakeDaemon, Request

from linkspan.cli.commands.container_copy import local_place
from linkspan.cli.copying import GO_FOLDER, GO_LINK, PathStat, extract, pack
from linkspan.cli.failure import Failure
from linkspan.cli.main import main


def archive(*members: tuple[str, str, str]) -> Iterator[bytes]:
    """(kind, name, content or link target) as a tar stream in small pieces."""
    buffer = io.BytesIO()
    kinds = {"folder": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for kind, name, text in members:
            member = tarfile.TarInfo(name)
            member.mode = 0o755 if kind == "folder" else 0o4644
            if kind == "file":
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text.encode()))
            else:
                member.type, member.linkname = kinds[kind], text
                tar.addfile(member)
    content = buffer.getvalue()
    return (content[position : position + 700] for position in range(0, len(content), 700))


def test_a_folder_is_unpacked_under_its_new_name(tmp_path: Path) -> None:
    folders = (("folder", "etc/", ""), ("folder", "etc/b/", ""))
    pieces = archive(*folders, ("file", "etc/a", "one"), ("link", "etc/b/c", "../a"))
    extract(pieces, str(tmp_path), "copy")
    assert (tmp_path / "copy/a").read_text() == "one"
    assert (tmp_path / "copy/b/c").read_text() == "one"


def test_contents_alone_go_into_the_folder(tmp_path: Path) -> None:
    extract(archive(("folder", "etc/", ""), ("file", "etc/etc", "one")), str(tmp_path), "")
    assert (tmp_path / "etc").read_text() == "one"


def test_set_user_id_bits_do_not_come_along(tmp_path: Path) -> None:
    extract(archive(("file", "a", "one")), str(tmp_path), "a")
    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o644


def test_hard_links_inside_the_archive_are_kept(tmp_path: Path) -> None:
    extract(archive(("folder", "d", ""), ("file", "d/a", "one"), ("hard", "d/b", "d/a")), str(tmp_path), "d")
    assert (tmp_path / "d/b").samefile(tmp_path / "d/a")


@pytest.mark.parametrize(
    "members",
    [
        [("file", "../out", "x")],
        [("file", "d/../../out", "x")],
        [("file", "/out", "x")],
        [("folder", "d", ""), ("link", "d/l", "/tmp"), ("file", "d/l/out", "x")],
        [("folder", "d", ""), ("link", "d/l", ".."), ("folder", "d/l", "")],
        [("hard", "d", "/etc/passwd")],
        [("device", "d", "")],
    ],
)
def test_a_hostile_archive_is_refused(members: list[tuple[str, str, str]], tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(Failure):
        extract(archive(*members), str(target), "d")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target"]


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cannot be read"):
        extract(iter([b"x" * 2000]), str(tmp_path), "d")
    whole = b"".join(archive(("file", "a", "x" * 5000)))
    with pytest.raises(Failure, match="cannot be read"):
        extract(iter([whole[:2000]]), str(tmp_path), "d")


def test_a_link_that_stands_in_the_way_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("safe")
    (tmp_path / "a").symlink_to("victim")
    extract(archive(("file", "a", "one")), str(tmp_path), "a")
    assert (tmp_path / "victim").read_text() == "safe"
    assert (tmp_path / "a").read_text() == "one"


def test_what_is_packed_can_be_unpacked(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "b").mkdir(parents=True)
    (source / "a").write_bytes(os.urandom(700_000))
    (source / "b" / "link").symlink_to("../a")
    extract(pack(str(source), "new"), str(tmp_path), "new")
    assert (tmp_path / "new/a").read_bytes() == (source / "a").read_bytes()
    assert os.readlink(tmp_path / "new/b/link") == "../a"


def test_the_local_place_follows_docker(tmp_path: Path) -> None:
    folder, file = PathStat({"name": "etc", "mode": GO_FOLDER | 0o755}), PathStat({"name": "hosts", "mode": 0o644})
    here = str(tmp_path)
    (tmp_path / "old").write_text("")
    assert local_place(file, "/etc/hosts", here) == (here, "hosts")
    assert local_place(file, "/etc/hosts", f"{here}/old") == (here, "old")
    assert local_place(file, "/etc/hosts", f"{here}/new") == (here, "new")
    assert local_place(folder, "/etc", here) == (here, "etc")
    assert local_place(folder, "/etc/.", here) == (here, "")
    assert local_place(folder, "/etc", f"{here}/new") == (here, "new")
    for stat, path, target in ((folder, "/etc", "old"), (file, "/etc/hosts", "new/"), (file, "/etc/hosts", "no/new")):
        with pytest.raises(Failure):
            local_place(stat, path, f"{here}/{target}")


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path / "fake.sock")
    monkeypatch.setenv("LINKSPAN_HOST", fake.host)
    paths = {"/tmp": GO_FOLDER | 0o777, "/etc/hosts": 0o644, "/link": GO_LINK | 0o777}

    def head(request: Request, connection: socket.socket) -> None:
        mode = paths.get(request.query["path"][0])
        stat = {"name": "x", "mode": mode, "linkTarget": "tmp" if mode and mode & GO_LINK else ""}
        header = base64.b64encode(json.dumps(stat).encode()).decode()
        status = 404 if mode is None else 200
        text = f"HTTP/1.1 {status} X\r\nX-Docker-Container-Path-Stat: {header}\r\nContent-Length: 55\r\n\r\n"
        connection.sendall(text.encode())

    fake.routes["HEAD /containers/box/archive"] = head
    fake.routes["PUT /containers/box/archive"] = (200, None)
    fake.routes["GET /containers/box/json"] = (200, {})
    yield fake
    fake.close()


@pytest.mark.parametrize(
    ("target", "folder", "names"),
    [
        ("/tmp", "/tmp", ["file"]),
        ("/tmp/new", "/tmp", ["new"]),
        ("/etc/hosts", "/etc", ["hosts"]),
        ("/link", "/tmp", ["file"]),
    ],
)
def test_a_file_goes_where_docker_would_put_it(
    target: str, folder: str, names: list[str], daemon: FakeDaemon, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("content")
    assert main(["cp", str(tmp_path / "file"), f"box:{target}"]) == 0
    put = daemon.requests[-1]
    assert (put.method, put.query["path"]) == ("PUT", [folder])
    with tarfile.open(fileobj=io.BytesIO(put.body)) as tar:
        assert tar.getnames() == names


def test_copies_between_two_local_paths_or_containers_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cp", "a", "b"]) == 1
    assert "must specify at least one container source" in capsys.readouterr().err
    assert main(["cp", "a:/x", "b:/x"]) == 1
    assert "between containers is not supported" in capsys.readouterr().err
