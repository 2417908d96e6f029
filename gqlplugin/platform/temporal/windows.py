"""Finding the next workflows of a listing by a moment of theirs, where the service can't sort.

A window of time that holds few enough is fetched whole, and sorted here. What the service lists first, in an order of
its own, is often what is looked for, and counting shows that; else a smaller window is found by counting.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isqrt
from typing import NamedTuple

from temporalio.client import WorkflowExecution as TemporalWorkflow
from temporalio.common import SearchAttributeKey

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_END = 1 << 43  # milliseconds, beyond the year 2200
_BEARABLE = 500  # workflows, before it pays to look for a smaller window

Fetch = Callable[[str, int | None], Awaitable[list[TemporalWorkflow]]]
"""Gives the workflows that a condition on their moment holds for: at most so many, or all."""

Count = Callable[[str], Awaitable[int]]
"""Gives how many there are."""


class Position(NamedTuple):
    """Where a workflow is in a listing: microseconds since 1970, and its ID."""

    micros: int
    id: str

    @property
    def is_possible(self) -> bool:
        """Whether a workflow may be there."""
        return 0 <= self.micros // 1000 < _END


@dataclass(frozen=True, slots=True)
class Order:
    """What a listing is ordered by, and then by ID."""

    moment: SearchAttributeKey[datetime]
    newest_first: bool = False

    def position_of(self, found: TemporalWorkflow) -> Position:
        """Where a workflow is."""
        return Position((found.typed_search_attributes[self.moment] - _EPOCH) // _MICROSECOND, found.id)

    def is_beyond(self, position: Position, after: Position) -> bool:
        """Whether a position comes after another."""
        return position < after if self.newest_first else position > after

    def sorted(self, found: Iterable[TemporalWorkflow]) -> list[TemporalWorkflow]:
        """Workflows in this order."""
        return sorted(found, key=self.position_of, reverse=self.newest_first)


class Windows:
    """Walks through the workflows of a listing, each millisecond a step.

    Args:
        order: Of the listing.
        after: The position to begin after.
        fetch: Asks the service for workflows.
        count: Asks it how many there are.
    """

    def __init__(self, order: Order, after: Position | None, *, fetch: Fetch, count: Count) -> None:
        self._order = order
        self._after = after
        self._fetch = fetch
        self._count = count
        self._reached = 0 if after is None else self._step_of(after)
        now = Position((datetime.now(UTC) - _EPOCH) // _MICROSECOND, "")
        self._anchor = self._step_of(after or now)

    @property
    def is_at_end(self) -> bool:
        """Whether there is no more."""
        return self._reached >= _END

    async def take(self, wanted: int) -> list[TemporalWorkflow]:
        """The next workflows in their order, one per ID: about so many, maybe none before the end."""
        begin = self._reached
        found = await self._fetch(self._condition(begin, _END), wanted + 1)
        self._reached = _END
        if len(found) > wanted:
            self._reached, found = await self._narrow(begin, wanted, found)
        return self._order.sorted(self._choose(found, begin, self._reached).values())

    async def _narrow(
        self, begin: int, wanted: int, probe: list[TemporalWorkflow]
    ) -> tuple[int, list[TemporalWorkflow]]:
        """The end of a window that is small enough, and what it holds."""
        steps = sorted(map(self._step, self._choose(probe, begin, _END).values()))[:wanted]
        end = steps[-1] + 1 if steps else begin + 1
        inside = [found for found in probe if begin <= self._step(found) < end]
        number = await self._count(self._condition(begin, end))
        if number <= len(inside):
            return end, inside
        end = await self._narrowed(begin, end, number, wanted)
        return end, await self._fetch(self._condition(begin, end), None)

    async def _narrowed(self, begin: int, end: int, number: int, wanted: int) -> int:
        """The end of a window that holds enough, and not far too many unless they share a step."""
        few = begin
        while number > max(2 * wanted, _BEARABLE) and end - few > 1:
            middle = self._middle(few, end)
            held = await self._count(self._condition(begin, middle))
            if held < wanted:
                few = middle
            else:
                end, number = middle, held
        return end

    def _middle(self, few: int, end: int) -> int:
        """Where to part a window: by orders of magnitude of the distance from where workflows are, then by halves."""
        if few < self._anchor < end:
            return self._anchor
        near, far = sorted((abs(few - self._anchor), abs(end - self._anchor)))
        if far <= 4 * max(near, 1):
            return (few + end) // 2
        distance = isqrt(max(near, 1) * far)
        middle = self._anchor + (distance if few >= self._anchor else -distance)
        return min(max(middle, few + 1), end - 1)

    def _choose(self, probe: Iterable[TemporalWorkflow], begin: int, end: int) -> dict[str, TemporalWorkflow]:
        return one_per_id(
            found
            for found in probe
            if begin <= self._step(found) < end
            and (self._after is None or self._order.is_beyond(self._order.position_of(found), self._after))
        )

    def _step(self, found: TemporalWorkflow) -> int:
        return self._step_of(self._order.position_of(found))

    def _step_of(self, position: Position) -> int:
        millisecond = position.micros // 1000
        return _END - 1 - millisecond if self._order.newest_first else millisecond

    def _condition(self, begin: int, end: int) -> str:
        first, last = (_END - end, _END - begin) if self._order.newest_first else (begin, end)
        # a millisecond more, as SQLite keeps no fractions of it, and rounds
        return f"{self._order.moment.name} BETWEEN '{_written(first)}' AND '{_written(last)}'"


def one_per_id(found: Iterable[TemporalWorkflow]) -> dict[str, TemporalWorkflow]:
    """Of the workflows that have the same ID, as those of a resumed run have, the one that began last."""
    latest: dict[str, TemporalWorkflow] = {}
    for one in found:
        if one.id not in latest or is_later(one, latest[one.id]):
            latest[one.id] = one
    return latest


def is_later(one: TemporalWorkflow, other: TemporalWorkflow) -> bool:
    """Whether one workflow of an ID replaces another."""
    return (one.start_time, one.close_time is None) > (other.start_time, other.close_time is None)


def _written(millisecond: int) -> str:
    return (_EPOCH + timedelta(milliseconds=millisecond)).isoformat(timespec="milliseconds")
