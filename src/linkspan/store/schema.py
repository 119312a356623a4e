"""The store's schema versions. A file is migrated forward when it is opened; a newer one is refused.

``MIGRATIONS[n]`` brings a file from version n to n + 1 (``PRAGMA user_version``, sqlite.org/pragma.html). Each runs in
one transaction with its version number, so a crash leaves one version or the next. Never edit one that was released:
append. Documents are JSON of ``linkspan.model`` structs; a new field with a default needs no migration.
"""

from __future__ import annotations

DOCUMENT_TABLES = (
    "networks",
    "containers",
    "states",
    "sandboxes",
    "endpoints",
    "volumes",
    "image_configs",
    "meta",
)
"""Tables of (key, JSON document) as of version 1."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        *(f"CREATE TABLE {table} (key TEXT NOT NULL PRIMARY KEY, document BLOB NOT NULL)" for table in DOCUMENT_TABLES),
        "CREATE TABLE cursors (network_id TEXT NOT NULL, subnet TEXT NOT NULL, address TEXT NOT NULL, "
        "PRIMARY KEY (network_id, subnet)) WITHOUT ROWID",
    ),
)
