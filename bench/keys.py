"""(k): what an idempotency key adds to a trigger, and to a mutation that triggers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import strawberry

from bench.files import fresh
from bench.measure import Sample, Watch, in_turns, median_cpu, median_rate
from bench.shop import VARIABLES, OrderProcessing, app, mutation, order_processing
from bench.table import Row
from gqlplugin import create_schema
from gqlplugin.platform.embedded import EmbeddedPlatform

CALLERS = (16, 64)
PLAIN = mutation("triggerOrderProcessing")
KEYED = (
    "mutation ($orderId: String!, $customerId: String!, $key: String!) { "
    "triggerOrderProcessing(orderId: $orderId, customerId: $customerId) @idempotent(key: $key) { workflowRunId } }"
)

_Call = Callable[[int], Awaitable[object]]


def rows(directory: Path, *, count: int, repetitions: int) -> list[Row]:
    """Measure both, and how a key that is known already is answered.

    Args:
        directory: On the disk to measure.
        count: Triggers or mutations per sample.
        repetitions: Samples of each kind.
    """
    schema = create_schema(app)
    table = []
    for callers in CALLERS:
        kinds: list[_Call] = [
            _trigger,
            _trigger_keyed,
            _trigger_again,
            partial(_mutate, schema),
            partial(_mutate_keyed, schema),
        ]
        takes = [partial(_sample, directory, kind, callers, count) for kind in kinds]
        plain, keyed, again, mutated, mutated_keyed = in_turns(repetitions, *takes)
        for name, ours, peer in (
            (f"(k) workflow.trigger with an idempotency key vs without, {callers} callers", keyed, plain),
            ("    the same with one key, that is answered with one run, vs without", again, plain),
            (f"(k) a mutation with @idempotent vs without, {callers} callers", mutated_keyed, mutated),
        ):
            cpu = median_cpu(ours), median_cpu(peer)
            table.append(Row(name, median_rate(ours), median_rate(peer), "/s", cpu=cpu))
    return table


async def _trigger(number: int) -> None:
    await order_processing.trigger(_order(number))


async def _trigger_keyed(number: int) -> None:
    await order_processing.trigger(_order(number), idempotency_key=f"key-{number}")


async def _trigger_again(_: int) -> None:
    await order_processing.trigger(_order(0), idempotency_key="key")


async def _mutate(schema: strawberry.Schema, _: int) -> None:
    result = await schema.execute(PLAIN, VARIABLES, context_value={})
    assert result.errors is None, result.errors  # noqa: S101


async def _mutate_keyed(schema: strawberry.Schema, number: int) -> None:
    variables = {**VARIABLES, "key": f"{number:08x}-0000-4000-8000-000000000000"}
    result = await schema.execute(KEYED, variables, context_value={})
    assert result.errors is None, result.errors  # noqa: S101


def _order(number: int) -> OrderProcessing:
    return OrderProcessing(order_id=f"order-{number}", customer_id="customer-1")


def _sample(directory: Path, call: _Call, callers: int, count: int) -> Sample:
    return asyncio.run(_measure(directory, call, callers, count))


async def _measure(directory: Path, call: _Call, callers: int, count: int) -> Sample:
    left = iter(range(count))

    async def calls() -> None:
        for number in left:
            await call(number)

    async with EmbeddedPlatform(fresh(directory / "keys.sqlite")):
        watch = Watch()
        await asyncio.gather(*(calls() for _ in range(callers)))
        return watch.sample(count)
