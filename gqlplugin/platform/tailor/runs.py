"""Runs on the Tailor Platform: start, read, list, resume, cancel and answer."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gqlplugin.checks import is_startable_name
from gqlplugin.codec import check_json
from gqlplugin.errors import (
    FailedPreconditionError,
    GqlpluginError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    UnsupportedError,
)
from gqlplugin.idempotency import note_earlier_start
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.base import is_uuid7
from gqlplugin.platform.tailor.exchange import CallError, Flights, gather_bounded, missing, unsupported
from gqlplugin.platform.tailor.messages import (
    RUN_STATUS_NUMBERS,
    DoneAnswer,
    FunctionMessage,
    GetFunctionAnswer,
    GetRunAnswer,
    GetWorkflowAnswer,
    JobMessage,
    ListFunctionsAnswer,
    ListRunsAnswer,
    ListWaitsAnswer,
    RunMessage,
    StartedAllAnswer,
    StartedAnswer,
    WorkflowMessage,
    caller_message,
    job_of_function,
    json_text,
    main_job_of,
    to_jobs,
    to_run,
    to_wait,
    with_function,
)
from gqlplugin.platform.tailor.transport import Transport
from gqlplugin.runs import (
    ExecutionFilter,
    ExecutionPage,
    ExecutionStatus,
    JobExecution,
    WaitFilter,
    WaitPage,
    WorkflowExecution,
    trim_run,
    trim_wait,
)


class WorkflowIds:
    """Looks IDs up once, and again when a server does not know one any more."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._ids: dict[str, str] = {}
        self._flights: Flights[str] = Flights()

    async def find(self, name: str, *, stale: str | None = None) -> str:
        """The ID of a workflow; `stale` is one that the server does not know any more.

        Raises:
            NotFoundError: There is no such workflow.
        """
        known = self._ids.get(name)
        if known is not None and known != stale:
            return known
        return await self._flights.join(name, lambda: self._look_up(name))

    async def _look_up(self, name: str) -> str:
        self._ids.pop(name, None)
        self._ids[name] = (await get_workflow(self._transport, name)).id
        return self._ids[name]


async def get_workflow(transport: Transport, name: str) -> WorkflowMessage:
    """A workflow by its name.

    Raises:
        NotFoundError: There is no such workflow.
    """
    problem = f"There is no workflow {name!r}."
    if not is_startable_name(name):
        raise NotFoundError(problem)
    with missing(problem):
        return (await transport.call("GetWorkflowByName", {"workflowName": name}, GetWorkflowAnswer)).workflow


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


MAX_PAGE = 1000

_PAGES_TO_LOOK_INTO = 2  # for the run to go on after, where newer runs may have moved it down
_OWN_STATUSES = frozenset(ExecutionStatus) - RUN_STATUS_NUMBERS.keys()
_NOTHING = ExecutionPage(executions=[], cursors=[], has_next=False)


