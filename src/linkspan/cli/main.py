"""The ``linkspan`` command: find the command, read its line, run it, turn failures into an exit status."""

from __future__ import annotations

import os
import sys

from linkspan.cli.failure import Failure, UsageError
from linkspan.cli.grammar import Parsed, parse, parse_leading
from linkspan.cli.tree import COMMANDS, GLOBAL_OPTIONS, children, load, resolve, top_level

BROKEN_PIPE = 141
"""128 + SIGPIPE, what the shell reports for a program that a closed pipe ends."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command line and returns its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        status = run(words)
        sys.stdout.flush()
        return status
    except Failure as failure:
        return _report(failure)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _close_quietly()
        return BROKEN_PIPE
    except OSError as failure:
        return _report(Failure(f"linkspan: {failure.strerror or failure}: {failure.filename or 'input or output'}"))


def run(words: list[str]) -> int:
    """Runs one command line. Raises Failure."""
    options = parse_leading(GLOBAL_OPTIONS, words)
    if options.flag("version"):
        from linkspan import __version__

        print(f"Linkspan version {__version__}")
        return 0
    path, typed, rest = resolve(options.words)
    if path not in COMMANDS:
        return _group(typed, rest, options.help)
    if options.help:
        rest = ["--help", *rest]
    return _command(path, typed, rest, options)


def _command(path: str, typed: str, words: list[str], options: Parsed) -> int:
    from linkspan.cli.call import Call

    command = load(path)
    if command.raw:
        parsed = Parsed(command.options)
        parsed.words = words
    else:
        parsed = parse(command, typed, words)
    if parsed.help:
        from linkspan.cli.help import command_help

        print(command_help(path, typed, command), end="")
        return 0
    if options.given("config"):
        os.environ["LINKSPAN_CONFIG"] = options.text("config")
    if options.flag("debug"):
        os.environ["LINKSPAN_DEBUG"] = "1"
    return command.run(Call(parsed, options.text("host")))


def _group(typed: str, rest: list[str], help_asked: bool) -> int:
    from linkspan.cli.help import group_help

    unknown = next((word for word in rest if not word.startswith("-")), "")
    if unknown and not help_asked and "--help" not in rest:
        raise _unknown(typed, unknown)
    stray = next((word for word in rest if word not in ("--help", "-h")), "")
    if stray and not unknown:
        raise UsageError(f"unknown flag: {stray}\nSee 'linkspan {typed} --help'.".replace("  ", " "), 125)
    print(group_help(typed), end="")
    return 0


def _unknown(group: str, word: str) -> UsageError:
    from linkspan.cli.suggest import near_misses

    meant = near_misses(word, children(group) if group else top_level(group=True))
    called = f"linkspan {group}".rstrip()
    lines = [f"linkspan: '{f'{group} {word}'.lstrip()}' is not a linkspan command."]
    if meant:
        lines += ["", "Did you mean this?", *(f"    {called} {name}" for name in meant[:5]), ""]
    lines.append(f"See '{called} --help'.")
    return UsageError("\n".join(lines), 1)


def _report(failure: Failure) -> int:
    try:
        sys.stdout.flush()
        if failure.message:
            print(failure.message, file=sys.stderr)
    except BrokenPipeError:
        _close_quietly()
    return failure.status


def _close_quietly() -> None:
    """Points stdout at /dev/null, so that the interpreter's own flush at exit finds no closed pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
