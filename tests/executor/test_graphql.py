"""Operations of the app's own API that executors run."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
import strawberry
from graphql import GraphQLError
from pydantic import BaseModel

from gqlplugin.app import App, define_app
from gqlplugin.auth import define_auth
from gqlplugin.errors import DefinitionError, ForbiddenError, NotFoundError, PlatformUnavailableError
from gqlplugin.executor import create_executor, graphql_operation, incoming_webhook_trigger, resolver_executed_trigger
from gqlplugin.executor.operation import TEN_ATTEMPTS, Operation
from gqlplugin.executor.trigger import IncomingWebhookArgs
from gqlplugin.graphql.limits import Limits
from gqlplugin.graphql.schema import create_schema
from gqlplugin.graphql.schema_operations import bind_schema, machine_user, problems_with
from gqlplugin.identity import AuthInvoker, User, executor_user
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.base import Platform, current_binding, current_job, machine_user_id
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.runs import ExecutionFilter, ExecutionStatus, RetryPolicy, WorkflowExecution
from gqlplugin.scope import current_scope
from gqlplugin.secret import secret
from gqlplugin.testing import MemoryPlatform
from gqlplugin.workflow import create_workflow
from tests.contract.support import ended, in_status

pytestmark = pytest.mark.anyio

SOON = RetryPolicy(max_retries=9, initial_backoff=timedelta(milliseconds=1), max_backoff=timedelta(milliseconds=1))
NAME = "executor/call-api"
SHIP = "mutation ($id: String!) { ship(id: $id) { runId } }"

Given = IncomingWebhookArgs[Any]

auth = define_auth("shop-auth", Literal["shipper", "guest"], attributes={"shipper": {"role": "SHIPPER"}})


class OrderRef(BaseModel):
    """Which order."""

    id: str


class Started(BaseModel):
    """What a mutation started."""

    run_id: str


class Kind(BaseModel):
    """Which error."""

    kind: str


class Caller(BaseModel):
    """Who a resolver sees."""

    id: str
    type: str
    role: str | None
    in_job: bool
    has_request: bool


@create_workflow_job(name="ship-order")
async def ship_order(input: OrderRef) -> str:
    return input.id


def may_ship(user: User, _: AuthInvoker | None) -> bool:
    """Whether the caller is the machine user for it."""
    return (user.attributes or {}).get("role") == "SHIPPER"


shipping = create_workflow(name="shipping", main_job=ship_order, permission=may_ship)


class Story:
    """What the resolvers of a test do, and did."""

    def __init__(self) -> None:
        self.calls = 0
        self.fail_first: Exception | None = None
        self.hold_first = False
        self.held = asyncio.Event()
        self.make_id = False

    async def passed(self) -> None:
        """Fail, or wait for ever, in the first call."""
        self.calls += 1
        if self.calls > 1:
            return
        if self.hold_first:
            self.held.set()
            await asyncio.Event().wait()
        if self.fail_first is not None:
            raise self.fail_first


story = Story()


@pytest.fixture(autouse=True)
def _new_story() -> None:
    vars(story).update(vars(Story()))  # the resolvers hold this one


@create_resolver(name="ship", operation="mutation")
async def ship(ctx: ResolverContext[OrderRef]) -> Started:
    order_id = str(uuid.uuid4()) if story.make_id else ctx.input.id
    run_id = await shipping.trigger(OrderRef(id=order_id))
    await story.passed()
    return Started(run_id=run_id)


@create_resolver(name="shipTwice", operation="mutation")
async def ship_twice(ctx: ResolverContext[OrderRef]) -> list[str]:
    first, second = await asyncio.gather(shipping.trigger(ctx.input), shipping.trigger(ctx.input))
    await story.passed()
    return [first, second]


@create_resolver(name="fail", operation="query")
async def fail(ctx: ResolverContext[Kind]) -> str | None:
    story.calls += 1
    errors: Mapping[str, Exception] = {
        "forbidden": ForbiddenError(),
        "missing": NotFoundError("There is no hunter2."),
        "unavailable": PlatformUnavailableError(),
        "internal": RuntimeError("hunter2"),
        "own": GraphQLError("hunter2", extensions={"code": "OUT_OF_STOCK"}),
        "odd": GraphQLError("hunter2", extensions={"code": "hunter2 hunter2"}),
    }
    raise errors[ctx.input.kind]


@create_resolver(name="whoAmI", operation="query")
async def who_am_i(ctx: ResolverContext[None]) -> Caller:
    role = (ctx.user.attributes or {}).get("role")
    has_request = "request" in ctx.info.context
    assert ctx.info.context["user"] is ctx.user
    return Caller(
        id=ctx.user.id, type=ctx.user.type, role=role, in_job=current_job.get() is not None, has_request=has_request
    )


def app_of(operation: Operation[Given]) -> App:
    """An app whose one executor does this, and tries again at once."""
    assert operation.retry_policy is TEN_ATTEMPTS
    operation.retry_policy = SOON
    trigger = incoming_webhook_trigger(path_secrets=[secret("NEVER_ASKED_FOR")])
    return define_app(
        "shop",
        auth=auth,
        workflows=[shipping],
        resolvers=[ship, ship_twice, fail, who_am_i],
        executors=[create_executor("call-api", trigger=trigger, operation=operation)],
    )


async def fire(platform: Platform, body: object = None) -> str:
    """Start a firing."""
    arg = json.dumps({"body": body, "headers": {}, "method": "POST", "raw_body": "", "query": {}})
    return await platform.start_workflow(NAME, arg, caller=executor_user("call-api"))


async def fired(operation: Operation[Given], body: object = None) -> WorkflowExecution:
    """A firing of an operation once it has ended."""
    app = app_of(operation)
    async with MemoryPlatform() as platform, platform.execute(app):
        return await ended(platform, await fire(platform, body))


async def shipped(platform: Platform) -> list[WorkflowExecution]:
    """The runs that the mutations started, oldest first."""
    page = await platform.list_executions(ExecutionFilter(workflow_name="shipping"), first=100)
    return [*reversed(page.executions)]


def result_of(run: WorkflowExecution) -> Any:
    """What a firing that succeeded kept."""
    assert run.status is ExecutionStatus.SUCCESS, run.error
    assert run.output is not None
    return json.loads(run.output)["result"]


def failure_of(run: WorkflowExecution) -> tuple[str, str, int]:
    """Code, message and retries of a firing that failed."""
    assert run.status is ExecutionStatus.FAILED
    assert run.error is not None
    return run.error.code, run.error.message, run.attempt


@pytest.mark.parametrize(
    ("invoker", "expected"),
    [
        ("shipper", (machine_user_id("shop-auth", "shipper"), "machine_user", "SHIPPER")),
        (auth.invoker("guest"), (machine_user_id("shop-auth", "guest"), "machine_user", None)),
        (None, (User().id, "", None)),
    ],
)
async def test_resolvers_see_the_machine_user(
    invoker: AuthInvoker | str | None, expected: tuple[str, str, str | None]
) -> None:
    """The caller is the machine user, with the ID that the platform server gives it, and nobody without one."""
    query = "{ whoAmI { id type role inJob hasRequest } }"
    operation: Operation[Given] = graphql_operation(query, auth_invoker=invoker)
    data = result_of(await fired(operation))["whoAmI"]
    assert (data["id"], data["type"], data["role"]) == expected
    assert (data["inJob"], data["hasRequest"]) == (False, False)


def test_a_machine_user_has_all_its_attributes() -> None:
    """Permissions can ask for whatever `define_auth` says of it."""
    app = define_app("shop", auth=auth)
    user = machine_user(app, auth.invoker("shipper"))
    assert user.attributes == {"role": "SHIPPER"}
    assert machine_user(app, auth.invoker("guest")).attributes == {}
    assert machine_user(app, None) == User()


async def test_a_mutation_starts_a_workflow_as_the_machine_user() -> None:
    """The variables follow from the arguments, and who starts the run is the machine user, not the executor."""
    operation: Operation[Given] = graphql_operation(
        SHIP, variables=lambda args: OrderRef(id=args.body["id"]), auth_invoker="shipper"
    )
    async with MemoryPlatform() as platform, platform.execute(app_of(operation)):
        run = await ended(platform, await fire(platform, {"id": "o-1"}))
        [started] = await shipped(platform)
        assert result_of(run) == {"ship": {"runId": started.id}}
    assert json.loads(started.input) == {"id": "o-1"}
    assert started.caller == User(
        machine_user_id("shop-auth", "shipper"), "machine_user", attributes={"role": "SHIPPER"}
    )


async def test_a_permission_is_asked_about_the_machine_user() -> None:
    """A workflow that the machine user may not start is not started, and the firing not tried again."""
    operation: Operation[Given] = graphql_operation(SHIP, variables={"id": "o-1"}, auth_invoker="guest")
    code, message, attempt = failure_of(await fired(operation))
    assert (code, attempt) == ("GRAPHQL_FAILED", 0)
    assert message == "The GraphQL operation failed: FORBIDDEN."


@pytest.mark.parametrize(
    ("kind", "code", "calls"),
    [
        ("forbidden", "FORBIDDEN", 1),
        ("missing", "NOT_FOUND", 1),
        ("unavailable", "PLATFORM_UNAVAILABLE", 10),
        ("internal", "INTERNAL", 10),
        ("own", "OUT_OF_STOCK", 10),
        ("odd", "UNKNOWN", 10),
    ],
)
async def test_an_error_fails_the_firing(kind: str, code: str, calls: int) -> None:
    """The codes are told and no messages, and only an error that may pass is tried again, ten times in all."""
    operation: Operation[Given] = graphql_operation(f'{{ fail(kind: "{kind}") }}')
    run = await fired(operation)
    assert failure_of(run) == ("GRAPHQL_FAILED", f"The GraphQL operation failed: {code}.", calls - 1)
    assert story.calls == calls
    assert run.error is not None
    assert "hunter2" not in f"{run.error.message}{run.error.detail}"


async def test_one_lasting_error_among_others_is_enough() -> None:
    """An answer that can't become right is not asked for again; every code is told once."""
    query = '{ a: fail(kind: "internal") b: fail(kind: "forbidden") c: fail(kind: "internal") }'
    operation: Operation[Given] = graphql_operation(query)
    code, message, attempt = failure_of(await fired(operation))
    assert (code, attempt) == ("GRAPHQL_FAILED", 0)
    assert sorted(message.partition(": ")[2].rstrip(".").split(", ")) == ["FORBIDDEN", "INTERNAL"]


