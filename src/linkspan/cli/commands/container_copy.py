"""``linkspan cp`` and ``export``."""

from __future__ import annotations

import os
import posixpath

from linkspan.cli.attach import write_all
from linkspan.cli.client import Client, Query, segment
from linkspan.cli.commands.image_archive import read_pieces, write_archive
from linkspan.cli.copying import PathStat, extract, pack, path_stat
from linkspan.cli.failure import DaemonError, Failure
from linkspan.cli.grammar import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

_LINKS = 40
"""Symbolic links followed before it counts as a circle (as in the kernel's path_resolution(7))."""


def copy(call: Call) -> int:
    """Either side may be ``CONTAINER:PATH``; the other is a local path, or ``-`` for a tar stream."""
    source, target = call.words
    source_container, source_path = _split(source)
    target_container, target_path = _split(target)
    if source_container and target_container:
        raise Failure("linkspan: copying between containers is not supported")
    if source_container:
        return _from_container(call, source_container, source_path, target_path)
    if target_container:
        return _to_container(call, source_path, target_container, target_path)
    raise Failure("linkspan: must specify at least one container source")


def _split(word: str) -> tuple[str, str]:
    """(container, path); the container is empty for local paths, which may hold colons after a slash or dot."""
    container, colon, path = word.partition(":")
    if not colon or not container or container.startswith((".", "/")) or "/" in container:
        return "", word
    return container, path


def _from_container(call: Call, container: str, path: str, target: str) -> int:
    if not path:
        raise Failure("linkspan: the path in the container is empty")
    client, parsed = call.client, call.parsed
    if parsed.flag("follow-link"):
        path = _followed(client, container, path)
    reply = client.send("GET", f"/containers/{segment(container)}/archive", {"path": path})
    if target == "-":
        if os.isatty(1):
            raise Failure("linkspan: refusing to write a tar archive to a terminal: redirect it")
        for piece in reply.pieces():
            write_all(1, piece)
        reply.close()
        return 0
    stat = path_stat(reply.headers)
    folder, name = local_place(stat, path, target)
    extract(reply.pieces(), folder, name, keep_owner=parsed.flag("archive"))
    reply.close()
    return 0


def local_place(stat: PathStat, path: str, target: str) -> tuple[str, str]:
    """(local folder, new name) for what is copied out; an empty name puts a folder's contents into the folder."""
    contents = stat.is_folder and (path.endswith("/.") or path == ".")
    if os.path.isdir(target):
        return target, "" if contents else posixpath.basename(path.rstrip("/")) or stat.name
    folder, name = os.path.split(target.rstrip("/"))
    folder = folder or "."
    if not os.path.isdir(folder):
        raise Failure(f"linkspan: invalid output path: directory {folder} does not exist")
    if stat.is_folder and os.path.exists(target):
        raise Failure(f"linkspan: cannot copy the folder {path} over the file {target}")
    if not stat.is_folder and target.endswith("/"):
        raise Failure(f"linkspan: the folder {target} does not exist")
    return folder, name


def _to_container(call: Call, source: str, container: str, path: str) -> int:
    client, parsed = call.client, call.parsed
    if not path:
        raise Failure("linkspan: the path in the container is empty")
    query: Query = {"noOverwriteDirNonDir": True, "copyUIDGID": parsed.flag("archive") or None}
    if source == "-":
        stat = _stat(client, container, path)
        if stat is None or not _resolved(client, container, path, stat)[1]:
            raise Failure(f"linkspan: destination {container}:{path} must be a folder: a tar stream is unpacked in it")
        client.upload("PUT", _archive(container), {**query, "path": path}, read_pieces("-")).close()
        return 0
    if not os.path.lexists(source):
        raise Failure(f"linkspan: lstat {source}: no such file or directory")
    local = os.path.realpath(source) if parsed.flag("follow-link") else source.rstrip("/") or "/"
    folder, name = _container_place(client, container, path, source, local)
    pieces = pack(local, name, keep_owner=parsed.flag("archive"))
    client.upload("PUT", _archive(container), {**query, "path": folder}, pieces).close()
    return 0


def _archive(container: str) -> str:
    return f"/containers/{segment(container)}/archive"


def _container_place(client: Client, container: str, path: str, source: str, local: str) -> tuple[str, str]:
    """(folder in the container, name there) for what is copied in; ``.`` puts a folder's contents into it."""
    stat = _stat(client, container, path)
    is_folder = os.path.isdir(local)
    if stat is not None:
        path, target_is_folder = _resolved(client, container, path, stat)
        if target_is_folder:
            contents = is_folder and (source.endswith("/.") or source == ".")
            return path, "." if contents else os.path.basename(os.path.abspath(local))
        if is_folder:
            raise Failure(f"linkspan: cannot copy the folder {source} over the file {container}:{path}")
    elif path.endswith("/") and not is_folder:
        raise Failure(f"linkspan: no such folder: {container}:{path}")
    folder, name = posixpath.split(path.rstrip("/"))
    return folder or "/", name


def _resolved(client: Client, container: str, path: str, stat: PathStat) -> tuple[str, bool]:
    """The path with its own symbolic links followed, and whether a folder is there."""
    for _ in range(_LINKS):
        if not stat.is_link:
            return path, stat.is_folder
        path = posixpath.join(posixpath.dirname(path.rstrip("/")) or "/", stat.link_target)
        found = _stat(client, container, path)
        if found is None:
            return path, False
        stat = found
    raise Failure(f"linkspan: too many symbolic links at {container}:{path}")


def _followed(client: Client, container: str, path: str) -> str:
    stat = _stat(client, container, path)
    return path if stat is None else _resolved(client, container, path, stat)[0]


def _stat(client: Client, container: str, path: str) -> PathStat | None:
    """What stands at a path in a container; None when nothing does. Raises DaemonError for a missing container."""
    try:
        reply = client.send("HEAD", _archive(container), {"path": path})
    except DaemonError as failure:
        if failure.code != 404:
            raise
        client.get(f"/containers/{segment(container)}/json")  # says so when it is the container that is missing
        return None
    reply.close()
    return path_stat(reply.headers)


def export(call: Call) -> int:
    path = call.parsed.text("output")
    if not path and os.isatty(1):
        raise Failure("linkspan: cowardly refusing to save to a terminal. Use the -o flag or redirect")
    write_archive(call.client.send("GET", f"/containers/{segment(call.words[0])}/export"), path)
    return 0


COMMANDS = {
    "container cp": Command(
        copy,
        arguments="CONTAINER:SRC_PATH DEST_PATH|-\n        linkspan cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
        least=2,
        most=2,
        nouns=("container", "file"),
        options=(
            Option("archive", "flag", "Keep user and group ids", short="a"),
            Option("follow-link", "flag", "Follow a symbolic link in SRC_PATH", short="L"),
            Option("quiet", "flag", "Accepted for Docker's sake", short="q", hidden=True),
        ),
    ),
    "container export": Command(
        export,
        arguments="CONTAINER",
        least=1,
        most=1,
        nouns=("container",),
        options=(Option("output", "string", "Write this file instead of stdout", short="o", words=("file",)),),
    ),
}
