"""``linkspan volume``: create, ls, rm, prune."""

from __future__ import annotations

from linkspan.cli.client import Query, filters, segment
from linkspan.cli.documents import Json, number, sequence, text, text_mapping, texts
from linkspan.cli.failure import DaemonError, UsageError
from linkspan.cli.grammar import Command, Option
from linkspan.cli.human import decimal_size
from linkspan.cli.listing import FILTER, FORMAT, by_number, labelled, show
from linkspan.cli.pruning import FORCE, confirmed, show_deleted, show_reclaimed
from linkspan.cli.template.value import Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call


def create(call: Call) -> int:
    parsed = call.parsed
    if call.words and parsed.text("name"):
        raise UsageError(
            "linkspan: conflicting options: cannot specify a volume-name through both --name and as a positional arg", 1
        )
    body: dict[str, Json] = {
        "Name": call.words[0] if call.words else parsed.text("name"),
        "Driver": parsed.text("driver"),
        "DriverOpts": dict[str, Json](parsed.pairs("opt")),
        "Labels": dict[str, Json](parsed.pairs("label")),
    }
    print(text(call.client.post("/volumes/create", body=body), "Name"))
    return 0


def list_volumes(call: Call) -> int:
    parsed = call.parsed
    answer = call.client.get("/volumes", {"filters": filters(parsed.texts("filter"))})
    found = sorted(sequence(answer, "Volumes"), key=lambda volume: by_number(text(volume, "Name")))
    rows = [volume_row(volume) for volume in found]
    columns = (("DRIVER", "Driver"), ("VOLUME NAME", "Name"))
    show(rows, columns, parsed.text("format"), quiet="Name" if parsed.flag("quiet") else "")
    return 0


def volume_row(volume: Json) -> Row:
    """The display fields of one volume of ``GET /volumes``."""
    size, links = number(volume, "UsageData", "Size"), number(volume, "UsageData", "RefCount")
    fields = {
        "Name": text(volume, "Name"),
        "Driver": text(volume, "Driver"),
        "Scope": text(volume, "Scope"),
        "Mountpoint": text(volume, "Mountpoint"),
        "Size": decimal_size(size) if "UsageData" in (volume if isinstance(volume, dict) else {}) else "N/A",
        "Links": str(links),
        "Group": "N/A",
        "Status": "N/A",
        "Availability": "N/A",
    }
    return labelled("volume", fields, text_mapping(volume, "Labels"))


def remove(call: Call) -> int:
    query: Query = {"force": call.parsed.flag("force") or None}

    def delete(name: str) -> None:
        try:
            call.client.delete(f"/volumes/{segment(name)}", query)
        except DaemonError as failure:
            if failure.code != 404 or not call.parsed.flag("force"):
                raise

    return call.each(delete)


def prune(call: Call) -> int:
    every = call.parsed.flag("all")
    what = "local" if every else "anonymous local"
    question = f"This will remove {what} volumes not used by at least one container."
    if not confirmed(question, call.parsed.flag("force")):
        return 0
    wanted = [*call.parsed.texts("filter"), *(["all=true"] if every else [])]
    answer = call.client.post("/volumes/prune", {"filters": filters(wanted)})
    show_deleted("Deleted Volumes:", texts(answer, "VolumesDeleted"))
    show_reclaimed(number(answer, "SpaceReclaimed"))
    return 0


COMMANDS = {
    "volume create": Command(
        create,
        arguments="[VOLUME]",
        most=1,
        options=(
            Option("driver", "string", "Driver of the volume", short="d", default="local"),
            Option("label", "list", "Label (key=value)"),
            Option("name", "string", "Name of the volume", hidden=True),
            Option("opt", "map", "Option for the driver (key=value)", short="o"),
        ),
    ),
    "volume ls": Command(
        list_volumes, options=(FILTER, FORMAT, Option("quiet", "flag", "Print names only", short="q"))
    ),
    "volume rm": Command(
        remove,
        arguments="VOLUME [VOLUME...]",
        least=1,
        most=None,
        nouns=("volume",),
        options=(Option("force", "flag", "An absent volume is no error", short="f"),),
    ),
    "volume prune": Command(
        prune,
        options=(
            Option("all", "flag", "Named volumes too", short="a"),
            Option("filter", "filter", "Only what matches (label=…)"),
            FORCE,
        ),
    ),
}
