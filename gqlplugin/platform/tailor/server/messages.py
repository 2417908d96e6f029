"""Records as messages of the operator service, and the filters of lists."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value
from pydantic_core import to_jsonable_python

from gqlplugin.errors import InvalidInputError, PlatformUnavailableError
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.base import machine_user_id
from gqlplugin.platform.tailor.proto import operator_pb2 as pb
from gqlplugin.platform.tailor.server.served import MachineUserClient, attribute_id, is_uuid
from gqlplugin.runs import (
    ExecutionError,
    ExecutionFilter,
    ExecutionStatus,
    JobExecution,
    JobStatus,
    PendingWait,
    Progress,
    WorkflowExecution,
)

_RUN_STATUSES = frozenset(pb.WorkflowExecution.Status.keys())
_JOB_STATUSES = frozenset(pb.WorkflowJobExecution.Status.keys())
_FUNCTION_STATUSES = frozenset(pb.FunctionExecution.Status.keys())
_WAITING = (JobStatus.SUSPEND, JobStatus.WAITING)
_CANCELED = "CANCELED"
SHOWN_AS = {
    ExecutionStatus.PENDING_RETRY: ExecutionStatus.RUNNING,
    ExecutionStatus.WAITING: ExecutionStatus.RUNNING,
    ExecutionStatus.CANCELED: ExecutionStatus.FAILED,
}
"""What a client sees that knows only the statuses that the contract had first."""


def to_run(
    run: WorkflowExecution,
    jobs: Iterable[pb.WorkflowJobExecution],
    *,
    details: bool,
    later_statuses: bool = True,
) -> pb.WorkflowExecution:
    """A run, with its details when the client knows of them.

    Where the client may not know the statuses that were added later, a run that waits or that is to be retried is
    RUNNING, so that the client goes on polling.
    """
    status = run.status if later_statuses else SHOWN_AS.get(run.status, run.status)
    return pb.WorkflowExecution(
        id=run.id,
        workflow_name=run.workflow_name,
        status=_status(status, _RUN_STATUSES),
        job_executions=jobs,
        started_at=run.started_at,
        finished_at=run.finished_at,
        details=_run_details(run) if details else None,
    )


def to_job(job: JobExecution, *, details: bool, later_statuses: bool = True) -> pb.WorkflowJobExecution:
    """A job as part of its run. Its own ID and that of its FunctionExecution are one.

    Where the client may not know the status that was added later, a wait is SUSPEND.
    """
    is_later = job.status is JobStatus.WAITING
    status = job.status if later_statuses or not is_later else JobStatus.SUSPEND
    return pb.WorkflowJobExecution(
        id=job.id,
        stacked_job_name=job.stacked_name,
        status=_status(status, _JOB_STATUSES),
        execution_id=job.id,
        started_at=job.started_at,
        finished_at=job.finished_at,
        details=_job_details(job) if details else None,
    )


def to_function(job: JobExecution, *, workspace_id: str, details: bool) -> pb.FunctionExecution:
    """A job by itself. One that waits is RUNNING, as there is no other word for it here."""
    status = JobStatus.RUNNING if job.status in _WAITING else job.status
    return pb.FunctionExecution(
        id=job.id,
        workspace_id=workspace_id,
        script_name=job.name,
        status=_status(status, _FUNCTION_STATUSES),
        logs=_text("\n".join(job.logs)),
        started_at=job.started_at,
        finished_at=job.finished_at,
        type=pb.FunctionExecution.TYPE_JOB,
        result=job.result,
        error=_failure(job),
        error_kind=_failure_kind(job),
        details=_job_details(job) if details else None,
    )


def to_wait(wait: PendingWait) -> pb.WaitPoint:
    """A run that waits."""
    return pb.WaitPoint(
        id=wait.job_id,
        key=wait.name,
        payload=wait.payload,
        execution=to_run(wait.execution, [], details=True),
        since=wait.since,
        expires_at=wait.expires_at,
    )


def to_machine_user(client: MachineUserClient, namespace: str, at: datetime) -> pb.MachineUser:
    """A machine user with its OAuth client."""
    attributes = to_jsonable_python(dict(client.user.attributes), inf_nan_mode="null")
    return pb.MachineUser(
        id=machine_user_id(namespace, client.user.name),
        name=client.user.name,
        client_id=client.client_id,
        client_secret=client.client_secret.get_secret_value(),
        attributes=[attribute_id(namespace, name) for name in sorted(attributes)],
        created_at=at,
        updated_at=at,
        attribute_map={name: ParseDict(value, Value()) for name, value in attributes.items()},
    )


def _status(status: str, known: frozenset[str]) -> Any:
    """The name of an enum value.

    What was canceled has failed, in the words of the contract; a status that it has no word for yet is unspecified.
    """
    name = "STATUS_FAILED" if status == _CANCELED else f"STATUS_{status}"
    return name if name in known else "STATUS_UNSPECIFIED"


def _run_details(run: WorkflowExecution) -> pb.RunDetails:
    return pb.RunDetails(
        input=run.input,
        output=run.output,
        error=_error(run.error),
        caller=_caller(run.caller),
        invoker=_invoker(run.invoker),
        progress=_progress(run.progress),
        attempt=run.attempt,
        depth=run.depth,
        created_at=run.created_at,
        status=run.status,
    )


def _job_details(job: JobExecution) -> pb.JobDetails:
    return pb.JobDetails(
        run_id=job.run_id,
        place=job.place,
        name=job.name,
        input=job.input,
        result=job.result,
        error=_error(job.error),
        logs=map(_text, job.logs),
        progress=_progress(job.progress),
        stacked_name=job.stacked_name,
        status=job.status,
        is_wait_point=job.is_wait_point,
    )


def _failure(job: JobExecution) -> pb.FunctionErrorInfo | None:
    if job.error is not None:
        return pb.FunctionErrorInfo(name=_text(job.error.code), message=_text(job.error.message))
    if job.status == _CANCELED:
        return pb.FunctionErrorInfo(name=_CANCELED, message="The run was canceled.")
    return None


def _failure_kind(job: JobExecution) -> pb.FunctionErrorKind:
    if job.status == _CANCELED:
        return pb.FUNCTION_ERROR_KIND_USER_NON_RUNTIME
    if job.error is None:
        ended = job.status == JobStatus.SUCCESS
        return pb.FUNCTION_ERROR_KIND_NONE if ended else pb.FUNCTION_ERROR_KIND_UNSPECIFIED
    if job.error.code == PlatformUnavailableError.code:
        return pb.FUNCTION_ERROR_KIND_PLATFORM
    return pb.FUNCTION_ERROR_KIND_USER_RUNTIME


def _caller(user: User) -> pb.Caller:
    return pb.Caller(
        id=user.id,
        type=user.type,
        workspace_id=user.workspace_id,
        attributes=None if user.attributes is None else json.dumps(to_jsonable_python(dict(user.attributes))),
        attribute_list=map(_text, user.attribute_list),
    )


def _invoker(invoker: AuthInvoker | None) -> pb.AuthInvoker | None:
    if invoker is None:
        return None
    return pb.AuthInvoker(namespace=invoker.namespace, machine_user_name=invoker.machine_user_name)


def _error(error: ExecutionError | None) -> pb.ExecutionError | None:
    if error is None:
        return None
    return pb.ExecutionError(
        code=_text(error.code),
        message=_text(error.message),
        detail=None if error.detail is None else _text(error.detail),
    )


def _progress(progress: Progress | None) -> pb.Progress | None:
    if progress is None:
        return None
    message = None if progress.message is None else _text(progress.message)
    return pb.Progress(fraction=progress.fraction, message=message)


def _text(said: str) -> str:
    """What a job said, as text that can be sent: half a surrogate pair can't."""
    return said.encode(errors="replace").decode()