async def test_the_log_leads_to_the_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """The log of the firing has the code, the ID of the entry with the traceback, and no text of the error."""
    operation: Operation[Given] = graphql_operation('query Fail { fail(kind: "internal") }')
    app = app_of(operation)
    async with MemoryPlatform() as platform, platform.execute(app):
        run_id = await fire(platform)
        await ended(platform, run_id)
        [job] = (await platform.get_jobs([run_id]))[run_id]
    entry = next(record.getMessage() for record in caplog.records if record.name == "gqlplugin.graphql")
    assert " WARNING query Fail failed: INTERNAL, logged as " in job.logs[0]
    assert entry.split()[2] in caplog.text.partition("logged as ")[2]
    assert "hunter2" not in "".join(job.logs)


async def test_variables_that_do_not_fit_are_not_tried_again() -> None:
    """What the schema refuses, and a function that raises or returns no values by name, fail the firing at once."""

    def broken(_: Given) -> dict[str, object]:
        raise KeyError("hunter2")

    wrong: list[tuple[Any, str]] = [
        (lambda _: {"id": 7}, "GRAPHQL_FAILED"),
        (lambda _: {"id": object()}, "EXECUTOR_VARIABLES_FAILED"),
        (lambda _: ["id"], "EXECUTOR_VARIABLES_FAILED"),
        (broken, "EXECUTOR_VARIABLES_FAILED"),
    ]
    for variables, code in wrong:
        operation: Operation[Given] = graphql_operation(SHIP, variables=variables, auth_invoker="shipper")
        assert failure_of(await fired(operation))[::2] == (code, 0)


