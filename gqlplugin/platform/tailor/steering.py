"""Resuming and canceling runs."""

from __future__ import annotations

from gqlplugin.errors import (
    FailedPreconditionError,
    GqlpluginError,
    NotFoundError,
    OutcomeUnknownError,
    UnsupportedError,
)
from gqlplugin.execution import ExecutionStatus
from gqlplugin.platform.tailor.errors import CallError, missing, unsupported
from gqlplugin.platform.tailor.jobs import get_run, is_uuid
from gqlplugin.platform.tailor.messages import DoneAnswer
from gqlplugin.platform.tailor.transport import Transport


async def resume(transport: Transport, run_id: str) -> None:
    """Run a failed or canceled run again; see `Platform.resume`."""
    problem = f"There is no run {run_id!r}."
    if not is_uuid(run_id):
        raise NotFoundError(problem)
    try:
        with missing(problem):
            await transport.call("TestResumeWorkflow", {"executionId": run_id}, DoneAnswer)
    except FailedPreconditionError as error:
        status = (await get_run(transport, run_id)).status
        raise FailedPreconditionError(
            f"Run {run_id!r} is {status}; only a FAILED or CANCELED run can be resumed."
        ) from error.__cause__


async def cancel(transport: Transport, run_id: str) -> None:
    """End a run; see `Platform.cancel`. A try that is not answered is followed by another."""
    problem, cannot = f"There is no run {run_id!r}.", "This platform can't cancel runs."
    if not is_uuid(run_id):
        raise NotFoundError(problem)
    if not await transport.has_extensions():
        raise UnsupportedError(cannot)
    may_be_ours = False
    try:
        with missing(problem), unsupported(cannot):
            await transport.call("CancelWorkflowExecution", {"executionId": run_id}, DoneAnswer, may_repeat=True)
            return
    except FailedPreconditionError as error:
        cause = error.__cause__
    except OutcomeUnknownError as error:
        cause = error.__cause__
        if not isinstance(cause, CallError) or cause.code != "failed_precondition":
            raise
        may_be_ours = True  # it has ended, perhaps by a try that was not answered
    try:
        status = (await get_run(transport, run_id)).status
    except GqlpluginError as error:
        if may_be_ours:
            raise OutcomeUnknownError from error
        raise
    if not (may_be_ours and status is ExecutionStatus.CANCELED):
        raise FailedPreconditionError(
            f"Run {run_id!r} is {status}; only a run that has not ended can be canceled."
        ) from cause
