"""What `--json` prints: one shape per kind of thing.

Names are in camelCase, as those of the Tailor Platform's own command line. Times are ISO 8601 in UTC; inputs, outputs
and results are the JSON values themselves. Fields are only ever added.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, JsonValue, PlainSerializer
from pydantic.alias_generators import to_camel
from pydantic_core import from_json

from gqlplugin.cli.text import safe_json
from gqlplugin.execution import ExecutionError, JobExecution, PendingWait, WorkflowExecution
from gqlplugin.executor import Executor
from gqlplugin.executor.inspection import arguments_hash_of, attempts_of, next_time_of, outcome_of
from gqlplugin.names import executor_of


def _in_utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[datetime, PlainSerializer(_in_utc)]


class Shape(BaseModel):
    """What the shapes share: names in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class WorkflowShape(Shape):
    """A workflow, of `workflow list` (an array of them) and `workflow get`.

    Attributes:
        name: Its name.
        main_job: The name of its main job; null for one that is defined elsewhere.
        job_functions: The names of the jobs it is made of.
        updated_at: When it was last deployed; null for an application on this machine.
    """

    name: str
    main_job: str | None
    job_functions: list[str]
    updated_at: Moment | None


class ExecutionRowShape(Shape):
    """A run, of `workflow executions` (an array of them, newest first).

    Attributes:
        id: The execution's ID.
        workflow_name: The workflow's name.
        status: PENDING, PENDING_RESUME, PENDING_RETRY, RUNNING, WAITING (for an answer), SUCCESS, FAILED or CANCELED.
        job_executions: How many jobs it has triggered so far, its main job included.
        started_at: When its first job began.
        finished_at: When it ended.
    """

    id: str
    workflow_name: str
    status: str
    job_executions: int
    started_at: Moment | None
    finished_at: Moment | None


class ErrorShape(Shape):
    """Why a run or a job failed.

    Attributes:
        code: A stable code.
        message: What callers may read.
        detail: The traceback, for operators.
    """

    code: str
    message: str
    detail: str | None


class JobShape(Shape):
    """A job of a run, or a wait of it at a wait point.

    Attributes:
        id: The job execution's ID.
        stacked_name: The names of the jobs down to this one, joined by "/".
        status: RUNNING, SUSPEND (it waits for what is below it), WAITING (of a wait), SUCCESS, FAILED or CANCELED.
        is_wait_point: Whether it is no job but a wait for an answer.
        input: Its argument; of a wait, what those who answer are told.
        result: What it returned; of a wait, the answer.
        error: Why it failed.
        logs: The lines it logged.
        started_at: When it began.
        finished_at: When it ended.
    """

    id: str
    stacked_name: str
    status: str
    is_wait_point: bool
    input: JsonValue
    result: JsonValue
    error: ErrorShape | None
    logs: list[str]
    started_at: Moment
    finished_at: Moment | None


class ExecutionShape(Shape):
    """A run with its jobs, of `workflow executions ID`, and of `start`, `resume`, `cancel` and `resolve` with `--wait`.

    Attributes:
        id: The execution's ID.
        workflow_name: The workflow's name.
        status: As in the list of runs.
        input: The argument it was started with.
        output: What its main job returned.
        error: Why it failed.
        machine_user: As whom it runs; null when it is anonymous.
        started_at: When its first job began.
        finished_at: When it ended.
        jobs: Its jobs, in the order they were triggered.
    """

    id: str
    workflow_name: str
    status: str
    input: JsonValue
    output: JsonValue
    error: ErrorShape | None
    machine_user: str | None
    started_at: Moment | None
    finished_at: Moment | None
    jobs: list[JobShape]


class StartedShape(Shape):
    """A run that goes on by itself, of `workflow start`, `resume`, `cancel` and `resolve`.

    Attributes:
        execution_id: The execution's ID.
        status: As in the list of runs.
    """

    execution_id: str
    status: str


class WaitShape(Shape):
    """What a run waits for, of `workflow resolve ID` (an array of them).

    Attributes:
        id: The ID of the job execution that stands for the wait.
        execution_id: The execution's ID.
        key: The wait point's name.
        payload: What those who answer are told.
        since: When it began to wait.
        expires_at: When it goes on without an answer; null is never.
    """

    id: str
    execution_id: str
    key: str
    payload: JsonValue
    since: Moment
    expires_at: Moment | None


class MachineUserShape(Shape):
    """A machine user, of `machineuser list` (an array of them).

    Attributes:
        name: Its name.
        namespace: The auth namespace it belongs to.
        client_id: Its OAuth client ID; null for an application on this machine. The client secret is never shown.
        attributes: JSON values by name.
    """

    name: str
    namespace: str
    client_id: str | None
    attributes: dict[str, JsonValue]