class Position(BaseModel):
    """Where a listing goes on: in the page that a token and a size give, after some of its runs.

    Attributes:
        token: The page's token.
        size: The size the page was asked for with; None when the token is of the very run to go on after.
        skip: How many of its runs lie before.
        run_id: The last of those, by which it is found again when newer runs have come in.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    token: str = ""
    size: int | None = Field(default=None, ge=1, le=MAX_PAGE)
    skip: int = Field(default=0, ge=0, le=MAX_PAGE)
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class _Listed:
    run: RunMessage
    after: Position


async def list_runs(transport: Transport, where: ExecutionFilter, *, first: int, after: str | None) -> ExecutionPage:
    """A page of runs; see `Platform.list_executions`. Without details it does not ask for the output of each."""
    if not 1 <= first <= MAX_PAGE:
        raise InvalidInputError(f"`first` must be from 1 to {MAX_PAGE}, not {first}.")
    position = Position() if after is None else _parse(after)
    if not await _can_match(transport, where):
        return _NOTHING
    try:
        found, following = await _fill(transport, where, position, first)
    except InvalidInputError as error:
        if after is None:
            raise
        raise bad_cursor() from error.__cause__
    return ExecutionPage(
        executions=[trim_run(to_run(one.run), where.values) for one in found[:first]],
        cursors=[_cursor(one.after) for one in found[:first]],
        has_next=len(found) > first or (following is not None and bool(found)),
    )


async def count_runs(transport: Transport, where: ExecutionFilter) -> int:
    """How many runs a listing has; see `Platform.count_executions`."""
    if not await _can_match(transport, where):
        return 0
    answer = await transport.call("ListWorkflowExecutions", {"pageSize": 1, **_listing(where)}, ListRunsAnswer)
    return answer.total_count


async def _fill(
    transport: Transport, where: ExecutionFilter, position: Position, first: int
) -> tuple[list[_Listed], Position | None]:
    """At least as many runs as were asked for, where there are so many: a server's pages may be smaller than asked."""
    anchor, begin = position.run_id, position.skip
    found: list[_Listed] = []
    seen: set[str] = set()
    following: Position | None = position
    while following is not None:
        seen.add(following.token)
        page, following = await _page(transport, where, following, position.size or first)
        found += page
        if following is not None and following.token in seen:
            following = None  # a server that goes round in a circle
        ids = [one.run.id for one in found]
        if anchor in ids:
            anchor, begin = "", ids.index(anchor) + 1
        if len(found) - begin >= first and (not anchor or len(seen) >= _PAGES_TO_LOOK_INTO):
            break
    return found[begin:], following


async def _page(
    transport: Transport, where: ExecutionFilter, position: Position, size: int
) -> tuple[list[_Listed], Position | None]:
    """The page at a position, and where the next one begins."""
    message: dict[str, object] = {"pageSize": size, **_listing(where)}
    if position.token:
        message["pageToken"] = position.token
    if transport.extensions:
        message["view"] = "VIEW_RUN"
    answer = await transport.call("ListWorkflowExecutions", message, ListRunsAnswer)
    runs, tokens = answer.executions, answer.page_tokens
    if len(tokens) == len(runs):
        cursors = [Position(token=token) for token in tokens]
    else:
        cursors = [
            Position(token=position.token, size=size, skip=min(number, MAX_PAGE), run_id=run.id)
            for number, run in enumerate(runs, 1)
        ]
    following = Position(token=answer.next_page_token) if answer.next_page_token else None
    if following is not None and cursors:
        cursors[-1] = following
    return [_Listed(run, cursor) for run, cursor in zip(runs, cursors, strict=True)], following


def _listing(where: ExecutionFilter) -> dict[str, object]:
    direction = "PAGE_DIRECTION_ASC" if where.oldest_first else "PAGE_DIRECTION_DESC"
    own = {} if where.firings else {"withoutFirings": True}
    return {"pageDirection": direction, **own, **_filter(where)}


def _filter(where: ExecutionFilter) -> dict[str, object]:
    status = None if where.status is None else RUN_STATUS_NUMBERS.get(where.status, where.status.value)
    wanted = {"workflow_name": where.workflow_name, "status": status, "caller_id": where.caller_id}
    conditions = [
        {"condition": {"field": field, "operator": "OPERATOR_EQ", "value": value}}
        for field, value in wanted.items()
        if value is not None
    ]
    return {"filter": {"and": conditions}} if conditions else {}


async def _can_match(transport: Transport, where: ExecutionFilter) -> bool:
    name = where.workflow_name
    if (name is not None and not is_startable_name(name)) or not can_be_sent(where.caller_id or ""):
        return False
    asks_for_more = where.caller_id is not None or where.status in _OWN_STATUSES
    if not asks_for_more or await transport.has_extensions():
        return True
    if where.caller_id is None:
        return False
    raise UnsupportedError("This platform can't list the runs of one caller: it does not know who started a run.")


