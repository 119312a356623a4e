"""``linkspan run`` and ``create``."""

from __future__ import annotations

import os
import sys

from linkspan.cli.client import Query, Reply, checked
from linkspan.cli.documents import Json, text, texts
from linkspan.cli.failure import DaemonError, Failure, UsageError
from linkspan.cli.grammar import Command
from linkspan.cli.run_body import attached_streams, create_body
from linkspan.cli.run_options import CREATE_OPTIONS, RUN_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

FAILED = 125
"""Docker's exit status when the container could not be run at all."""


def create(call: Call) -> int:
    body = create_body(call.parsed, call.words[0], call.words[1:], attach=True)
    print(_create(call, body))
    return 0


def run(call: Call) -> int:
    """Exit status: the container's own, or 125, 126, 127 when it could not be run."""
    try:
        return _run(call)
    except DaemonError as failure:
        raise Failure(f"linkspan: {failure.reason}", FAILED) from failure
    except Failure as failure:
        raise Failure(failure.message, FAILED if failure.status == 1 else failure.status) from failure


def _run(call: Call) -> int:
    parsed = call.parsed
    detach = parsed.flag("detach")
    if detach and parsed.texts("attach"):
        raise UsageError("linkspan: conflicting options: cannot specify both --attach and --detach", FAILED)
    body = create_body(parsed, call.words[0], call.words[1:], attach=not detach)
    if detach:
        identifier = _create(call, body)
        _start(call, identifier)
        print(identifier)
        return 0
    streams = attached_streams(parsed, attach=True)
    tty = parsed.flag("tty")
    if tty and "stdin" in streams and not os.isatty(0):
        raise Failure("linkspan: the input device is not a TTY", 1)
    if tty:
        _set_console_size(body)
    return _attached(call, _create(call, body), streams)


def _set_console_size(body: dict[str, Json]) -> None:
    from linkspan.cli.terminal import size

    found, host = size(), body["HostConfig"]
    if found and isinstance(host, dict):
        host["ConsoleSize"] = list[Json](found)


def _attached(call: Call, identifier: str, streams: set[str]) -> int:
    """Attach, then wait, then start: in this order no output and no exit is missed."""
    from linkspan.cli.attach import attach_query, detach_sequence

    parsed, client = call.parsed, call.client
    path = f"/containers/{identifier}"
    keys = detach_sequence(parsed.text("detach-keys"))
    stdin = "stdin" in streams and parsed.flag("interactive")
    query = attach_query(
        stdin=stdin, stdout="stdout" in streams, stderr="stderr" in streams, keys=parsed.text("detach-keys")
    )
    stream = client.hijack(f"{path}/attach", query)
    waiting = client.send("POST", f"{path}/wait", {"condition": "removed" if parsed.flag("rm") else "next-exit"})
    started = client.begin("POST", f"{path}/start")
    from linkspan.cli.session import stay  # its import takes time in which the daemon starts the process

    _confirm_start(started, waiting if parsed.flag("rm") else None)
    tty, sig_proxy = parsed.flag("tty"), parsed.flag("sig-proxy")
    return stay(client, path, stream, waiting, stdin=stdin, tty=tty, keys=keys, sig_proxy=sig_proxy)


def _create(call: Call, body: dict[str, Json]) -> str:
    """Creates the container, pulling its image when needed; prints warnings. Returns the id."""
    from linkspan.cli.pulling import pull, tagged

    parsed, image = call.parsed, text(body, "Image")
    policy, platform = parsed.text("pull"), parsed.text("platform")
    if policy not in ("always", "missing", "never"):
        raise UsageError(
            f'linkspan: invalid pull option: \'{policy}\': must be one of "always", "missing" or "never"', FAILED
        )
    cidfile = parsed.text("cidfile")
    if cidfile and os.path.exists(cidfile):
        raise UsageError(
            f"linkspan: container ID file found, make sure the other container isn't running or delete {cidfile}",
            FAILED,
        )
    if policy == "always":
        pull(call.client, image, sys.stderr, platform=platform, quiet=parsed.flag("quiet"))
    query: Query = {"name": parsed.text("name"), "platform": platform}
    try:
        answer = call.client.post("/containers/create", query, body)
    except DaemonError as failure:
        if failure.code != 404 or "image" not in failure.reason.lower() or policy != "missing":
            raise
        print(f"Unable to find image '{tagged(image)}' locally", file=sys.stderr)
        pull(call.client, image, sys.stderr, platform=platform, quiet=parsed.flag("quiet"))
        answer = call.client.post("/containers/create", query, body)
    for warning in texts(answer, "Warnings"):
        print(f"WARNING: {warning}", file=sys.stderr)
    identifier = text(answer, "Id")
    if cidfile:
        with open(cidfile, "x", encoding="utf-8") as file:
            file.write(identifier)
    return identifier


def _start(call: Call, identifier: str) -> None:
    started = call.client.begin("POST", f"/containers/{identifier}/start")
    _confirm_start(started, None)


def _confirm_start(started: Reply, removal: Reply | None) -> None:
    """Raises Failure with 126 or 127 for commands that cannot be run; waits until a ``--rm`` container is gone."""
    started.read_head()
    try:
        checked(started).read()
    except DaemonError as failure:
        if removal is not None:
            _await_removal(removal)
        raise Failure(f"linkspan: {failure.reason}", start_status(failure.reason)) from failure


def _await_removal(removal: Reply) -> None:
    connection, _ = removal.hijacked()
    connection.settimeout(10)
    try:
        while connection.recv(4096):
            pass
    except OSError:
        pass  # not gone after ten seconds: the start's own error matters more
    connection.close()


def start_status(reason: str) -> int:
    """The exit status for a start that failed: 127 no such program, 126 not executable, else 125."""
    if any(
        phrase in reason
        for phrase in ("executable file not found", "no such file or directory", "system cannot find the file")
    ):
        return 127
    if any(phrase in reason.lower() for phrase in ("permission denied", "is a directory")):
        return 126
    return FAILED


COMMANDS = {
    "container create": Command(
        create,
        arguments="IMAGE [COMMAND] [ARG...]",
        least=1,
        most=None,
        options=CREATE_OPTIONS,
        nouns=("image", ""),
        interspersed=False,
    ),
    "container run": Command(
        run,
        arguments="IMAGE [COMMAND] [ARG...]",
        least=1,
        most=None,
        options=RUN_OPTIONS,
        nouns=("image", ""),
        interspersed=False,
    ),
}
