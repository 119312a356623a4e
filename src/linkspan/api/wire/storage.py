"""Storage drivers under the names that Docker's clients know: what they share is what people know of them."""

from __future__ import annotations

NAMES = {"overlay": "overlay2", "copy": "vfs"}


def driver_name(driver: str) -> str:
    """``overlay2`` for our ``overlay``, ``vfs`` for our ``copy``."""
    return NAMES.get(driver, driver)