class ExecutorShape(Shape):
    """An executor, of `executor list` (an array of them) and `executor get`.

    Attributes:
        name: Its name.
        description: For people.
        disabled: Nothing fires it.
        trigger_kind: schedule, incoming-webhook, record-created, record-updated, record-deleted or resolver-executed.
        trigger_detail: What exactly it waits for.
        operation_kind: workflow, function, graphql or webhook.
        operation_detail: What exactly it does.
        next_time: When a schedule fires next.
    """

    name: str
    description: str
    disabled: bool
    trigger_kind: str
    trigger_detail: str
    operation_kind: str
    operation_detail: str
    next_time: Moment | None


class ExecutorJobShape(Shape):
    """What an executor did, of `executor jobs` (an array, newest first).

    Attributes:
        id: The execution's ID.
        executor: The executor's name.
        status: As in the list of runs.
        attempts: How many tries have begun, since it was fired or resumed.
        arguments_hash: The SHA-256 of the arguments, in hexadecimal.
        skipped: The condition was not met, and nothing was done.
        workflow_run_id: The run that it started.
        error: Why it failed.
        started_at: When it began.
        finished_at: When it ended.
    """

    id: str
    executor: str
    status: str
    attempts: int
    arguments_hash: str
    skipped: bool
    workflow_run_id: str | None
    error: ErrorShape | None
    started_at: Moment | None
    finished_at: Moment | None


def execution_row(run: WorkflowExecution, jobs: Sequence[JobExecution]) -> ExecutionRowShape:
    """A run as the list of runs shows it."""
    return ExecutionRowShape(
        id=run.id,
        workflow_name=run.workflow_name,
        status=run.status,
        job_executions=len(jobs),
        started_at=run.started_at,
        finished_at=run.finished_at,
    )


def executor(one: Executor[Any], now: datetime) -> ExecutorShape:
    """An executor as it is defined, at a moment."""
    return ExecutorShape(
        name=one.name,
        description=one.description,
        disabled=one.disabled,
        trigger_kind=one.trigger.kind,
        trigger_detail=one.trigger.detail,
        operation_kind=one.operation.kind,
        operation_detail=one.operation.detail,
        next_time=next_time_of(one, now),
    )


def executor_job(run: WorkflowExecution) -> ExecutorJobShape:
    """A run of a firing, as the list of an executor's jobs shows it."""
    outcome = outcome_of(run)
    return ExecutorJobShape(
        id=run.id,
        executor=executor_of(run.workflow_name) or "",
        status=run.status,
        attempts=attempts_of(run),
        arguments_hash=arguments_hash_of(run),
        skipped=outcome is not None and outcome.skipped,
        workflow_run_id=None if outcome is None else outcome.workflow_run_id,
        error=_error(run.error),
        started_at=run.started_at,
        finished_at=run.finished_at,
    )


def execution(run: WorkflowExecution, jobs: Sequence[JobExecution]) -> ExecutionShape:
    """A run with its jobs."""
    return ExecutionShape(
        id=run.id,
        workflow_name=run.workflow_name,
        status=run.status,
        input=json_value(run.input),
        output=json_value(run.output),
        error=_error(run.error),
        machine_user=run.invoker.machine_user_name if run.invoker else None,
        started_at=run.started_at,
        finished_at=run.finished_at,
        jobs=[_job(job) for job in jobs],
    )


def wait(one: PendingWait) -> WaitShape:
    """What a run waits for."""
    return WaitShape(
        id=one.job_id,
        execution_id=one.execution.id,
        key=one.name,
        payload=json_value(one.payload),
        since=one.since,
        expires_at=one.expires_at,
    )


def _job(job: JobExecution) -> JobShape:
    return JobShape(
        id=job.id,
        stacked_name=job.stacked_name,
        status=job.status,
        is_wait_point=job.is_wait_point,
        input=json_value(job.input),
        result=json_value(job.result),
        error=_error(job.error),
        logs=list(job.logs),
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _error(error: ExecutionError | None) -> ErrorShape | None:
    return None if error is None else ErrorShape(code=error.code, message=error.message, detail=error.detail)


def json_value(text: str | None) -> JsonValue:
    """The value of a JSON text; a text that isn't JSON, which some platforms keep, stays a text."""
    if not text:
        return None
    try:
        return from_json(text, allow_inf_nan=False)  # type: ignore[no-any-return]  # JSON is all it returns
    except ValueError:
        return text


def as_json(shape: Shape | Sequence[Shape]) -> str:
    """A shape, or an array of them, as JSON text that is safe to print."""
    if isinstance(shape, Shape):
        value: object = shape.model_dump(mode="json", by_alias=True)
    else:
        value = [one.model_dump(mode="json", by_alias=True) for one in shape]
    return safe_json(json.dumps(value, indent=2, ensure_ascii=False))
