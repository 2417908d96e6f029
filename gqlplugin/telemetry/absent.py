"""What `gqlplugin.telemetry` does where OpenTelemetry is not installed: nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

from gqlplugin.runs import ExecutionStatus, JobExecution, WorkflowExecution, job_id_at
from gqlplugin.telemetry.span import NO_SPAN, NO_START, Span, Start

_NOWHERE = nullcontext()


def current_trace() -> Mapping[str, str] | None:
    """None."""
    return None


def trace_headers() -> Mapping[str, str]:
    """None at all."""
    return {}


def within_request(headers: Iterable[tuple[bytes, bytes]]) -> AbstractContextManager[None]:
    """Nothing."""
    del headers
    return _NOWHERE


def within_trace(kept: Mapping[str, str] | None) -> AbstractContextManager[None]:
    """Nothing."""
    del kept
    return _NOWHERE


def operation_span(headers: Iterable[tuple[bytes, bytes]]) -> Span:
    """A span that nobody records."""
    del headers
    return NO_SPAN


def starting(workflow_name: str) -> Start:
    """A span that nobody records."""
    del workflow_name
    return NO_START


def run_span(run: WorkflowExecution, *, recorded: int) -> Span:
    """A span that nobody records."""
    del run, recorded
    return NO_SPAN


def job_span(run: WorkflowExecution, *, name: str, place: str, id_at: Callable[[str, str], str] = job_id_at) -> Span:
    """A span that nobody records."""
    del run, name, place, id_at
    return NO_SPAN


def count_end(run: WorkflowExecution, status: ExecutionStatus, finished_at: datetime) -> None:
    """Nothing."""
    del run, status, finished_at


def count_job(run: WorkflowExecution, job: JobExecution) -> None:
    """Nothing."""
    del run, job