def can_be_sent(*texts: str) -> bool:
    """Whether texts are whole: half a surrogate pair can't be sent, and nothing kept holds one."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _cursor(position: Position) -> str:
    return base64.urlsafe_b64encode(position.model_dump_json(exclude_defaults=True).encode()).decode().rstrip("=")


def _parse(cursor: str) -> Position:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        position = Position.model_validate_json(text)
    except (ValueError, ValidationError):
        raise bad_cursor() from None
    if _cursor(position) != cursor or position == Position():
        raise bad_cursor()
    return position


def bad_cursor() -> InvalidInputError:
    """The error for what is not a cursor."""
    return InvalidInputError("`after` is not a cursor of this listing: pass one that it returned.")


MAX_ARG_BYTES = 1024 * 1024
MAX_KEY_LENGTH = 255
MAX_STARTS = 1000
MAX_BATCH_BYTES = 3 * 1024 * 1024
"""Of all arguments of a batch, as JSON within JSON: a message of gqlplugin's server may have 4 MiB."""

T = TypeVar("T")

_HASHED = "sha256:"


class Starts:
    """Starts runs.

    Args:
        transport: Where.
        check_name: Refuses a workflow that the app does not have.
    """

    def __init__(self, transport: Transport, *, check_name: Callable[[str], None]) -> None:
        self._transport = transport
        self._check_name = check_name
        self._ids = WorkflowIds(transport)

    async def start(
        self,
        name: str,
        arg: str,
        *,
        caller: User,
        invoker: AuthInvoker | None,
        idempotency_key: str | None,
        run_id: str | None = None,
    ) -> str:
        """Start a run and return its ID; see `Platform.start_workflow`."""
        self._check_name(name)
        _check(arg, caller, idempotency_key)
        if run_id is not None and not is_uuid7(run_id):
            raise InvalidInputError(f"A run's ID is a UUID of version 7 in lower case, not {run_id!r}.")
        message: dict[str, object] = {"arg": arg, **_invoker(invoker)}
        workflow_id = await self._ids.find(name)
        key = None
        if await self._transport.has_extensions():
            message["caller"] = _caller(caller)
            key = str(uuid4()) if idempotency_key is None else header_value(idempotency_key)
            if run_id is not None:
                message["executionId"], key = run_id, f"run:{run_id}"
        elif idempotency_key is not None or run_id is not None:
            what = "idempotency keys" if run_id is None else "IDs that are given to runs"
            raise UnsupportedError(f"This platform knows no {what}: start without one.")

        async def send(workflow_id: str) -> StartedAnswer:
            request = {"workflowId": workflow_id, **message}
            with unsupported(f"Workflow {name!r} can't be started on this platform."):
                return await self._transport.call("TestStartWorkflow", request, StartedAnswer, idempotency_key=key)

        answer = await self._with_id(name, workflow_id, send)
        if answer.replayed:
            note_earlier_start()
        return answer.execution_id

    async def start_all(
        self, name: str, args: Sequence[str], *, caller: User, invoker: AuthInvoker | None
    ) -> list[str]:
        """Start one run per argument, in one try, and return their IDs; see `Platform.start_workflows`."""
        self._check_name(name)
        _check_all(args, caller)
        if not args:
            return []
        if not await self._transport.has_extensions():
            raise UnsupportedError("This platform can't start several runs at once: start them one by one.")
        message = {"args": list(args), "caller": _caller(caller), **_invoker(invoker)}

        async def send(workflow_id: str) -> StartedAllAnswer:
            request = {"workflowId": workflow_id, **message}
            with unsupported(f"Workflow {name!r} can't be started several times at once on this platform."):
                return await self._transport.call("StartWorkflows", request, StartedAllAnswer)

        answer = await self._with_id(name, await self._ids.find(name), send)
        return list(answer.execution_ids)

    async def _with_id(self, name: str, workflow_id: str, send: Callable[[str], Awaitable[T]]) -> T:
        """Send what names a workflow by its ID, and again where the workflow has another one by now."""
        try:
            return await send(workflow_id)
        except NotFoundError as error:
            another_id = await self._ids.find(name, stale=workflow_id)
            if another_id == workflow_id:
                raise NotFoundError(f"There is no workflow {name!r}.") from error.__cause__
        with missing(f"There is no workflow {name!r}."):
            return await send(another_id)


