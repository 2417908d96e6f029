"""Reads of the journal, on connections and threads of their own."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Protocol, TypeVar

from gqlplugin.checks import firing_name
from gqlplugin.codec import is_unicode
from gqlplugin.errors import InvalidInputError, NotFoundError
from gqlplugin.platform.embedded.file import open_reader, unavailable
from gqlplugin.platform.embedded.rows import JOB_COLUMNS, NOT_READ, RUN_COLUMNS, to_job, to_run
from gqlplugin.platform.embedded.writer import Writer
from gqlplugin.runs import (
    ExecutionFilter,
    ExecutionPage,
    ExecutionStatus,
    JobExecution,
    Values,
    WorkflowExecution,
    by_place,
)

R = TypeVar("R")

_logger = logging.getLogger("gqlplugin.embedded")

_THREADS = 2


class Reader(Protocol):
    """Runs a function with a connection that reads."""

    async def read(self, function: Callable[[sqlite3.Connection], R]) -> R:
        """The function's result.

        Raises:
            PlatformUnavailableError: The journal can't be read now.
        """
        ...

    def close(self) -> None:
        """End the threads and close the connections."""
        ...


class WriterReader:
    """A reader that shares the writer's connection: all there is when the journal is in memory."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def read(self, function: Callable[[sqlite3.Connection], R]) -> R:
        """The function's result, after everything that was added before."""
        return await self._writer.call(function, writes=False)

    def close(self) -> None:
        """Nothing to do: the connection is the writer's."""


class PooledReader:
    """A reader with a few threads, each with its own connection, which is opened again after an error."""

    def __init__(self, path: str) -> None:
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._path = path
        self._pool = ThreadPoolExecutor(_THREADS, "gqlplugin-reader")

    async def read(self, function: Callable[[sqlite3.Connection], R]) -> R:
        """The function's result, off the event loop."""
        try:
            answer = asyncio.get_running_loop().run_in_executor(self._pool, self._run, function)
        except RuntimeError as error:  # the system has no thread to give, or the reader is closed
            _logger.exception("A read could not begin")
            raise unavailable() from error
        try:
            return await answer
        except sqlite3.Error as error:
            _logger.exception("A read failed")
            raise unavailable() from error

    def _run(self, function: Callable[[sqlite3.Connection], R]) -> R:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        # opened here and not by the pool, which refuses all work for ever once that has failed
        if connection is None:
            connection = self._local.connection = open_reader(self._path)
            self._connections.append(connection)
        try:
            return function(connection)
        except sqlite3.Error:
            self._local.connection = None
            self._connections.remove(connection)
            connection.close()
            raise

    def close(self) -> None:
        """End the threads and close the connections."""
        self._pool.shutdown()
        for connection in self._connections:
            with suppress(sqlite3.Error):
                connection.close()


def columns_of(table: str, columns: str, texts: Mapping[str, str], values: Values | None) -> str:
    """The columns of a table as SQL, with those of large texts read only as far as is asked.

    Args:
        table: The table, or its name in the query.
        columns: Their names.
        texts: The columns of large texts, with what each is in `Values.names`.
        values: What is asked for; None is all. `admitting` must have been called for it.
    """
    names = {name: f"{table}.{name}" for name in columns.split(", ")}
    if values is not None:
        for name, value in texts.items():
            column = names[name]
            names[name] = (
                f"CASE WHEN {column} IS NULL THEN NULL WHEN admits(length(CAST({column} AS BLOB))) THEN {column} "
                f"ELSE {NOT_READ} END"
                if value in values.names
                else str(NOT_READ)
            )
    return ", ".join(names.values())


def admitting(connection: sqlite3.Connection, values: Values | None) -> None:
    """Let the next query of a connection count the texts that it reads."""
    if values is not None and values.names:
        connection.create_function("admits", 1, values.allowance.take)


def select_run(values: Values | None = None, *, more: str = "") -> str:
    """The query of runs, whose rows are those of `to_run`, then what is added, the main job's progress and the row."""
    columns = columns_of("run", RUN_COLUMNS, _RUN_TEXTS, values)
    return (
        f"SELECT {columns}, {more}main.progress, run.seq "  # noqa: S608 - our own words
        "FROM run LEFT JOIN job AS main ON main.run_id = run.id AND main.place = '0'"
    )


_RUN_TEXTS = {"input": "input", "output": "output"}
_JOB_TEXTS = {"input": "input", "result": "result", "logs": "logs"}
_SELECT_RUN = select_run()


def find_run(connection: sqlite3.Connection, run_id: str) -> WorkflowExecution | None:
    """A run by its ID."""
    if not is_unicode(run_id):
        return None
    row = connection.execute(f"{_SELECT_RUN} WHERE run.id = ?", (run_id,)).fetchone()
    return None if row is None else to_run(row, row[-2])


def existing_run(connection: sqlite3.Connection, run_id: str) -> WorkflowExecution:
    """A run by its ID.

    Raises:
        NotFoundError: There is no such run.
    """
    run = find_run(connection, run_id)
    if run is None:
        raise NotFoundError(f"There is no run {run_id!r}.")
    return run


