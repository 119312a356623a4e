"""``linkspan ps``."""

from __future__ import annotations

import time

from linkspan.cli.client import Query, filters
from linkspan.cli.documents import Json, mapping, number, sequence, text, text_mapping, texts
from linkspan.cli.grammar import Command, Option
from linkspan.cli.human import age, decimal_size, local_time
from linkspan.cli.listing import FILTER, FORMAT, NO_TRUNC, QUIET, labelled, show
from linkspan.cli.tables import shortened
from linkspan.cli.template.value import Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

COLUMNS = (
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("PORTS", "Ports"),
    ("NAMES", "Names"),
)
HEADS = {"CreatedAt": "CREATED AT", "LocalVolumes": "LOCAL VOLUMES"}


def list_containers(call: Call) -> int:
    parsed = call.parsed
    layout = parsed.text("format")
    with_size = parsed.flag("size") or ".Size" in layout
    last = 1 if parsed.flag("latest") else max(parsed.number("last"), 0)
    query: Query = {
        "all": parsed.flag("all") or last > 0 or None,
        "limit": last or None,
        "size": with_size or None,
        "filters": filters(parsed.texts("filter")),
    }
    found = sequence(call.client.get("/containers/json", query))
    rows = [container_row(container, whole=parsed.flag("no-trunc")) for container in found]
    columns = (*COLUMNS, ("SIZE", "Size")) if with_size else COLUMNS
    show(rows, columns, layout, HEADS, quiet="ID" if parsed.flag("quiet") else "")
    return 0


def container_row(container: Json, *, whole: bool = False) -> Row:
    """The display fields of one container of ``GET /containers/json``."""
    identifier = text(container, "Id")
    command, created = text(container, "Command"), number(container, "Created")
    names = [name.removeprefix("/") for name in texts(container, "Names")]
    mounts = [text(mount, "Name") or text(mount, "Source") for mount in sequence(container, "Mounts")]
    fields = {
        "ID": identifier if whole else identifier[:12],
        "Names": ",".join(names if whole else [name for name in names if "/" not in name]),
        "Image": _image(container, whole),
        "Command": f'"{command if whole else shortened(command, 20)}"',
        "CreatedAt": local_time(created),
        "RunningFor": f"{age(time.time() - created)} ago",
        "Ports": shown_ports(sequence(container, "Ports")),
        "Status": text(container, "Status"),
        "State": text(container, "State"),
        "Size": _size(container),
        "Mounts": ",".join(mount if whole else shortened(mount, 15) for mount in mounts),
        "Networks": ",".join(sorted(mapping(container, "NetworkSettings", "Networks"))),
        "LocalVolumes": str(sum(text(mount, "Driver") == "local" for mount in sequence(container, "Mounts"))),
        "Platform": "",
    }
    return labelled("container", fields, text_mapping(container, "Labels"))


def _image(container: Json, whole: bool) -> str:
    image = text(container, "Image") or "<no image>"
    return image.removeprefix("sha256:")[:12] if image.startswith("sha256:") and not whole else image


def _size(container: Json) -> str:
    written, virtual = number(container, "SizeRw"), number(container, "SizeRootFs")
    shown = decimal_size(written, 3)
    return f"{shown} (virtual {decimal_size(virtual, 3)})" if virtual else shown


def shown_ports(ports: list[Json]) -> str:
    """``0.0.0.0:8080->80/tcp, 443/tcp``, neighbouring ports joined into ranges."""
    entries = {
        (text(port, "IP"), number(port, "PublicPort"), number(port, "PrivatePort"), text(port, "Type") or "tcp")
        for port in ports
    }
    runs: list[tuple[str, int, int, int, str]] = []
    for address, public, private, protocol in sorted(
        entries, key=lambda entry: (entry[0], entry[3], entry[2], entry[1])
    ):
        if runs:
            last_address, last_public, first, last, last_protocol = runs[-1]
            joined = (last_address, last_protocol, last + 1) == (address, protocol, private)
            if joined and (public == (last_public + private - first if last_public else 0)):
                runs[-1] = (address, last_public, first, private, protocol)
                continue
        runs.append((address, public, private, private, protocol))
    runs.sort(key=lambda run: (not run[1], run[4], run[2], run[0]))
    return ", ".join(_shown_run(*run) for run in runs)


def _shown_run(address: str, public: int, first: int, last: int, protocol: str) -> str:
    inside = f"{first}-{last}" if last > first else str(first)
    if not public:
        return f"{inside}/{protocol}"
    outside = f"{public}-{public + last - first}" if last > first else str(public)
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{outside}->{inside}/{protocol}"


COMMANDS = {
    "container ls": Command(
        list_containers,
        options=(
            Option("all", "flag", "Stopped containers too", short="a"),
            FILTER,
            FORMAT,
            Option("last", "int", "The so many created last, whatever their state", short="n", default=-1),
            Option("latest", "flag", "The one created last, whatever its state", short="l"),
            NO_TRUNC,
            QUIET,
            Option("size", "flag", "Sizes on disk", short="s"),
        ),
    )
}
