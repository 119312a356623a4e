"""How many descriptors all relays together may have open.

Strangers decide how many clients a relay has. Names are answered and ports reserved with descriptors of the same
process, so a flood of clients must leave enough of them.
"""

from __future__ import annotations

import resource

SHARE = 4
"""Relays may have one of so many of the descriptors that the process may open (RLIMIT_NOFILE)."""


class Allowance:
    """``left`` counts down."""

    def __init__(self, most: int) -> None:
        self.left = most

    def take(self, count: int) -> bool:
        """Whether so many more may be opened; they count as open then."""
        if self.left < count:
            return False
        self.left -= count
        return True

    def give_back(self, count: int) -> None:
        """So many were closed."""
        self.left += count


def of_process() -> Allowance:
    """What this process can spare."""
    return Allowance(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // SHARE)
