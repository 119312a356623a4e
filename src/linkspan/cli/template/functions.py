"""The functions of a template: Go's own, and those that Docker adds (json, join, split, lower, upper, title, pad,
truncate). Each takes its arguments as a list; a ValueError, TypeError or IndexError becomes the template's error.
"""

from __future__ import annotations

from linkspan.cli.client import quoted
from linkspan.cli.documents import Json
from linkspan.cli.jsontext import encode
from linkspan.cli.template.value import ABSENT, Absent, NullList, Value, document, kind, lookup, printed, truth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _json(arguments: list[Value]) -> Value:
    return encode(document(arguments[0]))


def _index(arguments: list[Value]) -> Value:
    value = arguments[0]
    for key in arguments[1:]:
        if isinstance(value, dict):
            value = _keyed(value, key)
        elif isinstance(value, (list, str)):
            value = _placed(value, key)
        else:
            raise ValueError(f"can't index a {kind(value)} with {printed(key)}")
    return value


def _keyed(value: dict[str, Json], key: Value) -> Value:
    if not isinstance(key, str):
        raise ValueError(f"value is a {kind(key)}; should be a string")
    if key in value:
        return lookup(value, key, [], key)
    # The zero value of the map's type: the empty text in the maps of texts that scripts ask about.
    return "" if all(isinstance(item, str) for item in value.values()) else ABSENT


def _placed(value: list[Json] | str, key: Value) -> Value:
    place = _whole(key)
    if not 0 <= place < len(value):
        raise ValueError(f"index out of range: {place}")
    return ord(value[place]) if isinstance(value, str) else value[place]


def _slice(arguments: list[Value]) -> Value:
    value = arguments[0]
    if not isinstance(value, (list, str)):
        raise ValueError(f"can't slice a {kind(value)}")
    ends = [_whole(end) for end in arguments[1:]]
    start, stop = (ends + [0, len(value)][len(ends) :]) if len(ends) < 2 else ends[:2]
    if not 0 <= start <= stop <= len(value):
        raise ValueError(f"index out of range: {max(start, stop)}")
    return value[start:stop]


def _len(arguments: list[Value]) -> Value:
    value = arguments[0]
    if isinstance(value, (str, list, dict)):
        return len(value.encode()) if isinstance(value, str) else len(value)
    if isinstance(value, (NullList, Absent)):
        return 0
    raise ValueError(f"len of type {kind(value)}")


def _not(arguments: list[Value]) -> Value:
    return not truth(arguments[0])


def _eq(arguments: list[Value]) -> Value:
    """True when the first equals any of the others."""
    first = arguments[0]
    if len(arguments) < 2:
        raise ValueError("missing argument for comparison")
    return any(_same(first, other) for other in arguments[1:])


def _same(left: Value, right: Value) -> bool:
    if isinstance(left, bool) != isinstance(right, bool) or isinstance(left, str) != isinstance(right, str):
        if (
            left is None
            or right is None
            or isinstance(left, (Absent, NullList))
            or isinstance(right, (Absent, NullList))
        ):
            return False
        raise ValueError("incompatible types for comparison")
    return left == right


def _ne(arguments: list[Value]) -> Value:
    return not _same(arguments[0], arguments[1])


def _ordered(wanted: tuple[int, ...]) -> Callable[[list[Value]], Value]:
    def compare(arguments: list[Value]) -> Value:
        left, right = arguments[0], arguments[1]
        if isinstance(left, str) and isinstance(right, str):
            return (left > right) - (left < right) in wanted
        if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            return (left > right) - (left < right) in wanted
        raise ValueError("incompatible types for comparison")

    return compare


def _print(arguments: list[Value]) -> Value:
    """A space between operands when neither is a text, as fmt.Sprint."""
    parts: list[str] = []
    for position, value in enumerate(arguments):
        if position and not isinstance(value, str) and not isinstance(arguments[position - 1], str):
            parts.append(" ")
        parts.append(printed(value))
    return "".join(parts)


def _println(arguments: list[Value]) -> Value:
    return " ".join(map(printed, arguments)) + "\n"


