"""The methods of the operator service."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from connectrpc.request import RequestContext
from pydantic_core import from_json

from gqlplugin.errors import FailedPreconditionError, GqlpluginError, InvalidInputError, NotFoundError, UnsupportedError
from gqlplugin.idempotency import noting_start
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.base import Platform, RunnableWorkflow
from gqlplugin.platform.tailor.proto import operator_pb2 as pb
from gqlplugin.platform.tailor.server.messages import (
    RunQuery,
    read_job_ids,
    read_run_query,
    to_function,
    to_job,
    to_machine_user,
    to_run,
    to_wait,
)
from gqlplugin.platform.tailor.server.served import (
    MachineUserClient,
    Served,
    found,
    is_ours,
    name_in,
    page_size,
    uuid_in,
    workflow_id,
)
from gqlplugin.platform.tailor.server.serving import current_scope
from gqlplugin.runs import (
    ExecutionFilter,
    ExecutionPage,
    ExecutionStatus,
    JobExecution,
    WaitFilter,
    WorkflowExecution,
)


class ApplicationMethods:
    """One server has one app."""

    served: Served

    async def get_application(
        self,
        request: pb.GetApplicationRequest,
        _ctx: RequestContext[pb.GetApplicationRequest, pb.GetApplicationResponse],
        /,
    ) -> pb.GetApplicationResponse:
        """The app by its name."""
        if request.application_name != self.served.definitions.name:
            raise NotFoundError(f"Application {request.application_name!r} not found.")
        return pb.GetApplicationResponse(application=self._application())

    async def list_applications(
        self,
        request: pb.ListApplicationsRequest,
        _ctx: RequestContext[pb.ListApplicationsRequest, pb.ListApplicationsResponse],
        /,
    ) -> pb.ListApplicationsResponse:
        """The app, as the only one."""
        application = self._application()
        page = self.served.page_tokens.page("applications", {application.name: application}, request)
        return pb.ListApplicationsResponse(
            applications=page.items, next_page_token=page.next_page_token, total_count=page.total_count
        )

    def _application(self) -> pb.Application:
        url = self.served.public_url.of(current_scope.get())
        return pb.Application(
            name=self.served.definitions.name,
            domain=urlsplit(url).hostname,
            auth_namespace=self.served.machine_user_tokens.namespace,
            create_time=self.served.defined_at,
            update_time=self.served.defined_at,
            url=url,
        )


class MachineUserMethods:
    """The machine users are those of the app's auth."""

    served: Served

    async def get_auth_machine_user(
        self, request: pb.GetAuthMachineUserRequest, _ctx: RequestContext[Any, Any], /
    ) -> pb.GetAuthMachineUserResponse:
        """A machine user by its name, with what it gets its tokens by."""
        self._check_namespace(request.auth_namespace)
        client = self.served.machine_user_tokens.clients.get(request.name)
        if client is None:
            raise NotFoundError(f"Machine user {request.name!r} not found.")
        return pb.GetAuthMachineUserResponse(machine_user=self._machine_user(client))

    async def list_auth_machine_users(
        self, request: pb.ListAuthMachineUsersRequest, _ctx: RequestContext[Any, Any], /
    ) -> pb.ListAuthMachineUsersResponse:
        """The machine users, by name."""
        self._check_namespace(request.auth_namespace)
        page = self.served.page_tokens.page("machine users", self.served.machine_user_tokens.clients, request)
        return pb.ListAuthMachineUsersResponse(
            machine_users=[self._machine_user(client) for client in page.items],
            next_page_token=page.next_page_token,
            total_count=page.total_count,
        )

    def _check_namespace(self, namespace: str) -> None:
        if self.served.definitions.auth is None or namespace != self.served.machine_user_tokens.namespace:
            raise NotFoundError(f"Auth namespace {namespace!r} not found.")

    def _machine_user(self, client: MachineUserClient) -> pb.MachineUser:
        return to_machine_user(client, self.served.machine_user_tokens.namespace, self.served.defined_at)


