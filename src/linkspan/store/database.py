"""The SQLite connection: opening, migrating, transactions, and turning its failures into ours.

Transactions are begun by hand (``isolation_level=None``), since the sqlite3 module's own would commit behind our back
before schema changes. A statement outside ``transaction`` is a transaction of its own.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from linkspan.errors import StoreFailure
from linkspan.store.schema import MIGRATIONS

Value = str | bytes | int


class Database:
    """One open file. Not for use by several threads."""

    def __init__(self, path: Path, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
        """Opens or makes the file (0600) and brings it to the newest schema. StoreFailure names the path."""
        self.path = path
        self._depth = 0
        self._spoilt = False
        try:
            _make_private(path)
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        except (OSError, sqlite3.Error) as error:
            raise self._failure("open", error) from error
        try:
            self._prepare(migrations)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Writes the log back into the file and closes it. A second call does nothing."""
        try:
            self._connection.close()
        except sqlite3.Error as error:
            raise self._failure("close", error) from error

    def write(self, statement: str, values: Sequence[Value] = ()) -> None:
        """Runs one statement. On return it is on disk, unless a transaction is open around it."""
        try:
            self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise self._failure("write", error) from error

    def read(self, statement: str, values: Sequence[Value] = ()) -> list[tuple[Value, ...]]:
        """All rows of a query, those of the open transaction included."""
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._failure("read", error) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside, or none. A nested one joins the outer one and is committed with it.

        An exception rolls everything back, also what outer levels wrote: when an outer level swallows it and goes
        on, its end raises StoreFailure. Never ``await`` inside: another task's writes would join.
        """
        if self._depth == 0:
            self._spoilt = False
            self.write("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._spoilt = True
            raise
        finally:
            self._depth -= 1
            if self._depth == 0 and self._spoilt:
                self._roll_back()
        if self._depth == 0:
            self._commit()

    def _commit(self) -> None:
        if self._spoilt:
            raise StoreFailure(f"the changes to {self.path} were rolled back, since a part of them failed")
        try:
            self.write("COMMIT")
        except StoreFailure:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        """Best effort: SQLite has already rolled back by itself after some failures (disk full, I/O error)."""
        if self._connection.in_transaction:
            self.write("ROLLBACK")

    def _prepare(self, migrations: Sequence[Sequence[str]]) -> None:
        self.read("PRAGMA journal_mode=WAL")
        self.write("PRAGMA synchronous=FULL")
        complaint = self.read("PRAGMA quick_check(1)")[0][0]
        if complaint != "ok":
            raise StoreFailure(f"{self.path} is damaged: {complaint!s}", remedy="restore it from a backup")
        version = int(self.read("PRAGMA user_version")[0][0])
        newest = len(migrations)
        if version > newest:
            raise StoreFailure(
                f"{self.path} was written by a newer Linkspan (schema {version}, this one reads up to {newest})",
                remedy="run that version or take another --data-root",
            )
        for number in range(version, newest):
            with self.transaction():
                for statement in migrations[number]:
                    self.write(statement)
                self.write(f"PRAGMA user_version={number + 1}")

    def _failure(self, verb: str, error: Exception) -> StoreFailure:
        return StoreFailure(f"cannot {verb} {self.path}: {error}")


def _make_private(path: Path) -> None:
    """SQLite gives its log files the mode of the main file, so making that one 0600 first covers all three."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
