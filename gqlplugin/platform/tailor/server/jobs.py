"""The methods that tell of jobs, which the contract calls function executions."""

from __future__ import annotations

from typing import Any

from connectrpc.request import RequestContext

from gqlplugin.errors import NotFoundError
from gqlplugin.platform.tailor.proto import operator_pb2 as pb
from gqlplugin.platform.tailor.server.filters import read_job_id
from gqlplugin.platform.tailor.server.messages import to_function
from gqlplugin.platform.tailor.server.requests import uuid_in
from gqlplugin.platform.tailor.server.served import Served


class JobMethods:
    """A job is found by its ID only."""

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
        """The job whose ID the filter has, or none. There is never a second page."""
        job_id = read_job_id(request)
        self.served.page_tokens.read("function executions", request.page_token)
        found = job_id and await self._find(job_id, request.workspace_id)
        functions = [found] if found else []
        return pb.ListFunctionExecutionsResponse(executions=functions, total_count=len(functions))

    async def _find(self, job_id: str, workspace_id: str) -> pb.FunctionExecution | None:
        try:
            job = await self.served.platform.get_job(job_id)
        except NotFoundError:
            return None
        return to_function(job, workspace_id=workspace_id, details=self.served.extensions)
