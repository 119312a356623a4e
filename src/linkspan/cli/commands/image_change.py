"""``linkspan rmi``, ``tag`` and ``image prune``."""

from __future__ import annotations

import sys

from linkspan.cli.client import Query, filters, segment
from linkspan.cli.documents import number, sequence
from linkspan.cli.failure import DaemonError
from linkspan.cli.grammar import Command, Option
from linkspan.cli.pruning import FILTER, FORCE, confirmed, removed_images, show_deleted, show_reclaimed
from linkspan.cli.pulling import split_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call


def remove(call: Call) -> int:
    query: Query = {"force": call.parsed.flag("force") or None, "noprune": call.parsed.flag("no-prune") or None}

    def delete(name: str) -> None:
        try:
            answer = call.client.delete(f"/images/{segment(name)}", query)
        except DaemonError as failure:
            if failure.code != 404 or not call.parsed.flag("force"):
                raise
            print(failure.message, file=sys.stderr)
        else:
            for line in removed_images(sequence(answer)):
                print(line)

    return call.each(delete, echo=False)


def tag(call: Call) -> int:
    source, target = call.words
    repository, label = split_reference(target)
    call.client.post(f"/images/{segment(source)}/tag", {"repo": repository, "tag": label})
    return 0


def prune(call: Call) -> int:
    every = call.parsed.flag("all")
    what = "images without at least one container associated to them" if every else "dangling images"
    if not confirmed(f"This will remove all {what}.", call.parsed.flag("force")):
        return 0
    wanted = [*call.parsed.texts("filter"), f"dangling={'false' if every else 'true'}"]
    answer = call.client.post("/images/prune", {"filters": filters(wanted)})
    show_deleted("Deleted Images:", removed_images(sequence(answer, "ImagesDeleted")))
    show_reclaimed(number(answer, "SpaceReclaimed"))
    return 0


COMMANDS = {
    "image rm": Command(
        remove,
        arguments="IMAGE [IMAGE...]",
        least=1,
        most=None,
        nouns=("image",),
        options=(
            Option("force", "flag", "Even when a stopped container uses it", short="f"),
            Option("no-prune", "flag", "Keep parents without a name"),
        ),
    ),
    "image tag": Command(
        tag, arguments="SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", least=2, most=2, nouns=("image", "image")
    ),
    "image prune": Command(
        prune,
        options=(
            Option("all", "flag", "All that no container uses, named ones too", short="a"),
            FILTER,
            FORCE,
        ),
    ),
}