class WorkflowMethods:
    """A workflow that is defined elsewhere is told of too: whether it can be started is for the platform to say."""

    served: Served

    async def get_workflow_by_name(
        self, request: pb.GetWorkflowByNameRequest, _ctx: RequestContext[Any, Any], /
    ) -> pb.GetWorkflowByNameResponse:
        """A workflow by its name."""
        name = name_in(request, "workflow_name")
        workflow = self.served.startable.get(name)
        if workflow is None:
            raise NotFoundError(f"Workflow '{name}' not found.")
        return pb.GetWorkflowByNameResponse(workflow=self._workflow(workflow))

    async def get_workflow(
        self, request: pb.GetWorkflowRequest, _ctx: RequestContext[Any, Any], /
    ) -> pb.GetWorkflowResponse:
        """A workflow by its ID."""
        workflow = self.served.workflow(uuid_in(request, "workflow_id"))
        return pb.GetWorkflowResponse(workflow=self._workflow(workflow))

    async def list_workflows(
        self, request: pb.ListWorkflowsRequest, _ctx: RequestContext[Any, Any], /
    ) -> pb.ListWorkflowsResponse:
        """The workflows, by name."""
        page = self.served.page_tokens.page("workflows", self.served.definitions.workflows, request)
        return pb.ListWorkflowsResponse(
            workflows=[self._workflow(one) for one in page.items],
            next_page_token=page.next_page_token,
            total_count=page.total_count,
        )

    def _workflow(self, workflow: RunnableWorkflow) -> pb.Workflow:
        definitions, changed_at = self.served.definitions, self.served.changed_at(workflow)
        return pb.Workflow(
            id=workflow_id(definitions.name, workflow.name),
            name=workflow.name,
            main_job_function_name=workflow.main_job.name if workflow.main_job else None,
            job_functions=dict.fromkeys(definitions.jobs_of(workflow.name), 1),
            created_at=changed_at,
            updated_at=changed_at,
        )


_RUNS_PER_READ = 100
_MAX_READS = 10  # for one page, however few jobs the runs have


class JobMethods:
    """A job is found by its ID, or as one of all jobs."""

    served: Served

    async def get_function_execution(
        self, request: pb.GetFunctionExecutionRequest, _ctx: RequestContext[Any, Any], /
    ) -> pb.GetFunctionExecutionResponse:
        """A job by its ID."""
        job_id = uuid_in(request, "execution_id")
        function = await self._find(job_id, request.workspace_id)
        if function is None:
            raise NotFoundError(f"Function execution '{job_id}' not found.")
        return pb.GetFunctionExecutionResponse(execution=function)

    async def list_function_executions(
        self, request: pb.ListFunctionExecutionsRequest, _ctx: RequestContext[Any, Any], /
    ) -> pb.ListFunctionExecutionsResponse:
        """The job whose ID the filter has, or without a filter all jobs: run by run, in the order of a run's listing.

        A page may have fewer jobs than were asked for, and still another one after it.
        """
        oldest_first = request.page_direction == pb.PAGE_DIRECTION_ASC
        listing = f"function executions {'asc' if oldest_first else 'desc'}"
        position = self.served.page_tokens.read(listing, request.page_token)
        ids = read_job_ids(request)
        if ids is not None:
            found = [await self._find(one, request.workspace_id) for one in ids]
            functions = [one for one in found if one is not None]
            return pb.ListFunctionExecutionsResponse(executions=functions, total_count=len(functions))
        jobs, following = await self._page_of_jobs(position, page_size(request), oldest_first=oldest_first)
        return pb.ListFunctionExecutionsResponse(
            executions=[self._function(job, request.workspace_id) for job in jobs],
            next_page_token="" if following is None else self.served.page_tokens.make(listing, following),
            total_count=await self._count_jobs(),
        )

    async def _page_of_jobs(
        self, position: str | None, size: int, *, oldest_first: bool
    ) -> tuple[Sequence[JobExecution], str | None]:
        """A page of all jobs, and the position where the next one begins.

        A position is how many jobs of a run were listed, and the cursor of the run before it.
        """
        listed, _, cursor = (position or "0.").partition(".")
        skip, after = int(listed), cursor or None
        where, found = ExecutionFilter(oldest_first=oldest_first), list[JobExecution]()
        for _ in range(_MAX_READS):
            page = await self.served.platform.list_executions(where, first=min(size, _RUNS_PER_READ), after=after)
            jobs = await self.served.platform.get_jobs([run.id for run in page.executions])
            for run, run_cursor in zip(page.executions, page.cursors, strict=True):
                of_run = [job for job in jobs.get(run.id, ()) if not job.is_wait_point]
                for job in (of_run if oldest_first else of_run[::-1])[skip:]:
                    if len(found) == size:
                        return found, f"{skip}.{after or ''}"
                    found.append(job)
                    skip += 1
                skip, after = 0, run_cursor
            if not page.has_next:
                return found, None
        return found, f"{skip}.{after or ''}"

    async def _count_jobs(self) -> int:
        try:
            return await self.served.platform.count_jobs()
        except UnsupportedError:
            return 0

    async def _find(self, job_id: str, workspace_id: str) -> pb.FunctionExecution | None:
        try:
            job = await self.served.platform.get_job(job_id)
        except NotFoundError:
            return None
        return self._function(job, workspace_id)

    def _function(self, job: JobExecution, workspace_id: str) -> pb.FunctionExecution:
        return to_function(job, workspace_id=workspace_id, details=self.served.extensions)


