"""``docker cp`` and export inside a root, with friendly and hostile trees and archives. No root user needed."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from linkspan.errors import InvalidRequest, LinkspanError, NotFound, TooLarge
from linkspan.runtime import archive
from linkspan.runtime.archive import PathStat
from linkspan.runtime.rooted import Root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root with files, folders and links, beside a secret that belongs to somebody else."""
    (tmp_path / "secret").write_text("the host's")
    (tmp_path / "outside").mkdir()
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "srv/data/deep").mkdir(parents=True)
    (root / "srv/data/a.txt").write_text("alpha")
    (root / "srv/data/deep/b.txt").write_text("beta")
    (root / "bin").symlink_to("usr/bin")
    (root / "absolute").symlink_to("/srv/data")
    (root / "escape").symlink_to("../../../../../../" + str(tmp_path / "secret"))
    (root / "away").symlink_to(tmp_path / "outside")
    return root


@pytest.fixture
def root(tree: Path) -> Iterator[Root]:
    with Root(tree, "web") as held:
        yield held


async def pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def get(root: Path, path: str) -> dict[str, tarfile.TarInfo]:
    """What a client finds in the stream of a path."""
    with tarfile.open(fileobj=io.BytesIO(stream(root, path))) as reader:
        return {info.name: info for info in reader}


def stream(root: Path, path: str) -> bytes:
    async def collect() -> bytes:
        return b"".join([chunk async for chunk in archive.read_archive(Root(root, "web"), path)])

    return asyncio.run(collect())


def put(root: Root, path: str, data: bytes, *, no_overwrite_dir: bool = False, limit: int = 0) -> None:
    me = (os.getuid(), os.getgid())
    body = pieces(data)
    asyncio.run(archive.write_archive(root, path, body, no_overwrite_dir=no_overwrite_dir, owner=me, limit=limit))


