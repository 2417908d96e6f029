"""(d): a resolver made by `create_resolver`, against the same Strawberry field written by hand."""

from __future__ import annotations

import asyncio
from functools import partial

import strawberry
from pydantic import BaseModel
from strawberry.extensions import ParserCache, ValidationCache

from bench.measure import Sample, Watch, in_turns, median_cpu
from bench.shop import VARIABLES, TriggerOrderProcessing, app, mutation
from bench.table import Bound, Row
from gqlplugin import create_schema
from gqlplugin.platform.embedded import EmbeddedPlatform

CACHED_DOCUMENTS = 100
DO_NOTHING = mutation("doNothing")


@strawberry.pydantic.type
class Output(BaseModel):
    """What the field by hand returns."""

    workflow_run_id: str


async def _validating(order_id: str, customer_id: str) -> Output:
    order = TriggerOrderProcessing(order_id=order_id, customer_id=customer_id)
    return Output(workflow_run_id=order.order_id)


async def _trusting(order_id: str, customer_id: str) -> Output:  # noqa: ARG001 - the arguments of the field
    return Output(workflow_run_id=order_id)


@strawberry.type
class Query:
    """GraphQL wants one."""

    nothing: str = ""


@strawberry.type
class ValidatingMutation:
    """The field with its arguments made into the same model."""

    do_nothing: Output = strawberry.mutation(resolver=_validating)


@strawberry.type
class TrustingMutation:
    """The field with its arguments as they are."""

    do_nothing: Output = strawberry.mutation(resolver=_trusting)


def rows(*, count: int, repetitions: int) -> list[Row]:
    """Measure the CPU time of an operation with one field.

    Args:
        count: Operations per sample.
        repetitions: Samples of each kind.
    """
    ours = create_schema(app, platform=EmbeddedPlatform(":memory:"))  # bound for each operation, and never opened
    schemas = [ours, *map(_by_hand, (ValidatingMutation, TrustingMutation))]
    takes = [partial(operations, schema, count) for schema in schemas]
    made, validating, trusting = (median_cpu(samples) for samples in in_turns(repetitions, *takes))
    return [
        Row("(d) create_resolver vs the field by hand, CPU", made, validating, "µs", Bound("at most", 1.3)),
        Row("    the same, vs by hand without a model for the arguments", made, trusting, "µs"),
    ]


def _by_hand(mutation: type) -> strawberry.Schema:
    parser, validation = partial(ParserCache, CACHED_DOCUMENTS), partial(ValidationCache, CACHED_DOCUMENTS)
    return strawberry.Schema(Query, mutation, extensions=[parser, validation])


def operations(schema: strawberry.Schema, count: int) -> Sample:
    """Operations with the one field, one after another."""
    return asyncio.run(_execute(schema, count))


async def _execute(schema: strawberry.Schema, count: int) -> Sample:
    watch = Watch()
    for _ in range(count):
        result = await schema.execute(DO_NOTHING, VARIABLES, context_value={})
        assert result.data == {"doNothing": {"workflowRunId": VARIABLES["orderId"]}}, result.errors  # noqa: S101
    return watch.sample(count)
