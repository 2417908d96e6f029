"""Records as messages."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.tailor.proto import operator_pb2 as pb
from gqlplugin.platform.tailor.server.messages import to_function, to_job, to_run
from gqlplugin.runs import ExecutionError, ExecutionStatus, JobExecution, JobStatus, Progress, WorkflowExecution

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def run_of(**changes: Any) -> WorkflowExecution:
    given: dict[str, Any] = {
        "id": "the-id",
        "workflow_name": "greet",
        "status": ExecutionStatus.PENDING,
        "input": "null",
        "created_at": AT,
        **changes,
    }
    return WorkflowExecution(**given)


def job_of(**changes: Any) -> JobExecution:
    given: dict[str, Any] = {
        "run_id": "01a200be-860b-7804-8b78-b303daf6e222",
        "place": "0.1",
        "name": "write",
        "stacked_name": "greet/write",
        "status": JobStatus.RUNNING,
        "input": "1",
        "started_at": AT,
        **changes,
    }
    return JobExecution(**given)


@pytest.mark.parametrize("status", ExecutionStatus)
def test_run_statuses(status: ExecutionStatus) -> None:
    """Every status of a run has its own enum value, but CANCELED, which is ours: who does not know it sees FAILED."""
    message = to_run(run_of(status=status), [], details=True)
    expected = "FAILED" if status is ExecutionStatus.CANCELED else status
    assert pb.WorkflowExecution.Status.Name(message.status) == f"STATUS_{expected}"
    assert message.details.status == status


@pytest.mark.parametrize("status", JobStatus)
def test_job_statuses(status: JobStatus) -> None:
    """Every status of a job has an enum value, and in a function execution one that exists there."""
    job = job_of(status=status)
    expected = "FAILED" if status is JobStatus.CANCELED else status
    message = to_job(job, details=True)
    assert pb.WorkflowJobExecution.Status.Name(message.status) == f"STATUS_{expected}"
    function = to_function(job, workspace_id="w", details=True)
    there = "RUNNING" if status in (JobStatus.SUSPEND, JobStatus.WAITING) else expected
    assert pb.FunctionExecution.Status.Name(function.status) == f"STATUS_{there}"
    assert message.details.status == function.details.status == status


@pytest.mark.parametrize("status", ExecutionStatus)
def test_run_statuses_of_the_contract(status: ExecutionStatus) -> None:
    """A client that knows the first statuses only gets one of them."""
    message = to_run(run_of(status=status), [], details=True, later_statuses=False)
    assert 1 <= message.status <= 5
    assert message.details.status == status


@pytest.mark.parametrize("status", JobStatus)
def test_job_statuses_of_the_contract(status: JobStatus) -> None:
    """So it does of a job."""
    message = to_job(job_of(status=status), details=True, later_statuses=False)
    assert 1 <= message.status <= 4
    assert message.details.status == status


def test_why_a_canceled_job_failed() -> None:
    """Who reads it as failed is told why; one that succeeded says nothing."""
    canceled = to_function(job_of(status=JobStatus.CANCELED), workspace_id="w", details=False)
    assert canceled.error == pb.FunctionErrorInfo(name="CANCELED", message="The run was canceled.")
    assert canceled.error_kind == pb.FUNCTION_ERROR_KIND_USER_NON_RUNTIME
    succeeded = to_function(job_of(status=JobStatus.SUCCESS), workspace_id="w", details=False)
    assert not succeeded.HasField("error")
    assert succeeded.error_kind == pb.FUNCTION_ERROR_KIND_NONE


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("JOB_FAILED", pb.FUNCTION_ERROR_KIND_USER_RUNTIME),
        ("COLD", pb.FUNCTION_ERROR_KIND_USER_RUNTIME),
        ("PLATFORM_UNAVAILABLE", pb.FUNCTION_ERROR_KIND_PLATFORM),
    ],
)
def test_whose_fault_it_is(code: str, kind: pb.FunctionErrorKind) -> None:
    """A failure is the code's own, unless the platform could not be reached."""
    job = job_of(status=JobStatus.FAILED, error=ExecutionError(code, "message"))
    assert to_function(job, workspace_id="w", details=False).error_kind == kind