def tar(*entries: tuple[str, bytes | str | None] | tarfile.TarInfo) -> bytes:
    """A tar of files (bytes), links (text), folders (None) and raw headers."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as writer:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                writer.addfile(entry)
                continue
            info = tarfile.TarInfo(entry[0])
            info.mode = 0o755
            match entry[1]:
                case bytes(content):
                    info.size = len(content)
                    writer.addfile(info, io.BytesIO(content))
                    continue
                case str(target):
                    info.type, info.linkname = tarfile.SYMTYPE, target
                case None:
                    info.type = tarfile.DIRTYPE
            writer.addfile(info)
    return buffer.getvalue()


def special(name: str, kind: bytes, **fields: int | str | float) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_file_is_described_with_its_size_and_name(root: Root) -> None:
    found = archive.path_stat(root, "srv/data/a.txt")
    assert (found.name, found.size, oct(found.mode)[:5]) == ("a.txt", 5, "0o100")


@pytest.mark.parametrize(
    ("path", "name", "target"),
    [
        ("/absolute", "absolute", "/srv/data"),
        ("/absolute/", "absolute", ""),
        ("/absolute/.", ".", ""),
        ("/", "/", ""),
        ("/../../srv/./data", "data", ""),
        ("/bin/../srv", "srv", ""),
    ],
)
def test_paths_are_read_as_docker_reads_them(root: Root, path: str, name: str, target: str) -> None:
    found = archive.path_stat(root, path)
    assert (found.name, found.link_target) == (name, target)


def test_a_link_that_points_out_is_described_inside_the_root(root: Root, tree: Path) -> None:
    assert archive.path_stat(root, "/escape").link_target == str(tree.parent / "secret")
    with pytest.raises(NotFound, match="Could not find the file /escape/ in container web"):
        archive.path_stat(root, "/escape/")


@pytest.mark.parametrize(
    "ask", [archive.path_stat, lambda root, path: stream(Path(f"/proc/self/fd/{root.descriptor}"), path)]
)
def test_a_missing_path_is_named_as_docker_names_it(root: Root, ask: Callable[[Root, str], PathStat]) -> None:
    with pytest.raises(NotFound, match="Could not find the file /nothing in container web"):
        ask(root, "/nothing")


def test_a_circle_of_links_is_refused(root: Root, tree: Path) -> None:
    (tree / "round").symlink_to("/about")
    (tree / "about").symlink_to("/round")
    with pytest.raises(InvalidRequest, match="too many symbolic links"):
        archive.path_stat(root, "/round")


def test_a_folder_travels_under_its_own_name(tree: Path) -> None:
    assert set(get(tree, "/srv/data")) == {"data", "data/a.txt", "data/deep", "data/deep/b.txt"}


def test_the_content_of_a_folder_travels_under_a_dot(tree: Path) -> None:
    assert set(get(tree, "/srv/data/.")) == {".", "./a.txt", "./deep", "./deep/b.txt"}


def test_the_root_travels_with_absolute_names(tree: Path) -> None:
    assert {"/srv", "/srv/data/a.txt", "/bin"} <= {name.replace("//", "/") for name in get(tree, "/")}


def test_a_link_travels_as_a_link_and_with_a_slash_as_its_target(tree: Path) -> None:
    assert get(tree, "/absolute")["absolute"].linkname == "/srv/data"
    assert set(get(tree, "/absolute/")) == {"absolute", "absolute/a.txt", "absolute/deep", "absolute/deep/b.txt"}


def test_reading_through_a_link_that_points_out_finds_nothing(tree: Path) -> None:
    with pytest.raises(NotFound):
        stream(tree, "/away/")
    with pytest.raises(NotFound):
        stream(tree, "/escape/../secret/")


def test_hard_links_share_their_data_in_the_stream(tree: Path) -> None:
    os.link(tree / "srv/data/a.txt", tree / "srv/data/z.txt")
    found = get(tree, "/srv/data")
    assert found["data/z.txt"].islnk()
    assert found["data/z.txt"].linkname == "data/a.txt"


def test_sockets_are_left_out_and_pipes_do_not_block(tree: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "srv/sock"))
    os.mkfifo(tree / "srv/pipe")
    found = get(tree, "/srv")
    assert found["srv/pipe"].isfifo()
    assert "srv/sock" not in found


def test_a_very_deep_tree_is_refused_without_a_crash(tree: Path) -> None:
    folder = tree / "srv"
    for _ in range(300):
        folder = folder / "d"
    folder.mkdir(parents=True)
    with pytest.raises(InvalidRequest, match="nested deeper"):
        stream(tree, "/srv")


def test_a_large_file_arrives_whole(tree: Path) -> None:
    content = os.urandom(1_500_000)
    (tree / "srv/big").write_bytes(content)
    with tarfile.open(fileobj=io.BytesIO(stream(tree, "/srv/big"))) as reader:
        found = reader.extractfile("big")
        assert found is not None
        assert found.read() == content


def test_an_export_holds_relative_names_and_closes_its_root(tree: Path) -> None:
    root = Root(tree, "web")

    async def collect() -> bytes:
        return b"".join([chunk async for chunk in archive.export(root)])

    with tarfile.open(fileobj=io.BytesIO(asyncio.run(collect()))) as reader:
        found = reader.getnames()
    assert "srv/data/deep/b.txt" in found
    assert not [name for name in found if name.startswith(("/", "./"))]
    assert root.descriptor == -1


def test_a_reader_that_goes_away_leaves_no_descriptor_open(tree: Path) -> None:
    (tree / "srv/big").write_bytes(bytes(2_000_000))

    async def part() -> None:
        chunks = archive.read_archive(Root(tree, "web"), "/srv")
        await anext(chunks)
        await chunks.aclose()

    before = set(os.listdir("/proc/self/fd"))
    asyncio.run(part())
    assert set(os.listdir("/proc/self/fd")) == before


def test_files_folders_and_links_are_unpacked_with_mode_and_time(root: Root, tree: Path) -> None:
    dated = special("made/old", tarfile.DIRTYPE, mode=0o711, mtime=1_000_000)
    put(root, "/srv", tar(dated, ("made/run", b"#!"), ("made/link", "run"), ("made/old/inner", b"x")))
    assert (tree / "srv/made/run").stat().st_mode & 0o777 == 0o755
    assert os.readlink(tree / "srv/made/link") == "run"
    assert (tree / "srv/made/old").stat().st_mode & 0o777 == 0o711
    assert (tree / "srv/made/old").stat().st_mtime == 1_000_000


def test_absolute_names_stay_below_the_target(root: Root, tree: Path) -> None:
    put(root, "/srv", tar(("/etc/passwd", b"inside")))
    assert (tree / "srv/etc/passwd").read_text() == "inside"


def test_a_folder_of_the_image_that_is_a_link_is_followed_inside(root: Root, tree: Path) -> None:
    put(root, "/", tar(("bin/tool", b"t")))
    assert (tree / "usr/bin/tool").read_text() == "t"
    assert (tree / "bin").is_symlink()


def test_a_link_in_the_archive_cannot_lead_a_later_entry_out(root: Root, tree: Path) -> None:
    outside = tree.parent / "outside"
    with pytest.raises(LinkspanError):
        put(root, "/srv", tar(("exit", str(outside)), ("exit/planted", b"x")))
    assert listing(outside) == set()


def test_a_link_of_the_container_cannot_lead_an_entry_out(root: Root, tree: Path) -> None:
    with pytest.raises(LinkspanError):
        put(root, "/", tar(("away/planted", b"x")))
    put(root, "/", tar(("escape", b"replaced")))
    assert (tree.parent / "secret").read_text() == "the host's"
    assert listing(tree.parent / "outside") == set()
    assert (tree / "escape").read_text() == "replaced"


HOSTILE = {
    "a name that climbs out": tar(("ok", b"1"), ("../secret", b"x")),
    "a name that climbs out later": tar(("ok", b"1"), ("a/../../secret", b"x")),
    "a hard link that climbs out": tar(("ok", b"1"), special("leak", tarfile.LNKTYPE, linkname="../secret")),
    "a device": tar(("ok", b"1"), special("disk", tarfile.BLKTYPE, devmajor=8, devminor=0)),
    "a character device": tar(("ok", b"1"), special("mem", tarfile.CHRTYPE, devmajor=1, devminor=1)),
    "an owner beyond 32 bits": tar(("ok", b"1"), special("own", tarfile.REGTYPE, uid=2**40)),
    "a time beyond all years": tar(("ok", b"1"), special("old", tarfile.REGTYPE, mtime=2.0**60)),
    "an unknown kind": tar(("ok", b"1"), special("odd", b"V")),
    "a stream cut in a header": tar(("ok", b"1"), ("two", b"2"))[:1300],
    "a stream cut in a file": tar(("ok", b"1"), ("two", bytes(5000)))[:2500],
    "a stream without its end": tar(("ok", b"1"))[:1024],
    "a stream with a broken header": tar(("ok", b"1"))[:1024] + b"x" * 512 + bytes(1024),
    "no tar at all": b"hello" * 400,
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_before_anything_is_written(root: Root, tree: Path, name: str) -> None:
    before = listing(tree.parent)
    with pytest.raises(InvalidRequest):
        put(root, "/srv", HOSTILE[name])
    assert listing(tree.parent) == before


def test_a_negative_size_in_an_extension_does_not_loop(root: Root) -> None:
    info = tarfile.TarInfo("x")
    info.pax_headers = {"size": "-1024"}
    with pytest.raises(InvalidRequest):
        put(root, "/srv", info.tobuf(tarfile.PAX_FORMAT) + bytes(1024))


def test_a_huge_extension_header_is_refused_unread(root: Root) -> None:
    info = special("x", tarfile.XHDTYPE)
    info.size = 2**33
    with pytest.raises(InvalidRequest, match="claims 8589934592 bytes"):
        put(root, "/srv", info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))


def test_a_compressed_archive_is_taken_and_a_torn_one_refused(root: Root, tree: Path) -> None:
    buffer = io.BytesIO()
    content = os.urandom(20_000)
    (tree / "srv/copy.txt").write_bytes(content)
    with tarfile.open(fileobj=buffer, mode="w:gz") as writer:
        writer.add(tree / "srv/copy.txt", "copy.txt")
    put(root, "/srv/data", buffer.getvalue())
    assert (tree / "srv/data/copy.txt").read_bytes() == content
    with pytest.raises(InvalidRequest):
        put(root, "/usr", buffer.getvalue()[:-5000])
    assert not (tree / "usr/copy.txt").exists()


def test_the_target_must_be_a_folder_that_exists(root: Root) -> None:
    with pytest.raises(NotFound, match="Could not find the file /nowhere in container web"):
        put(root, "/nowhere", tar(("a", b"1")))
    with pytest.raises(InvalidRequest):
        put(root, "/srv/data/a.txt", tar(("a", b"1")))


def test_folders_and_files_replace_each_other_only_when_allowed(root: Root, tree: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot overwrite directory"):
        put(root, "/srv", tar(("data", b"a file")), no_overwrite_dir=True)
    with pytest.raises(InvalidRequest, match="cannot overwrite non-directory"):
        put(root, "/srv/data", tar(("a.txt", None)), no_overwrite_dir=True)
    assert (tree / "srv/data/a.txt").read_text() == "alpha"
    put(root, "/srv", tar(("data", b"a file")))
    assert (tree / "srv/data").read_text() == "a file"


def test_replacing_a_folder_does_not_follow_the_links_in_it(root: Root, tree: Path) -> None:
    (tree / "srv/data/exit").symlink_to(tree.parent / "outside")
    (tree.parent / "outside/keep").write_text("kept")
    put(root, "/srv", tar(("data", b"a file")))
    assert (tree.parent / "outside/keep").read_text() == "kept"


def test_a_hard_link_is_made_inside_the_target(root: Root, tree: Path) -> None:
    put(root, "/srv", tar(("one", b"1"), special("two", tarfile.LNKTYPE, linkname="/one")))
    assert (tree / "srv/one").stat().st_ino == (tree / "srv/two").stat().st_ino


def test_a_body_over_its_limit_is_refused(root: Root, tree: Path) -> None:
    with pytest.raises(TooLarge):
        put(root, "/srv", tar(("big", bytes(20_000))), limit=10_000)
    assert not (tree / "srv/big").exists()


def test_what_was_read_can_be_written_back(root: Root, tree: Path) -> None:
    put(root, "/usr", stream(tree, "/srv/."))
    assert listing(tree / "usr") - {"bin"} == listing(tree / "srv")
