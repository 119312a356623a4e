"""Exec instances: ``POST /containers/{id}/exec`` -> the model, views -> inspect."""

from __future__ import annotations

import msgspec

from linkspan.api.wire.decoding import Json
from linkspan.engine.views import ExecRequest, ExecView
from linkspan.errors import InvalidRequest


class ExecCreate(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    cmd: list[str] | str = []
    env: list[str] = []
    user: str = ""
    working_dir: str = ""
    tty: bool = False
    privileged: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach_keys: str = ""
    console_size: list[int] = []


class ExecStart(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    detach: bool = False
    tty: bool = False
    console_size: list[int] = []


def exec_request(create: ExecCreate) -> ExecRequest:
    """InvalidRequest without a command."""
    command = (create.cmd,) if isinstance(create.cmd, str) else tuple(create.cmd)
    if not command or not command[0]:
        raise InvalidRequest("No exec command specified")
    if create.working_dir and not create.working_dir.startswith("/"):
        raise InvalidRequest(
            f"the working directory '{create.working_dir}' is invalid, it needs to be an absolute path"
        )
    size = create.console_size
    return ExecRequest(
        command=command,
        env=tuple(create.env),
        user=create.user,
        working_dir=create.working_dir,
        tty=create.tty,
        privileged=create.privileged,
        attach_stdin=create.attach_stdin,
        attach_stdout=create.attach_stdout,
        attach_stderr=create.attach_stderr,
        detach_keys=create.detach_keys,
        console_size=(size[0], size[1]) if len(size) == 2 and any(size) else None,
    )


def inspect(view: ExecView) -> Json:
    """``GET /exec/{id}/json``."""
    request = view.request
    return {
        "ID": view.id,
        "Running": view.running,
        "ExitCode": view.exit_code,
        "ProcessConfig": {
            "tty": request.tty,
            "entrypoint": request.command[0],
            "arguments": list(request.command[1:]),
            "privileged": request.privileged,
            "user": request.user,
        },
        "OpenStdin": request.attach_stdin,
        "OpenStderr": request.attach_stderr,
        "OpenStdout": request.attach_stdout,
        "CanRemove": False,
        "ContainerID": view.container_id,
        "DetachKeys": request.detach_keys,
        "Pid": view.pid,
    }
