"""A server that is killed again and again, and comes back with its file: nothing is lost, doubled, or done again."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from gqlplugin.errors import PlatformUnavailableError
from gqlplugin.identity import User
from gqlplugin.platform.base import Platform, uuid7
from gqlplugin.platform.temporal import TemporalPlatform
from tests.faults.temporal.app import DELIVER, Order
from tests.faults.temporal.ledger import Ledger
from tests.faults.temporal.support import (
    all_ended,
    approve_all,
    check_all_done,
    dice,
    meanwhile,
    numbers_of_all,
    tell_what_is_known,
    worker,
)
from tests.faults.temporal.worker import HEARTBEAT_TIMEOUT
from tests.temporal_server import TemporalServer

pytestmark = [pytest.mark.anyio, pytest.mark.temporal]

ALICE = User("alice", "user")
STARTS = 24
CALLERS = 4
KILLS = 3
LONGEST_SECONDS = 1800
WAYS = ("key", "run ID", "neither")


class Book:
    """What was asked for, and what was answered.

    Attributes:
        orders: What was acknowledged, by the ID of its run.
        asked: How often each order was asked for.
        refused: How often one was refused.
    """

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.asked: Counter[int] = Counter()
        self.refused = 0

    async def start(self, platform: Platform, order: Order) -> None:
        """Start an order: with a key or an ID until it is acknowledged, and otherwise once."""
        way = WAYS[order.number % len(WAYS)]
        key = f"order-{order.number}" if way == "key" else None
        run_id = uuid7() if way == "run ID" else None
        while way != "neither" or not self.asked[order.number]:
            self.asked[order.number] += 1
            with suppress(PlatformUnavailableError):
                started = await platform.start_workflow(
                    "order", order.model_dump_json(), caller=ALICE, idempotency_key=key, run_id=run_id
                )
                assert run_id in (None, started)
                self.orders[started] = order
                return
            self.refused += 1
            await asyncio.sleep(0.1)


async def start_all(platform: Platform, book: Book, chance: random.Random) -> None:
    """Start all orders, a few at once, with pauses between them."""
    left = iter([Order(number=number, seconds=chance.uniform(0, 0.2)) for number in range(STARTS)])

    async def call() -> None:
        for order in left:
            await book.start(platform, order)
            await asyncio.sleep(chance.uniform(0, 0.5))

    await asyncio.gather(*(call() for _ in range(CALLERS)))


async def kill_now_and_then(
    server: TemporalServer, platform: Platform, book: Book, ledger: Ledger, chance: random.Random
) -> None:
    """Kill the server after so many things have happened, and have it come back once starts have been refused."""
    numbers = count(STARTS)
    async with asyncio.TaskGroup() as group:
        for _ in range(KILLS):
            begin, life = ledger.size, chance.randint(20, 150)
            while ledger.size < begin + life:  # noqa: ASYNC110 - there is but a file to look at
                await asyncio.sleep(chance.uniform(0, 0.1))
            server.kill()
            refused = book.refused
            for _ in WAYS:
                group.create_task(book.start(platform, Order(number=next(numbers))))
            while book.refused == refused:  # noqa: ASYNC110 - that is bounded by the time-out of a call
                await asyncio.sleep(0.05)
            await asyncio.to_thread(server.start)


async def test_a_server_that_dies_and_comes_back_loses_and_doubles_nothing(tmp_path: Path, task_queue: str) -> None:
    """Starts, runs and workers go on by themselves; what is known of a run is never done again."""
    chance, ledger, book = dice(), Ledger(tmp_path / "ledger"), Book()
    with TemporalServer(tmp_path / "temporal.sqlite") as server:
        platform = TemporalPlatform(
            server.address,
            task_queue=task_queue,
            timeout=timedelta(seconds=2),
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
        )
        async with (
            asyncio.timeout(LONGEST_SECONDS),
            platform,
            worker(server.address, task_queue, ledger) as first,
            worker(server.address, task_queue, ledger) as second,
            meanwhile(
                approve_all(platform),
                tell_what_is_known(platform, ledger, book.orders, chance),
            ),
        ):
            await asyncio.gather(
                start_all(platform, book, chance), kill_now_and_then(server, platform, book, ledger, chance)
            )
            runs = await all_ended(platform, book.orders)
            check_all_done(runs, book.orders, ledger)
            deliveries = ledger.details(DELIVER)
            assert all(len(deliveries[run_id]) == 1 for run_id in book.orders), "a delivery was started twice"
            await all_ended(platform, [run_id for ids in deliveries.values() for run_id in ids])
            numbers = await numbers_of_all(platform, book.orders)
            assert (first.returncode, second.returncode) == (None, None)
    assert ledger.begun_again() == []
    assert max(numbers.values()) == 1, "an order was doubled"
    assert book.refused >= KILLS
