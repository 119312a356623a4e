"""``linkspan load``, ``save`` and ``import``: images as archives."""

from __future__ import annotations

import os
import sys

from linkspan.cli.attach import write_all
from linkspan.cli.client import Query
from linkspan.cli.documents import text
from linkspan.cli.failure import Failure
from linkspan.cli.grammar import Command, Option
from linkspan.cli.progress import show_progress
from linkspan.cli.pulling import split_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from linkspan.cli.call import Call
    from linkspan.cli.client import Reply

_PIECE = 1 << 18


def load(call: Call) -> int:
    path = call.parsed.text("input")
    if not path and os.isatty(0):
        raise Failure("linkspan: requested load from stdin, but it is a terminal: redirect an archive or use --input")
    reply = call.client.upload("POST", "/images/load", {"quiet": True}, read_pieces(path or "-"))
    show_progress(reply.documents(), sys.stdout)
    reply.close()
    return 0


def save(call: Call) -> int:
    path = call.parsed.text("output")
    if not path and os.isatty(1):
        raise Failure("linkspan: cowardly refusing to save to a terminal. Use the -o flag or redirect")
    write_archive(call.client.send("GET", "/images/get", {"names": call.words}), path)
    return 0


def import_image(call: Call) -> int:
    parsed, source = call.parsed, call.words[0]
    repository, tag = split_reference(call.words[1]) if len(call.words) > 1 else ("", "")
    remote = source.startswith(("http://", "https://"))
    query: Query = {
        "fromSrc": source if remote else "-",
        "repo": repository,
        "tag": tag,
        "message": parsed.text("message"),
        "changes": parsed.texts("change"),
        "platform": parsed.text("platform"),
    }
    if remote:
        reply = call.client.send("POST", "/images/create", query)
    else:
        reply = call.client.upload("POST", "/images/create", query, read_pieces(source))
    for message in reply.documents():
        problem = text(message, "error")
        if problem:
            raise Failure(f"Error response from daemon: {problem}")
        if text(message, "status"):
            print(text(message, "status"))
    reply.close()
    return 0


def read_pieces(path: str) -> Iterator[bytes]:
    """A file's bytes, of stdin for ``-``. Raises Failure at once when it cannot be opened."""
    if path == "-":
        return _pieces(0, close=False)
    try:
        return _pieces(os.open(path, os.O_RDONLY | os.O_CLOEXEC), close=True)
    except OSError as reason:
        raise Failure(f"linkspan: open {path}: {reason.strerror}") from reason


def _pieces(descriptor: int, *, close: bool) -> Iterator[bytes]:
    try:
        while piece := os.read(descriptor, _PIECE):
            yield piece
    finally:
        if close:
            os.close(descriptor)


def write_archive(reply: Reply, path: str) -> None:
    """Writes an answer to stdout, or to a file that takes its name only when it is complete."""
    if not path:
        for piece in reply.pieces():
            write_all(1, piece)
        reply.close()
        return
    draft = f"{path}.{os.getpid()}.part"
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except OSError as reason:
        raise Failure(f"linkspan: invalid output path {path}: {reason.strerror}") from reason
    try:
        for piece in reply.pieces():
            write_all(descriptor, piece)
        os.rename(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
    finally:
        os.close(descriptor)
    reply.close()


COMMANDS = {
    "image load": Command(
        load,
        options=(
            Option("input", "string", "Read this file instead of stdin", short="i", words=("file",)),
            Option("quiet", "flag", "No progress", short="q"),
        ),
    ),
    "image save": Command(
        save,
        arguments="IMAGE [IMAGE...]",
        least=1,
        most=None,
        nouns=("image",),
        options=(Option("output", "string", "Write this file instead of stdout", short="o", words=("file",)),),
    ),
    "image import": Command(
        import_image,
        arguments="file|URL|- [REPOSITORY[:TAG]]",
        least=1,
        most=2,
        nouns=("file", ""),
        options=(
            Option("change", "list", "Dockerfile instruction for the image (CMD, ENV, …)", short="c"),
            Option("message", "string", "Comment in the image's history", short="m"),
            Option("platform", "string", "Platform of the image (os/arch)"),
        ),
    ),
}
