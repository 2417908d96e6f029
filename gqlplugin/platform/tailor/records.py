"""Messages as the records that a platform keeps: exact from gqlplugin's server, as near as can be from another."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from pydantic_core import from_json, to_json

from gqlplugin.execution import (
    ExecutionError,
    ExecutionStatus,
    JobExecution,
    JobStatus,
    PendingWait,
    Progress,
    WorkflowExecution,
)
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.tailor.messages import (
    CallerMessage,
    EnumValue,
    ErrorMessage,
    FunctionMessage,
    InvokerMessage,
    JobDetails,
    JobMessage,
    ProgressMessage,
    RunDetails,
    RunMessage,
    WaitMessage,
)

RUN_STATUS_NUMBERS = {
    ExecutionStatus.PENDING: 1,
    ExecutionStatus.PENDING_RESUME: 2,
    ExecutionStatus.RUNNING: 3,
    ExecutionStatus.SUCCESS: 4,
    ExecutionStatus.FAILED: 5,
    ExecutionStatus.PENDING_RETRY: 6,
    ExecutionStatus.WAITING: 7,
}
_RUN_STATUSES: dict[EnumValue, ExecutionStatus] = {
    **{number: status for status, number in RUN_STATUS_NUMBERS.items()},
    **{f"STATUS_{status.value}": status for status in ExecutionStatus},
}
_JOB_STATUSES: dict[EnumValue, JobStatus] = {
    **dict(enumerate((JobStatus.RUNNING, JobStatus.SUSPEND, JobStatus.SUCCESS, JobStatus.FAILED), 1)),
    **{f"STATUS_{status.value}": status for status in JobStatus},
    5: JobStatus.SUSPEND,  # it waits, for somebody's answer
    "STATUS_WAITING": JobStatus.SUSPEND,
}
_OWN_RUN_STATUSES = {status.value: status for status in ExecutionStatus}
_OWN_JOB_STATUSES = {status.value: status for status in JobStatus}
_EPOCH = datetime.fromtimestamp(0, UTC)


def to_run(message: RunMessage) -> WorkflowExecution:
    """A run. Without details its input and output are not known."""
    status = _to_run_status(message)
    run = WorkflowExecution(
        id=message.id,
        workflow_name=message.workflow_name,
        status=status,
        input="null",
        created_at=message.started_at or _time_in(message.id),
        started_at=message.started_at,
        finished_at=message.finished_at,
    )
    if message.details is not None:
        _add_run_details(run, message.details)
    elif status is ExecutionStatus.FAILED:
        run.error = _failure_of(message)
    return run


def to_jobs(message: RunMessage) -> list[JobExecution]:
    """The jobs of a run. Without details their places follow from their names and order."""
    if not any(job.details is not None for job in message.job_executions):
        return _placed(message)
    return [_to_job(message, job, job.details or JobDetails()) for job in message.job_executions]


def with_function(job: JobExecution, function: FunctionMessage) -> JobExecution:
    """A job with what its function execution adds."""
    error = job.error
    if error is not None and function.error is not None and str(function.error):
        error = replace(error, detail=str(function.error))
    return replace(
        job,
        result=json_text(function.result) if job.status is JobStatus.SUCCESS else None,
        logs=tuple(function.logs.splitlines()),
        error=error,
    )


def job_of_function(message: FunctionMessage, details: JobDetails) -> JobExecution:
    """A job from its function execution with details, which tell its status."""
    job = JobMessage(id=message.id, started_at=message.started_at, finished_at=message.finished_at)
    return _to_job(RunMessage(id=details.run_id), job, details)


def to_wait(message: WaitMessage) -> PendingWait:
    """A run that waits."""
    return PendingWait(
        execution=to_run(message.execution),
        name=message.key,
        payload=message.payload,
        job_id=message.id,
        since=message.since or _EPOCH,
        expires_at=message.expires_at,
    )


def main_job_of(message: RunMessage) -> JobMessage | None:
    """The main job, in its last try."""
    mains = [job for job in message.job_executions if "/" not in job.stacked_job_name]
    return next(iter(mains[-1:] or message.job_executions[:1]), None)


def json_text(text: str) -> str:
    """A result as JSON text; an empty one is null, and one that is not JSON a string."""
    if not text:
        return "null"
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:
        return to_json(text).decode()
    return text


def caller_message(user: User) -> dict[str, object]:
    """The caller of a start, for gqlplugin's server.

    Raises:
        ValueError: The attributes are not JSON values.
    """
    message: dict[str, object] = {"id": user.id, "type": user.type, "workspaceId": user.workspace_id}
    if user.attributes is not None:
        message["attributes"] = to_json(dict(user.attributes), inf_nan_mode="constants").decode()
    return {**message, "attributeList": list(user.attribute_list)}


def _add_run_details(run: WorkflowExecution, details: RunDetails) -> None:
    run.input, run.output = details.input, details.output
    run.error = _to_error(details.error)
    run.caller = _to_user(details.caller)
    run.invoker = _to_invoker(details.invoker)
    run.progress = _to_progress(details.progress)
    run.attempt, run.depth = details.attempt, details.depth
    run.created_at = details.created_at or run.created_at


def _to_job(run: RunMessage, message: JobMessage, details: JobDetails) -> JobExecution:
    stacked_name = details.stacked_name or message.stacked_job_name
    job = JobExecution(
        run_id=run.id,
        place=details.place or "0",
        name=details.name or stacked_name.rpartition("/")[2],
        stacked_name=stacked_name,
        status=_OWN_JOB_STATUSES.get(details.status) or _to_job_status(message),
        input=details.input,
        result=details.result,
        error=_to_error(details.error),
        logs=details.logs,
        progress=_to_progress(details.progress),
        started_at=message.started_at or run.started_at or _time_in(run.id),
        finished_at=message.finished_at,
        is_wait_point=details.is_wait_point,
    )
    return job if job.id == message.id else replace(job, given_id=message.id)


def _placed(run: RunMessage) -> list[JobExecution]:
    """Jobs with places: each follows the others below the last job of its parent's name."""
    last_place: dict[str, str] = {}
    below: Counter[str] = Counter()
    jobs = []
    for message in run.job_executions:
        name = message.stacked_job_name
        above = last_place.get(name.rpartition("/")[0])
        place = str(below[""]) if above is None else f"{above}.{below[above]}"
        below["" if above is None else above] += 1
        last_place[name] = place
        job = _to_job(run, message, JobDetails(place=place))
        jobs.append(replace(job, given_id=message.execution_id or message.id or None, error=_job_error(job)))
    return jobs


