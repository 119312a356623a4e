"""``linkspan images`` and ``history``."""

from __future__ import annotations

import time

from linkspan.cli.client import Query, filters, segment
from linkspan.cli.documents import Json, number, sequence, text, texts
from linkspan.cli.grammar import Command, Option
from linkspan.cli.human import age, decimal_size, local_time
from linkspan.cli.listing import FILTER, FORMAT, NO_TRUNC, QUIET, show
from linkspan.cli.tables import short_id, shortened
from linkspan.cli.template.value import Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

NONE = "<none>"
COLUMNS = (
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("IMAGE ID", "ID"),
    ("CREATED", "CreatedSince"),
    ("SIZE", "Size"),
)
HEADS = {"Digest": "DIGEST", "CreatedAt": "CREATED AT"}
HISTORY_COLUMNS = (
    ("IMAGE", "ID"),
    ("CREATED", "CreatedSince"),
    ("CREATED BY", "CreatedBy"),
    ("SIZE", "Size"),
    ("COMMENT", "Comment"),
)


def list_images(call: Call) -> int:
    parsed = call.parsed
    wanted = [*parsed.texts("filter"), *(f"reference={word}" for word in call.words)]
    query: Query = {"all": parsed.flag("all") or None, "filters": filters(wanted)}
    digests = parsed.flag("digests") or ".Digest" in parsed.text("format")
    images = sorted(sequence(call.client.get("/images/json", query)), key=lambda image: -number(image, "Created"))
    if parsed.flag("quiet") and not parsed.text("format"):
        for image in images:
            identifier = text(image, "Id")
            print(identifier if parsed.flag("no-trunc") else short_id(identifier))
        return 0
    rows = [row for image in images for row in image_rows(image, parsed.flag("no-trunc"), digests)]
    columns = (*COLUMNS[:2], ("DIGEST", "Digest"), *COLUMNS[2:]) if parsed.flag("digests") else COLUMNS
    show(rows, columns, parsed.text("format"), HEADS)
    return 0


def image_rows(image: Json, whole: bool, digests: bool = False) -> list[Row]:
    """One row for each name of an image, one with ``<none>`` for an image without names."""
    identifier, created, shared = text(image, "Id"), number(image, "Created"), number(image, "SharedSize")
    by_repository = {name: digest for name, _, digest in (item.partition("@") for item in texts(image, "RepoDigests"))}
    names = [(name, tag) for name, _, tag in (item.rpartition(":") for item in texts(image, "RepoTags"))]
    if not names:
        names = [(name, NONE) for name in by_repository] or [(NONE, NONE)]
    fields = {
        "ID": identifier if whole else short_id(identifier),
        "CreatedSince": f"{age(time.time() - created)} ago" if created > 0 else "N/A",
        "CreatedAt": local_time(created) if created > 0 else "N/A",
        "Size": decimal_size(number(image, "Size"), 3),
        "VirtualSize": decimal_size(number(image, "Size"), 3),
        "SharedSize": decimal_size(shared, 3) if shared >= 0 else "N/A",
        "UniqueSize": "N/A",
        "Containers": str(number(image, "Containers")) if number(image, "Containers") >= 0 else "N/A",
    }
    return [
        Row(
            "image",
            {
                **fields,
                "Repository": name,
                "Tag": tag,
                "Digest": by_repository.get(name, NONE) if digests or tag == NONE else NONE,
            },
        )
        for name, tag in names
    ]


def history(call: Call) -> int:
    parsed = call.parsed
    whole, human = parsed.flag("no-trunc"), parsed.flag("human")
    layers = sequence(call.client.get(f"/images/{segment(call.words[0])}/history"))
    rows = [_history_row(layer, whole, human) for layer in layers]
    quiet = "ID" if parsed.flag("quiet") else ""
    show(rows, HISTORY_COLUMNS, parsed.text("format"), {"CreatedAt": "CREATED AT"}, quiet=quiet)
    return 0


def _history_row(layer: Json, whole: bool, human: bool) -> Row:
    identifier, created, size = text(layer, "Id"), number(layer, "Created"), number(layer, "Size")
    by = text(layer, "CreatedBy").replace("\t", " ")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created))
    fields = {
        "ID": identifier if whole else short_id(identifier),
        "CreatedSince": (f"{age(time.time() - created)} ago" if created > 0 else "N/A") if human else stamp,
        "CreatedAt": stamp,
        "CreatedBy": by if whole else shortened(by, 45),
        "Size": decimal_size(size, 3) if human else str(size),
        "Comment": text(layer, "Comment"),
        "Tags": ",".join(texts(layer, "Tags")),
    }
    return Row("history", fields)


COMMANDS = {
    "image ls": Command(
        list_images,
        arguments="[REPOSITORY[:TAG]]",
        most=1,
        nouns=("image",),
        options=(
            Option("all", "flag", "Intermediate images too", short="a"),
            Option("digests", "flag", "Digests too"),
            FILTER,
            FORMAT,
            NO_TRUNC,
            QUIET,
        ),
    ),
    "image history": Command(
        history,
        arguments="IMAGE",
        least=1,
        most=1,
        nouns=("image",),
        options=(
            FORMAT,
            Option("human", "flag", "Ages and sizes for people", short="H", default=True),
            NO_TRUNC,
            QUIET,
        ),
    ),
}