async def test_a_try_does_not_start_again_what_an_earlier_one_started() -> None:
    """A mutation that fails after its trigger starts one run, however often it is tried."""
    story.fail_first = PlatformUnavailableError()
    operation: Operation[Given] = graphql_operation(SHIP, variables={"id": "o-1"}, auth_invoker="shipper")
    async with MemoryPlatform() as platform, platform.execute(app_of(operation)):
        run = await ended(platform, await fire(platform))
        [started] = await shipped(platform)
        assert (result_of(run), run.attempt) == ({"ship": {"runId": started.id}}, 1)
        again = await ended(platform, await fire(platform))
        assert result_of(again)["ship"]["runId"] != started.id
        assert len(await shipped(platform)) == 2


async def test_what_a_resolver_starts_twice_is_started_twice() -> None:
    """Two equal triggers in one try are two runs, beside each other too, and another try starts neither again."""
    story.fail_first = PlatformUnavailableError()
    operation: Operation[Given] = graphql_operation(
        "mutation ($id: String!) { shipTwice(id: $id) }", variables={"id": "o-1"}, auth_invoker="shipper"
    )
    async with MemoryPlatform() as platform, platform.execute(app_of(operation)):
        run = await ended(platform, await fire(platform))
        ids = {started.id for started in await shipped(platform)}
    assert (len(ids), run.attempt) == (2, 1)
    assert set(result_of(run)["shipTwice"]) == ids


