"""Finding the next workflows by a moment: exact whatever the service's order and precision, and with few calls."""

import asyncio
import re
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.client import WorkflowExecution
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from gqlplugin.platform.temporal.messages import CREATED_AT, WAITING_SINCE
from gqlplugin.platform.temporal.reading import Order, Position, Windows

NEWEST = Order(CREATED_AT, newest_first=True)
OLDEST = Order(WAITING_SINCE)
NOW = datetime.now(UTC).replace(microsecond=0)
SECOND = timedelta(seconds=1)
MANY = 5_000


class Found(WorkflowExecution):
    """What is visible of a workflow, as far as a listing looks at it."""

    def __init__(self, order: Order, moment: datetime, number: int, *, started: int = 0) -> None:
        self.id = str(UUID(int=number))
        self.moment = moment
        self.start_time = NOW + started * SECOND
        self.close_time = None
        self.typed_search_attributes = TypedSearchAttributes([SearchAttributePair(order.moment, moment)])

    def __repr__(self) -> str:
        return f"{self.moment} {self.id}"


class Service:
    """Lists workflows in the order they are given; it keeps their moments as SQLite does, to the millisecond."""

    def __init__(self, workflows: Sequence[Found], *, rounds: bool = True) -> None:
        self.calls = 0
        self._rounds = rounds
        self._kept: list[tuple[datetime, int, Found]] = []
        for place, workflow in enumerate(workflows):
            self.add(workflow, place)

    def add(self, workflow: Found, place: int) -> None:
        """Make a workflow visible; where in the service's own order it is."""
        insort(self._kept, (self._written(workflow.moment), place, workflow), key=itemgetter(0))

    async def fetch(self, condition: str, limit: int | None) -> list[WorkflowExecution]:
        matching = sorted(self._matching(condition), key=itemgetter(1))[:limit]
        self.calls += max(1, -(-len(matching) // 1000))
        return [workflow for _, _, workflow in matching]

    async def count(self, condition: str) -> int:
        self.calls += 1
        return len(self._matching(condition))

    def _matching(self, condition: str) -> list[tuple[datetime, int, Found]]:
        first, last = map(datetime.fromisoformat, re.findall("'([^']+)'", condition))
        begin = bisect_left(self._kept, first, key=itemgetter(0))
        return self._kept[begin : bisect_right(self._kept, last, key=itemgetter(0))]

    def _written(self, moment: datetime) -> datetime:
        rest = timedelta(microseconds=moment.microsecond % 1000)
        up = self._rounds and rest >= timedelta(microseconds=500)
        return moment - rest + timedelta(milliseconds=1) * up


def walk(service: Service, order: Order, size: int, pages: int = 10**6, between: Callable[[], Any] = int) -> Any:
    """The workflows of so many pages, and how many calls each of the pages took."""

    async def all_pages() -> tuple[list[WorkflowExecution], list[int]]:
        seen: list[WorkflowExecution] = []
        calls: list[int] = []
        after: Position | None = None
        while len(calls) < pages:
            service.calls = 0
            windows = Windows(order, after, fetch=service.fetch, count=service.count)
            found: list[WorkflowExecution] = []
            while len(found) < size and not windows.is_at_end:
                found += await windows.take(size - len(found))
            calls.append(service.calls)
            seen += found[:size]
            if len(found) < size:
                break
            after = order.position_of(found[size - 1])
            between()
        return seen, calls

    return asyncio.run(all_pages())


MOMENTS = st.one_of(
    st.integers(0, 5_000),  # within milliseconds
    st.sampled_from([0, 400, 499, 500, 999, 1000, 1499, 1500, 7_200_000_000]),
    st.integers(0, 10**14),  # within years
).map(lambda micros: NOW - timedelta(microseconds=micros))


@settings(deadline=None, max_examples=100)
@given(
    moments=st.lists(MOMENTS, max_size=80),
    order=st.sampled_from([NEWEST, OLDEST]),
    size=st.integers(1, 12),
    rounds=st.booleans(),
    seed=st.integers(0, 99),
)
def test_walk_is_exact(moments: list[datetime], order: Order, size: int, rounds: bool, seed: int) -> None:
    """A walk gives every workflow once, in order, whatever the moments, and the service's order and rounding."""
    workflows = [Found(order, moment, number) for number, moment in enumerate(moments)]
    Random(seed).shuffle(workflows)  # noqa: S311
    seen, _ = walk(Service(workflows, rounds=rounds), order, size)
    expected = sorted(workflows, key=lambda one: (one.moment, one.id), reverse=order.newest_first)
    assert seen == expected


@pytest.mark.parametrize("order", [NEWEST, OLDEST])
def test_large_spreads_are_exact(order: Order) -> None:
    """So it does where windows must be narrowed: with far more workflows than are fetched at once."""
    random = Random(5)  # noqa: S311
    moments = [NOW - random.random() ** 4 * 10**7 * SECOND for _ in range(1500)]
    workflows = [Found(order, moment, number) for number, moment in enumerate(moments)]
    service = Service(workflows)
    seen, _ = walk(service, order, 90)
    assert seen == sorted(workflows, key=lambda one: (one.moment, one.id), reverse=order.newest_first)


@pytest.mark.parametrize("order", [NEWEST, OLDEST])
def test_many_in_one_millisecond(order: Order) -> None:
    """Thousands in one millisecond are listed in their order too, among others."""
    moments = [NOW - number % 7 * timedelta(microseconds=100) - timedelta(days=3) for number in range(3000)]
    moments += [NOW - number * 60 * SECOND for number in range(100)]
    workflows = [Found(order, moment, number) for number, moment in enumerate(moments)]
    Random(1).shuffle(workflows)  # noqa: S311
    seen, _ = walk(Service(workflows), order, 700)
    assert seen == sorted(workflows, key=lambda one: (one.moment, one.id), reverse=order.newest_first)


def test_last_one_of_an_id_counts() -> None:
    """Of several workflows with one ID, the one that began last is listed, and a page holds as many IDs as asked."""
    workflows = [
        Found(NEWEST, NOW - number * SECOND, number, started=attempt) for number in range(60) for attempt in (2, 9, 5)
    ]
    seen, _ = walk(Service(workflows), NEWEST, 7)
    assert [one.id for one in seen] == [str(UUID(int=number)) for number in range(60)]
    assert {one.start_time for one in seen} == {NOW + 9 * SECOND}


def test_arrivals_while_walking() -> None:
    """Workflows that come while somebody walks through a listing make no gap in it, and nothing comes twice."""
    old = [Found(NEWEST, NOW - number * SECOND, number) for number in range(100)]
    service = Service(old)
    arrivals = iter(range(1000, 2000))

    def arrive() -> None:
        number = next(arrivals)
        service.add(Found(NEWEST, NOW + number * SECOND, number), -number)

    seen, _ = walk(service, NEWEST, 9, between=arrive)
    assert seen == old


@pytest.mark.parametrize("size", [21, 501])
def test_usual_page_takes_two_calls(size: int) -> None:
    """Where the service lists what is newest first, a page of many workflows takes two calls."""
    workflows = [Found(NEWEST, NOW - number * timedelta(milliseconds=50), number) for number in range(MANY)]
    _, calls = walk(Service(workflows), NEWEST, size, pages=5)
    assert max(calls) <= 2


SPREADS: dict[str, Callable[[Random, int], timedelta]] = {
    "even": lambda random, number: number * timedelta(milliseconds=6),
    "a year": lambda random, number: random.random() * timedelta(days=365),
    "bursts": lambda random, number: number % 10 * timedelta(days=40) + random.random() * SECOND,
    "milliseconds": lambda random, number: number % 10 * timedelta(days=40),
    "orders of magnitude": lambda random, number: 2 ** (random.random() * 26) * SECOND,
    "long ago": lambda random, number: timedelta(days=2000) + random.random() * timedelta(hours=1),
}


@pytest.mark.parametrize("order", [NEWEST, OLDEST])
@pytest.mark.parametrize("spread", SPREADS)
def test_calls_are_bounded(spread: str, order: Order) -> None:
    """Where the service's order is the opposite of ours, a page takes a bounded number of calls, and few on average."""
    random = Random(7)  # noqa: S311
    ages = sorted(SPREADS[spread](random, number) for number in range(MANY))
    workflows = [Found(order, NOW - age, number) for number, age in enumerate(ages)]
    _, calls = walk(Service(workflows[::-1] if order is NEWEST else workflows), order, 21, pages=5)
    assert max(calls) <= 50
    assert sum(calls) <= 20 * len(calls)