_NO_RUNS = ExecutionPage(executions=(), cursors=(), has_next=False)


class RunMethods:
    """A view, which only a client of ours asks for, says how much of a run to answer with."""

    served: Served

    async def get_workflow_execution(
        self, request: pb.GetWorkflowExecutionRequest, ctx: RequestContext[Any, Any], /
    ) -> pb.GetWorkflowExecutionResponse:
        """A run by its ID, with its jobs."""
        run_id = uuid_in(request, "execution_id")
        with found(run_id):
            run = await self.served.platform.get_execution(run_id)
        [message] = await self._messages([run], request.view, ctx)
        return pb.GetWorkflowExecutionResponse(execution=message)

    async def list_workflow_executions(
        self, request: pb.ListWorkflowExecutionsRequest, ctx: RequestContext[Any, Any], /
    ) -> pb.ListWorkflowExecutionsResponse:
        """Runs, newest first unless the client wants them ascending.

        The firings of executors are listed for clients of ours, and for others where they are asked for by name.
        """
        served = self.served
        firings = served.extensions and is_ours(ctx) and not request.without_firings
        query = read_run_query(request, extensions=served.extensions, firings=firings, later_statuses=is_ours(ctx))
        listing = f"executions {query!r}"
        after = served.page_tokens.read(listing, request.page_token)
        page = _NO_RUNS if query is None else await self._page(query, page_size(request), after)
        tokens = [served.page_tokens.make(listing, cursor) for cursor in page.cursors]
        return pb.ListWorkflowExecutionsResponse(
            executions=await self._messages(page.executions, request.view, ctx),
            next_page_token=tokens[-1] if page.has_next else "",
            total_count=await self._count(query, page, request.view),
            page_tokens=tokens if served.extensions else (),
        )

    async def _page(self, query: RunQuery, first: int, after: str | None) -> ExecutionPage:
        if query.run_id is None:
            return await self._merged(query.filters, first, after)
        try:
            run = await self.served.platform.get_execution(query.run_id)
        except NotFoundError:
            return _NO_RUNS
        if after is not None or not query.matches(run):
            return _NO_RUNS
        return ExecutionPage(executions=[run], cursors=[run.id], has_next=False)

    async def _merged(self, filters: Sequence[ExecutionFilter], first: int, after: str | None) -> ExecutionPage:
        """A page of the runs that fit any filter; its cursors have a cursor of each filter's listing."""
        list_executions = self.served.platform.list_executions
        if len(filters) == 1:
            return await list_executions(filters[0], first=first, after=after)
        positions: list[str | None] = [None] * len(filters) if after is None else json.loads(after)
        pages = [
            await list_executions(where, first=first, after=position)
            for where, position in zip(filters, positions, strict=True)
        ]
        left = [deque(zip(page.executions, page.cursors, strict=True)) for page in pages]
        next_of = min if filters[0].oldest_first else max
        runs: dict[str, WorkflowExecution] = {}  # by ID: one that changed meanwhile may be in two of the pages
        cursors: list[str] = []
        while len(runs) < first and any(left):
            index = next_of(
                (number for number, listed in enumerate(left) if listed),
                key=lambda number: (left[number][0][0].created_at, left[number][0][0].id),
            )
            run, positions[index] = left[index].popleft()
            if run.id not in runs:
                runs[run.id] = run
                cursors.append(json.dumps(positions))
        has_next = any(left) or any(page.has_next for page in pages)
        return ExecutionPage(executions=list(runs.values()), cursors=cursors, has_next=has_next)

    async def _count(self, query: RunQuery | None, page: ExecutionPage, view: pb.View) -> int:
        """How many runs the whole listing has; 0 where that is not known, or where only clients of ours ask."""
        if query is None or query.run_id is not None:
            return len(page.executions)
        if self.served.extensions and view != pb.VIEW_UNSPECIFIED:
            return 0
        try:
            return sum([await self.served.platform.count_executions(where) for where in query.filters])
        except UnsupportedError:
            return 0

    async def _messages(
        self, runs: Sequence[WorkflowExecution], view: pb.View, ctx: RequestContext[Any, Any]
    ) -> list[pb.WorkflowExecution]:
        extensions = self.served.extensions
        later = is_ours(ctx)
        jobs: Mapping[str, Sequence[JobExecution]] = {}
        if runs and not (extensions and view == pb.VIEW_RUN):
            jobs = await self.served.platform.get_jobs([run.id for run in runs])
        full = extensions and view == pb.VIEW_FULL
        return [
            to_run(
                run,
                [to_job(job, details=full, later_statuses=later) for job in jobs.get(run.id, ())],
                details=extensions,
                later_statuses=later,
            )
            for run in runs
        ]