_STATUSES = [name.removeprefix("STATUS_") for name in pb.WorkflowExecution.Status.keys()[1:]]
_OWN_STATUSES = [status.value for status in ExecutionStatus]

Reader = Callable[[str, Value], str]
"""Reads the value that a field is compared with."""


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which runs to list: those that fit any of the filters, which differ in the status at most."""

    filters: Sequence[ExecutionFilter]
    run_id: str | None = None

    def matches(self, run: WorkflowExecution) -> bool:
        """Whether a run is among them."""
        return self.run_id in (None, run.id) and any(
            where.workflow_name in (None, run.workflow_name)
            and where.status in (None, run.status)
            and where.caller_id in (None, run.caller.id)
            for where in self.filters
        )


def read_run_query(
    request: pb.ListWorkflowExecutionsRequest, *, extensions: bool, firings: bool, later_statuses: bool
) -> RunQuery | None:
    """Which runs a request asks for; None when it contradicts itself, so that there are none.

    Args:
        request: The request.
        extensions: Whether it may ask for what the contract does not have.
        firings: Whether firings of executors are listed too, where no workflow is named.
        later_statuses: Whether the client knows all statuses; else a status also asks for those that are shown as it.

    Raises:
        InvalidInputError: The filter is not one that can be answered.
    """
    readers: dict[str, Reader] = {
        "id": _uuid,
        "status": partial(_status_of, known=_OWN_STATUSES if extensions else _STATUSES),
        "workflow_name": _string,
    }
    if extensions:
        readers["caller_id"] = _string
    found = _read(request.filter, readers)
    if found is None:
        return None
    name = request.workflow_name
    if name and found.setdefault("workflow_name", name) != name:
        return None
    where = ExecutionFilter(
        workflow_name=found.get("workflow_name"),
        caller_id=found.get("caller_id"),
        firings=firings,
        oldest_first=request.page_direction == pb.PAGE_DIRECTION_ASC,
    )
    if "status" not in found:
        return RunQuery([where], found.get("id"))
    status = ExecutionStatus(found["status"])
    statuses = (
        [status] if later_statuses else [status, *(one for one in ExecutionStatus if SHOWN_AS.get(one) is status)]
    )
    return RunQuery([replace(where, status=one) for one in statuses], found.get("id"))


def read_job_ids(request: pb.ListFunctionExecutionsRequest) -> Sequence[str] | None:
    """The IDs of the jobs that a request asks for: one, or none when it contradicts itself; None asks for all.

    Raises:
        InvalidInputError: The filter asks for anything else.
    """
    found = _read(request.filter, {"id": _uuid})
    if found is None:
        return []
    return list(found.values()) or None


def _read(given: pb.Filter, readers: Mapping[str, Reader]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    contradictory = False
    for condition in _conditions(given):
        field = condition.field
        if field not in readers:
            raise InvalidInputError(f"filter on the field {field!r} is not supported: use {_listed(readers)}.")
        if condition.operator != pb.Condition.OPERATOR_EQ:
            raise InvalidInputError(f"filter on the field {field!r} supports the operator EQ only.")
        value = readers[field](field, condition.value)
        contradictory |= found.setdefault(field, value) != value
    return None if contradictory else found


def _conditions(given: pb.Filter) -> Iterator[pb.Condition]:
    parts: Any = given  # `and` and `or` are no attributes that Python can spell
    if getattr(parts, "or"):
        raise InvalidInputError("filter.or is not supported: join conditions with `and`.")
    if given.HasField("condition"):
        yield given.condition
    for part in getattr(parts, "and"):
        yield from _conditions(part)


def _listed(readers: Mapping[str, Reader]) -> str:
    return ", ".join(map(repr, readers))


def _string(field: str, value: Value) -> str:
    if value.WhichOneof("kind") != "string_value":
        raise InvalidInputError(f"filter on the field {field!r} needs a string.")
    return value.string_value


def _uuid(field: str, value: Value) -> str:
    text = _string(field, value)
    if not is_uuid(text):
        raise InvalidInputError(f"filter on the field {field!r} needs a UUID.")
    return text.lower()


def _status_of(field: str, value: Value, *, known: Sequence[str]) -> str:
    """A status by its number or its name, with or without `STATUS_`."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        numbers = {number: name for name, number in pb.WorkflowExecution.Status.items()}
        name = numbers.get(int(value.number_value)) if value.number_value.is_integer() else None
    else:
        name = value.string_value
    status = (name or "").removeprefix("STATUS_")
    if status not in known:
        raise InvalidInputError(f"filter on the field {field!r} needs one of {', '.join(known)}, or the number of one.")
    return status
