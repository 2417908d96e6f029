"""The methods that tell of workflows."""

from __future__ import annotations

from typing import Any

from connectrpc.request import RequestContext

from gqlplugin.errors import NotFoundError
from gqlplugin.platform.base import RunnableWorkflow
from gqlplugin.platform.tailor.proto import operator_pb2 as pb
from gqlplugin.platform.tailor.server.ids import workflow_id
from gqlplugin.platform.tailor.server.requests import name_in, uuid_in
from gqlplugin.platform.tailor.server.served import Served


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