def find_jobs(
    connection: sqlite3.Connection, run_ids: Iterable[str], values: Values | None = None
) -> Mapping[str, Sequence[JobExecution]]:
    """Everything recorded of runs, in the order it was triggered."""
    admitting(connection, values)
    columns = columns_of("job", JOB_COLUMNS, _JOB_TEXTS, values)
    jobs: dict[str, list[JobExecution]] = {run_id: [] for run_id in run_ids}
    ids = list(filter(is_unicode, jobs))
    marks = ", ".join("?" * len(ids))
    rows = connection.execute(f"SELECT {columns} FROM job WHERE run_id IN ({marks})", ids)  # noqa: S608
    for row in rows:
        jobs[row[0]].append(to_job(row))
    return {run_id: sorted(found, key=by_place) for run_id, found in jobs.items()}


def find_record_of_job(connection: sqlite3.Connection, job_id: str) -> Sequence[JobExecution]:
    """Everything recorded of the run that has a job: one of those whose IDs begin as `JobExecution.id` says."""
    if not is_unicode(job_id):
        return []
    prefix = f"{job_id[:14]}7{job_id[15:18]}"
    rows = connection.execute("SELECT id FROM run WHERE id BETWEEN ? AND ?", (prefix, f"{prefix}~")).fetchall()
    found = find_jobs(connection, [row[0] for row in rows])
    return next((jobs for jobs in found.values() if any(job.id == job_id for job in jobs)), [])


def find_page(connection: sqlite3.Connection, where: ExecutionFilter, first: int, after: str | None) -> ExecutionPage:
    """A page of runs in the order of the filter, whatever the number of runs in the file.

    The indexes of listings begin with what can be asked for and hold the status before the order, so a listing of any
    status merges one walk per status.
    """
    order = _OLDEST_FIRST if where.oldest_first else _NEWEST_FIRST
    if after is not None:
        order = order._replace(start=parse_cursor(after))
    with _snapshot(connection):
        return _page(connection, _first_of(connection, where, order, first + 1), first, order, where.values)


def count_runs(connection: sqlite3.Connection, where: ExecutionFilter) -> int:
    """How many runs fit a filter."""
    conditions = _conditions(where)
    if conditions is None:
        return 0
    text, values = conditions
    if where.status is not None:
        text, values = f"{text}status = ? AND ", [*values, where.status.value]
    query = f"SELECT count(*) FROM run WHERE {text}true"  # noqa: S608 - our own words
    return int(connection.execute(query, values).fetchone()[0])


def count_jobs(connection: sqlite3.Connection) -> int:
    """How many jobs there are: only the names of other records have a colon."""
    return int(connection.execute("SELECT count(*) FROM job WHERE instr(name, ':') = 0").fetchone()[0])


class _Order(NamedTuple):
    """Of a listing, which starts beside a row."""

    comparison: str
    direction: str
    start: int


_NEWEST_FIRST = _Order("<", "DESC", 1 << 62)
_OLDEST_FIRST = _Order(">", "ASC", 0)


def _first_of(connection: sqlite3.Connection, where: ExecutionFilter, order: _Order, limit: int) -> list[int]:
    conditions = _conditions(where)
    if conditions is None:
        return []
    text, values = conditions
    if where.workflow_name is where.caller_id is where.status is None:
        return _walk(connection, text, values, order, limit)
    statuses = [where.status] if where.status is not None else list(ExecutionStatus)
    walks = [_walk(connection, f"{text}status = ? AND ", [*values, status.value], order, limit) for status in statuses]
    return sorted((seq for walk in walks for seq in walk), reverse=order.direction == "DESC")[:limit]


def _conditions(where: ExecutionFilter) -> tuple[str, list[str]] | None:
    """What a filter asks for besides the status, as SQL and its values; None when nothing can fit."""
    wanted = {"workflow_name": where.workflow_name, "caller_id": where.caller_id}
    given = {name: value for name, value in wanted.items() if value is not None}
    if not all(map(is_unicode, given.values())):
        return None
    text = "".join(f"{name} = ? AND " for name in given)
    if not where.firings and where.workflow_name is None:
        return f"{text}workflow_name NOT GLOB ? AND ", [*given.values(), f"{firing_name('')}*"]
    return text, list(given.values())


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """One view of the file for several queries."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def _walk(
    connection: sqlite3.Connection, condition: str, values: Sequence[Any], order: _Order, limit: int
) -> list[int]:
    query = (
        f"SELECT seq FROM run WHERE {condition}seq {order.comparison} ? "  # noqa: S608 - our own words
        f"ORDER BY seq {order.direction} LIMIT ?"
    )
    return [row[0] for row in connection.execute(query, (*values, order.start, limit))]


def _page(
    connection: sqlite3.Connection, seqs: Sequence[int], first: int, order: _Order, values: Values | None
) -> ExecutionPage:
    admitting(connection, values)
    shown = seqs[:first]
    marks = ", ".join("?" * len(shown))
    query = f"{select_run(values)} WHERE run.seq IN ({marks}) ORDER BY run.seq {order.direction}"
    rows = connection.execute(query, list(shown)).fetchall()
    return ExecutionPage(
        executions=[to_run(row, row[-2]) for row in rows],
        cursors=[format_cursor(row[-1]) for row in rows],
        has_next=len(seqs) > first,
    )


def format_cursor(seq: int) -> str:
    """The cursor of a row in a listing."""
    return f"{seq:x}"


def parse_cursor(cursor: str) -> int:
    """The row of a cursor.

    Raises:
        InvalidInputError: It is not one.
    """
    try:
        seq = int(cursor, 16)
    except ValueError:
        seq = -1
    if not 0 < seq < 1 << 62 or format_cursor(seq) != cursor:
        raise InvalidInputError("`after` is not a cursor of this listing: pass one that it returned.")
    return seq
