"""A served shop whose runs wait for answers, for the tests of the GraphQL layer."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator
from pydantic.alias_generators import to_camel
from starlette.requests import HTTPConnection

from gqlplugin.app import App, define_app
from gqlplugin.asgi import create_asgi
from gqlplugin.graphql.policy import CallerPolicy, RunPolicy
from gqlplugin.graphql.schema import WorkflowSchema, create_schema
from gqlplugin.identity import User
from gqlplugin.job import create_workflow_job
from gqlplugin.runs import ExecutionStatus, JobExecution, Values, WaitFilter, WaitPage, WorkflowExecution
from gqlplugin.testing import GraphQLClient, GraphQLResult, MemoryPlatform, serve
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow

OWNER = User(id="ann", type="user", attributes={})
OPERATORS = ("olga", "otto")
RESOLVE = 'mutation ($id: ID!) { it: resolveApproval(runId: $id, approved: true, note: "fine") { id status } }'
CANCEL = "mutation ($id: ID!) { it: cancelWorkflowRun(id: $id) { __typename id status } }"


class Request(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    order_id: str
    cents: int


class Decision(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    approved: bool
    note: str = Field(default="", max_length=20)
    limit_cents: int | None = Field(default=None, ge=0)
    reasons: list[str] = []

    @field_validator("note")
    @classmethod
    def says_something(cls, note: str) -> str:
        if note == "?":
            raise ValueError("Say what you mean.")
        return note


approval = define_wait_point("approval", payload=Request, result=Decision)
rating = define_wait_point("rating", payload=str, result=int)
colour = define_wait_point("colour-of-it", payload=None, result=Literal["red", "dark-green"])
signal = define_wait_point("signal", payload=None, result=None)
either = define_wait_point("either", payload=Request | str, result=Request | int)


class Labels(RootModel[list[str]]):
    pass


labels = define_wait_point("labels", payload=Labels, result=Labels)
references = define_wait_point("references", payload=list[Request], result=list[UUID])


@create_workflow_job(name="ask-for-approval")
async def ask_for_approval(request: Request) -> Decision:
    return await approval.wait(request)


@create_workflow_job(name="ask-twice")
async def ask_twice(cents: int) -> list[bool]:
    requests = [Request(order_id=str(number), cents=cents) for number in range(2)]
    return [(await approval.wait(request)).approved for request in requests]


@create_workflow_job(name="ask-for-all")
async def ask_for_all(first: str) -> Any:
    match first:
        case "rating":
            return await rating.wait("How was it?")
        case "colour":
            return await colour.wait(None)
        case "signal":
            return await signal.wait(None)
        case "either":
            return await either.wait("this or that?")
        case "labels":
            return await labels.wait(Labels(["a"]))
    return await references.wait([Request(order_id="1", cents=5)])


@dataclass
class Work:
    """What a job of the test does, and what was seen of it."""

    began: asyncio.Event = field(default_factory=asyncio.Event)
    was_cleaned_up: bool = False


work = Work()


@create_workflow_job(name="work-long")
async def work_long() -> None:
    work.began.set()
    try:
        await asyncio.Event().wait()
    finally:
        work.was_cleaned_up = True


ordering = create_workflow(name="ordering", main_job=ask_for_approval)
asking_twice = create_workflow(name="asking-twice", main_job=ask_twice)
asking = create_workflow(name="asking", main_job=ask_for_all)
working = create_workflow(name="working", main_job=work_long)


@cache
def define_waiting_shop() -> App:
    return define_app("shop", workflows=[ordering, asking_twice, asking, working])


def authenticate(connection: HTTPConnection) -> User:
    """Callers name themselves."""
    name = connection.headers.get("x-user")
    return User(id=name, type="user", attributes={}) if name else User()


class CountingPlatform(MemoryPlatform):
    """Counts the reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    async def list_waits(self, where: WaitFilter, *, first: int, after: str | None = None) -> WaitPage:
        self.reads.append("waits")
        return await super().list_waits(where, first=first, after=after)

    async def get_jobs(
        self, run_ids: Sequence[str], *, values: Values | None = None
    ) -> Mapping[str, Sequence[JobExecution]]:
        self.reads.append("jobs")
        return await super().get_jobs(run_ids, values=values)

    async def get_execution(self, run_id: str) -> WorkflowExecution:
        self.reads.append("run")
        return await super().get_execution(run_id)


@dataclass(frozen=True)
class Shop:
    platform: CountingPlatform
    client: GraphQLClient

    async def call(self, user: str | None, query: str, **variables: Any) -> GraphQLResult:
        """What a caller is answered."""
        return await self.client.execute(query, variables, headers={"x-user": user} if user else {})

    async def data(self, user: str | None, query: str, **variables: Any) -> Any:
        """What a caller gets who gets no error."""
        result = await self.call(user, query, **variables)
        assert not result.errors, result.errors
        return result.data

    async def waiting(self, arg: str = '{"orderId": "7", "cents": 500}', *, of: str = "ordering") -> str:
        """The ID of a run of ann's that waits."""
        run_id = await self.platform.start_workflow(of, arg, caller=OWNER)
        await self.reached(run_id, ExecutionStatus.WAITING)
        return run_id

    async def reached(self, run_id: str, *statuses: ExecutionStatus) -> WorkflowExecution:
        """The run once it has a status."""
        async with asyncio.timeout(60):
            async for run in self.platform.watch(run_id):
                if run.status in statuses:
                    return run
        raise AssertionError(f"The run is {(await self.platform.get_execution(run_id)).status}.")

    async def output(self, run_id: str) -> str | None:
        """The output of a run once it has succeeded."""
        return (await self.reached(run_id, ExecutionStatus.SUCCESS)).output


@cache
def shop_schema() -> WorkflowSchema:
    """Made once: it takes longer than most tests."""
    return create_schema(define_waiting_shop(), policy=CallerPolicy(operators=lambda user: user.id in OPERATORS))


@asynccontextmanager
async def served(policy: RunPolicy | None = None) -> AsyncIterator[Shop]:
    """The shop, of which olga and otto are operators unless a policy says otherwise."""
    work.began.clear()
    work.was_cleaned_up = False
    app, platform = define_waiting_shop(), CountingPlatform()
    schema = create_schema(app, policy=policy) if policy else shop_schema()
    async with serve(create_asgi(app, platform, schema=schema, authenticate=authenticate)) as client:
        yield Shop(platform, client)
