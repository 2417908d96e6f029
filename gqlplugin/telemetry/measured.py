"""Metrics, by the OpenTelemetry API. Their attributes are names and codes: few, and never an ID."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from importlib.metadata import version

from opentelemetry import metrics

from gqlplugin.runs import ExecutionStatus, JobExecution, WorkflowExecution
from gqlplugin.telemetry import names
from gqlplugin.telemetry.queues import queue_depths


class Instruments:
    """What is counted and measured.

    Args:
        meter: Makes the instruments.
    """

    def __init__(self, meter: metrics.Meter) -> None:
        self.triggers = meter.create_counter(
            "gqlplugin.triggers", unit="{trigger}", description="Calls that start runs of workflows."
        )
        self.runs_ended = meter.create_counter("gqlplugin.runs.ended", unit="{run}", description="Runs that ended.")
        self.run_duration = meter.create_histogram(
            "gqlplugin.run.duration", unit="s", description="From the start of a run to its end, waits included."
        )
        self.job_duration = meter.create_histogram(
            "gqlplugin.job.duration", unit="s", description="From the begin of a job to its end, waits included."
        )
        meter.create_observable_up_down_counter(
            "gqlplugin.queue.depth",
            [_observed_depths],
            unit="{run}",
            description="Runs that are due and have not begun.",
        )


def _observed_depths(_: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
    for workflow, depth in queue_depths().items():
        yield metrics.Observation(depth, {names.WORKFLOW: workflow})


_instruments = Instruments(metrics.get_meter(names.SCOPE, version(names.SCOPE), schema_url=names.SCHEMA_URL))


def count_trigger(workflow_name: str, outcome: str) -> None:
    """Count a call that starts a run.

    Args:
        workflow_name: The workflow.
        outcome: STARTED, or the code of the error.
    """
    _instruments.triggers.add(1, {names.WORKFLOW: workflow_name, names.OUTCOME: outcome})


def count_end(run: WorkflowExecution, status: ExecutionStatus, finished_at: datetime) -> None:
    """Count a run that has ended, once its end is durable.

    Args:
        run: As it was at its start, at least.
        status: SUCCESS, FAILED or CANCELED.
        finished_at: When.
    """
    attributes = {names.WORKFLOW: run.workflow_name, names.RUN_STATUS: status.value}
    _instruments.runs_ended.add(1, attributes)
    _instruments.run_duration.record(_seconds(run.created_at, finished_at), attributes)


def count_job(run: WorkflowExecution, job: JobExecution) -> None:
    """Measure a job that has just ended, whatever became of it."""
    if job.finished_at is not None:
        attributes = {names.WORKFLOW: run.workflow_name, names.JOB: job.name, names.JOB_STATUS: job.status.value}
        _instruments.job_duration.record(_seconds(job.started_at, job.finished_at), attributes)


def _seconds(begin: datetime, end: datetime) -> float:
    return max(0.0, (end - begin).total_seconds())  # a clock may have been set back, and a duration is not below 0
