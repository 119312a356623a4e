"""The child program that reads archives which nobody vouches for: ``python -m linkspan.images.unpacker VERB``.

    layers          one JSON job a line on stdin: {"blob", "target", "style", "diff_id"}. Each is unpacked by a
                    forked child that chroots into the target first, in order, until one fails.
    split FOLDER    an outer archive (docker-archive, OCI archive) on stdin: its files become FOLDER/0, FOLDER/1 …
    expand FILE     a root file system on stdin, in any compression: written uncompressed.

Replies are JSON lines on stdout: for layers {"progress": bytes read}, then {"error": sentence} or what the verb
returns. The daemon never parses such bytes itself: its event loop stays free, and a header that claims 8 GiB hits
the child's own memory limit. Standard library only, to start in some 40 ms.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import tarfile
from collections.abc import Callable
from typing import BinaryIO, cast

from linkspan.images.compression import CHUNK, GZIP, ArchiveRefused, HashingReader, decompressed
from linkspan.images.extraction import DAMAGE, Extraction, Style, TarStream, open_tar

_MEMORY = 1 << 30
"""Bytes of address space: ten times what an honest archive needs."""
_MEMBERS = 100_000
"""Members of an outer archive; real ones have some hundreds."""


def main(arguments: list[str]) -> int:
    """Runs one verb; the exit status is 0 also for a refused archive, which is told on stdout."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    os.umask(0)
    match arguments:
        case ["layers"]:
            _layers()
        case ["split", folder]:
            _answer(_split, folder)
        case ["expand", path]:
            _answer(_expand, path)
        case _:
            sys.stderr.write(__doc__ or "")
            return 2
    return 0


def _say(message: dict[str, object]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def _report(count: int) -> None:
    _say({"progress": count})


def _unreported(_: int) -> None:
    """Archives on stdin are read as fast as they come: their sender sees that itself."""


def _answer(verb: Callable[[str], dict[str, object]], argument: str) -> None:
    try:
        _say(verb(argument))
    except ArchiveRefused as error:
        _say({"error": str(error)})
    except DAMAGE as error:
        _say({"error": f"the archive is damaged or truncated, or no tar archive: {error}"})
    except MemoryError:
        _say({"error": "the archive is refused: one of its headers is too large"})
    except OSError as error:
        _say({"failure": f"the archive cannot be written: {error}"})


def _layers() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _answer(_layer, line)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status != 0:
            _say({"failure": f"unpacking ended with wait status {status}"})


def _layer(line: str) -> dict[str, object]:
    job = cast("dict[str, str]", json.loads(line))
    with open(job["blob"], "rb", buffering=0) as blob:
        stream = HashingReader(decompressed(cast(BinaryIO, blob), _report))
        os.chroot(job["target"])
        os.chdir("/")
        extraction = Extraction(cast(Style, job["style"]))
        extraction.run(stream)
    if stream.digest != job["diff_id"]:
        raise ArchiveRefused(f"the layer {job['diff_id'][:19]} is damaged: its content has the digest {stream.digest}")
    return {"size": extraction.size}


def _split(folder: str) -> dict[str, object]:
    """Writes the files of an outer archive under numbers: their names are data here, never paths."""
    stream = HashingReader(decompressed(sys.stdin.buffer, _unreported))
    members: list[dict[str, object]] = []
    with open_tar(stream) as archive:
        while (member := archive.next()) is not None:
            archive.members = []
            if len(members) >= _MEMBERS:
                raise ArchiveRefused(f"the archive is refused: it has more than {_MEMBERS} members")
            if member.issym() or member.islnk():
                members.append({"name": member.name, "link": member.linkname, "symbolic": member.issym()})
            elif member.isreg() and member.sparse is None:
                members.append(_store(archive, member, os.path.join(folder, str(len(members)))))
    stream.drain()
    return {"members": members}


def _store(archive: TarStream, member: tarfile.TarInfo, path: str) -> dict[str, object]:
    digest = hashlib.sha256()
    head = b""
    with open(path, "xb", buffering=0) as target:
        for _, data in archive.content(member):
            head = head or data[:8]
            digest.update(data)
            target.write(data)
    return {
        "name": member.name,
        "file": path,
        "size": member.size,
        "digest": f"sha256:{digest.hexdigest()}",
        "gzip": head.startswith(GZIP),
    }


def _expand(path: str) -> dict[str, object]:
    stream = HashingReader(decompressed(sys.stdin.buffer, _unreported))
    with open(path, "xb", buffering=0) as target:
        while data := stream.read(CHUNK):
            target.write(data)
    return {"digest": stream.digest, "size": stream.count}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