def _printf(arguments: list[Value]) -> Value:
    layout, waiting = _text(arguments[0]), list(arguments[1:])
    parts: list[str] = []
    position = 0
    while position < len(layout):
        letter = layout[position]
        position += 1
        if letter != "%":
            parts.append(letter)
            continue
        start = position
        while position < len(layout) and layout[position] in "+-# 0123456789.":
            position += 1
        verb = layout[position : position + 1]
        position += 1
        if verb == "%":
            parts.append("%")
        elif not waiting:
            parts.append(f"%!{verb}(MISSING)")
        else:
            parts.append(_formatted(layout[start : position - 1], verb, waiting.pop(0)))
    if waiting:
        parts.append("%!(EXTRA " + ", ".join(f"{kind(value)}={printed(value)}" for value in waiting) + ")")
    return "".join(parts)


def _formatted(flags: str, verb: str, value: Value) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if verb in ("s", "v"):
        return str.__mod__(f"%{flags.replace('+', '').replace('#', '')}s", (printed(value),))
    if verb == "q":
        return encode(printed(value))
    if verb == "t" and isinstance(value, bool):
        return printed(value)
    if verb in ("d", "x", "X", "o", "c") and isinstance(value, int):
        return str.__mod__(f"%{flags}{verb}", (value,))
    if verb in ("f", "g", "e") and number:
        return str.__mod__(f"%{flags}{verb}", (value,))
    if verb == "x" and isinstance(value, str):
        return value.encode().hex()
    if verb == "T":
        return kind(value)
    return f"%!{verb}({kind(value)}={printed(value)})"


def _join(arguments: list[Value]) -> Value:
    items, separator = arguments[0], _text(arguments[1])
    if isinstance(items, NullList):
        return ""
    if not isinstance(items, list):
        raise ValueError(f"can't join a {kind(items)}")
    return separator.join(map(printed, items))


def _split(arguments: list[Value]) -> Value:
    text, separator = _text(arguments[0]), _text(arguments[1])
    return list[Json](text.split(separator)) if separator else list[Json](text)


def _title(arguments: list[Value]) -> Value:
    text = _text(arguments[0])
    return "".join(
        letter.upper() if position == 0 or text[position - 1].isspace() else letter
        for position, letter in enumerate(text)
    )


def _pad(arguments: list[Value]) -> Value:
    text = _text(arguments[0])
    return " " * _whole(arguments[1]) + text + " " * _whole(arguments[2]) if text else ""


def _truncate(arguments: list[Value]) -> Value:
    return _text(arguments[0])[: _whole(arguments[1])]


def _upper(arguments: list[Value]) -> Value:
    return _text(arguments[0]).upper()


def _lower(arguments: list[Value]) -> Value:
    return _text(arguments[0]).lower()


def _html(arguments: list[Value]) -> Value:
    text = "".join(map(printed, arguments)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&#34;").replace("'", "&#39;")


def _urlquery(arguments: list[Value]) -> Value:
    return quoted("".join(map(printed, arguments))).replace("/", "%2F").replace(":", "%3A").replace(",", "%2C")


def _text(value: Value) -> str:
    if not isinstance(value, str):
        raise ValueError(f"wrong type: expected string; found {kind(value)}")
    return value


def _whole(value: Value) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"wrong type: expected int; found {kind(value)}")
    return value


FUNCTIONS: dict[str, Callable[[list[Value]], Value]] = {
    "json": _json,
    "index": _index,
    "slice": _slice,
    "len": _len,
    "not": _not,
    "eq": _eq,
    "ne": _ne,
    "lt": _ordered((-1,)),
    "le": _ordered((-1, 0)),
    "gt": _ordered((1,)),
    "ge": _ordered((1, 0)),
    "print": _print,
    "println": _println,
    "printf": _printf,
    "join": _join,
    "split": _split,
    "lower": _lower,
    "upper": _upper,
    "title": _title,
    "pad": _pad,
    "truncate": _truncate,
    "html": _html,
    "js": lambda arguments: encode(_text(arguments[0]))[1:-1],
    "urlquery": _urlquery,
}
"""``and`` and ``or`` are not here: they do not run all their arguments (``linkspan.cli.template.run``)."""
