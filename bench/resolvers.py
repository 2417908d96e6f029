"""(d): a resolver made by `create_resolver`, against the same Strawberry field written by hand."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import strawberry
from pydantic import BaseModel
from strawberry.extensions import ParserCache, ValidationCache

from bench.files import fresh
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
    input = TriggerOrderProcessing(order_id=order_id, customer_id=customer_id)
    return Output(workflow_run_id=input.order_id)


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


def rows(directory: Path, *, count: int, repetitions: int) -> list[Row]:
    """Measure the CPU time of an operation with one field.

    Args:
        directory: Where the platform that ours has bound keeps its file.
        count: Operations per sample.
        repetitions: Samples of each kind.
    """
    path = fresh(directory / "resolvers.sqlite")
    schemas = [create_schema(app, platform=EmbeddedPlatform(path)), *map(_by_hand, (ValidatingMutation, TrustingMutation))]
    takes = [partial(operations, schema, count) for schema in schemas]
    ours, validating, trusting = (median_cpu(samples) for samples in in_turns(repetitions, *takes))
    return [
        Row("(d) create_resolver vs the field by hand, CPU", ours, validating, "µs", Bound("at most", 1.3)),
        Row("    the same, vs by hand without a model for the arguments", ours, trusting, "µs"),
    ]


def _by_hand(mutation: type) -> strawberry.Schema:
    caches = [partial(ParserCache, maxsize=CACHED_DOCUMENTS), partial(ValidationCache, maxsize=CACHED_DOCUMENTS)]
    return strawberry.Schema(Query, mutation, extensions=caches)


def operations(schema: strawberry.Schema, count: int) -> Sample:
    """Operations with the one field, one after another."""
    return asyncio.run(_execute(schema, count))


async def _execute(schema: strawberry.Schema, count: int) -> Sample:
    watch = Watch()
    for _ in range(count):
        result = await schema.execute(DO_NOTHING, VARIABLES, context_value={})
        assert result.data == {"doNothing": {"workflowRunId": VARIABLES["orderId"]}}, result.errors  # noqa: S101
    return watch.sample(count)