def test_statuses_to_come() -> None:
    """A status that the contract has no word for is unspecified, and breaks nothing."""
    later = cast(Any, "PAUSED")
    assert to_run(run_of(status=later), [], details=True).status == pb.WorkflowExecution.STATUS_UNSPECIFIED
    assert to_job(job_of(status=later), details=True).status == pb.WorkflowJobExecution.STATUS_UNSPECIFIED
    function = to_function(job_of(status=later), workspace_id="w", details=True)
    assert function.status == pb.FunctionExecution.STATUS_UNSPECIFIED


def test_what_is_absent_is_not_set() -> None:
    """A time, an output or an error that is not there is absent, not empty."""
    message = to_run(run_of(), [], details=True)
    assert not message.HasField("started_at")
    assert not message.HasField("finished_at")
    for field in ("output", "error", "invoker", "progress"):
        assert not message.details.HasField(field)
    assert not message.details.caller.HasField("attributes")
    details = to_job(job_of(), details=True).details
    for field in ("result", "error", "progress"):
        assert not details.HasField(field)
    assert not to_run(run_of(), [], details=False).HasField("details")


def test_every_field_of_a_run_is_told() -> None:
    """The details hold all that a platform keeps of a run and the contract does not."""
    run = run_of(
        output='{"a": 1}',
        caller=User("alice", "user", "w", {"a": [1]}, ("x",)),
        invoker=AuthInvoker("my-auth", "manager"),
        error=ExecutionError("CODE", "message", "detail"),
        progress=Progress(0.25, ""),
        attempt=3,
        depth=2,
        started_at=AT + timedelta(microseconds=1),
        finished_at=AT + timedelta(microseconds=2),
    )
    message = to_run(run, [], details=True)
    details = message.details
    assert (details.input, details.output, details.attempt, details.depth) == ("null", '{"a": 1}', 3, 2)
    assert details.caller == pb.Caller(
        id="alice", type="user", workspace_id="w", attributes='{"a": [1]}', attribute_list=["x"]
    )
    assert details.invoker == pb.AuthInvoker(namespace="my-auth", machine_user_name="manager")
    assert details.error == pb.ExecutionError(code="CODE", message="message", detail="detail")
    assert details.progress == pb.Progress(fraction=0.25, message="")
    assert details.created_at.ToDatetime(UTC) == AT
    assert message.finished_at.ToDatetime(UTC) - message.started_at.ToDatetime(UTC) == timedelta(microseconds=1)


def test_every_field_of_a_job_is_told() -> None:
    """So do those of a job."""
    job = job_of(
        result="2",
        logs=("a", "b\nc"),
        error=ExecutionError("CODE", "message"),
        progress=Progress(1.0),
        finished_at=AT,
        is_wait_point=True,
    )
    message = to_job(job, details=True)
    assert message.details == pb.JobDetails(
        run_id=job.run_id,
        place="0.1",
        name="write",
        stacked_name="greet/write",
        input="1",
        result="2",
        logs=["a", "b\nc"],
        error=pb.ExecutionError(code="CODE", message="message"),
        progress=pb.Progress(fraction=1.0),
        status="RUNNING",
        is_wait_point=True,
    )
    assert message.finished_at.ToDatetime(UTC) == AT
    function = to_function(job, workspace_id="w", details=True)
    assert function.details == message.details
    assert function.logs == "a\nb\nc"
    assert function.error == pb.FunctionErrorInfo(name="CODE", message="message")


def test_half_a_character() -> None:
    """What a job says can always be sent, even where it holds half a surrogate pair."""
    error = ExecutionError("C\udc00", "M\udc00", "D\udc00")
    job = job_of(logs=("L\udc00",), error=error, progress=Progress(0.5, "P\udc00"))
    details = to_job(job, details=True).details
    said = [details.error.code, details.error.message, details.error.detail, details.progress.message, *details.logs]
    assert said == [r"C\udc00", r"M\udc00", r"D\udc00", r"P\udc00", "L?"]
    function = to_function(job, workspace_id="w", details=False)
    assert (function.logs, function.error.name, function.error.message) == ("L?", r"C\udc00", r"M\udc00")
    assert to_run(run_of(error=error), [], details=True).details.error.message == r"M\udc00"
