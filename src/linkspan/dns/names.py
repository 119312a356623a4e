"""What the daemon tells the keeper about names: plain values, so that a protocol can carry them."""

from __future__ import annotations

import msgspec


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """One container's place on a network: all that it is called there, and where it is."""

    id: str
    """Endpoint id: the key for putting and dropping."""
    names: tuple[str, ...]
    """The container's name first (what PTR answers), then aliases, short id, hostname; case does not matter."""
    addresses: tuple[str, ...]
    """IPv4 and IPv6, as ``ipaddress`` writes them."""
    ports: tuple[str, ...] = ()
    """What it offers, ``80/tcp``: for SRV queries such as ``_80._tcp.web`` and ``_http._tcp.web``."""


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """The names on one network. Each is also known as ``name.NETWORK``."""

    id: str
    """Network id."""
    name: str
    """Network name."""
    hosts: tuple[Host, ...] = ()


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream server. Queries leave from the sandbox, or from the host's namespace (``from_host``)."""

    address: str
    port: int = 53
    from_host: bool = False


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """One sandbox as the resolver sees it."""

    id: str
    """Sandbox id."""
    name: str
    """Of its owner, for figures and logs."""
    zones: tuple[str, ...] = ()
    """Network ids, in the order of look-up (the gateway's network first)."""
    extra: tuple[Host, ...] = ()
    """Names that only this sandbox knows (``--link``)."""
    servers: tuple[Server, ...] = ()
    """Asked in this order about what is unknown here."""
    forward: bool = True
    """False on internal networks: unknown names are NXDOMAIN, and nothing leaves."""
    ndots: bool = False
    """The sandbox's resolv.conf asks for ``ndots`` above 0: an unknown name of one label has no address, so that the
    client goes on with its search domains; it is not forwarded."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one sandbox has asked. Latency of answers in seconds, as sums and in buckets."""

    id: str
    name: str
    queries: int = 0
    local: int = 0
    """Answered from our own names."""
    cached: int = 0
    forwarded: int = 0
    refused: int = 0
    """Malformed, or above the bounds of the client's queue."""
    failed: int = 0
    """Forwarded, and no server gave a proper answer in time."""
    seconds: float = 0.0
    """All latencies together."""
    slowest: float = 0.0
    buckets: tuple[int, ...] = ()
    """Answers within 0.1 ms, 1 ms, 10 ms, 100 ms, 1 s, and slower: six counts."""