_RESUMING_SECONDS = 10.0
_ANSWERING = 0.8  # of the request's time-out: the rest is for the answer
_MAX_KEY_LENGTH = 255

_Context: TypeAlias = RequestContext[Any, Any]
_CallerType = Literal["user", "machine_user", ""]


class StartMethods:
    """A start that was accepted goes through, even when its client hangs up meanwhile."""

    served: Served

    async def test_start_workflow(
        self, request: pb.TestStartWorkflowRequest, ctx: _Context, /
    ) -> pb.TestStartWorkflowResponse:
        """Start a run."""
        run_id, replayed = await self._start(request, ctx)
        return pb.TestStartWorkflowResponse(execution_id=run_id, replayed=replayed)

    async def start_workflow(self, request: pb.StartWorkflowRequest, ctx: _Context, /) -> pb.StartWorkflowResponse:
        """Start a run."""
        run_id, replayed = await self._start(request, ctx)
        return pb.StartWorkflowResponse(execution_id=run_id, replayed=replayed)

    async def start_workflows(self, request: pb.StartWorkflowsRequest, _ctx: _Context, /) -> pb.StartWorkflowsResponse:
        """Start a run for each argument, all of them or none."""
        served = self.served
        workflow = served.workflow(uuid_in(request, "workflow_id"))
        invoker = served.definitions.resolve_invoker(_invoker_of(request.auth_invoker))
        args = [workflow.encode_json(arg) for arg in request.args]
        caller = _caller_of(request.caller) if request.HasField("caller") else User()
        workflow.check_permission(caller, invoker)
        run_ids = await served.writes.finish(
            served.platform.start_workflows(workflow.name, args, caller=caller, invoker=invoker)
        )
        return pb.StartWorkflowsResponse(execution_ids=run_ids)

    async def cancel_workflow_execution(
        self, request: pb.CancelWorkflowExecutionRequest, _ctx: _Context, /
    ) -> pb.CancelWorkflowExecutionResponse:
        """End a run that has not ended."""
        run_id = uuid_in(request, "execution_id")
        with found(run_id):
            await self.served.writes.finish(self.served.platform.cancel(run_id))
        return pb.CancelWorkflowExecutionResponse(execution_id=run_id)

    async def test_resume_workflow(
        self, request: pb.TestResumeWorkflowRequest, ctx: _Context, /
    ) -> pb.TestResumeWorkflowResponse:
        """Run a failed or canceled run again."""
        return pb.TestResumeWorkflowResponse(execution_id=await self._resume(request, ctx))

    async def resume_workflow_execution(
        self, request: pb.ResumeWorkflowExecutionRequest, ctx: _Context, /
    ) -> pb.ResumeWorkflowExecutionResponse:
        """Run a failed or canceled run again."""
        return pb.ResumeWorkflowExecutionResponse(execution_id=await self._resume(request, ctx))

    async def _start(
        self, request: pb.TestStartWorkflowRequest | pb.StartWorkflowRequest, ctx: _Context
    ) -> tuple[str, bool]:
        """Start a run, or find the one that was started with the same key; its ID, and whether it was there."""
        served = self.served
        workflow = served.workflow(uuid_in(request, "workflow_id"))
        invoker = served.definitions.resolve_invoker(_invoker_of(request.auth_invoker))
        arg = _arg(workflow, request, ours=is_ours(ctx) or (served.extensions and request.HasField("caller")))
        caller = _caller_of(request.caller) if served.extensions and request.HasField("caller") else User()
        key = ctx.request_headers.get("idempotency-key") if served.extensions else None
        if key is not None and not 0 < len(key) <= _MAX_KEY_LENGTH:
            raise InvalidInputError(f"The header Idempotency-Key must have 1 to {_MAX_KEY_LENGTH} characters.")
        given_id = request.execution_id if served.extensions and request.HasField("execution_id") else None
        workflow.check_permission(caller, invoker)
        with noting_start() as note:
            run_id = await served.writes.finish(
                served.platform.start_workflow(
                    workflow.name,
                    arg,
                    caller=caller,
                    invoker=invoker,
                    idempotency_key=key if given_id is None else None,
                    run_id=given_id,
                )
            )
        return run_id, note.is_earlier and served.extensions

    async def _resume(
        self, request: pb.TestResumeWorkflowRequest | pb.ResumeWorkflowExecutionRequest, ctx: _Context
    ) -> str:
        run_id = uuid_in(request, "execution_id")
        try:
            with found(run_id):
                await self.served.writes.finish(self.served.platform.resume(run_id))
        except FailedPreconditionError:
            raise FailedPreconditionError(f"Execution '{run_id}' is not in a resumable state.") from None
        left = ctx.timeout_ms
        seconds = _RESUMING_SECONDS if left is None else min(_RESUMING_SECONDS, left / 1000 * _ANSWERING)
        with suppress(TimeoutError, GqlpluginError):  # the resume stands, whatever becomes of watching it
            async with asyncio.timeout(seconds):
                await _begun(self.served.platform, run_id)
        return run_id


