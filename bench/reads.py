"""(e): reading runs from a journal of a million, against a journal of a thousand."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import strawberry

from bench import history
from bench.files import size_in_mib
from bench.history import LISTING_CALLER, ORIGINALS, app
from bench.measure import Sample, Watch, in_turns, median_cpu, median_milliseconds
from bench.table import Bound, Row
from gqlplugin import ExecutionStatus, Platform, create_schema
from gqlplugin.execution import ExecutionFilter
from gqlplugin.graphql.extension import CONTEXT_KEY
from gqlplugin.platform.base import Binding
from gqlplugin.platform.embedded import EmbeddedPlatform

FIRST = 20
KNOWN_IDS = 500
AT_MOST_TWICE = Bound("at most", 2)
FILTERS: dict[str, dict[str, str]] = {
    "": {},
    ", of a workflow": {"workflowName": "order-processing"},
    ", of a status": {"status": "FAILED"},
    ", of both": {"workflowName": "order-processing", "status": "FAILED"},
}
RUN = """
query ($id: ID!) { workflowRun(id: $id) {
  id workflowName status createdAt startedAt finishedAt error progress
  jobs { name stackedName status result }
} }
"""
PAGE = """
query ($workflowName: String, $status: WorkflowRunStatus, $first: Int!, $after: String) {
  workflowRuns(workflowName: $workflowName, status: $status, first: $first, after: $after) {
    edges { cursor node { id workflowName status createdAt finishedAt error } } pageInfo { hasNextPage endCursor }
  }
}
"""

Operation = Callable[["Journal"], Awaitable[int]]
"""Reads once, and says how many runs it got."""


@dataclass(frozen=True)
class Journal:
    """A filled file, and what is known of it."""

    path: Path
    ids: Sequence[str]
    middle: str

    @property
    def mib(self) -> float:
        """Its size."""
        return size_in_mib(self.path)


def rows(directory: Path, *, runs: int, count: int, repetitions: int) -> tuple[list[Row], str]:
    """Measure reads; the second value tells the sizes of the files.

    Args:
        directory: On the disk to measure; it takes about 2 KiB per run.
        runs: How many the large journal has, in thousands.
        count: Reads per sample.
        repetitions: Samples of each kind.
    """
    large, small = (_written(directory / f"history-{number}.sqlite", number) for number in (runs, ORIGINALS))
    schema = create_schema(app)
    table = []
    for name, operation in _operations(schema).items():
        samples = in_turns(repetitions, partial(reads, large, operation, count), partial(reads, small, operation, count))
        ours, peer = map(median_milliseconds, samples)
        cpu = median_cpu(samples[0]), median_cpu(samples[1])
        table.append(Row(f"(e) {name}, {runs:,} runs vs {ORIGINALS:,}", ours, peer, "ms", AT_MOST_TWICE, cpu))
    return table, f"{runs:,} runs take {large.mib:,.0f} MiB with their jobs, {ORIGINALS:,} take {small.mib:,.1f} MiB."


def _written(path: Path, runs: int) -> Journal:
    history.write(path, runs)
    dice = random.Random(11)  # noqa: S311 - the same reads each time
    with closing(sqlite3.connect(path)) as connection:
        numbers = [dice.randint(1, runs) for _ in range(KNOWN_IDS)]
        ids = [connection.execute("SELECT id FROM run WHERE seq = ?", (seq,)).fetchone()[0] for seq in numbers]
    return Journal(path, ids, asyncio.run(_middle(path)))


async def _middle(path: Path) -> str:
    """A cursor halfway down the caller's runs: that of the run before it, by its place in the file."""
    with closing(sqlite3.connect(path)) as connection:
        last = connection.execute("SELECT max(seq) FROM run").fetchone()[0]
    async with EmbeddedPlatform(path) as platform:
        page = await platform.list_executions(ExecutionFilter(), first=1, after=f"{last // 2:x}")
    return page.cursors[0]


def _operations(schema: strawberry.Schema) -> dict[str, Operation]:
    operations: dict[str, Operation] = {"workflowRun with jobs": partial(_run, schema)}
    for name, chosen in FILTERS.items():
        operations[f"workflowRuns{name}"] = partial(_page, schema, chosen)
    operations["workflowRuns, half-way down"] = partial(_page_half_way, schema)
    operations["the same run without GraphQL"] = _plain_run
    operations["the same page without GraphQL"] = _plain_page
    return operations


async def _execute(schema: strawberry.Schema, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    platform = _platform.get()
    context = {CONTEXT_KEY: Binding(platform, app, LISTING_CALLER)}
    result = await schema.execute(query, variables, context_value=context)
    assert result.data is not None, result.errors
    return result.data
