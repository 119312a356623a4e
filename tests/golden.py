"""Golden files: what the product shows, kept beside the tests and shown in the documentation.

``LINKSPAN_UPDATE_GOLDEN=1`` makes every test write its file instead of comparing. Read the difference before you
commit it: it is what people will see.
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"
UPDATE = os.environ.get("LINKSPAN_UPDATE_GOLDEN") == "1"


def check(name: str, text: str) -> None:
    """Compares ``text`` with the file ``name`` below tests/golden, or writes it."""
    path = FOLDER / name
    if UPDATE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    if not path.exists():
        raise AssertionError(f"{path} is missing; LINKSPAN_UPDATE_GOLDEN=1 writes it")
    assert text == path.read_text(encoding="utf-8"), f"{name} has changed; LINKSPAN_UPDATE_GOLDEN=1 accepts it"
