"""The jobs of runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial

from gqlplugin.errors import NotFoundError, UnsupportedError
from gqlplugin.execution import ExecutionStatus, JobExecution, WorkflowExecution
from gqlplugin.platform.tailor.errors import missing
from gqlplugin.platform.tailor.flights import gather_bounded
from gqlplugin.platform.tailor.messages import (
    FunctionMessage,
    GetFunctionAnswer,
    GetRunAnswer,
    JobMessage,
    ListFunctionsAnswer,
    RunMessage,
)
from gqlplugin.platform.tailor.records import job_of_function, json_text, main_job_of, to_jobs, to_run, with_function
from gqlplugin.platform.tailor.transport import Transport

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


async def get_run(transport: Transport, run_id: str) -> WorkflowExecution:
    """A run by its ID; see `Platform.get_execution`."""
    view = {"view": "VIEW_RUN"} if transport.extensions else {}
    return await _to_run(transport, await _get_run(transport, run_id, view))


async def look_at_run(transport: Transport, run_id: str) -> tuple[WorkflowExecution, Sequence[JobMessage]]:
    """A run by its ID, and how far its jobs are; see `Platform.get_execution`."""
    message = await _get_run(transport, run_id, {})
    return await _to_run(transport, message), message.job_executions


async def _to_run(transport: Transport, message: RunMessage) -> WorkflowExecution:
    run = to_run(message)
    if message.details is None and run.status is ExecutionStatus.SUCCESS:
        main = main_job_of(message)
        function = None if main is None else await _find_function(transport, main.execution_id)
        run.output = None if function is None else json_text(function.result)
    return run


async def get_jobs(transport: Transport, run_ids: Sequence[str]) -> Mapping[str, Sequence[JobExecution]]:
    """The jobs of runs; see `Platform.get_jobs`."""
    ids = list(dict.fromkeys(run_ids))
    if not any(map(is_uuid, ids)):
        return {run_id: [] for run_id in ids}
    await transport.has_extensions()
    found = dict(zip(ids, await gather_bounded(partial(_jobs_of, transport, run_id) for run_id in ids), strict=True))
    if transport.extensions:
        return found
    whole = iter(
        await gather_bounded(partial(_with_function, transport, job) for jobs in found.values() for job in jobs)
    )
    return {run_id: [next(whole) for _ in jobs] for run_id, jobs in found.items()}


async def get_job(transport: Transport, job_id: str) -> JobExecution:
    """A job by its ID; see `Platform.get_job`."""
    if not is_uuid(job_id):
        raise NotFoundError(f"There is no job {job_id!r}.")
    if not await transport.has_extensions():
        raise UnsupportedError("This platform can't find a job by its ID alone: ask for the jobs of its run.")
    with missing(f"There is no job {job_id!r}."):
        answer = await transport.call("GetFunctionExecution", {"executionId": job_id}, GetFunctionAnswer)
    details = answer.execution.details
    if details is None:
        raise NotFoundError(f"There is no job {job_id!r}.")
    return job_of_function(answer.execution, details)


async def count_jobs(transport: Transport) -> int:
    """How many jobs there are in all runs; see `Platform.count_jobs`."""
    return (await transport.call("ListFunctionExecutions", {"pageSize": 1}, ListFunctionsAnswer)).total_count


def is_uuid(text: str) -> bool:
    """Whether this can be the ID of anything on the platform."""
    return _UUID.fullmatch(text) is not None


async def _get_run(transport: Transport, run_id: str, view: Mapping[str, object]) -> RunMessage:
    problem = f"There is no run {run_id!r}."
    if not is_uuid(run_id):
        raise NotFoundError(problem)
    with missing(problem):
        answer = await transport.call("GetWorkflowExecution", {"executionId": run_id, **view}, GetRunAnswer)
    return answer.execution


async def _jobs_of(transport: Transport, run_id: str) -> list[JobExecution]:
    try:
        return to_jobs(await _get_run(transport, run_id, {"view": "VIEW_FULL"} if transport.extensions else {}))
    except NotFoundError:
        return []


async def _with_function(transport: Transport, job: JobExecution) -> JobExecution:
    function = await _find_function(transport, job.given_id or "")
    return job if function is None else with_function(job, function)


async def _find_function(transport: Transport, execution_id: str) -> FunctionMessage | None:
    if not execution_id:
        return None
    try:
        answer = await transport.call("GetFunctionExecution", {"executionId": execution_id}, GetFunctionAnswer)
    except NotFoundError:
        return None
    return answer.execution
