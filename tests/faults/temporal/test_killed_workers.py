"""Workers that are killed again and again, while others take their place: no run is lost, nothing known is redone."""

import asyncio
import random
from pathlib import Path

import pytest

from gqlplugin.identity import User
from gqlplugin.platform.base import Platform
from gqlplugin.platform.temporal import TemporalPlatform
from gqlplugin.runs import WorkflowExecution
from tests.faults.temporal.app import DELIVER, STEPS, Order
from tests.faults.temporal.ledger import Ledger
from tests.faults.temporal.support import (
    all_ended,
    approve_all,
    check_all_done,
    dice,
    meanwhile,
    tell_what_is_known,
    worker,
)
from tests.faults.temporal.worker import HEARTBEAT_TIMEOUT

pytestmark = pytest.mark.anyio

ORDERS = 101  # and as many deliveries, each a run too
AT_ONCE = 32
WORKERS = 2
FEWEST_KILLS = 4
LONGEST_SECONDS = 1800
LIVES = (100, 800)  # lines of the ledger, of which an order makes about twenty


async def keep_killing(address: str, task_queue: str, ledger: Ledger, dice: random.Random, kills: list[int]) -> None:
    """One worker after another, each killed at some moment: after so many things have happened since it is there."""
    while True:
        async with worker(address, task_queue, ledger):
            life = dice.randint(*LIVES)
            begin = ledger.size
            while ledger.size < begin + life:  # noqa: ASYNC110 - there is but a file to look at
                await asyncio.sleep(dice.uniform(0, 0.1))
        kills.append(life)


async def run_all(platform: Platform, orders: dict[str, Order], chance: random.Random) -> dict[str, WorkflowExecution]:
    """All orders from start to end, some at a time; each is noted once its start is acknowledged."""
    left = iter([Order(number=number, seconds=chance.uniform(0, 0.3)) for number in range(ORDERS)])
    runs: dict[str, WorkflowExecution] = {}

    async def some() -> None:
        for order in left:
            run_id = await platform.start_workflow("order", order.model_dump_json(), caller=User("alice", "user"))
            orders[run_id] = order
            runs.update(await all_ended(platform, [run_id]))

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    return runs


async def test_what_is_known_is_never_done_again_however_often_workers_die(
    tmp_path: Path, temporal_address: str, task_queue: str
) -> None:
    """Every run that was started succeeds; only what was in the middle when its worker died is done again."""
    chance = dice()
    ledger = Ledger(tmp_path / "ledger")
    platform = TemporalPlatform(temporal_address, task_queue=task_queue, heartbeat_timeout=HEARTBEAT_TIMEOUT)
    kills: list[int] = []
    orders: dict[str, Order] = {}
    async with (
        asyncio.timeout(LONGEST_SECONDS),
        platform,
        meanwhile(
            *(keep_killing(temporal_address, task_queue, ledger, chance, kills) for _ in range(WORKERS)),
            approve_all(platform),
            tell_what_is_known(platform, ledger, orders, chance),
        ),
    ):
        runs = await run_all(platform, orders, chance)
        check_all_done(runs, orders, ledger)
        deliveries = ledger.details(DELIVER)
        assert all(len(deliveries[run_id]) == 1 for run_id in orders), "a delivery was started twice"
        delivered = await all_ended(platform, [run_id for ids in deliveries.values() for run_id in ids])
    assert len(orders) == ORDERS
    assert sorted(run.output or "" for run in delivered.values()) == sorted(f'"{run_id}"' for run_id in orders)
    assert ledger.begun_again() == []
    assert len(kills) >= FEWEST_KILLS
    begins = ledger.begins()
    assert any(begins[run_id, step] > 1 for run_id in orders for step in STEPS), "nothing was ever in the middle"
