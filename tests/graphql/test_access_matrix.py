"""Who may do what: every operation of a schema with everything in it, for every kind of caller."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import uuid4

import httpx
import pytest
from graphql import GraphQLSchema
from pydantic import BaseModel

from gqlplugin.app import App, define_app
from gqlplugin.asgi import create_asgi
from gqlplugin.authentication.callers import AuthRequest
from gqlplugin.authentication.tokens import RunTokens
from gqlplugin.checks import firing_name
from gqlplugin.errors import UnauthenticatedError
from gqlplugin.executor import ScheduleArgs, create_executor, function_operation, schedule_trigger
from gqlplugin.graphql.policy import CallerPolicy
from gqlplugin.graphql.schema import WorkflowSchema, create_schema
from gqlplugin.identity import User, executor_user
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.base import uuid7
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.runs import ExecutionStatus
from gqlplugin.testing import MemoryPlatform, serve
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow

pytestmark = pytest.mark.anyio

HOME, ABROAD = "workspace-1", "workspace-2"


class Decision(BaseModel):
    approved: bool


approval = define_wait_point("approval", payload=str, result=Decision)


@create_workflow_job(name="ask-for-approval")
async def ask_for_approval() -> bool:
    return (await approval.wait("May I?")).approved


def is_staff(user: User) -> bool:
    return user.workspace_id == HOME and (user.attributes or {}).get("role") == "OPERATOR"


asking = create_workflow(name="asking", main_job=ask_for_approval)
for_staff = create_workflow(name="for-staff", main_job=ask_for_approval, permission=lambda user, _: is_staff(user))


@create_resolver(name="ask", operation="mutation")
async def ask(ctx: ResolverContext[None]) -> str:
    return await asking.trigger()


@create_resolver(name="askForStaff", operation="mutation")
async def ask_for_staff(ctx: ResolverContext[None]) -> str:
    return await for_staff.trigger()


@create_resolver(name="whoAmI", operation="query")
async def who_am_i(ctx: ResolverContext[None]) -> str:
    return ctx.user.id


async def count(args: ScheduleArgs) -> int:
    return args.scheduled_time.hour


@cache
def define_shop() -> App:
    """An app with one of everything that puts a field into the schema."""
    nightly = create_executor("nightly", trigger=schedule_trigger("@daily"), operation=function_operation(count))
    return define_app(
        "shop", workflows=[asking, for_staff], resolvers=[ask, ask_for_staff, who_am_i], executors=[nightly]
    )


@cache
def shop_schema() -> WorkflowSchema:
    return create_schema(define_shop(), policy=CallerPolicy(operators=is_staff))


CALLERS = {
    "owner": User(id="ann", type="user", workspace_id=HOME, attributes={"role": "CUSTOMER"}),
    "other": User(id="bob", type="user", workspace_id=HOME, attributes={"role": "CUSTOMER"}),
    "other-tenant": User(id="eve", type="user", workspace_id=ABROAD, attributes={"role": "OPERATOR"}),
    "operator": User(id="olga", type="user", workspace_id=HOME, attributes={"role": "OPERATOR"}),
}
STRANGER = User(id="zoe", type="user", workspace_id=HOME, attributes={})
"""Whose runs none of the callers but operators may see."""


def authenticate(request: AuthRequest) -> User:
    """Callers are known by the name of their kind; an expired token is refused."""
    token = request.bearer_token
    if token == "expired":  # noqa: S105 - a name
        raise UnauthenticatedError
    return CALLERS[token] if token else User()


OK: list[str] = []
UNAUTHENTICATED, FORBIDDEN, NOT_FOUND = ["UNAUTHENTICATED"], ["FORBIDDEN"], ["NOT_FOUND"]
WHO = ("nobody", "other", "other-tenant", "expired", "owner", "operator", "read-token", "cancel-token")


@dataclass(frozen=True)
class Operation:
    """What is asked, and the codes of the answers to the callers, in the order of `WHO`.

    Attributes:
        document: With a variable `$id`, if it is about a run.
        answers: What each caller is answered.
        run: In which state the run has to be.
        lists: Finds the IDs of runs in the data, for what lists runs.
    """

    document: str
    answers: tuple[list[str], ...]
    run: ExecutionStatus = ExecutionStatus.WAITING
    lists: Callable[[Any], list[str]] | None = None


def nodes(key: str) -> Callable[[Any], list[str]]:
    return lambda data: [edge["node"][key] for edge in next(iter(data.values()))["edges"]]


SEEING = (NOT_FOUND, NOT_FOUND, NOT_FOUND, UNAUTHENTICATED, OK, OK, OK, OK)
LISTING = (UNAUTHENTICATED, OK, OK, UNAUTHENTICATED, OK, OK, FORBIDDEN, FORBIDDEN)
OPERATING = (UNAUTHENTICATED, FORBIDDEN, FORBIDDEN, UNAUTHENTICATED, FORBIDDEN, OK, FORBIDDEN, FORBIDDEN)
ANYBODY = (OK, OK, OK, UNAUTHENTICATED, OK, OK, FORBIDDEN, FORBIDDEN)

OPERATIONS = {
    "Query.workflowRun": Operation("query ($id: ID!) { workflowRun(id: $id) { id jobs { name result } } }", SEEING),
    "Query.workflowRuns": Operation("{ workflowRuns { edges { node { id } } } }", LISTING, lists=nodes("id")),
    "Query.pendingWaitPoints": Operation(
        "{ pendingWaitPoints { edges { node { runId } } } }", LISTING, lists=nodes("runId")
    ),
    "Query.executors": Operation("{ executors { name } }", OPERATING),
    "Query.executorJobs": Operation('{ executorJobs(executor: "nightly") { edges { cursor } } }', OPERATING),
    "Query.whoAmI": Operation("{ whoAmI }", ANYBODY),
    "Mutation.ask": Operation("mutation { ask }", ANYBODY),
    "Mutation.askForStaff": Operation(
        "mutation { askForStaff }",
        (FORBIDDEN, FORBIDDEN, FORBIDDEN, UNAUTHENTICATED, FORBIDDEN, OK, FORBIDDEN, FORBIDDEN),
    ),
    "Mutation.resumeWorkflowRun": Operation(
        "mutation ($id: ID!) { resumeWorkflowRun(id: $id) { id } }",
        (NOT_FOUND, NOT_FOUND, NOT_FOUND, UNAUTHENTICATED, OK, OK, FORBIDDEN, FORBIDDEN),
        run=ExecutionStatus.CANCELED,
    ),
    "Mutation.cancelWorkflowRun": Operation(
        "mutation ($id: ID!) { cancelWorkflowRun(id: $id) { id status } }",
        (NOT_FOUND, NOT_FOUND, NOT_FOUND, UNAUTHENTICATED, OK, OK, FORBIDDEN, OK),
    ),
    "Mutation.resolveApproval": Operation(
        "mutation ($id: ID!) { resolveApproval(runId: $id, approved: true) { id status } }",
        (NOT_FOUND, NOT_FOUND, NOT_FOUND, UNAUTHENTICATED, FORBIDDEN, OK, FORBIDDEN, FORBIDDEN),
    ),
    "Subscription.workflowRunUpdates": Operation(
        "subscription ($id: ID!) { workflowRunUpdates(id: $id) { cursor run { id jobs { name } } } }",
        SEEING,
        run=ExecutionStatus.CANCELED,  # which ends the stream
    ),
}


@dataclass(frozen=True)
class Shop:
    platform: MemoryPlatform
    http: httpx.AsyncClient
    tokens: RunTokens

    async def run(self, status: ExecutionStatus, caller: User = CALLERS["owner"]) -> str:
        """The ID of a run that has a status."""
        run_id = await self.platform.start_workflow("asking", "null", caller=caller)
        async with asyncio.timeout(60):
            async for run in self.platform.watch(run_id):
                if run.status is ExecutionStatus.WAITING:
                    break
        if status is ExecutionStatus.CANCELED:
            await self.platform.cancel(run_id)
        return run_id

    async def send(self, who: str, document: str, *, token_for: str, run_id: str) -> httpx.Response:
        """The answer to a caller, who may hold a token for a run."""
        token = {
            "nobody": None,
            "read-token": self.tokens.issue(token_for),
            "cancel-token": self.tokens.issue(token_for, may_cancel=True),
        }.get(who, who)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        if document.startswith("subscription"):
            headers["accept"] = "text/event-stream"
        variables = {"id": run_id} if "$id" in document else {}
        return await self.http.post("/graphql", json={"query": document, "variables": variables}, headers=headers)


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    platform, tokens = MemoryPlatform(), RunTokens("0123456789abcdef0123456789abcdef")
    asgi = create_asgi(define_shop(), platform, schema=shop_schema(), authenticate=authenticate, run_tokens=tokens)
    async with serve(asgi) as client:
        yield Shop(platform, client.http, tokens)


def answer_in(response: httpx.Response) -> Any:
    """The GraphQL answer: the body, or the first event of a stream."""
    if response.headers["content-type"].startswith("text/event-stream"):
        return json.loads(next(line for line in response.text.splitlines() if line.startswith("data:"))[5:])
    return response.json()


def codes_in(response: httpx.Response) -> list[str]:
    return [error["extensions"]["code"] for error in answer_in(response).get("errors", ())]


def test_every_operation_is_in_the_matrix() -> None:
    """A new field of the schema needs a row that says who may use it."""
    schema: GraphQLSchema = shop_schema()._schema
    roots = [one for one in (schema.query_type, schema.mutation_type, schema.subscription_type) if one]
    assert {f"{root.name}.{field}" for root in roots for field in root.fields} == set(OPERATIONS)
    assert all(len(one.answers) == len(WHO) for one in OPERATIONS.values())


@pytest.mark.parametrize("name", OPERATIONS)
async def test_each_caller_gets_what_is_theirs(shop: Shop, name: str) -> None:
    """The code of the answer, and data only where there is none; who is refused has changed nothing."""
    operation = OPERATIONS[name]
    for who, codes in zip(WHO, operation.answers, strict=True):
        run_id = await shop.run(operation.run)
        response = await shop.send(who, operation.document, token_for=run_id, run_id=run_id)
        assert codes_in(response) == codes, (who, response.text)
        if codes:
            assert not any((answer_in(response).get("data") or {}).values()), (who, response.text)
            assert run_id not in response.text, who
            assert (await shop.platform.get_execution(run_id)).status is operation.run, who
        elif "$id" in operation.document:
            assert run_id in response.text, who


@pytest.mark.parametrize("name", [name for name, one in OPERATIONS.items() if one.lists])
async def test_each_caller_lists_their_own(shop: Shop, name: str) -> None:
    """Owners their runs, operators those of everybody; others, and operators of another tenant, none of these."""
    operation = OPERATIONS[name]
    assert operation.lists is not None
    own, other = await shop.run(operation.run), await shop.run(operation.run, STRANGER)
    expected = {"owner": {own}, "operator": {own, other}, "other": set(), "other-tenant": set()}
    for who, runs in expected.items():
        response = await shop.send(who, operation.document, token_for=own, run_id=own)
        assert set(operation.lists(response.json()["data"])) == runs, who


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("name", [name for name, one in OPERATIONS.items() if "$id" in one.document])
async def test_refused_and_unknown_runs_are_answered_byte_for_byte_alike(shop: Shop, name: str, who: str) -> None:
    """Status, headers and body tell nobody whether there is a run that they may not see, nor what of."""
    operation = OPERATIONS[name]
    own = await shop.run(operation.run)
    fired = await shop.platform.start_workflow(
        firing_name("nightly"), '{"scheduled_time": "2026-11-22T02:00:00Z"}', caller=executor_user("nightly")
    )
    hidden = [await shop.run(operation.run, STRANGER), await shop.run(ExecutionStatus.WAITING, STRANGER), fired]
    unknown = [uuid7(), str(uuid4()), "nonsense", "", own.upper()]
    asked = unknown if who == "operator" else [*hidden, *unknown]
    answers = [await shop.send(who, operation.document, token_for=own, run_id=one) for one in asked]
    assert len({(one.status_code, tuple(one.headers.multi_items()), one.content) for one in answers}) == 1
    refused = operation.answers[WHO.index(who)]
    is_known_before = refused == UNAUTHENTICATED or (refused == FORBIDDEN and who.endswith("-token"))
    assert codes_in(answers[0]) == (refused if is_known_before else NOT_FOUND)


@pytest.mark.parametrize("document", ["{ __schema { queryType { name } } }", "{ __typename whoAmI }", "{ a: whoAmI }"])
@pytest.mark.parametrize("who", ["read-token", "cancel-token"])
async def test_a_run_token_opens_nothing_else(shop: Shop, who: str, document: str) -> None:
    """Not the schema, and no field beside or under another name."""
    run_id = await shop.run(ExecutionStatus.WAITING)
    response = await shop.send(who, document, token_for=run_id, run_id=run_id)
    assert codes_in(response) == FORBIDDEN