def header_value(key: str) -> str:
    """An idempotency key as a header can carry it: itself, or a hash of it where it has other characters."""
    if re.fullmatch(r"[\x21-\x7e]+", key) and not key.startswith(_HASHED):
        return key
    return _HASHED + hashlib.sha256(key.encode()).hexdigest()


def _check(arg: str, caller: User, key: str | None) -> None:
    check_json(arg, max_bytes=MAX_ARG_BYTES)
    if key is not None and not 0 < len(key) <= MAX_KEY_LENGTH:
        raise InvalidInputError(f"An idempotency key has 1 to {MAX_KEY_LENGTH} characters, not {len(key)}.")
    try:
        f"{arg}{caller.id}{key}".encode()
    except UnicodeEncodeError:
        raise InvalidInputError(
            "The arguments, the caller or the idempotency key hold half a surrogate pair."
        ) from None


def _check_all(args: Sequence[str], caller: User) -> None:
    if len(args) > MAX_STARTS:
        raise InvalidInputError(f"At most {MAX_STARTS} runs are started at once, not {len(args)}.")
    for arg in args:
        _check(arg, caller, None)
    size = len(json.dumps(list(args), ensure_ascii=False).encode())
    if size > MAX_BATCH_BYTES:
        raise InvalidInputError(
            f"The arguments of a batch have at most {MAX_BATCH_BYTES} bytes together, not {size}: start fewer at once."
        )


def _invoker(invoker: AuthInvoker | None) -> dict[str, object]:
    if invoker is None:
        return {}
    return {"authInvoker": {"namespace": invoker.namespace, "machineUserName": invoker.machine_user_name}}


def _caller(caller: User) -> dict[str, object]:
    try:
        return caller_message(caller)
    except ValueError:
        raise InvalidInputError("The caller's attributes are not JSON values.") from None


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


MAX_RESULT_BYTES = 1024 * 1024

_CANNOT = "This platform has no wait points."


async def resolve(transport: Transport, run_id: str, wait_point: str, result: str, *, job_id: str | None) -> None:
    """Answer a run that waits, in one try; see `Platform.resolve`."""
    check_json(result, max_bytes=MAX_RESULT_BYTES)
    problem = f"There is no run {run_id!r}."
    if not is_uuid(run_id):
        raise NotFoundError(problem)
    if not await transport.has_extensions():
        raise UnsupportedError(_CANNOT)
    message = {"executionId": run_id, "key": wait_point, "result": result}
    if job_id is not None:
        message["waitId"] = job_id
    with missing(problem), unsupported(_CANNOT):
        await transport.call("ResolveWaitPoint", message, DoneAnswer)


async def list_waits(transport: Transport, where: WaitFilter, *, first: int, after: str | None) -> WaitPage:
    """A page of the runs that wait; see `Platform.list_waits`."""
    if not 1 <= first <= MAX_PAGE:
        raise InvalidInputError(f"`first` must be from 1 to {MAX_PAGE}, not {first}.")
    if after == "":
        raise bad_cursor()
    if not await transport.has_extensions():
        raise UnsupportedError(_CANNOT)
    wanted = {
        "key": where.name,
        "executionId": where.run_id,
        "workflowName": where.workflow_name,
        "callerId": where.caller_id,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    if not can_be_sent(*given.values()):
        return WaitPage(waits=[], cursors=[], has_next=False)
    message = {**given, "pageSize": first, "pageToken": after or ""}
    try:
        with unsupported(_CANNOT):
            answer = await transport.call("ListWaitPoints", message, ListWaitsAnswer)
    except InvalidInputError as error:
        if after is None:
            raise
        raise bad_cursor() from error.__cause__
    waits = [trim_wait(to_wait(one), where.values) for one in answer.wait_points]
    return WaitPage(waits=waits, cursors=answer.page_tokens, has_next=bool(answer.next_page_token))