async def test_a_resolver_need_not_be_deterministic() -> None:
    """One that triggers with other arguments each time, as after an insert, starts another run and fails no replay."""
    story.fail_first, story.make_id = PlatformUnavailableError(), True
    operation: Operation[Given] = graphql_operation(SHIP, variables={"id": "o-1"}, auth_invoker="shipper")
    async with MemoryPlatform() as platform, platform.execute(app_of(operation)):
        run = await ended(platform, await fire(platform))
        first, second = await shipped(platform)
    assert first.input != second.input
    assert result_of(run) == {"ship": {"runId": second.id}}


@asynccontextmanager
async def process(path: Path, operation: Operation[Given]) -> AsyncIterator[EmbeddedPlatform]:
    """A process that executes a file, and at the end is stopped in the middle of what it does."""
    operation.retry_policy = TEN_ATTEMPTS
    async with EmbeddedPlatform(path, shutdown_grace=timedelta(0)) as platform, platform.execute(app_of(operation)):
        yield platform


@pytest.mark.parametrize("make_id", [False, True])
async def test_a_firing_survives_its_process(tmp_path: Path, make_id: bool) -> None:
    """After a crash the operation runs again; what it started before with the same arguments is not started again."""
    story.hold_first, story.make_id = True, make_id
    operation: Operation[Given] = graphql_operation(SHIP, variables={"id": "o-1"}, auth_invoker="shipper")
    async with process(tmp_path / "x.sqlite", operation) as platform:
        run_id = await fire(platform)
        async with asyncio.timeout(60):
            await story.held.wait()
        assert (await in_status(platform, run_id, ExecutionStatus.RUNNING)).output is None
    async with process(tmp_path / "x.sqlite", operation) as platform:
        run = await ended(platform, run_id)
        started = await shipped(platform)
    assert (run.attempt, story.calls) == (0, 2)
    assert len(started) == (2 if make_id else 1)
    assert result_of(run) == {"ship": {"runId": started[-1].id}}


async def test_the_schema_that_is_served_is_used() -> None:
    """Fields and extensions that users add to their schema are there for executors, and leave the job alone."""

    @strawberry.type
    class Query:
        @strawberry.field
        async def own(self) -> bool:
            return current_scope() is None and current_binding().user.type == "machine_user"

    operation: Operation[Given] = graphql_operation("{ own }", auth_invoker="guest")
    app = app_of(operation)
    with bind_schema(app, create_schema(app, query=Query)):
        async with MemoryPlatform() as platform, platform.execute(app):
            run = await ended(platform, await fire(platform))
    assert result_of(run) == {"own": True}


async def test_the_schema_of_another_app_is_not_used() -> None:
    """Where two apps are served in one process, each one's executors use their own schema."""
    operation: Operation[Given] = graphql_operation("{ whoAmI { type } }")
    app, other = app_of(operation), define_app("other")
    with bind_schema(app, create_schema(app)), bind_schema(other, create_schema(other)):
        async with MemoryPlatform() as platform, platform.execute(app):
            run = await ended(platform, await fire(platform))
    assert result_of(run) == {"whoAmI": {"type": ""}}


