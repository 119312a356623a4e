"""Images, their history, and the progress of pull, push, load and import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from linkspan.api.versions import Version
from linkspan.api.wire import times
from linkspan.api.wire.decoding import Json
from linkspan.api.wire.storage import driver_name
from linkspan.images.face import Progress
from linkspan.model.image import History, Image, ImageConfig

Removed = tuple[Literal["Untagged", "Deleted"], str]


def summary(image: Image, *, version: Version) -> Json:
    """One entry of ``GET /images/json``."""
    shown: Json = {
        "Id": image.id,
        "ParentId": "",
        "RepoTags": _tags(image, version),
        "RepoDigests": _digests(image, version),
        "Created": int(image.created),
        "Size": image.size,
        "SharedSize": -1,
        "Labels": image.config.labels or None,
        "Containers": -1,
    }
    if version < (1, 44):
        shown["VirtualSize"] = image.size
    return shown


def inspect(image: Image, *, version: Version, driver: str) -> Json:
    """``GET /images/{name}/json``; ``driver`` is the storage driver that holds its layers."""
    shown: Json = {
        "Id": image.id,
        "RepoTags": list(image.tags),
        "RepoDigests": list(image.digests),
        "Parent": "",
        "Comment": image.comment,
        "Created": times.rfc3339(image.created),
        "DockerVersion": "",
        "Author": image.author,
        "Config": _config(image.config),
        "Architecture": image.architecture,
        "Os": image.os,
        "Size": image.size,
        "GraphDriver": {"Name": driver_name(driver), "Data": {}},
        "RootFS": {"Type": "layers", "Layers": list(image.layers)},
        "Metadata": {"LastTagTime": times.NEVER},
    }
    if version < (1, 44):
        shown |= {"VirtualSize": image.size, "Container": "", "ContainerConfig": None}
    return shown


def history_line(image_id: str, line: History, tags: Sequence[str]) -> Json:
    """One line of ``GET /images/{name}/history``; ``tags`` belong to the top line alone."""
    return {
        "Id": image_id,
        "Created": int(line.created),
        "CreatedBy": line.created_by,
        "Tags": list(tags) or None,
        "Size": line.size,
        "Comment": line.comment,
    }


def removed(lines: Sequence[Removed]) -> list[Json]:
    """``[{"Untagged": "nginx:latest"}, {"Deleted": "sha256:…"}]``"""
    return [{word: name} for word, name in lines]


def progress(line: Progress) -> Json:
    """One line of a progress stream (moby, ``pkg/jsonmessage``)."""
    if line.stream:
        return {"stream": line.stream if line.stream.endswith("\n") else f"{line.stream}\n"}
    shown: Json = {}
    if line.status:
        shown["status"] = line.status
    if line.id:
        shown["id"] = line.id
    if line.current or line.total:
        detail = {"current": line.current, "total": line.total}
        shown["progressDetail"] = {name: value for name, value in detail.items() if value}
    elif line.id:
        shown["progressDetail"] = {}
    if line.aux:
        shown["aux"] = {name: int(value) if name == "Size" else value for name, value in line.aux.items()}
    return shown


def failed(sentence: str, status: int) -> Json:
    """The last line of a progress stream that broke off."""
    return {"errorDetail": {"code": status, "message": sentence}, "error": sentence}


def _config(config: ImageConfig) -> Json:
    return {
        "Hostname": "",
        "Domainname": "",
        "User": config.user,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "ExposedPorts": {port: {} for port in config.exposed_ports} or None,
        "Tty": False,
        "OpenStdin": False,
        "StdinOnce": False,
        "Env": list(config.env),
        "Cmd": None if config.command is None else list(config.command),
        "Image": "",
        "Volumes": {path: {} for path in config.volumes} or None,
        "WorkingDir": config.working_dir,
        "Entrypoint": None if config.entrypoint is None else list(config.entrypoint),
        "OnBuild": None,
        "Labels": config.labels or None,
        **({"StopSignal": config.stop_signal} if config.stop_signal else {}),
    }


def _tags(image: Image, version: Version) -> list[str]:
    """Before API 1.43 an image without a tag was called ``<none>:<none>``."""
    return list(image.tags) or (["<none>:<none>"] if version < (1, 43) else [])


def _digests(image: Image, version: Version) -> list[str]:
    return list(image.digests) or (["<none>@<none>"] if version < (1, 43) and not image.tags else [])
