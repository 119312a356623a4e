"""JSON in and out through CPython's ``_json``: importing ``json`` itself costs 7 ms, because it imports ``re``."""

from __future__ import annotations

from _json import encode_basestring, make_scanner

from linkspan.cli.documents import Json

_BLANK = " \t\n\r"


class _Context:
    """What ``_json.make_scanner`` reads its settings from (see json.decoder.JSONDecoder)."""

    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


_scan = make_scanner(_Context())  # type: ignore[arg-type]  # duck-typed: typeshed asks for the class itself


def decode(source: str | bytes) -> Json:
    """Decodes one document. Raises ValueError when it is no JSON or more follows."""
    if isinstance(source, bytes):
        source = source.decode("utf-8", "replace")
    source = source.strip(_BLANK)
    document: Json
    try:
        document, end = _scan(source, 0)
    except (StopIteration, SystemError, RecursionError, ValueError) as reason:
        # SystemError: the scanner wants to raise json's own error and finds that json was never imported.
        raise ValueError("not a JSON document") from reason
    if end < len(source):
        raise ValueError("text after the end of the JSON document")
    return document


def encode(value: Json, indent: int = 0) -> str:
    """One line when ``indent`` is 0, as Go's encoding/json does it; else one field a line."""
    if indent:
        return _pretty(value, " " * indent, "\n")
    if isinstance(value, dict):
        return "{" + ",".join(f"{encode_basestring(key)}:{encode(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(encode(item) for item in value) + "]"
    return _scalar(value)


def _pretty(value: Json, step: str, line: str) -> str:
    inner = line + step
    if isinstance(value, dict) and value:
        fields = (f"{encode_basestring(key)}: {_pretty(item, step, inner)}" for key, item in value.items())
        return "{" + inner + ("," + inner).join(fields) + line + "}"
    if isinstance(value, list) and value:
        return "[" + inner + ("," + inner).join(_pretty(item, step, inner) for item in value) + line + "]"
    return encode(value)


def _scalar(value: Json) -> str:
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return str(value)
