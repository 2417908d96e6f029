"""The methods that start, resume and cancel runs; those of the contract each under its old name and its new one."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import Any, Literal, TypeAlias, get_args

from connectrpc.request import RequestContext
from pydantic_core import from_json

from gqlplugin.errors import FailedPreconditionError, GqlpluginError, InvalidInputError
from gqlplugin.execution import ExecutionStatus
from gqlplugin.idempotency import noting_start
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.base import Platform, RunnableWorkflow
from gqlplugin.platform.tailor.proto import operator_pb2 as pb
from gqlplugin.platform.tailor.server.requests import found, is_ours, uuid_in
from gqlplugin.platform.tailor.server.served import Served

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
