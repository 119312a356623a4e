"""A foreign rule in words like nft's own, short enough for a sentence. Pure."""

from __future__ import annotations

from collections.abc import Iterable

XT_REFUSING = ("REJECT", "DROP")
"""Targets of iptables that end a packet, by name."""


def rule_text(parts: Iterable[tuple[str, object]]) -> str:
    """A rule from its expressions as kind and value (libnftables-json(5))."""
    return " ".join(filter(None, (expression_text(kind, value) for kind, value in parts)))


def expression_text(kind: str, value: object) -> str:
    """One expression; what only counts or logs is left out."""
    match kind, value:
        case "match", {"left": left, "right": right, "op": op}:
            return f"{operand(left)}{' !=' if op == '!=' else ''} {operand(right)}"
        case "xt", {"name": name}:
            return str(name).lower() if name in XT_REFUSING else f"-m {name}"
        case (("jump" | "goto"), {"target": target}):
            return f"{kind} {target}"
        case "limit", _:
            return "limit"
        case (("accept" | "drop" | "return" | "reject"), _):
            return kind
        case "vmap", {"key": key}:
            return f"{operand(key)} vmap"
    return ""


def operand(value: object) -> str:
    """One side of a comparison."""
    match value:
        case {"meta": {"key": ("iifname" | "oifname" | "iif" | "oif") as key}}:
            return str(key)
        case {"meta": {"key": key}}:
            return f"meta {key}"
        case {"ct": {"key": key}}:
            return f"ct {key}"
        case {"payload": {"protocol": protocol, "field": field}}:
            return f"{protocol} {field}"
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"range": [first, last]}:
            return f"{operand(first)}-{operand(last)}"
        case {"set": list(items)}:
            return "{ " + ", ".join(operand(each) for each in items) + " }"
        case list():
            return ",".join(operand(each) for each in value)
        case str() | int():
            return str(value)
    return "..."
