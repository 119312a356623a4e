"""A set of integers kept as sorted, disjoint, non-touching intervals.

A long run of taken addresses is one interval, so "the next one that is free" is one bisection however full or large
a pool is. Memory follows the number of gaps, not of addresses. (A bitmap would need 2^24 bits for a /8 and cannot
exist for a /64; a scan of a dense /16 would cost milliseconds at each claim.)
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Intervals:
    """A mutable set of integers. Each operation bisects twice at most."""

    __slots__ = ("_highs", "_lows")

    def __init__(self) -> None:
        self._lows: list[int] = []
        self._highs: list[int] = []

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._lows, number) - 1
        return place >= 0 and number <= self._highs[place]

    def __len__(self) -> int:
        """How many intervals there are (not how many numbers)."""
        return len(self._lows)

    def add(self, number: int) -> None:
        """Puts a number in; being there already is no error."""
        if number in self:
            return
        after = bisect_left(self._lows, number)
        joins_left = after > 0 and self._highs[after - 1] == number - 1
        joins_right = after < len(self._lows) and self._lows[after] == number + 1
        if joins_left and joins_right:
            self._highs[after - 1] = self._highs[after]
            del self._lows[after], self._highs[after]
        elif joins_left:
            self._highs[after - 1] = number
        elif joins_right:
            self._lows[after] = number
        else:
            self._lows.insert(after, number)
            self._highs.insert(after, number)

    def discard(self, number: int) -> None:
        """Takes a number out; being absent is no error."""
        place = bisect_right(self._lows, number) - 1
        if place < 0 or number > self._highs[place]:
            return
        low, high = self._lows[place], self._highs[place]
        if low == high:
            del self._lows[place], self._highs[place]
        elif number == low:
            self._lows[place] = number + 1
        elif number == high:
            self._highs[place] = number - 1
        else:
            self._lows.insert(place + 1, number + 1)
            self._highs.insert(place, number - 1)

    def next_absent(self, number: int) -> int:
        """The lowest integer from ``number`` on that is not in the set."""
        place = bisect_right(self._lows, number) - 1
        if place >= 0 and number <= self._highs[place]:
            return self._highs[place] + 1
        return number
