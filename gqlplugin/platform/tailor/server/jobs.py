"""The methods that tell of jobs, which the contract calls function executions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connectrpc.request import RequestContext

from gqlplugin.errors import NotFoundError, UnsupportedError
from gqlplugin.execution import ExecutionFilter, JobExecution
from gqlplugin.platform.tailor.proto import operator_pb2 as pb
from gqlplugin.platform.tailor.server.filters import read_job_ids
from gqlplugin.platform.tailor.server.messages import to_function
from gqlplugin.platform.tailor.server.paging import page_size
from gqlplugin.platform.tailor.server.requests import uuid_in
from gqlplugin.platform.tailor.server.served import Served

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
