"""The methods that tell of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connectrpc.request import RequestContext

from gqlplugin.errors import InvalidInputError, NotFoundError
from gqlplugin.execution import ExecutionPage, JobExecution, WorkflowExecution
from gqlplugin.platform.tailor.proto import operator_pb2 as pb
from gqlplugin.platform.tailor.server.filters import RunQuery, read_run_query
from gqlplugin.platform.tailor.server.messages import to_job, to_run
from gqlplugin.platform.tailor.server.paging import page_size
from gqlplugin.platform.tailor.server.requests import found, uuid_in
from gqlplugin.platform.tailor.server.served import Served

_NO_RUNS = ExecutionPage(executions=(), cursors=(), has_next=False)


class RunMethods:
    """A view, which only a client of ours asks for, says how much of a run to answer with."""

    served: Served

    async def get_workflow_execution(
        self, request: pb.GetWorkflowExecutionRequest, _ctx: RequestContext[Any, Any], /
    ) -> pb.GetWorkflowExecutionResponse:
        """A run by its ID, with its jobs."""
        run_id = uuid_in(request, "execution_id")
        with found(run_id):
            run = await self.served.platform.get_execution(run_id)
        [message] = await self._messages([run], request.view)
        return pb.GetWorkflowExecutionResponse(execution=message)

    async def list_workflow_executions(
        self, request: pb.ListWorkflowExecutionsRequest, _ctx: RequestContext[Any, Any], /
    ) -> pb.ListWorkflowExecutionsResponse:
        """Runs, newest first. They are not counted: `total_count` stays 0."""
        if request.page_direction == pb.PAGE_DIRECTION_ASC:
            raise InvalidInputError("pageDirection ASC is not supported: executions are listed newest first.")
        served = self.served
        query = read_run_query(request, extensions=served.extensions)
        listing = f"executions {query!r}"
        after = served.page_tokens.read(listing, request.page_token)
        page = _NO_RUNS if query is None else await self._page(query, page_size(request), after)
        tokens = [served.page_tokens.make(listing, cursor) for cursor in page.cursors]
        return pb.ListWorkflowExecutionsResponse(
            executions=await self._messages(page.executions, request.view),
            next_page_token=tokens[-1] if page.has_next else "",
            page_tokens=tokens if served.extensions else (),
        )

    async def _page(self, query: RunQuery, first: int, after: str | None) -> ExecutionPage:
        if query.run_id is None:
            return await self.served.platform.list_executions(query.where, first=first, after=after)
        try:
            run = await self.served.platform.get_execution(query.run_id)
        except NotFoundError:
            return _NO_RUNS
        if after is not None or not query.matches(run):
            return _NO_RUNS
        return ExecutionPage(executions=[run], cursors=[run.id], has_next=False)

    async def _messages(self, runs: Sequence[WorkflowExecution], view: pb.View) -> list[pb.WorkflowExecution]:
        extensions = self.served.extensions
        jobs: Mapping[str, Sequence[JobExecution]] = {}
        if runs and not (extensions and view == pb.VIEW_RUN):
            jobs = await self.served.platform.get_jobs([run.id for run in runs])
        full = extensions and view == pb.VIEW_FULL
        return [
            to_run(run, [to_job(job, details=full) for job in jobs.get(run.id, ())], details=extensions) for run in runs
        ]
