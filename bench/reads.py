"""(e): reading runs from a journal of a million, against a journal of a thousand."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import strawberry

from bench import history
from bench.files import size_in_mib
from bench.history import LISTING_CALLER, ORIGINALS, app
from bench.measure import Sample, Watch, in_turns, median_cpu, median_milliseconds
from bench.table import Bound, Row
from gqlplugin import Platform, create_schema
from gqlplugin.graphql.extension import CONTEXT_KEY
from gqlplugin.platform.base import Binding
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import ExecutionFilter

FIRST = 20
KNOWN_IDS = 500
OWN = ExecutionFilter(caller_id=LISTING_CALLER.id)
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
query ($workflowName: String, $status: WorkflowRunStatus, $first: Int, $after: String) {
  workflowRuns(workflowName: $workflowName, status: $status, first: $first, after: $after) {
    edges { cursor node { id workflowName status createdAt finishedAt error } } pageInfo { hasNextPage endCursor }
  }
}
"""

schema = create_schema(app)


@dataclass(frozen=True)
class Journal:
    """A filled file, and what is known of it.

    Attributes:
        ids: Runs of the listing caller, from all over the file.
        middle: The cursor of the run in its middle: cursors are places in the file, in hexadecimal.
    """

    path: Path
    ids: Sequence[str]
    middle: str


@dataclass
class Visit:
    """An open journal, and its reader's next choice."""

    journal: Journal
    platform: Platform
    schema: strawberry.Schema
    choices: Iterator[str]

    async def ask(self, query: str, variables: dict[str, Any]) -> None:
        """Run a query as the listing caller."""
        context = {CONTEXT_KEY: Binding(self.platform, app, LISTING_CALLER)}
        result = await self.schema.execute(query, variables, context_value=context)
        if result.errors:
            raise RuntimeError(f"A read failed: {result.errors}")


Read = Callable[[Visit], Awaitable[object]]


def rows(directory: Path, *, runs: int, count: int, repetitions: int) -> tuple[list[Row], str]:
    """Measure reads; the second value tells the sizes of the files.

    Args:
        directory: On the disk to measure; it takes 1.4 KiB per run.
        runs: How many the large journal has, in thousands.
        count: Reads per sample.
        repetitions: Samples of each kind.
    """
    large, small = (_written(directory / f"history-{number}.sqlite", number) for number in (runs, ORIGINALS))
    table = []
    for name, read in _reads().items():
        takes = [partial(_sample, journal, read, count) for journal in (large, small)]
        ours, peer = in_turns(repetitions, *takes)
        label = f"(e) {name}: {runs:,} runs vs {ORIGINALS:,}"
        cpu = median_cpu(ours), median_cpu(peer)
        table.append(Row(label, median_milliseconds(ours), median_milliseconds(peer), "ms", Bound("at most", 2), cpu))
    sizes = [f"{size_in_mib(journal.path):,.1f} MiB" for journal in (large, small)]
    return table, f"(e) {runs:,} runs with their jobs take {sizes[0]}, {ORIGINALS:,} take {sizes[1]}."


def _written(path: Path, runs: int) -> Journal:
    history.write(path, runs)
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT id FROM run WHERE caller_id = ?", (LISTING_CALLER.id,)).fetchall()
    ids = [row[0] for row in found]
    random.Random(11).shuffle(ids)  # noqa: S311 - the same reads each time
    return Journal(path, ids[:KNOWN_IDS], f"{runs // 2:x}")


def _reads() -> dict[str, Read]:
    reads: dict[str, Read] = {"workflowRun with its jobs": lambda visit: visit.ask(RUN, {"id": next(visit.choices)})}
    for name, chosen in FILTERS.items():
        reads[f"page of workflowRuns{name}"] = partial(_page, chosen)
    reads["page of workflowRuns, half-way down"] = lambda visit: visit.ask(PAGE, {"after": visit.journal.middle})
    reads["the run without GraphQL"] = lambda visit: visit.platform.get_execution(next(visit.choices))
    reads["the page without GraphQL"] = lambda visit: visit.platform.list_executions(OWN, first=FIRST)
    return reads


def _page(chosen: dict[str, str], visit: Visit) -> Awaitable[None]:
    return visit.ask(PAGE, {"first": FIRST, **chosen})


def _sample(journal: Journal, read: Read, count: int) -> Sample:
    return asyncio.run(_take(journal, read, count))


async def _take(journal: Journal, read: Read, count: int) -> Sample:
    async with EmbeddedPlatform(journal.path) as platform:
        visit = Visit(journal, platform, schema, cycle(journal.ids))
        await read(visit)
        watch = Watch()
        for _ in range(count):
            await read(visit)
        return watch.sample(count)
