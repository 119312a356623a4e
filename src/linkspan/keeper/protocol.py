"""What daemon and keeper say to each other: typed messages as JSON, each with the descriptors that belong to it.

The daemon greets, the keeper answers with its inventory (and the descriptors of all that is in it), and from then on
the daemon tells and asks. Most messages have no answer: what a dying keeper did not read is told to the next one.
Those that carry a ``request`` number are answered with it.

``Hello``, ``Inventory``'s ``version``, ``instance``, ``pid``, ``held`` (``key``, ``sockets``) and ``served`` (``id``),
the order of descriptors, and ``End`` never change: so a daemon of any version can take over what a keeper of any
version holds, end it and start its own. A new optional field needs no new version, since unknown fields are skipped;
anything else does.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from linkspan.dns.names import Client, Figures, Host, Zone
from linkspan.keeper.face import Relay
from linkspan.model import address

VERSION = 1

SOCKET = "keeper.sock"
"""Below the exec-root: root's alone (0600)."""

SERVED_DESCRIPTORS = 3
"""Of each served sandbox: its UDP socket, its TCP socket, its namespace."""

T = TypeVar("T")


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    """The daemon's first word."""

    version: int
    instance: str


class PutZone(msgspec.Struct, frozen=True, kw_only=True, tag="put-zone"):
    zone: Zone


class DropZone(msgspec.Struct, frozen=True, kw_only=True, tag="drop-zone"):
    network: str


class PutHosts(msgspec.Struct, frozen=True, kw_only=True, tag="put-hosts"):
    hosts: tuple[tuple[str, Host], ...]


class DropHosts(msgspec.Struct, frozen=True, kw_only=True, tag="drop-hosts"):
    hosts: tuple[tuple[str, str], ...]


class PutClient(msgspec.Struct, frozen=True, kw_only=True, tag="put-client"):
    client: Client


class Serve(msgspec.Struct, frozen=True, kw_only=True, tag="serve"):
    """With ``SERVED_DESCRIPTORS``."""

    client: Client


class StopServing(msgspec.Struct, frozen=True, kw_only=True, tag="stop-serving"):
    sandbox: str
    request: int


class Hold(msgspec.Struct, frozen=True, kw_only=True, tag="hold"):
    """With the sockets; what was held under the key is released first."""

    key: str
    relay: Relay | None = None


class Release(msgspec.Struct, frozen=True, kw_only=True, tag="release"):
    keys: tuple[str, ...]
    request: int


class AskFigures(msgspec.Struct, frozen=True, kw_only=True, tag="ask-figures"):
    request: int


class End(msgspec.Struct, frozen=True, kw_only=True, tag="end"):
    """The keeper closes everything and ends; the daemon sees its end of the connection close."""


Order = (
    Hello
    | PutZone
    | DropZone
    | PutHosts
    | DropHosts
    | PutClient
    | Serve
    | StopServing
    | Hold
    | Release
    | AskFigures
    | End
)
"""What the daemon says."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """``relay`` is a ``Relay`` or null, read apart: another version may know other fields."""

    key: str
    sockets: int
    relay: msgspec.Raw = msgspec.Raw(b"null")


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """``client`` is a ``Client``, read apart."""

    id: str
    client: msgspec.Raw = msgspec.Raw(b"null")


class Inventory(msgspec.Struct, frozen=True, kw_only=True, tag="inventory"):
    """What a keeper has. Descriptors: the sockets of each ``held`` in order, then those of each ``served``."""

    version: int
    instance: str
    pid: int
    held: tuple[Held, ...] = ()
    served: tuple[Served, ...] = ()
    zones: tuple[msgspec.Raw, ...] = ()
    """Each a ``Zone``."""


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    request: int


class FiguresAre(msgspec.Struct, frozen=True, kw_only=True, tag="figures"):
    request: int
    figures: tuple[Figures, ...] = ()


Answer = Inventory | Done | FiguresAre
"""What the keeper says."""

_encoder = msgspec.json.Encoder(enc_hook=address.encode)
_orders: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order, dec_hook=address.decode)
_answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer, dec_hook=address.decode)


def encode(message: Order | Answer) -> bytes:
    """A message as it goes over the socket."""
    return _encoder.encode(message)


def part(value: Client | Zone | Relay | None) -> msgspec.Raw:
    """A part of an inventory that is read apart."""
    return msgspec.Raw(_encoder.encode(value))


def read_part(raw: msgspec.Raw, kind: type[T]) -> T | None:
    """A part of an inventory; None when it is absent or another version wrote it in a form unknown here."""
    try:
        return msgspec.json.decode(raw, type=kind, dec_hook=address.decode)
    except msgspec.ValidationError:
        return None


def decode_order(body: bytes) -> Order:
    """What the daemon said. msgspec.DecodeError for anything else."""
    return _orders.decode(body)


def decode_answer(body: bytes) -> Answer:
    """What the keeper said. msgspec.DecodeError for anything else."""
    return _answers.decode(body)


def descriptors_of(inventory: Inventory) -> int:
    """How many descriptors come with it."""
    return sum(item.sockets for item in inventory.held) + SERVED_DESCRIPTORS * len(inventory.served)
