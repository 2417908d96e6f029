"""The methods for runs that wait, which only clients of ours know of."""

from __future__ import annotations

from typing import Any

from connectrpc.request import RequestContext

from gqlplugin.execution import WaitFilter
from gqlplugin.platform.tailor.proto import operator_pb2 as pb
from gqlplugin.platform.tailor.server.messages import to_wait
from gqlplugin.platform.tailor.server.paging import page_size
from gqlplugin.platform.tailor.server.requests import found, uuid_in
from gqlplugin.platform.tailor.server.served import Served

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
