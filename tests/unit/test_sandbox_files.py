"""The files that a sandbox gives to its containers, which write into them as they please."""

from __future__ import annotations

from pathlib import Path

import pytest

from linkspan.engine.files import write_in_place, write_unless_edited
from linkspan.errors import RuntimeFailure


@pytest.mark.parametrize("found", [b"", b"127.0.0.1 localhost\n", b"\xff\xfe", b"127.0.0.1\tlocalhost\nand more\n"])
def test_whatever_a_container_wrote_is_replaced_in_the_same_file(tmp_path: Path, found: bytes) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(found)
    inode = path.stat().st_ino

    write_in_place(path, "127.0.0.1\tlocalhost\n")

    assert path.read_bytes() == b"127.0.0.1\tlocalhost\n"
    assert path.stat().st_ino == inode


def test_what_is_right_already_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    write_in_place(path, "text\n")
    written = path.stat().st_mtime_ns
    write_in_place(path, "text\n")
    assert path.stat().st_mtime_ns == written


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "hosts").mkdir()
    with pytest.raises(RuntimeFailure, match=f"cannot write {tmp_path}/hosts: Is a directory"):
        write_in_place(tmp_path / "hosts", "text\n")


def test_a_file_that_was_edited_is_the_containers(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    assert write_unless_edited(path, "one\n", instead_of=None)
    assert write_unless_edited(path, "two\n", instead_of="one\n")
    path.write_text("mine\n")
    assert not write_unless_edited(path, "three\n", instead_of="two\n")
    assert path.read_text() == "mine\n"
