"""A container in this terminal: its streams, the window's size and signals, until it ends or the person leaves."""

from __future__ import annotations

from linkspan.cli.attach import carry
from linkspan.cli.client import Client, Reply
from linkspan.cli.documents import number, text
from linkspan.cli.failure import Failure
from linkspan.cli.terminal import follow_size, proxy_signals


def stay(
    client: Client, path: str, stream: Reply, waiting: Reply, *, stdin: bool, tty: bool, keys: bytes, sig_proxy: bool
) -> int:
    """The exit status: the container's when it ends, 0 when the person detached.

    ``path`` is the container's in the API, ``stream`` its hijacked attachment, ``waiting`` the answer to a wait call
    that was sent before the container started, so that no exit is missed.
    """
    if sig_proxy and not tty:
        proxy_signals(client, f"{path}/kill")
    if tty:
        follow_size(client, f"{path}/resize")
    if not carry(stream, stdin=stdin, tty=tty, keys=keys):
        return 0
    answer = waiting.document()
    message = text(answer, "Error", "Message")
    if message:
        raise Failure(f"linkspan: error waiting for the container: {message}", 125)
    return number(answer, "StatusCode")
