"""``-p`` and ``--expose``: ``[[address:]host-port:]port[/protocol]``, ranges, and the long form with ``target=``."""

from __future__ import annotations

from linkspan.cli.documents import Json
from linkspan.cli.values import csv_fields, is_address

PROTOCOLS = ("tcp", "udp", "sctp")

Bindings = dict[str, list[tuple[str, str]]]
"""``80/tcp`` to (host address, host port) pairs; an empty host port is any."""


def published(texts: list[str]) -> Bindings:
    """Raises ValueError naming the bad text."""
    found: Bindings = {}
    for text in texts:
        for port, address, host_port in _one(_short_form(text) if "=" in text else text):
            found.setdefault(port, []).append((address, host_port))
    return found


def exposed(texts: list[str]) -> list[str]:
    """``--expose`` texts as single ports. Raises ValueError."""
    ports = []
    for text in texts:
        if ":" in text:
            raise ValueError(f"invalid port format for --expose: {text}")
        numbers, protocol = _protocol(text)
        first, last = _range(numbers, text)
        ports += [f"{port}/{protocol}" for port in range(first, last + 1)]
    return ports


def bindings_document(found: Bindings) -> dict[str, Json]:
    return {
        port: [{"HostIp": address, "HostPort": host_port} for address, host_port in pairs]
        for port, pairs in found.items()
    }


def _short_form(text: str) -> str:
    fields: dict[str, str] = {}
    for field in csv_fields(text):
        key, equals, value = field.partition("=")
        if not equals or key not in ("protocol", "mode", "target", "published"):
            raise ValueError(f"invalid field '{field}' in port '{text}'")
        fields[key] = value
    if "target" not in fields:
        raise ValueError(f"port '{text}' has no target")
    return f"{fields.get('published', '')}:{fields['target']}/{fields.get('protocol', 'tcp')}"


def _one(text: str) -> list[tuple[str, str, str]]:
    numbers, protocol = _protocol(text)
    address, host, inside = _parts(numbers, text)
    if address and not is_address(address):
        raise ValueError(f"invalid IP address: {address}")
    first, last = _range(inside, text)
    if not first:
        raise ValueError(f"invalid containerPort: 0 in {text}")
    if not host:
        return [(f"{port}/{protocol}", address, "") for port in range(first, last + 1)]
    host_first, host_last = _range(host, text)
    if host_last - host_first != last - first:
        if first != last:
            count = "1 port" if host_first == host_last else f"{host_last - host_first + 1} ports"
            raise ValueError(
                f"port ranges of unequal length in {text}: {host} on the host has {count}, "
                f"{inside} in the container has {last - first + 1}"
            )
        return [(f"{first}/{protocol}", address, f"{host_first}-{host_last}")]
    return [(f"{port}/{protocol}", address, str(host_first + port - first)) for port in range(first, last + 1)]


def _parts(numbers: str, text: str) -> tuple[str, str, str]:
    rest, _, inside = numbers.rpartition(":")
    if not inside:
        raise ValueError(f"no port specified: {text}<empty>")
    address, _, host = rest.rpartition(":")
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    elif address.count(":") == 1 or (":" in address and not is_address(address)):
        raise ValueError(f"invalid IP address: {address}")
    return address, host, inside


def _protocol(text: str) -> tuple[str, str]:
    numbers, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in PROTOCOLS:
        raise ValueError(f"invalid proto: {protocol}")
    return numbers, protocol


def _range(text: str, whole: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not dash:
        last = first
    if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
        raise ValueError(f"invalid containerPort or hostPort: {text} in {whole}")
    if int(last) > 65535 or int(first) > int(last):
        raise ValueError(f"invalid range or port above 65535: {text} in {whole}")
    return int(first), int(last)
