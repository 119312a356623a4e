"""``linkspan login`` and ``logout``."""

from __future__ import annotations

import os
import sys

from linkspan.cli import credentials
from linkspan.cli.documents import Json, mapping, text
from linkspan.cli.failure import Failure
from linkspan.cli.grammar import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call


def login(call: Call) -> int:
    """The daemon tries the login at the registry first; only one that works is kept."""
    key = credentials.key_of(call.words[0] if call.words else "")
    user, password = _asked(call)
    body: dict[str, Json] = {"username": user, "password": password, "serveraddress": key}
    answer = call.client.post("/auth", body=body)
    config = credentials.read()
    entry = credentials.entry(user, password, text(answer, "IdentityToken"))
    credentials.write({**config, "auths": {**mapping(config, "auths"), key: entry}})
    print(text(answer, "Status") or "Login Succeeded")
    return 0


def _asked(call: Call) -> tuple[str, str]:
    parsed = call.parsed
    user, password = parsed.text("username"), parsed.text("password")
    if parsed.flag("password-stdin"):
        if password or not user:
            raise Failure("linkspan: --password-stdin needs --username and excludes --password")
        return user, sys.stdin.read().rstrip("\r\n")
    if password:
        print("WARNING! Using --password via the CLI is insecure. Use --password-stdin.", file=sys.stderr)
    if (not user or not password) and not os.isatty(0):
        raise Failure("linkspan: cannot perform an interactive login from a non TTY device: use --password-stdin")
    if not user:
        user = input("Username: ").strip()
    if not password:
        from getpass import getpass

        password = getpass("Password: ")
    if not user or not password:
        raise Failure("linkspan: username and password are required")
    return user, password


def logout(call: Call) -> int:
    key = credentials.key_of(call.words[0] if call.words else "")
    config = credentials.read()
    logins = mapping(config, "auths")
    if key not in logins:
        print(f"Not logged in to {key}")
        return 0
    print(f"Removing login credentials for {key}")
    credentials.write({**config, "auths": {name: entry for name, entry in logins.items() if name != key}})
    return 0


COMMANDS = {
    "login": Command(
        login,
        arguments="[SERVER]",
        most=1,
        options=(
            Option("password", "string", "Password (better: --password-stdin)", short="p"),
            Option("password-stdin", "flag", "Read the password from stdin"),
            Option("username", "string", "User name", short="u"),
        ),
    ),
    "logout": Command(logout, arguments="[SERVER]", most=1),
}
