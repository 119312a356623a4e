"""``linkspan system df`` and ``system prune``."""

from __future__ import annotations

from linkspan.cli.client import filters
from linkspan.cli.commands.container_list import container_row
from linkspan.cli.commands.image_list import image_rows
from linkspan.cli.commands.volume import volume_row
from linkspan.cli.documents import Json, number, sequence, text, texts
from linkspan.cli.grammar import Command, Option
from linkspan.cli.human import decimal_size
from linkspan.cli.listing import FORMAT, show
from linkspan.cli.pruning import FILTER, FORCE, confirmed, removed_images, show_deleted, show_reclaimed
from linkspan.cli.template.value import Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

COLUMNS = (
    ("TYPE", "Type"),
    ("TOTAL", "TotalCount"),
    ("ACTIVE", "Active"),
    ("SIZE", "Size"),
    ("RECLAIMABLE", "Reclaimable"),
)
STOPPED = ("exited", "created", "dead")


def disk_usage(call: Call) -> int:
    document = call.client.get("/system/df")
    if call.parsed.flag("verbose"):
        return _verbose(document)
    show(usage_rows(document), COLUMNS, call.parsed.text("format"))
    return 0


def usage_rows(document: Json) -> list[Row]:
    """One row each for images, containers and volumes."""
    images, volumes = sequence(document, "Images"), sequence(document, "Volumes")
    containers = sequence(document, "Containers")
    layers = number(document, "LayersSize") or sum(number(image, "Size") for image in images)
    of_containers = {text(container, "ImageID") for container in containers}
    used = [image for image in images if text(image, "Id") in of_containers]
    in_use = sum(number(image, "Size") - max(number(image, "SharedSize"), 0) for image in used)
    alive = [container for container in containers if text(container, "State") not in STOPPED]
    written = sum(number(container, "SizeRw") for container in containers)
    held = [volume for volume in volumes if number(volume, "UsageData", "RefCount") > 0]
    size = sum(max(number(volume, "UsageData", "Size"), 0) for volume in volumes)
    return [
        _row("Images", len(images), len(used), layers, layers - min(in_use, layers)),
        _row(
            "Containers",
            len(containers),
            len(alive),
            written,
            written - sum(number(container, "SizeRw") for container in alive),
        ),
        _row(
            "Local Volumes",
            len(volumes),
            len(held),
            size,
            size - sum(max(number(volume, "UsageData", "Size"), 0) for volume in held),
        ),
    ]


def _row(kind: str, total: int, active: int, size: int, reclaimable: int) -> Row:
    share = f" ({reclaimable * 100 // size}%)" if size else ""
    fields = {
        "Type": kind,
        "TotalCount": str(total),
        "Active": str(active),
        "Size": decimal_size(size),
        "Reclaimable": f"{decimal_size(reclaimable)}{share}",
    }
    return Row("disk usage", fields)


def _verbose(document: Json) -> int:
    print("Images space usage:\n")
    rows = [row for image in sequence(document, "Images") for row in image_rows(image, False)]
    image_columns = (("REPOSITORY", "Repository"), ("TAG", "Tag"), ("IMAGE ID", "ID"), ("CREATED", "CreatedSince"))
    show(rows, (*image_columns, ("SIZE", "Size"), ("SHARED SIZE", "SharedSize"), ("CONTAINERS", "Containers")), "")
    print("\nContainers space usage:\n")
    rows = [container_row(container) for container in sequence(document, "Containers")]
    container_columns = (("CONTAINER ID", "ID"), ("IMAGE", "Image"), ("COMMAND", "Command"))
    more = (("LOCAL VOLUMES", "LocalVolumes"), ("SIZE", "Size"), ("CREATED", "RunningFor"))
    show(rows, (*container_columns, *more, ("STATUS", "Status"), ("NAMES", "Names")), "")
    print("\nLocal Volumes space usage:\n")
    rows = [volume_row(volume) for volume in sequence(document, "Volumes")]
    show(rows, (("VOLUME NAME", "Name"), ("LINKS", "Links"), ("SIZE", "Size")), "")
    return 0


def prune(call: Call) -> int:
    parsed = call.parsed
    every, volumes = parsed.flag("all"), parsed.flag("volumes")
    what = ["all stopped containers", "all networks not used by at least one container"]
    what += ["all anonymous volumes not used by at least one container"] if volumes else []
    what += ["all images without at least one container associated to them" if every else "all dangling images"]
    question = "This will remove:\n" + "\n".join(f"  - {line}" for line in what)
    if not confirmed(question, parsed.flag("force")):
        return 0
    client, chosen = call.client, parsed.texts("filter")
    wanted = {"filters": filters(chosen)}
    reclaimed = 0
    for title, path, key in (
        ("Deleted Containers:", "/containers/prune", "ContainersDeleted"),
        ("Deleted Networks:", "/networks/prune", "NetworksDeleted"),
        *([("Deleted Volumes:", "/volumes/prune", "VolumesDeleted")] if volumes else []),
    ):
        answer = client.post(path, {**wanted})
        reclaimed += number(answer, "SpaceReclaimed")
        show_deleted(title, texts(answer, key))
    images = filters([*chosen, f"dangling={'false' if every else 'true'}"])
    answer = client.post("/images/prune", {"filters": images})
    show_deleted("Deleted Images:", removed_images(sequence(answer, "ImagesDeleted")))
    show_reclaimed(reclaimed + number(answer, "SpaceReclaimed"))
    return 0


COMMANDS = {
    "system df": Command(
        disk_usage, options=(FORMAT, Option("verbose", "flag", "Every image, container and volume", short="v"))
    ),
    "system prune": Command(
        prune,
        options=(
            Option("all", "flag", "All unused images, named ones too", short="a"),
            FILTER,
            FORCE,
            Option("volumes", "flag", "Anonymous volumes too"),
        ),
    ),
}
