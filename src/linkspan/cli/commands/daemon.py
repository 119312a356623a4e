"""``linkspan daemon``: becomes the daemon; its own parser reads the words."""

from __future__ import annotations

import os
import sys

from linkspan.cli.autostart import daemon_command, daemon_environment
from linkspan.cli.call import Call
from linkspan.cli.grammar import Command


def become_daemon(call: Call) -> int:
    sys.stdout.flush()
    command = [*daemon_command(), *call.words]
    os.execve(command[0], command, daemon_environment())


COMMANDS = {"daemon": Command(become_daemon, arguments="[OPTIONS]", most=None, raw=True)}
