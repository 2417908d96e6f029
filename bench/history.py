"""A journal with as many runs as wanted: a thousand written as the platform writes them, then copied with new IDs."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.files import fresh
from bench.shop import Customer, CustomerRef, Notification, OrderProcessing, Receipt, process_order
from gqlplugin import JobStatus, User, WorkflowExecution, create_workflow, define_app
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.embedded.rows import JOB_COLUMNS, RUN_COLUMNS, Row, job_row, run_row
from gqlplugin.runs import ExecutionError, ExecutionStatus, JobExecution

ORIGINALS = 1000
WORKFLOWS = ("order-processing", "refund", "restock", "monthly-report", "newsletter")
CALLERS = tuple(User(f"user-{number:02d}", "user", attributes={"role": "STAFF"}) for number in range(20))
LISTING_CALLER = CALLERS[0]
FIRST_RUN = datetime(2026, 1, 1, tzinfo=UTC)
STATUSES = {
    ExecutionStatus.SUCCESS: 76,
    ExecutionStatus.FAILED: 20,
    ExecutionStatus.RUNNING: 2,
    ExecutionStatus.PENDING: 1,
    ExecutionStatus.PENDING_RETRY: 1,
}

NAMES = {"0": "process-order", "0.0": "fetch-customer", "0.1": "send-notification"}

app = define_app("bench-history", workflows=[create_workflow(name=name, main_job=process_order) for name in WORKFLOWS])


def write(path: Path, runs: int) -> None:
    """Fill a new journal.

    Args:
        path: Where.
        runs: How many, in thousands.
    """
    asyncio.run(_create(fresh(path)))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = MEMORY")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        _write_originals(connection)
        _copy(connection, runs // ORIGINALS - 1)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")


async def _create(path: Path) -> None:
    async with EmbeddedPlatform(path):
        pass


def _write_originals(connection: sqlite3.Connection) -> None:
    dice = random.Random(7)  # noqa: S311 - the same history each time
    for number in range(ORIGINALS):
        run = _run(dice, number)
        connection.execute(_insert("run", RUN_COLUMNS), run_row(run, due_at=None))
        connection.executemany(_insert("job", JOB_COLUMNS), _jobs(run))


def _insert(table: str, columns: str) -> str:
    return f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(columns.split(', ')))})"  # noqa: S608


def _run(dice: random.Random, number: int) -> WorkflowExecution:
    created_at = FIRST_RUN + timedelta(seconds=number)
    status = dice.choices(list(STATUSES), list(STATUSES.values()))[0]
    failed, succeeded = status is ExecutionStatus.FAILED, status is ExecutionStatus.SUCCESS
    milliseconds = f"{int(created_at.timestamp() * 1000):012x}"
    return WorkflowExecution(
        id=f"{milliseconds[:8]}-{milliseconds[8:]}-7{number:03x}-8000-{dice.getrandbits(48):012x}",
        workflow_name=dice.choices(WORKFLOWS, (50, 20, 15, 10, 5))[0],
        status=status,
        caller=dice.choices((*CALLERS, User()), (40, *(2 for _ in CALLERS[1:]), 22))[0],
        input=OrderProcessing(order_id=f"order-{number}", customer_id="customer-1").model_dump_json(),
        output=Receipt(order_id=f"order-{number}", notified=True).model_dump_json() if succeeded else None,
        error=ExecutionError("JOB_FAILED", "The customer has no address.", "Traceback\n" * 20) if failed else None,
        created_at=created_at,
        started_at=None if status is ExecutionStatus.PENDING else created_at,
        finished_at=created_at + timedelta(seconds=2) if status.is_final else None,
    )


def _jobs(run: WorkflowExecution) -> Iterator[Row]:
    """The main job and the two it triggered; of runs that have not succeeded only the first of those."""
    if run.started_at is None:
        return
    reference, customer = (
        CustomerRef(customer_id="customer-1"),
        Customer(customer_id="customer-1", email="a@example.com"),
    )
    notification = Notification(message="Order processed", recipient=customer.email)
    done = run.status is ExecutionStatus.SUCCESS
    main_status = JobStatus.FAILED if run.error else JobStatus.SUCCESS if done else JobStatus.RUNNING
    yield _job(run, "0", main_status, run.input, run.output)
    yield _job(run, "0.0", JobStatus.SUCCESS, reference.model_dump_json(), customer.model_dump_json())
    if done:
        yield _job(run, "0.1", JobStatus.SUCCESS, notification.model_dump_json(), "true")


def _job(run: WorkflowExecution, place: str, status: JobStatus, input: str, result: str | None) -> Row:
    name = NAMES[place]
    execution = JobExecution(
        run_id=run.id,
        place=place,
        name=name,
        stacked_name=name if place == "0" else f"process-order/{name}",
        status=status,
        input=input,
        result=result,
        error=run.error if status is JobStatus.FAILED else None,
        logs=("2026-01-01T00:00:00.000Z INFO the usual",),
        started_at=run.created_at,
        finished_at=run.finished_at,
    )
    return job_row(execution)


def _copy(connection: sqlite3.Connection, times: int) -> None:
    """Copy the originals, each copy later than the one before it, in IDs and times."""
    connection.execute("CREATE TEMP TABLE original AS SELECT * FROM run")
    connection.execute("CREATE TEMP TABLE original_job AS SELECT * FROM job")
    connection.execute("CREATE TEMP TABLE copy (shift INTEGER PRIMARY KEY)")
    span = ORIGINALS * 1_000_000  # microseconds
    connection.executemany("INSERT INTO copy VALUES (?)", ((number * span,) for number in range(1, times + 1)))
    milliseconds = "printf('%012x', (original.created_at + shift) / 1000)"
    id_ = f"substr({milliseconds}, 1, 8) || '-' || substr({milliseconds}, 9) || substr(original.id, 14)"
    runs = ", ".join(_copied("original", name, id_) for name in RUN_COLUMNS.split(", "))
    connection.execute(
        f"INSERT INTO run ({RUN_COLUMNS}) SELECT {runs} FROM copy CROSS JOIN original ORDER BY shift, original.seq"  # noqa: S608
    )
    jobs = ", ".join(_copied("original_job", name, id_) for name in JOB_COLUMNS.split(", "))
    connection.execute(
        f"INSERT INTO job ({JOB_COLUMNS}) SELECT {jobs} FROM copy CROSS JOIN original_job "  # noqa: S608
        "JOIN original ON original.id = original_job.run_id ORDER BY shift, original_job.rowid"
    )


def _copied(table: str, column: str, id_: str) -> str:
    if column in ("created_at", "started_at", "finished_at"):
        return f"{table}.{column} + shift"
    return id_ if column in ("id", "run_id") else f"{table}.{column}"
