"""A server with the bare contract of TAILOR.md, and none of gqlplugin's extensions unless it is told to show them."""

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from gqlplugin.platform.tailor import TailorPlatform

WORKSPACE = "11111111-2222-4333-8444-555555555555"
TOKEN = "the-operators-token"  # noqa: S105 - of this fake alone
RUN = "0197a1b2-0000-7000-8000-000000000001"
WORKFLOW = "aaaaaaaa-0000-4000-8000-000000000001"

Handler = Callable[[dict[str, Any]], Any]

STATUS = {
    "invalid_argument": 400,
    "failed_precondition": 400,
    "out_of_range": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "already_exists": 409,
    "aborted": 409,
    "resource_exhausted": 429,
    "canceled": 499,
    "unknown": 500,
    "internal": 500,
    "data_loss": 500,
    "unimplemented": 501,
    "unavailable": 503,
    "deadline_exceeded": 504,
}


def connect_error(code: str, message: str = "the server's own words") -> Response:
    """An error as the Connect protocol writes one."""
    return JSONResponse({"code": code, "message": message}, STATUS[code])


def html(status: int) -> Response:
    """An error page of something in between."""
    return HTMLResponse("<html>go away</html>", status)


@dataclass(frozen=True)
class Received:
    """A request that arrived."""

    method: str
    message: dict[str, Any]
    headers: Mapping[str, str]


class FakeTailor:
    """Answers methods by functions of their request; what is queued in `next` comes first."""

    def __init__(self) -> None:
        self.tokens = {TOKEN}
        self.extensions = False
        self.received: list[Received] = []
        self.next: defaultdict[str, deque[Response]] = defaultdict(deque)
        self.on: dict[str, Handler] = {
            "GetWorkflowByName": lambda message: {"workflow": {"id": WORKFLOW, "name": message["workflowName"]}},
            "ListWorkflows": lambda _: {"workflows": []},
            "TestStartWorkflow": lambda _: {"executionId": RUN},
            "TestResumeWorkflow": lambda _: {"executionId": RUN},
        }
        self.slow: dict[str, asyncio.Event] = {}
        self.app = Starlette(routes=[Route("/tailor.v1.OperatorService/{method}", self._call, methods=["POST"])])

    def queue(self, method: str, *answers: Response) -> None:
        """Answer the next requests of a method so."""
        self.next[method].extend(answers)

    def calls(self, method: str) -> list[Received]:
        """The requests of a method that arrived."""
        return [one for one in self.received if one.method == method]

    def platform(self, **options: Any) -> TailorPlatform:
        """A client of it."""
        given: dict[str, Any] = {
            "workspace_id": WORKSPACE,
            "token": TOKEN,
            "transport": httpx.ASGITransport(self.app),
            "poll_interval": timedelta(milliseconds=5),
            "max_poll_interval": timedelta(milliseconds=20),
        }
        return TailorPlatform("http://tailor.test", **(given | options))

    async def _call(self, request: Request) -> Response:
        method = request.path_params["method"]
        self.received.append(Received(method, json.loads(await request.body()), dict(request.headers)))
        if method in self.slow:
            await self.slow[method].wait()
        response = self._answer(method, request)
        if self.extensions and "gqlplugin-extensions" not in response.headers:
            response.headers["gqlplugin-extensions"] = "1"
        return response

    def _answer(self, method: str, request: Request) -> Response:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return connect_error("unauthenticated")
        if self.next[method]:
            return self.next[method].popleft()
        message = self.received[-1].message
        UUID(message["workspaceId"])
        if method not in self.on:
            return connect_error("unimplemented")
        answer = self.on[method](message)
        return answer if isinstance(answer, Response) else JSONResponse(answer)


def job(stacked_name: str, status: int | str = 3, **more: Any) -> dict[str, Any]:
    """A WorkflowJobExecution."""
    return {"id": f"job:{stacked_name}", "stackedJobName": stacked_name, "status": status, **more}


def run(status: int | str = "STATUS_RUNNING", *jobs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A WorkflowExecution."""
    return {"id": RUN, "workflowName": "order-processing", "status": status, "jobExecutions": list(jobs), **more}
