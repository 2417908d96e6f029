"""The methods that tell of runs."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from connectrpc.request import RequestContext

from gqlplugin.errors import NotFoundError, UnsupportedError
from gqlplugin.execution import ExecutionFilter, ExecutionPage, JobExecution, WorkflowExecution
from gqlplugin.platform.tailor.proto import operator_pb2 as pb
from gqlplugin.platform.tailor.server.filters import RunQuery, read_run_query
from gqlplugin.platform.tailor.server.messages import to_job, to_run
from gqlplugin.platform.tailor.server.paging import page_size
from gqlplugin.platform.tailor.server.requests import found, is_ours, uuid_in
from gqlplugin.platform.tailor.server.served import Served

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