def _arg(
    workflow: RunnableWorkflow, request: pb.TestStartWorkflowRequest | pb.StartWorkflowRequest, *, ours: bool
) -> str:
    """The argument of a start. In the contract an absent or null one is `{}` to the main job.

    It is null where the main job takes that and not `{}`. A null from a client of ours is what a caller gave: it stays
    null wherever the main job takes that.
    """
    given = request.arg if request.HasField("arg") else None
    if given is not None and given.strip() != "null":
        return workflow.encode_json(given)
    first, second = ("null", "{}") if ours and given is not None else ("{}", "null")
    try:
        return workflow.encode_json(first)
    except InvalidInputError:
        with suppress(InvalidInputError):
            return workflow.encode_json(second)
        raise


async def _begun(platform: Platform, run_id: str) -> None:
    """Wait until a run that was resumed is on its way: the vendor's client takes PENDING_RESUME for an end."""
    watching: Any = platform.watch(run_id)  # an async generator, which must not be left half read
    async with aclosing(watching) as runs:
        async for run in runs:
            if run.status is not ExecutionStatus.PENDING_RESUME:
                return


def _invoker_of(given: pb.AuthInvoker) -> AuthInvoker | None:
    if not given.namespace and not given.machine_user_name:
        return None
    return AuthInvoker(given.namespace, given.machine_user_name)


