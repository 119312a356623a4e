"""``linkspan help COMMAND``: the same text as ``linkspan COMMAND --help``."""

from __future__ import annotations

from linkspan.cli.call import Call
from linkspan.cli.grammar import Command


def show_help(call: Call) -> int:
    from linkspan.cli.main import run

    return run([*call.words, "--help"])


COMMANDS = {"help": Command(show_help, arguments="[COMMAND...]", most=None, nouns=("command",))}