def _job_error(job: JobExecution) -> ExecutionError | None:
    if job.status is not JobStatus.FAILED:
        return None
    return ExecutionError("JOB_FAILED", f"Job {job.stacked_name!r} failed.")


def _to_job_status(message: JobMessage) -> JobStatus:
    unknown = JobStatus.RUNNING if message.finished_at is None else JobStatus.FAILED
    return _JOB_STATUSES.get(message.status, unknown)


def _to_run_status(message: RunMessage) -> ExecutionStatus:
    own = None if message.details is None else _OWN_RUN_STATUSES.get(message.details.status)
    unknown = ExecutionStatus.RUNNING if message.finished_at is None else ExecutionStatus.FAILED
    return own or _RUN_STATUSES.get(message.status, unknown)


def _failure_of(message: RunMessage) -> ExecutionError:
    if message.status not in _RUN_STATUSES:
        return ExecutionError(
            "UNKNOWN_STATUS", f"The run ended with the status {message.status!r}, which gqlplugin does not know."
        )
    failed = [job.stacked_job_name for job in message.job_executions if _to_job_status(job) is JobStatus.FAILED]
    if not failed:
        return ExecutionError("JOB_FAILED", "The run failed.")
    deepest = max(reversed(failed), key=lambda name: name.count("/"))
    return ExecutionError("JOB_FAILED", f"Job {deepest!r} failed.")


def _to_error(message: ErrorMessage | None) -> ExecutionError | None:
    return None if message is None else ExecutionError(message.code, message.message, message.detail)


def _to_user(message: CallerMessage | None) -> User:
    if message is None:
        return User()
    return User(message.id, message.type, message.workspace_id, message.attributes, message.attribute_list)


def _to_invoker(message: InvokerMessage | None) -> AuthInvoker | None:
    return None if message is None else AuthInvoker(message.namespace, message.machine_user_name)


def _to_progress(message: ProgressMessage | None) -> Progress | None:
    return None if message is None else Progress(message.fraction, message.message)


def _time_in(run_id: str) -> datetime:
    """When a UUID of version 7 was made; the epoch for any other."""
    try:
        uuid = UUID(run_id)
        return datetime.fromtimestamp((uuid.int >> 80) / 1000, UTC) if uuid.version == 7 else _EPOCH
    except (ValueError, OverflowError, OSError):
        return _EPOCH
