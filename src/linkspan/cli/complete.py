"""What may come next on a command line: commands, options, words of an option, and names that the daemon knows."""

from __future__ import annotations

import os

from linkspan.cli.client import Client, chosen_socket
from linkspan.cli.documents import Json, sequence, text, texts
from linkspan.cli.failure import Failure
from linkspan.cli.grammar import Command, Option
from linkspan.cli.tree import COMMANDS, GLOBAL_OPTIONS, children, load, resolve, top_level

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FILES = ":files"
"""Asks the shell to complete file names."""

Candidates = list[tuple[str, str]]
"""(word, what it is)."""


def candidates(words: list[str], host: str = "") -> Candidates:
    """Completions of the last word (which may be empty) after the others. Never fails: silence is an answer."""
    *before, current = words or [""]
    before, host = _without_global_options(before, host)
    path, typed, rest = resolve(before)
    try:
        if path not in COMMANDS:
            found = [] if rest else _names(typed, current)
        else:
            found = _Line(load(path), host).complete(rest, current)
    except (Failure, OSError):
        return []
    return [(word, what) for word, what in found if word == FILES or word.startswith(current)]


def _without_global_options(words: list[str], host: str) -> tuple[list[str], str]:
    taking_value = {f"--{option.name}" for option in GLOBAL_OPTIONS if option.kind != "flag"}
    taking_value |= {f"-{option.short}" for option in GLOBAL_OPTIONS if option.kind != "flag"}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        value = rest.pop(0) if word in taking_value and rest else word.partition("=")[2]
        if word.partition("=")[0] in ("-H", "--host"):
            host = value
    return rest, host


def _names(group: str, current: str) -> Candidates:
    if current.startswith("-"):
        return [] if group else _options(GLOBAL_OPTIONS)
    return list((children(group) if group else top_level(group=True)).items())


def _options(options: tuple[Option, ...]) -> Candidates:
    shown = [option for option in options if not option.hidden]
    return [(f"--{option.name}", option.text) for option in shown] + [("--help", "Show help")]


class _Line:
    """One command's line so far."""

    def __init__(self, command: Command, host: str) -> None:
        self._command = command
        self._host = host
        self._by_name = {
            f"--{name}": option for option in command.options for name in (option.name, *option.aliases)
        } | {f"-{option.short}": option for option in command.options if option.short}

    def complete(self, words: list[str], current: str) -> Candidates:
        positionals = 0
        expecting: Option | None = None
        options_end = False
        for word in words:
            if expecting is not None:
                expecting = None
            elif options_end or not word.startswith("-") or word == "-":
                positionals += 1
                options_end = options_end or not self._command.interspersed
            elif word == "--":
                options_end = True
            elif "=" not in word:
                option = self._by_name.get(word if word.startswith("--") else f"-{word[-1]}")
                expecting = option if option and option.kind != "flag" else None
        if expecting is not None:
            return self._values(expecting.words)
        if current.startswith("--") and "=" in current:
            name = current.partition("=")[0]
            option = self._by_name.get(name)
            return [(f"{name}={word}", what) for word, what in self._values(option.words if option else ())]
        if current.startswith("-") and not options_end:
            return _options(self._command.options)
        nouns = self._command.nouns
        if not nouns or (self._command.most is not None and positionals >= self._command.most):
            return []
        return self._values((nouns[min(positionals, len(nouns) - 1)],))

    def _values(self, words: tuple[str, ...]) -> Candidates:
        if len(words) == 1 and words[0] in _NOUNS:
            return _NOUNS[words[0]](self._host)
        return [(word, "") for word in words if word]


def _daemon(host: str, path: str, query: dict[str, str] | None = None) -> Json:
    """One question to a daemon that runs already: completing must not start one."""
    os.environ["LINKSPAN_AUTOSTART"] = "0"
    return Client(chosen_socket(host)).get(path, {**query} if query else None)


def _containers(host: str, filters: str = "") -> Candidates:
    query = {"all": "1", "filters": filters}
    return [
        (name.removeprefix("/"), f"{text(container, 'Image')}, {text(container, 'State')}")
        for container in sequence(_daemon(host, "/containers/json", query))
        for name in texts(container, "Names")
    ]


def _running(host: str) -> Candidates:
    return _containers(host, '{"status":{"running":true,"paused":true}}')


def _stopped(host: str) -> Candidates:
    return _containers(host, '{"status":{"created":true,"exited":true}}')


def _networks(host: str) -> Candidates:
    return [(text(network, "Name"), text(network, "Driver")) for network in sequence(_daemon(host, "/networks"))]


def _images(host: str) -> Candidates:
    return [(name, "") for image in sequence(_daemon(host, "/images/json")) for name in texts(image, "RepoTags")]


def _volumes(host: str) -> Candidates:
    return [(text(item, "Name"), text(item, "Driver")) for item in sequence(_daemon(host, "/volumes"), "Volumes")]


def _files(host: str) -> Candidates:
    return [(FILES, "")]


def _shells(host: str) -> Candidates:
    return [("bash", ""), ("zsh", ""), ("fish", "")]


def _commands(host: str) -> Candidates:
    return list(top_level(group=True).items())


_NOUNS: dict[str, Callable[[str], Candidates]] = {
    "container": _containers,
    "running": _running,
    "stopped": _stopped,
    "network": _networks,
    "image": _images,
    "volume": _volumes,
    "file": _files,
    "shell": _shells,
    "command": _commands,
}
