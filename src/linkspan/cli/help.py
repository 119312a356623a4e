"""Help texts, made from the grammar."""

from __future__ import annotations

from linkspan.cli.grammar import Command, Option, usage_line
from linkspan.cli.tree import ALIASES, COMMANDS, GLOBAL_OPTIONS, GROUPS, MAIN, children, top_level

WIDTH = 100
_PLACE = {"flag": "", "strings": "list", "filter": "filter", "map": "map", "list": "list"}


def command_help(path: str, typed: str, command: Command) -> str:
    """The help of one command, under the name that was typed."""
    parts = [usage_line(command, typed), "", COMMANDS[path][1]]
    names = [path, *(name for name, target in ALIASES.items() if target == path)]
    if len(names) > 1:
        parts += ["", "Aliases:", "  " + ", ".join(f"linkspan {name}" for name in names)]
    shown = [option for option in command.options if not option.hidden]
    if shown:
        parts += ["", "Options:", *option_lines(sorted(shown, key=lambda option: option.name))]
    return "\n".join(parts) + "\n"


def group_help(group: str) -> str:
    """The help of a group, or of the whole program for the empty text."""
    if not group:
        return _root_help()
    parts = [f"Usage:  linkspan {group} COMMAND", "", GROUPS[group], "", "Commands:"]
    parts += name_lines(children(group))
    parts += ["", f"See 'linkspan {group} COMMAND --help' for more about a command."]
    return "\n".join(parts) + "\n"


def _root_help() -> str:
    every = top_level()
    parts = ["Usage:  linkspan [OPTIONS] COMMAND", "", "Connect containers, and see how they are connected."]
    parts += ["", "Main commands:", *name_lines({name: every[name] for name in MAIN})]
    groups = {name: text for name, text in GROUPS.items() if " " not in name}
    parts += ["", "Groups of commands:", *name_lines(dict(sorted(groups.items())))]
    rest = {name: text for name, text in every.items() if name not in MAIN and name not in GROUPS}
    parts += ["", "Commands:", *name_lines(rest)]
    parts += ["", "Global options:", *option_lines([option for option in GLOBAL_OPTIONS if not option.hidden])]
    parts += [
        "",
        "Environment:",
        *name_lines(
            {
                "LINKSPAN_HOST": "Socket of the daemon (unix://PATH); DOCKER_HOST is read when it is not set",
                "LINKSPAN_AUTOSTART": "0: do not start the daemon when none runs",
                "LINKSPAN_CONFIG": "Folder of registry logins; DOCKER_CONFIG is read when it is not set",
            }
        ),
        "",
        "See 'linkspan COMMAND --help' for more about a command.",
    ]
    return "\n".join(parts) + "\n"


def name_lines(names: dict[str, str]) -> list[str]:
    """Names and what they are, aligned and wrapped."""
    width = max(map(len, names), default=0)
    return [line for name, text in names.items() for line in _wrapped(f"  {name:{width}}   ", text)]


def option_lines(options: list[Option]) -> list[str]:
    """One option a line (or more, wrapped), aligned."""
    heads = [_head(option) for option in options]
    width = max(map(len, heads), default=0)
    return [
        line
        for head, option in zip(heads, options, strict=True)
        for line in _wrapped(f"{head:{width}}   ", option.text + _default(option))
    ]


def _head(option: Option) -> str:
    short = f"-{option.short}, " if option.short else "    "
    return f"  {short}--{option.name} {_PLACE.get(option.kind, option.kind)}".rstrip()


def _default(option: Option) -> str:
    if option.default in (None, False, "", []):
        return ""
    shown = "true" if option.default is True else option.default
    return f' (default "{shown}")' if isinstance(option.default, str) else f" (default {shown})"


def _wrapped(head: str, text: str) -> list[str]:
    room = max(WIDTH - len(head), 30)
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > room:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".lstrip()
    lines.append(line)
    blank = " " * len(head)
    return [(head if number == 0 else blank) + part for number, part in enumerate(lines)]
