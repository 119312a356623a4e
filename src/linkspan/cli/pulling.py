"""Pulling an image: for ``pull`` itself, and for run and create when the image is not there."""

from __future__ import annotations

from linkspan.cli.client import Client, Query
from linkspan.cli.credentials import header
from linkspan.cli.progress import show_progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO


def split_reference(image: str) -> tuple[str, str]:
    """(name, tag or digest) of a reference; the tag is ``latest`` when none is given."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    head, colon, tag = image.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (image, "latest")


def tagged(image: str) -> str:
    """The reference with its tag spelled out."""
    name, tag = split_reference(image)
    return f"{name}@{tag}" if "@" in image else f"{name}:{tag}"


def pull(client: Client, image: str, output: TextIO, *, platform: str = "", quiet: bool = False) -> None:
    """Raises DaemonError, or Failure for an error in the middle of the progress."""
    name, tag = split_reference(image)
    query: Query = {"fromImage": name, "tag": tag, "platform": platform}
    reply = client.send("POST", "/images/create", query, headers=header(image))
    show_progress(reply.documents(), output, quiet=quiet)
    reply.close()
