"""``linkspan exec``."""

from __future__ import annotations

import os
import time

from linkspan.cli.client import segment
from linkspan.cli.documents import Json, flag, number, text
from linkspan.cli.environment import environment
from linkspan.cli.failure import Failure, UsageError
from linkspan.cli.grammar import Command, Option, Parsed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

PATIENCE = 2.0
"""Seconds that a command may go on after it closed its output."""

OPTIONS = (
    Option("detach", "flag", "Leave the command in the background", short="d"),
    Option("detach-keys", "string", "Keys that detach the terminal"),
    Option("env", "list", "Environment variable (NAME=value)", short="e"),
    Option("env-file", "list", "File of environment variables", words=("file",)),
    Option("interactive", "flag", "Pass stdin on", short="i"),
    Option("privileged", "flag", "All capabilities"),
    Option("tty", "flag", "Give the command a terminal", short="t"),
    Option("user", "string", "User, or user:group", short="u"),
    Option("workdir", "string", "Working folder inside", short="w"),
)


def execute(call: Call) -> int:
    """Exit status: the command's own; 126 or 127 when it could not be run."""
    parsed, client = call.parsed, call.client
    body = exec_body(parsed, call.words[1:])
    if parsed.flag("tty") and parsed.flag("interactive") and not parsed.flag("detach") and not os.isatty(0):
        raise Failure("linkspan: the input device is not a TTY")
    if parsed.flag("tty"):
        from linkspan.cli.terminal import size

        found = size()
        if found:
            body["ConsoleSize"] = list[Json](found)
    identifier = text(client.post(f"/containers/{segment(call.words[0])}/exec", body=body), "Id")
    path = f"/exec/{segment(identifier)}"
    start: dict[str, Json] = {"Detach": parsed.flag("detach"), "Tty": parsed.flag("tty")}
    if parsed.flag("tty") and "ConsoleSize" in body:
        start["ConsoleSize"] = body["ConsoleSize"]
    if parsed.flag("detach"):
        client.post(f"{path}/start", body=start)
        return 0
    return _attached(call, path, start)


def exec_body(parsed: Parsed, command: list[str]) -> dict[str, Json]:
    """The body of ``POST /containers/{id}/exec``."""
    attached = not parsed.flag("detach")
    try:
        variables = environment(parsed.texts("env-file"), parsed.texts("env"))
    except ValueError as reason:
        raise UsageError(f"linkspan: {reason}", 125) from reason
    return {
        "User": parsed.text("user"),
        "Privileged": parsed.flag("privileged"),
        "Tty": parsed.flag("tty"),
        "AttachStdin": parsed.flag("interactive") and attached,
        "AttachStdout": attached,
        "AttachStderr": attached,
        "Detach": parsed.flag("detach"),
        "DetachKeys": parsed.text("detach-keys"),
        "Env": list[Json](variables),
        "WorkingDir": parsed.text("workdir"),
        "Cmd": list[Json](command),
    }


def _attached(call: Call, path: str, start: dict[str, Json]) -> int:
    from linkspan.cli.attach import carry, detach_sequence

    parsed, client = call.parsed, call.client
    tty = parsed.flag("tty")
    keys = detach_sequence(parsed.text("detach-keys"))
    stream = client.hijack(f"{path}/start", body=start)
    if tty:
        from linkspan.cli.terminal import follow_size

        follow_size(client, f"{path}/resize")
    if not carry(stream, stdin=parsed.flag("interactive"), tty=tty, keys=keys):
        return 0
    return _exit_status(call, path)


def _exit_status(call: Call, path: str) -> int:
    """The output may end a moment before the daemon has learnt the exit code."""
    end = time.monotonic() + PATIENCE
    while True:
        document = call.client.get(f"{path}/json")
        if not flag(document, "Running") or time.monotonic() > end:
            return number(document, "ExitCode")
        time.sleep(0.01)


COMMANDS = {
    "container exec": Command(
        execute,
        arguments="CONTAINER COMMAND [ARG...]",
        least=2,
        most=None,
        nouns=("running", ""),
        options=OPTIONS,
        interspersed=False,
    )
}