async def test_resolvers_can_ask_the_platform() -> None:
    """The fields that show runs work for executors, as whatever else asks the platform."""
    query = "{ workflowRuns(first: 5) { edges { node { id } } } }"
    operation: Operation[Given] = graphql_operation(query, auth_invoker="shipper")
    app = app_of(operation)
    async with MemoryPlatform() as platform, platform.execute(app):
        user = machine_user(app, auth.invoker("shipper"))
        run_id = await platform.start_workflow("shipping", '{"id": "1"}', caller=user)
        run = await ended(platform, await fire(platform))
    [edge] = result_of(run)["workflowRuns"]["edges"]
    assert edge["node"]["id"] == run_id


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (graphql_operation("{ nope }"), "in line 1: Cannot query field 'nope'"),
        (graphql_operation("{ whoAmI { id } }", variables={"id": 1}), None),
        (graphql_operation("query ($a: Int) { whoAmI { id } }"), "Variable '$a' is never used"),
        (graphql_operation(SHIP), "Variable '$id'"),
        (graphql_operation(SHIP, variables={"id": 7}), "Variable '$id'"),
        (graphql_operation(SHIP, variables={"id": "x"}), None),
        (graphql_operation(SHIP, variables=lambda _: {}), None),
        (graphql_operation("{ whoAmI { id a: id b: id } }"), "has 2 aliases; the limit is 1"),
    ],
)
def test_an_operation_is_checked_against_the_schema(operation: Operation[Given], said: str | None) -> None:
    """A query or variables that the schema refuses are found when it is made, with executor and place."""
    operation.retry_policy = TEN_ATTEMPTS
    app = app_of(operation)
    problems = problems_with(
        create_schema(
            define_app("bare", resolvers=app.resolvers.values(), workflows=[shipping]), limits=Limits(max_aliases=1)
        ),
        app,
    )
    if said is None:
        assert problems == []
        return
    [problem] = problems
    assert problem.startswith("executor 'call-api' runs a GraphQL operation that the schema refuses")
    assert said in problem
    assert "test_graphql.py:" in problem


def _condition(_: object) -> bool:
    return False


@pytest.mark.parametrize(
    ("query", "condition", "is_loop"),
    [
        ("{ whoAmI { id } }", None, True),
        ("{ a: whoAmI { id } }", None, True),
        ("query Q { ...A } fragment A on Query { ... { ...B } } fragment B on Query { whoAmI { id } }", None, True),
        ("{ whoAmI { id } }", _condition, False),
        ('{ fail(kind: "whoAmI") }', None, False),
        ('{ whoAmI: fail(kind: "x") }', None, False),
    ],
)
def test_an_executor_that_fires_itself_is_refused(query: str, condition: Any, is_loop: bool) -> None:
    """One that waits for a resolver and runs it would never end, unless a condition ends it."""
    executor = create_executor(
        "call-api",
        trigger=resolver_executed_trigger(who_am_i),
        condition=condition,
        operation=graphql_operation(query),
    )
    app = define_app("loop", resolvers=[who_am_i, fail], executors=[executor])
    problems = problems_with(create_schema(define_app("bare", resolvers=[who_am_i, fail])), app)
    assert [problem.partition(" (")[0] for problem in problems] == (
        ["executor 'call-api' runs resolver 'whoAmI', whose end fires it again, for ever: give it a condition="]
        if is_loop
        else []
    )


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("{ nope", "not GraphQL (line 1 of the query): Syntax Error"),
        ("", "not GraphQL"),
        ("{ a } query B { b }", "one operation"),
        ("fragment A on Query { a }", "one operation"),
        ("subscription { a }", "a query or a mutation"),
    ],
)
def test_a_query_that_can_not_run_is_refused(query: str, said: str) -> None:
    """What is no operation is told where it is defined."""
    with pytest.raises(DefinitionError) as caught:
        graphql_operation(query)
    assert said in caught.value.message
    assert "test_graphql.py:" in caught.value.message


def test_variables_that_are_not_json_are_refused() -> None:
    """Variables that are given, and not made, are checked where they are defined."""
    with pytest.raises(DefinitionError, match="not JSON values by name"):
        graphql_operation("{ a }", variables={"a": object()})


def test_an_unknown_machine_user_is_refused() -> None:
    """An executor can't run as somebody whom the app's auth does not have."""
    operation: Operation[Given] = graphql_operation("{ a }", auth_invoker="nobody")
    with pytest.raises(DefinitionError, match=r"executor 'call-api' runs as 'nobody'"):
        app_of(operation)


def test_the_detail_is_the_operation() -> None:
    """People see what is run by its name."""
    named: Operation[Given] = graphql_operation("mutation ShipIt { a }")
    unnamed: Operation[Given] = graphql_operation("{ a }")
    assert (named.detail, unnamed.detail) == ("mutation ShipIt", "an unnamed query")
