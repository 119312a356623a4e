"""Archives that come from anybody: what is whole is loaded, what is hostile is refused and leaves nothing.

Unpacking chroots, so these tests need root.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from image_archives import configuration, docker_archive, entry, import_root, layer, load, oci_archive, save, stream
from linkspan.errors import ImageNotFound, InvalidRequest
from linkspan.images.store import ImageStore

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="unpacking chroots: needs root")


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "data")


@pytest.fixture
def root(tmp_path: Path) -> Callable[[ImageStore, str], Path]:
    """The unpacked folder of an image's only layer."""

    def find(store: ImageStore, reference: str) -> Path:
        (diff_id,) = store.get(reference).layers
        return tmp_path / "data" / "overlay" / "layers" / diff_id[7:] / "diff"

    return find


def files(folder: Path) -> set[str]:
    """Everything below a folder that is no folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}


def refused(store: ImageStore, tmp_path: Path, archive: bytes, sentence: str) -> None:
    """The archive is refused with this sentence, and the data-root is as it was."""
    (tmp_path / "victim").write_text("untouched")
    before = files(tmp_path)
    with pytest.raises(InvalidRequest, match=sentence) as error:
        load(store, archive)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
    assert files(tmp_path) == before
    assert (tmp_path / "victim").read_text() == "untouched"
    assert store.list({}) == ()
    assert not any((tmp_path / "data" / "overlay" / "layers").iterdir())


# What is whole


def test_a_loaded_image_has_its_tags_its_defaults_and_its_files(store: ImageStore, root: Callable[..., Path]) -> None:
    archive = docker_archive([layer(("etc/hello", b"world"))], ["made:1", "127.0.0.1:5000/app:2"], Cmd=["sh"])
    lines = load(store, archive)
    found = store.get("made:1")
    assert found.tags == ("127.0.0.1:5000/app:2", "made:1")
    assert found.config.command == ("sh",)
    assert found.size == 5
    assert (root(store, "made:1") / "etc" / "hello").read_text() == "world"
    assert [line.stream for line in lines if line.stream] == [
        "Loaded image: made:1\n",
        "Loaded image: 127.0.0.1:5000/app:2\n",
    ]
    assert store.get(found.id) == store.get(found.id[7:19]) == found


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_archives_and_compressed_layers_are_loaded(
    store: ImageStore, compress: Callable[[bytes], bytes]
) -> None:
    plain = layer(("file", b"data"))
    archive = docker_archive([compress(plain)], config=configuration([plain]))
    load(store, compress(archive))
    assert store.get("made:1").size == 4


@pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd program")
def test_zstd_is_read_and_its_truncation_noticed(store: ImageStore) -> None:
    data = subprocess.run(["zstd", "-c"], input=layer(("file", b"data")), capture_output=True, check=True).stdout
    assert store.get(import_root(store, data)).size == 4
    with pytest.raises(InvalidRequest, match=r"truncated|no tar archive"):
        import_root(store, data[:-8])


def test_an_oci_archive_is_loaded(store: ImageStore) -> None:
    load(store, oci_archive([layer(("file", b"data"))], "localhost/made:3"))
    assert store.get("localhost/made:3").size == 4


def test_layers_shared_through_links_in_the_archive_are_found(store: ImageStore) -> None:
    one = layer(("file", b"data"))
    manifest = [{"Config": "c.json", "RepoTags": ["made:1"], "Layers": ["a/layer.tar", "b/layer.tar"]}]
    archive = layer(
        ("c.json", configuration([one, one])),
        ("a/layer.tar", one),
        entry("b/layer.tar", tarfile.SYMTYPE, linkname="../a/layer.tar"),
        ("manifest.json", json.dumps(manifest).encode()),
    )
    load(store, archive)
    assert len(store.get("made:1").layers) == 2


def test_owners_modes_times_links_devices_and_capabilities_are_kept(
    store: ImageStore, root: Callable[..., Path]
) -> None:
    capability = b"\x01\x00\x00\x02\x00\x04\x00\x00" + bytes(12)
    program = entry("bin/ping", mode=0o4755, uid=7, gid=8, mtime=1234567890, size=3)
    program.pax_headers = {"SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape")}
    load(
        store,
        docker_archive(
            [
                layer(
                    entry("bin", tarfile.DIRTYPE, mode=0o1777, mtime=1000),
                    program,
                    entry("bin/again", tarfile.LNKTYPE, linkname="bin/ping"),
                    entry("bin/soft", tarfile.SYMTYPE, linkname="/bin/ping"),
                    entry("dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
                    entry("run/fifo", tarfile.FIFOTYPE),
                )
            ]
        ),
    )
    folder = root(store, "made:1")
    status = (folder / "bin/ping").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime) == (0o4755, 7, 8, 1234567890)
    assert os.getxattr(folder / "bin/ping", "security.capability") == capability
    assert (folder / "bin/again").stat().st_ino == status.st_ino
    assert os.readlink(folder / "bin/soft") == "/bin/ping"
    assert (folder / "dev/null").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO((folder / "run/fifo").stat().st_mode)
    assert ((folder / "bin").stat().st_mode & 0o7777, (folder / "bin").stat().st_mtime) == (0o1777, 1000)


def test_a_hole_of_a_terabyte_takes_no_space(store: ImageStore, root: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "sparse").mkdir()
    with (tmp_path / "sparse" / "big").open("wb") as file:
        file.write(b"begin")
        file.truncate(1 << 40)
    data = subprocess.run(
        ["tar", "-C", tmp_path / "sparse", "-cSf", "-", "big"], capture_output=True, check=True
    ).stdout
    load(store, docker_archive([data]))
    big = root(store, "made:1") / "big"
    assert big.stat().st_size == 1 << 40
    assert big.stat().st_blocks < 100
    with big.open("rb") as file:
        assert file.read(6) == b"begin\0"


def test_what_was_saved_loads_again_with_the_same_ids_and_tags(store: ImageStore, tmp_path: Path) -> None:
    load(store, docker_archive([layer(("a", b"1")), layer(("b", b"2"))], ["made:1", "made:2"]))
    load(store, docker_archive([layer(("a", b"1"))], ["other:1"]))
    archive = save(store, "made:1", "made:2", store.get("other:1").id)
    second = ImageStore(tmp_path / "second")
    load(second, archive)
    assert second.get("made:1") == store.get("made:1")
    assert second.get(store.get("other:1").id).tags == ()
    assert save(second, "made:1", "made:2", store.get("other:1").id) == archive


def test_saving_an_unknown_image_fails_before_the_first_byte(store: ImageStore) -> None:
    with pytest.raises(ImageNotFound, match="No such image: nothing:latest"):
        save(store, "nothing")


def test_an_imported_root_becomes_an_image_with_the_asked_defaults(
    store: ImageStore, root: Callable[..., Path]
) -> None:
    identity = import_root(store, gzip.compress(layer(("bin/sh", b"#!"))), "mine", ['CMD ["/bin/sh"]', "EXPOSE 80"])
    found = store.get("mine:latest")
    assert found.id == identity
    assert found.config.command == ("/bin/sh",)
    assert found.config.exposed_ports == ("80/tcp",)
    assert (root(store, "mine") / "bin" / "sh").read_bytes() == b"#!"


# Whiteouts


def test_whiteouts_and_opaque_marks_become_overlays_own(store: ImageStore, root: Callable[..., Path]) -> None:
    load(store, docker_archive([layer(("a/.wh.gone", b""), ("b/.wh..wh..opq", b""), ("b/new", b"1"))]))
    folder = root(store, "made:1")
    assert (folder / "a/gone").stat().st_rdev == 0
    assert stat.S_ISCHR((folder / "a/gone").stat().st_mode)
    assert os.getxattr(folder / "b", "trusted.overlay.opaque") == b"y"
    assert os.listdir(folder / "b") == ["new"]


def test_a_folder_that_is_whited_out_and_made_again_is_opaque(store: ImageStore, root: Callable[..., Path]) -> None:
    load(
        store,
        docker_archive(
            [layer((".wh.a", b""), ("a/new", b"1"), ("b/new", b"1"), (".wh.b", b""), (".wh..wh.plnk", b""))]
        ),
    )
    folder = root(store, "made:1")
    assert os.getxattr(folder / "a", "trusted.overlay.opaque") == b"y"
    assert os.getxattr(folder / "b", "trusted.overlay.opaque") == b"y"
    assert sorted(os.listdir(folder)) == ["a", "b"]


# What is hostile


def test_absolute_names_stay_inside_the_root(store: ImageStore, root: Callable[..., Path], tmp_path: Path) -> None:
    load(store, docker_archive([layer((f"{tmp_path}/victim", b"owned"))]))
    assert not (tmp_path / "victim").exists()
    assert (root(store, "made:1") / str(tmp_path)[1:] / "victim").read_text() == "owned"


def test_names_with_dots_are_refused(store: ImageStore, tmp_path: Path) -> None:
    refused(store, tmp_path, docker_archive([layer(("ok", b"1"), ("../../victim", b"owned"))]), "climbs out with '..'")


def test_a_hard_link_with_dots_is_refused(store: ImageStore, tmp_path: Path) -> None:
    hostile = layer(entry("a", tarfile.LNKTYPE, linkname="../../../../../victim"))
    refused(store, tmp_path, docker_archive([hostile]), "climbs out with '..'")


def test_a_hard_link_cannot_reach_the_host(store: ImageStore, tmp_path: Path) -> None:
    hostile = layer(entry("a", tarfile.LNKTYPE, linkname=f"{tmp_path}/victim"))
    refused(store, tmp_path, docker_archive([hostile]), "cannot be written: No such file or directory")


@pytest.mark.parametrize("target", ["/", "../../../../../../../../../.."])
def test_writing_through_a_link_stays_inside_the_root(
    store: ImageStore, root: Callable[..., Path], tmp_path: Path, target: str
) -> None:
    (tmp_path / "victim").write_text("untouched")
    link = entry("way", tarfile.SYMTYPE, linkname=target)
    load(store, docker_archive([layer(link, (f"way{tmp_path}/victim", b"owned"))]))
    assert (tmp_path / "victim").read_text() == "untouched"
    assert (root(store, "made:1") / str(tmp_path)[1:] / "victim").read_text() == "owned"


def test_a_file_replaces_a_link_of_its_name_instead_of_following_it(
    store: ImageStore, root: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "victim").write_text("untouched")
    load(store, docker_archive([layer(entry("a", tarfile.SYMTYPE, linkname=f"{tmp_path}/victim"), ("a", b"mine"))]))
    assert (tmp_path / "victim").read_text() == "untouched"
    assert (root(store, "made:1") / "a").read_text() == "mine"


def test_a_hard_link_to_a_symbolic_link_is_not_written_through(store: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("untouched")
    soft = entry("soft", tarfile.SYMTYPE, linkname=f"{tmp_path}/victim")
    load(store, docker_archive([layer(soft, entry("hard", tarfile.LNKTYPE, linkname="soft"), ("hard", b"owned"))]))
    assert (tmp_path / "victim").read_text() == "untouched"


def test_overlays_own_attributes_in_an_archive_are_ignored(store: ImageStore, root: Callable[..., Path]) -> None:
    folder = entry("a", tarfile.DIRTYPE)
    folder.pax_headers = {"SCHILY.xattr.trusted.overlay.redirect": "/b", "SCHILY.xattr.user.colour": "red"}
    load(store, docker_archive([layer(folder)]))
    assert os.listxattr(root(store, "made:1") / "a") == ["user.colour"]


def test_a_whiteout_of_the_parent_is_refused(store: ImageStore, tmp_path: Path) -> None:
    refused(store, tmp_path, docker_archive([layer((".wh...", b""))]), "its whiteout '/.wh...' names nothing")


def test_a_name_too_long_for_any_file_system_is_refused(store: ImageStore, tmp_path: Path) -> None:
    refused(store, tmp_path, docker_archive([layer(("n" * 100_000, b""))]), "cannot be written: File name too long")


def test_a_header_that_claims_gigabytes_is_refused(store: ImageStore, tmp_path: Path) -> None:
    bomb = tarfile.TarInfo("././@LongLink")
    bomb.type, bomb.size = tarfile.GNUTYPE_LONGNAME, 1 << 36
    refused(store, tmp_path, bomb.tobuf(tarfile.GNU_FORMAT) + bytes(4096), "header is too large|truncated|too large")


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_SPARSE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_size_below_zero_is_refused(store: ImageStore, tmp_path: Path, kind: bytes) -> None:
    backwards = tarfile.TarInfo("a")
    backwards.type, backwards.size = kind, -1024
    hostile = layer(("ok", b"1")).rstrip(b"\0").ljust(1024, b"\0") + backwards.tobuf(tarfile.GNU_FORMAT) + bytes(4096)
    refused(store, tmp_path, hostile, "no tar archive")
    refused(store, tmp_path, docker_archive([hostile]), "no tar archive|Invalid argument")


def test_a_wrong_digest_is_refused(store: ImageStore, tmp_path: Path) -> None:
    archive = docker_archive([layer(("a", b"evil"))], config=configuration([layer(("a", b"good"))]))
    refused(store, tmp_path, archive, "is damaged: its content has the digest sha256:")


def test_a_blob_that_is_not_what_its_name_says_is_refused(store: ImageStore, tmp_path: Path) -> None:
    refused(store, tmp_path, oci_archive([layer(("a", b"good"))]).replace(b"good", b"evil"), "the archive is damaged")


def test_a_layer_damaged_in_the_middle_is_refused(store: ImageStore, tmp_path: Path) -> None:
    good = bytearray(layer(("a", b"1"), ("b", b"2"), ("c", b"3")))
    good[1024 + 20] ^= 0xFF
    refused(store, tmp_path, docker_archive([bytes(good)]), "damaged or truncated, or no tar archive")


@pytest.mark.parametrize("part", [0.001, 0.05, 0.5, 0.8, 0.99])
def test_a_truncated_archive_is_refused(store: ImageStore, tmp_path: Path, part: float) -> None:
    data = layer(("a", os.urandom(30_000)))
    archive = docker_archive([data]).rstrip(b"\0")
    packed = gzip.compress(archive)
    refused(store, tmp_path, archive[: int(len(archive) * part)], "truncated|no image|no tar archive|incomplete")
    refused(store, tmp_path, packed[: int(len(packed) * part)], "truncated")


def test_what_is_no_archive_is_refused(store: ImageStore, tmp_path: Path) -> None:
    refused(store, tmp_path, b"hello" * 1000, "no tar archive")
    refused(store, tmp_path, b"", "empty|no tar archive")
    refused(store, tmp_path, layer(("bin/sh", b"x")), "neither manifest.json nor index.json; use import")


@pytest.mark.parametrize(
    "manifest",
    [b"[]", b"{", b'[{"Config":"no","Layers":[]}]', b'[{"Config":"manifest.json","Layers":["no"]}]', b"[" * 100_000],
)
def test_a_manifest_that_names_nothing_is_refused(store: ImageStore, tmp_path: Path, manifest: bytes) -> None:
    refused(store, tmp_path, layer(("manifest.json", manifest)), "malformed|incomplete|no image")


def test_links_in_a_circle_are_refused(store: ImageStore, tmp_path: Path) -> None:
    one, two = (
        entry("manifest.json", tarfile.SYMTYPE, linkname="b"),
        entry("b", tarfile.SYMTYPE, linkname="manifest.json"),
    )
    refused(store, tmp_path, layer(one, two), "incomplete")


def test_a_bad_tag_refuses_the_whole_archive(store: ImageStore, tmp_path: Path) -> None:
    refused(store, tmp_path, docker_archive([layer(("a", b"1"))], ["Bad Tag"]), "invalid reference format")


def test_the_second_layers_failure_takes_the_first_back(store: ImageStore, tmp_path: Path) -> None:
    archive = docker_archive([layer(("a", b"1")), layer(("../b", b"2"))])
    refused(store, tmp_path, archive, "climbs out")


def test_a_body_that_breaks_off_is_told_as_that_and_leaves_nothing(store: ImageStore, tmp_path: Path) -> None:
    import asyncio

    async def broken() -> AsyncIterator[bytes]:
        async for piece in stream(docker_archive([layer(("a", os.urandom(50_000)))])):
            yield piece
            break
        raise InvalidRequest("the request body ended early")

    async def steps() -> None:
        async for _ in store.load(broken()):
            pass

    before = files(tmp_path)
    with pytest.raises(InvalidRequest, match="the request body ended early"):
        asyncio.run(steps())
    assert files(tmp_path) == before


def test_an_import_of_nothing_is_refused(store: ImageStore) -> None:
    for data in (b"", b"no tar at all" * 100, gzip.compress(b"")):
        with pytest.raises(InvalidRequest):
            import_root(store, data)
    assert store.list({}) == ()


def test_an_empty_tar_has_no_headers_and_makes_an_empty_image(store: ImageStore) -> None:
    stream = io.BytesIO()
    tarfile.open(fileobj=stream, mode="w").close()
    assert store.get(import_root(store, stream.getvalue())).size == 0
