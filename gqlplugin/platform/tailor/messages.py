"""The messages of the operator service as JSON, and as the records of runs and jobs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Json, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import from_json, to_json

from gqlplugin.identity import AuthInvoker, User
from gqlplugin.runs import (
    ExecutionError,
    ExecutionStatus,
    JobExecution,
    JobStatus,
    PendingWait,
    Progress,
    WorkflowExecution,
)

EnumValue = int | str


def _moment(value: datetime | None) -> datetime | None:
    if value is None or value.year == 1:  # how Go writes a time that was never set
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Moment = Annotated[datetime | None, AfterValidator(_moment)]


class Message(BaseModel):
    """A message of the contract."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: object) -> object:
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data


class InvokerMessage(Message):
    """The machine user that a run runs as."""

    namespace: str = ""
    machine_user_name: str = ""


class CallerMessage(Message):
    """Who started a run."""

    id: str = ""
    type: Literal["user", "machine_user", ""] = ""
    workspace_id: str = ""
    attributes: Json[dict[str, Any] | None] = None
    attribute_list: tuple[str, ...] = ()


class ErrorMessage(Message):
    """Why a run or a job failed."""

    code: str = ""
    message: str = ""
    detail: str | None = None


class ProgressMessage(Message):
    """How far a job says it is."""

    fraction: float = 0.0
    message: str | None = None


class RunDetails(Message):
    """What gqlplugin's server adds to a run."""

    input: str = "null"
    output: str | None = None
    error: ErrorMessage | None = None
    caller: CallerMessage | None = None
    invoker: InvokerMessage | None = None
    progress: ProgressMessage | None = None
    attempt: int = 0
    depth: int = 0
    created_at: Moment = None
    status: str = ""


class JobDetails(Message):
    """What gqlplugin's server adds to a job."""

    run_id: str = ""
    place: str = ""
    name: str = ""
    input: str = "null"
    result: str | None = None
    error: ErrorMessage | None = None
    logs: tuple[str, ...] = ()
    progress: ProgressMessage | None = None
    stacked_name: str = ""
    status: str = ""
    is_wait_point: bool = False


class JobMessage(Message):
    """A WorkflowJobExecution."""

    id: str = ""
    stacked_job_name: str = ""
    status: EnumValue = 0
    execution_id: str = ""
    started_at: Moment = None
    finished_at: Moment = None
    details: JobDetails | None = None


class RunMessage(Message):
    """A WorkflowExecution."""

    id: str
    workflow_name: str = ""
    status: EnumValue = 0
    job_executions: tuple[JobMessage, ...] = ()
    started_at: Moment = None
    finished_at: Moment = None
    details: RunDetails | None = None


class FunctionErrorMessage(Message):
    """Why a function execution failed; gqlplugin's own server used to send it as text."""

    name: str = ""
    message: str = ""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: object) -> object:
        return {"message": data} if isinstance(data, str) else data

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.name, self.message)))


class FunctionMessage(Message):
    """A FunctionExecution."""

    id: str = ""
    status: EnumValue = 0
    logs: str = ""
    started_at: Moment = None
    finished_at: Moment = None
    result: str = ""
    error: FunctionErrorMessage | None = None
    details: JobDetails | None = None


class WorkflowMessage(Message):
    """A Workflow."""

    id: str
    name: str
    main_job_function_name: str = ""
    job_functions: dict[str, int] = {}
    created_at: Moment = None
    updated_at: Moment = None


class ApplicationMessage(Message):
    """An Application."""

    name: str
    auth_namespace: str = ""
    url: str = ""


class MachineUserMessage(Message):
    """A MachineUser, without its client secret."""

    id: str = ""
    name: str
    client_id: str = ""
    attribute_map: dict[str, Any] = {}


class GetRunAnswer(Message):
    """The answer of GetWorkflowExecution."""

    execution: RunMessage


class ListRunsAnswer(Message):
    """The answer of ListWorkflowExecutions."""

    executions: tuple[RunMessage, ...] = ()
    next_page_token: str = ""
    total_count: int = 0
    page_tokens: tuple[str, ...] = ()


class ListFunctionsAnswer(Message):
    """The answer of ListFunctionExecutions, of which only the count is read."""

    total_count: int = 0


class GetFunctionAnswer(Message):
    """The answer of GetFunctionExecution."""

    execution: FunctionMessage


class StartedAnswer(Message):
    """The answer of TestStartWorkflow."""

    execution_id: str
    replayed: bool = False


class StartedAllAnswer(Message):
    """The answer of StartWorkflows."""

    execution_ids: tuple[str, ...]


class DoneAnswer(Message):
    """The answer of a method that has no more to say."""


class WaitMessage(Message):
    """A WaitPoint."""

    id: str
    key: str
    payload: str = "null"
    execution: RunMessage
    since: Moment = None
    expires_at: Moment = None


class ListWaitsAnswer(Message):
    """The answer of ListWaitPoints."""

    wait_points: tuple[WaitMessage, ...] = ()
    next_page_token: str = ""
    page_tokens: tuple[str, ...] = ()


class GetWorkflowAnswer(Message):
    """The answer of GetWorkflowByName."""

    workflow: WorkflowMessage


class ListWorkflowsAnswer(Message):
    """The answer of ListWorkflows."""

    workflows: tuple[WorkflowMessage, ...] = ()
    next_page_token: str = ""


class GetApplicationAnswer(Message):
    """The answer of GetApplication."""

    application: ApplicationMessage


class ListApplicationsAnswer(Message):
    """The answer of ListApplications."""

    applications: tuple[ApplicationMessage, ...] = ()
    next_page_token: str = ""


class ListMachineUsersAnswer(Message):
    """The answer of ListAuthMachineUsers."""

    machine_users: tuple[MachineUserMessage, ...] = ()
    next_page_token: str = ""


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
