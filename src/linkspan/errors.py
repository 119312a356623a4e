"""Everything that can go wrong, by name.

    LinkspanError                  base; never raised itself
    ├── InvalidRequest      400    a value that can never work; nothing was changed
    ├── Forbidden           403    understood, and not allowed (a predefined network, a network in use)
    ├── NotFound            404    no such network, container, image, exec, volume or path
    │   └── ImageNotFound   404    its own class: clients pull and try again
    ├── Conflict            409    true in itself, but somebody else holds the name, address or state
    ├── NotModified         304    already so: started twice, stopped twice
    ├── TooLarge            413    a body over its limit
    ├── NotSupported        501    this build, or this kernel, cannot do that
    ├── KernelFailure       500    the kernel refused a step; what was applied has been undone
    ├── RuntimeFailure      500    the container runtime refused
    │   ├── CommandNotFound 400    the container's program does not exist (client exit status 127)
    │   └── CommandNotExecutable 400    ... or cannot be executed (client exit status 126)
    ├── RegistryFailure     500    the registry refused or cannot be reached
    ├── StoreFailure        500    the intent on disk cannot be read or written
    └── KeeperFailure       500    the keeper, which answers names and holds ports, cannot be reached or started

Each carries one sentence: *what* went wrong with which value, *whose* object stands in the way, and the
*remedy*. ``linkspan.api`` is the one place that turns them into HTTP. Several failures at once travel as an
``ExceptionGroup``.
"""

from __future__ import annotations

from typing import ClassVar


class LinkspanError(Exception):
    """Base of all errors that a user may see; its text is one sentence without a final full stop.

    ``what`` names the value, ``remedy`` (optional) what to do about it; ``whose`` is the id of the holder, for
    programs.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    exit_status: ClassVar[int] = 1

    def __init__(self, what: str, *, whose: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.whose = whose
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}" if self.remedy else self.what


class InvalidRequest(LinkspanError):
    """The request can never work, whatever the state of the system. Change the named value."""

    code = "invalid_request"
    status = 400
    exit_status = 125


class Forbidden(LinkspanError):
    """The operation is understood and not allowed on this object."""

    code = "forbidden"
    status = 403


class NotFound(LinkspanError):
    """No object has that name or id."""

    code = "not_found"
    status = 404


class ImageNotFound(NotFound):
    """No local image has that reference. Docker clients pull it and try again."""

    code = "image_not_found"


class Conflict(LinkspanError):
    """Somebody else holds the name, the address or the state that was asked for."""

    code = "conflict"
    status = 409


class NotModified(LinkspanError):
    """The object is in that state already. Docker clients count this as success."""

    code = "not_modified"
    status = 304
    exit_status = 0


class TooLarge(LinkspanError):
    """A request body is larger than the daemon reads."""

    code = "too_large"
    status = 413


class NotSupported(LinkspanError):
    """This build of Linkspan, or this kernel, cannot do what was asked."""

    code = "not_supported"
    status = 501


class KernelFailure(LinkspanError):
    """The kernel refused a step. Steps before it have been undone; the text names scope and object."""

    code = "kernel"
    status = 500


class RuntimeFailure(LinkspanError):
    """conmon, crun or runc refused. The text holds their last line."""

    code = "runtime"
    status = 500
    exit_status = 125


class CommandNotFound(RuntimeFailure):
    """The container's program is not in its file system: ``executable file not found``."""

    code = "command_not_found"
    status = 400
    exit_status = 127


class CommandNotExecutable(RuntimeFailure):
    """The container's program exists and cannot be executed: ``permission denied``."""

    code = "command_not_executable"
    status = 400
    exit_status = 126


class RegistryFailure(LinkspanError):
    """The image registry refused the request or cannot be reached."""

    code = "registry"
    status = 500


class StoreFailure(LinkspanError):
    """The intent on disk cannot be read or written. Nothing was changed in the kernel."""

    code = "store"
    status = 500


class KeeperFailure(LinkspanError):
    """The keeper cannot be reached or started. Names and published ports of running containers go on if it lives."""

    code = "keeper_failure"
    status = 500
