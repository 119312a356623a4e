"""``linkspan pull`` and ``push``."""

from __future__ import annotations

import sys

from linkspan.cli.client import Query, segment
from linkspan.cli.credentials import header
from linkspan.cli.grammar import Command, Option
from linkspan.cli.progress import show_progress
from linkspan.cli.pulling import pull, split_reference, tagged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

QUIET = Option("quiet", "flag", "No progress", short="q")
ALL_TAGS = Option("all-tags", "flag", "All tags of the repository", short="a")
PLATFORM = Option("platform", "string", "Platform of the image (os/arch)")
TRUST = Option("disable-content-trust", "flag", "Accepted for Docker's sake", default=True, hidden=True)


def pull_image(call: Call) -> int:
    parsed, image = call.parsed, call.words[0]
    if "@" not in image and tagged(image) != image and not parsed.flag("quiet"):
        print("Using default tag: latest")
    sys.stdout.flush()
    pull(call.client, image, sys.stdout, platform=parsed.text("platform"), quiet=parsed.flag("quiet"))
    if parsed.flag("quiet"):
        print(tagged(image))
    return 0


def push_image(call: Call) -> int:
    parsed, image = call.parsed, call.words[0]
    name, label = split_reference(image)
    query: Query = {"tag": None if parsed.flag("all-tags") else label}
    # the daemon wants the header even when there is no login
    login = header(image) or {"X-Registry-Auth": "e30="}
    reply = call.client.send("POST", f"/images/{segment(name)}/push", query, headers=login)
    show_progress(reply.documents(), sys.stdout, quiet=parsed.flag("quiet"))
    reply.close()
    if parsed.flag("quiet"):
        print(tagged(image))
    return 0


COMMANDS = {
    "image pull": Command(
        pull_image, arguments="NAME[:TAG|@DIGEST]", least=1, most=1, nouns=("image",), options=(PLATFORM, QUIET, TRUST)
    ),
    "image push": Command(
        push_image, arguments="NAME[:TAG]", least=1, most=1, nouns=("image",), options=(ALL_TAGS, QUIET, TRUST)
    ),
}
