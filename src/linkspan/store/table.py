"""Tables of one kind of document each, and the cursors of address allocation."""

from __future__ import annotations

import ipaddress
from typing import Generic, TypeVar

import msgspec

from linkspan.errors import StoreFailure
from linkspan.model.address import IPAddress, IPNetwork, decode, encode
from linkspan.store.database import Database

T = TypeVar("T")

_ENCODER = msgspec.json.Encoder(enc_hook=encode)


class Table(Generic[T]):
    """Documents of type ``T`` by key. Every method raises StoreFailure when the disk or a document is bad."""

    def __init__(self, database: Database, name: str, kind: type[T]) -> None:
        self._database = database
        self._name = name
        self._decoder = msgspec.json.Decoder(kind, dec_hook=decode)

    def put(self, key: str, document: T) -> None:
        """Writes or replaces a document."""
        self._database.write(
            f"INSERT INTO {self._name} VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET document = excluded.document",
            (key, _ENCODER.encode(document)),
        )

    def get(self, key: str) -> T | None:
        """One document, or None."""
        rows = self._database.read(f"SELECT key, document FROM {self._name} WHERE key = ?", (key,))
        return self._decoded(*rows[0]) if rows else None

    def delete(self, key: str) -> None:
        """Removes a document. An absent one is no error."""
        self._database.write(f"DELETE FROM {self._name} WHERE key = ?", (key,))

    def all(self) -> dict[str, T]:
        """Every document, in the order in which their keys were first written: what the daemon reads at start."""
        rows = self._database.read(f"SELECT key, document FROM {self._name} ORDER BY rowid")
        return {str(key): self._decoded(key, document) for key, document in rows}

    def _decoded(self, key: object, document: str | bytes | int) -> T:
        try:
            return self._decoder.decode(document if isinstance(document, str | bytes) else b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreFailure(
                f"{self._database.path}: {key} in {self._name} is damaged: {error}", remedy="restore it from a backup"
            ) from error


class Cursors:
    """Where dynamic allocation stands: the last address given, by network and subnet."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, network_id: str, subnet: IPNetwork, last: IPAddress) -> None:
        """Writes or replaces one cursor."""
        self._database.write("REPLACE INTO cursors VALUES (?, ?, ?)", (network_id, str(subnet), str(last)))

    def delete(self, network_id: str) -> None:
        """Removes all cursors of a network."""
        self._database.write("DELETE FROM cursors WHERE network_id = ?", (network_id,))

    def all(self) -> tuple[tuple[str, IPNetwork, IPAddress], ...]:
        """Every cursor as (network id, subnet, last address)."""
        rows = self._database.read("SELECT network_id, subnet, address FROM cursors")
        try:
            return tuple(
                (str(network_id), ipaddress.ip_network(str(subnet)), ipaddress.ip_address(str(last)))
                for network_id, subnet, last in rows
            )
        except ValueError as error:
            raise StoreFailure(f"{self._database.path}: a cursor is damaged: {error}") from error
