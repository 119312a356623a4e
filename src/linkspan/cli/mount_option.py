"""``-v``, ``--mount`` and ``--tmpfs``, read into what the API takes."""

from __future__ import annotations

import os

from linkspan.cli.documents import Json
from linkspan.cli.values import boolean, csv_fields, size

_SOURCES = ("source", "src")
_TARGETS = ("target", "destination", "dst")
_SWITCHES = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive")


def volumes(texts: list[str]) -> tuple[list[str], list[str]]:
    """(binds, anonymous volumes' paths) of ``-v`` texts; a source that begins with a dot becomes absolute.

    Raises ValueError.
    """
    binds: list[str] = []
    anonymous: list[str] = []
    for text in texts:
        parts = text.split(":")
        if len(parts) > 3 or "" in parts:
            raise ValueError(f'invalid volume specification: "{text}": write it as source:/target[:options]')
        if len(parts) == 1:
            anonymous.append(text)
        elif parts[0].startswith("."):
            binds.append(":".join([os.path.abspath(parts[0]), *parts[1:]]))
        else:
            binds.append(text)
    return binds, anonymous


def tmpfs(texts: list[str]) -> dict[str, Json]:
    """Path to options, of ``--tmpfs`` texts."""
    return {path: options for path, _, options in (text.partition(":") for text in texts)}


def mount(text: str) -> dict[str, Json]:
    """One ``--mount``. Raises ValueError naming the bad field."""
    found: dict[str, Json] = {"Type": "volume"}
    bind: dict[str, Json] = {}
    volume: dict[str, Json] = {}
    memory: dict[str, Json] = {}
    for field in csv_fields(text):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals and key not in _SWITCHES:
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        if key == "type":
            found["Type"] = value.lower()
        elif key in _SOURCES:
            found["Source"] = os.path.abspath(value) if value.startswith((".", "..")) else value
        elif key in _TARGETS:
            found["Target"] = value
        elif key in ("readonly", "ro"):
            found["ReadOnly"] = _switch(field, equals, value)
        elif key == "consistency":
            found["Consistency"] = value.lower()
        elif key.startswith("bind-"):
            _bind_field(bind, key, _switch(field, equals, value) if key == "bind-nonrecursive" else value)
        elif key.startswith("volume-"):
            _volume_field(volume, key, value, field, equals)
        elif key == "tmpfs-size":
            memory["SizeBytes"] = size(value)
        elif key == "tmpfs-mode":
            memory["Mode"] = _octal(value)
        else:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
    return _checked(found, bind, volume, memory)


def _bind_field(bind: dict[str, Json], key: str, value: Json) -> None:
    if key == "bind-propagation" and isinstance(value, str):
        bind["Propagation"] = value.lower()
    elif key == "bind-nonrecursive":
        bind["NonRecursive"] = value
    elif key == "bind-recursive" and value in ("enabled", "disabled", "writable", "readonly"):
        names = {"disabled": "NonRecursive", "writable": "ReadOnlyNonRecursive", "readonly": "ReadOnlyForceRecursive"}
        bind |= {names[value]: True} if value != "enabled" and isinstance(value, str) else {}
    else:
        raise ValueError(f"unexpected key '{key}' or value '{value}'")


def _volume_field(volume: dict[str, Json], key: str, value: str, field: str, equals: str) -> None:
    if key == "volume-nocopy":
        volume["NoCopy"] = _switch(field, equals, value)
    elif key == "volume-subpath":
        volume["Subpath"] = value
    elif key == "volume-label":
        name, _, setting = value.partition("=")
        labels = volume.setdefault("Labels", {})
        if isinstance(labels, dict):
            labels[name] = setting
    elif key == "volume-driver":
        _driver(volume)["Name"] = value
    elif key == "volume-opt":
        name, _, setting = value.partition("=")
        options = _driver(volume).setdefault("Options", {})
        if isinstance(options, dict):
            options[name] = setting
    else:
        raise ValueError(f"unexpected key '{key}' in '{field}'")


def _driver(volume: dict[str, Json]) -> dict[str, Json]:
    config = volume.setdefault("DriverConfig", {})
    return config if isinstance(config, dict) else {}


def _switch(field: str, equals: str, value: str) -> bool:
    try:
        return boolean(value) if equals else True
    except ValueError:
        raise ValueError(f"invalid value for {field.partition('=')[0]}: {value}") from None


def _octal(value: str) -> int:
    try:
        return int(value, 8)
    except ValueError:
        raise ValueError(f"invalid value for tmpfs-mode: {value}") from None


def _checked(
    found: dict[str, Json], bind: dict[str, Json], volume: dict[str, Json], memory: dict[str, Json]
) -> dict[str, Json]:
    kind = found["Type"]
    if not found.get("Target"):
        raise ValueError("target is required")
    for name, options, key in (("bind", bind, "BindOptions"), ("volume", volume, "VolumeOptions")):
        if options and kind != name:
            raise ValueError(f"cannot mix '{name}-*' options with mount type '{kind}'")
        if options:
            found[key] = options
    if memory and kind != "tmpfs":
        raise ValueError(f"cannot mix 'tmpfs-*' options with mount type '{kind}'")
    if memory:
        found["TmpfsOptions"] = memory
    return found