def _caller_of(given: pb.Caller) -> User:
    return User(
        id=given.id,
        type=_caller_type(given.type),
        workspace_id=given.workspace_id,
        attributes=_attributes(given.attributes) if given.HasField("attributes") else None,
        attribute_list=tuple(given.attribute_list),
    )


def _caller_type(given: str) -> _CallerType:
    for known in get_args(_CallerType):
        if given == known:
            return known  # type: ignore[no-any-return]  # get_args does not tell what it returns
    raise InvalidInputError(f"caller.type must be one of {', '.join(map(repr, get_args(_CallerType)))}.")


def _attributes(text: str) -> dict[str, Any]:
    try:
        attributes = from_json(text, allow_inf_nan=False)
    except ValueError:
        attributes = None
    if not isinstance(attributes, dict):
        raise InvalidInputError("caller.attributes must be the JSON text of an object.")
    return attributes


_FILTERS = ("key", "execution_id", "workflow_name", "caller_id")


class WaitMethods:
    """An answer that was taken stands, even when its client hangs up meanwhile."""

    served: Served

    async def resolve_wait_point(
        self, request: pb.ResolveWaitPointRequest, _ctx: RequestContext[Any, Any], /
    ) -> pb.ResolveWaitPointResponse:
        """Answer a run that waits."""
        run_id = uuid_in(request, "execution_id")
        wait_id = request.wait_id if request.HasField("wait_id") else None
        result = request.result
        with found(run_id):
            if (point := self.served.definitions.wait_points.get(request.key)) is not None:
                await self.served.platform.get_execution(run_id)  # one that is not there has no wrong answer
                result = point.encode_json(result)
            answer = self.served.platform.resolve(run_id, request.key, result, job_id=wait_id)
            await self.served.writes.finish(answer)
        return pb.ResolveWaitPointResponse(execution_id=run_id)

    async def list_wait_points(
        self, request: pb.ListWaitPointsRequest, _ctx: RequestContext[Any, Any], /
    ) -> pb.ListWaitPointsResponse:
        """Runs that wait, the longest wait first."""
        where = _where(request)
        listing = f"wait points {where!r}"
        after = self.served.page_tokens.read(listing, request.page_token)
        page = await self.served.platform.list_waits(where, first=page_size(request), after=after)
        tokens = [self.served.page_tokens.make(listing, cursor) for cursor in page.cursors]
        return pb.ListWaitPointsResponse(
            wait_points=map(to_wait, page.waits),
            next_page_token=tokens[-1] if page.has_next else "",
            page_tokens=tokens,
        )


def _where(request: pb.ListWaitPointsRequest) -> WaitFilter:
    given: dict[str, str] = {name: getattr(request, name) for name in _FILTERS if request.HasField(name)}
    run_id = given.get("execution_id")
    return WaitFilter(
        name=given.get("key"),
        run_id=None if run_id is None else run_id.lower(),
        workflow_name=given.get("workflow_name"),
        caller_id=given.get("caller_id"),
    )


class Service(
    ApplicationMethods, WorkflowMethods, StartMethods, RunMethods, JobMethods, WaitMethods, MachineUserMethods
):
    """The operator service (TAILOR.md sections 2 and 3), and what gqlplugin adds to it."""

    def __init__(self, served: Served) -> None:
        self.served = served
