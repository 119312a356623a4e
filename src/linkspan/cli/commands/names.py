"""``linkspan names``: what containers asked the resolver, and how long its answers took."""

from __future__ import annotations

from linkspan.cli.documents import Json, number, sequence, text
from linkspan.cli.grammar import Command
from linkspan.cli.listing import FORMAT, by_number, show
from linkspan.cli.template.value import Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linkspan.cli.call import Call

COLUMNS = (
    ("CONTAINER", "Container"),
    ("QUERIES", "Queries"),
    ("LOCAL", "Local"),
    ("CACHED", "Cached"),
    ("FORWARDED", "Forwarded"),
    ("REFUSED", "Refused"),
    ("FAILED", "Failed"),
    ("MEAN", "Mean"),
    ("99% WITHIN", "Most"),
    ("SLOWEST", "Slowest"),
)
BOUNDS = ("100µs", "1ms", "10ms", "100ms", "1s")
"""Of the buckets that the API counts answers in; the last bucket has none."""


def names(call: Call) -> int:
    found = sequence(call.client.get("/linkspan/names"), "Resolvers")
    found.sort(key=lambda each: by_number(text(each, "Name")))
    show([row(each) for each in found], COLUMNS, call.parsed.text("format"))
    return 0


def row(figures: Json) -> Row:
    """The display fields of one resolver of ``GET /linkspan/names``."""
    buckets = [count for count in sequence(figures, "Buckets") if isinstance(count, int)]
    answers = sum(buckets) or number(figures, "Queries")
    fields = {
        "Container": text(figures, "Name"),
        "ID": text(figures, "Id"),
        **{
            name: str(number(figures, name))
            for name in ("Queries", "Local", "Cached", "Forwarded", "Refused", "Failed")
        },
        "Mean": span(number(figures, "Time") / answers) if answers else "-",
        "Most": most_within(buckets),
        "Slowest": span(number(figures, "Slowest")) if answers else "-",
    }
    return Row("resolver", fields)


def most_within(buckets: list[int]) -> str:
    """The smallest bound that 99 of 100 answers kept."""
    total, seen = sum(buckets), 0
    if not total:
        return "-"
    for count, bound in zip(buckets, BOUNDS, strict=False):
        seen += count
        if seen * 100 >= total * 99:
            return bound
    return f"over {BOUNDS[-1]}"


def span(nanoseconds: float) -> str:
    """``85µs``, ``1.2ms``, ``2s``"""
    for unit, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if nanoseconds >= unit:
            return f"{nanoseconds / unit:.3g}{name}"
    return f"{nanoseconds:.0f}ns"


COMMANDS = {"names": Command(names, options=(FORMAT,))}
