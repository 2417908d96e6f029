"""A resolver as a Strawberry field."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, Generic, Literal, TypeVar

import anyio
import pytest
import strawberry
from pydantic import BaseModel, Field
from strawberry.permission import BasePermission
from strawberry.tools import merge_types

from gqlplugin.app import App, define_app
from gqlplugin.auth import define_auth
from gqlplugin.errors import PlatformNotBoundError
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.platform.base import Binding, bind
from gqlplugin.resolver import Resolver, ResolverContext, create_resolver
from gqlplugin.scope import current_scope
from gqlplugin.testing import MemoryPlatform
from tests.graphql.schemas import answer, returning, schema_of

pytestmark = pytest.mark.anyio

T = TypeVar("T")


class TriggerOrderProcessing(BaseModel):
    order_id: str = Field(description="Order ID to process")
    customer_id: str = Field(description="Customer ID for the order")


class TriggerOrderProcessingOutput(BaseModel):
    workflow_run_id: str


@create_resolver(
    name="triggerOrderProcessing", operation="mutation", description="Trigger the order processing workflow"
)
async def trigger_order_processing(ctx: ResolverContext[TriggerOrderProcessing]) -> TriggerOrderProcessingOutput:
    return TriggerOrderProcessingOutput(workflow_run_id=f"{ctx.input.order_id}-{ctx.input.customer_id}")


SEED = '''type Mutation {
  """Trigger the order processing workflow"""
  triggerOrderProcessing(
    """Order ID to process"""
    orderId: String!

    """Customer ID for the order"""
    customerId: String!
  ): TriggerOrderProcessingOutput!
}

type Query {
  version: Int!
}

type TriggerOrderProcessingOutput {
  workflowRunId: String!
}'''


@strawberry.type
class Query:
    version: int = 1


@strawberry.type
class Mutation:
    trigger = trigger_order_processing.field()


def test_seeds_resolver_has_the_seeds_schema() -> None:
    """The resolver of the seed is this schema, character for character (TAILOR.md section 4)."""
    assert strawberry.Schema(Query, Mutation).as_str() == SEED


async def test_resolver_is_a_field_of_ones_own_type_under_its_own_name() -> None:
    """A field in the user's type answers under the resolver's name, whatever the attribute is called."""
    operation = 'mutation { triggerOrderProcessing(orderId: "a", customerId: "b") { workflowRunId } }'
    data = await answer(strawberry.Schema(Query, Mutation), operation)
    assert data == {"triggerOrderProcessing": {"workflowRunId": "a-b"}}


async def test_merged_types_keep_the_field() -> None:
    """Strawberry's merge_types takes a type with a resolver's field beside others."""

    @strawberry.type
    class More:
        @strawberry.mutation
        def ping(self) -> int:
            return 1

    schema = strawberry.Schema(Query, merge_types("Mutation", (More, Mutation)))
    data = await answer(
        schema, 'mutation { ping triggerOrderProcessing(orderId: "a", customerId: "b") { workflowRunId } }'
    )
    assert data == {"ping": 1, "triggerOrderProcessing": {"workflowRunId": "a-b"}}


class Line(BaseModel):
    sku: str
    unit_price: int = Field(ge=0)


@contextmanager
def bound(app: App | None, user: User | None = None) -> Iterator[None]:
    """An app and a caller, bound as the extension binds them."""
    with bind(Binding(MemoryPlatform(), app, user or User())):
        yield


AUTH = define_auth("my-auth", Literal["manager"])


def describing(auth_invoker: AuthInvoker | str | None = None) -> Resolver[Any, Any]:
    """A resolver that tells its context."""

    @create_resolver(name="describe", operation="query", auth_invoker=auth_invoker)
    async def describe(ctx: ResolverContext[None]) -> list[str]:
        assert ctx.info.field_name == "describe"
        assert ctx.input is None
        return [ctx.user.id, str(ctx.invoker), str(dict(ctx.env))]

    return describe


@pytest.mark.parametrize("invoker", ["manager", {"namespace": "my-auth", "machineUserName": "manager"}], ids=repr)
async def test_body_knows_caller_invoker_and_environment(invoker: Any) -> None:
    """The context is the binding's: who calls, the machine user of `auth_invoker`, the app's env."""
    resolver = describing(invoker)
    app = define_app("shop", auth=AUTH, resolvers=[resolver], env={"currency": "EUR"})
    with bound(app, User(id="ada", type="user")):
        data = await answer(schema_of(resolver), "{ describe }")
    assert data["describe"] == ["ada", str(AuthInvoker("my-auth", "manager")), "{'currency': 'EUR'}"]


async def test_one_resolver_serves_two_apps() -> None:
    """The bare name of a machine user means the one of the app that is bound."""
    resolver = describing("manager")
    schema = schema_of(resolver)
    apps = [
        define_app("shop", auth=define_auth(namespace, Literal["manager"]), resolvers=[resolver])
        for namespace in ("one-auth", "two-auth")
    ]
    for app in [*apps, *apps]:
        with bound(app):
            data = await answer(schema, "{ describe }")
        assert app.auth
        assert app.auth.namespace in data["describe"][1]


async def test_caller_is_anonymous_where_nothing_is_bound() -> None:
    """Without a platform a body runs for the anonymous caller; a bare machine user is an error then."""
    data = await answer(schema_of(describing()), "{ describe }")
    assert data["describe"] == [User().id, "None", "{}"]
    data = await answer(schema_of(describing(AuthInvoker("a", "b"))), "{ describe }")
    assert data["describe"][1] == str(AuthInvoker("a", "b"))
    result = await schema_of(describing("manager")).execute("{ describe }")
    assert result.errors
    assert isinstance(result.errors[0].original_error, PlatformNotBoundError)


_tenant: ContextVar[str] = ContextVar("tenant")


async def test_plain_body_runs_in_a_thread_with_its_context() -> None:
    """A function that blocks does not block the event loop, and sees the context variables of the request."""

    @create_resolver(name="where", operation="query")
    def where(ctx: ResolverContext[None]) -> str:
        return f"{_tenant.get()} {threading.current_thread() is threading.main_thread()}"

    _tenant.set("acme")
    assert await answer(schema_of(where), "{ where }") == {"where": "acme False"}


async def test_request_that_is_cancelled_does_not_wait_for_its_thread() -> None:
    """Cancelling a request returns at once, though its plain body still blocks."""
    started, release = threading.Event(), threading.Event()

    @create_resolver(name="block", operation="query")
    def block(ctx: ResolverContext[None]) -> int:
        started.set()
        release.wait(120)
        return 1

    schema = schema_of(block)
    try:
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(schema.execute, "{ block }")
                while not started.is_set():  # noqa: ASYNC110 - a thread sets it
                    await anyio.sleep(0.001)
                tasks.cancel_scope.cancel()
    finally:
        release.set()


async def test_async_callable_is_awaited() -> None:
    """An object whose call is async, and a partial of an async function, are bodies like any other."""

    class Adder:
        async def __call__(self, ctx: ResolverContext[None]) -> int:
            return 1

    async def add(amount: int, ctx: ResolverContext[None]) -> int:
        return amount

    make: Any = create_resolver
    schema = schema_of(
        make(name="a", operation="query", output=int, body=Adder()),
        make(name="b", operation="query", output=int, body=partial(add, 2)),
    )
    assert await answer(schema, "{ a b }") == {"a": 1, "b": 2}


async def test_async_function_behind_a_plain_decorator_is_awaited() -> None:
    """What the wrapper returns is awaited within the body: its database session is the resolver's."""

    def traced(function: Any) -> Any:
        @wraps(function)
        def call(*args: object) -> Any:
            return function(*args)

        return call

    scopes = []

    @create_resolver(name="a", operation="query")
    @traced
    async def by_decorator(ctx: ResolverContext[None]) -> int:
        scopes.append(current_scope())
        return 1

    async def body(ctx: ResolverContext[None]) -> int:
        return 2

    make: Any = create_resolver
    schema = schema_of(by_decorator, make(name="b", operation="query", output=int, body=traced(body)))
    assert await answer(schema, "{ a b }") == {"a": 1, "b": 2}
    assert scopes[0] is not None


class Page(BaseModel, Generic[T]):
    items: list[T]


A_LINE = {"sku": "a", "unit_price": 1}


@pytest.mark.parametrize(
    ("output", "returned", "query", "expected"),
    [
        (Line, A_LINE, "{ get { sku unitPrice } }", {"sku": "a", "unitPrice": 1}),
        (Line | None, None, "{ get { sku } }", None),
        (list[Line], [A_LINE, Line(sku="b", unit_price=2)], "{ get { sku } }", [{"sku": "a"}, {"sku": "b"}]),
        (Page[Line], Page(items=[A_LINE]), "{ get { items { sku } } }", {"items": [{"sku": "a"}]}),
        (int, "7", "{ get }", 7),
        (bytes, b"a", "{ get }", "a"),
        (dict[str, Line], {"a": Line(sku="b", unit_price=2)}, "{ get }", {"a": {"sku": "b", "unit_price": 2}}),
        (Literal["a-b"], "a-b", "{ get }", "a_b"),
        (set[int], {1}, "{ get }", [1]),
        (type(None), None, "{ get }", None),
    ],
)
async def test_result_is_made_to_fit_the_output(output: Any, returned: Any, query: str, expected: Any) -> None:
    """A body may return the output, or what pydantic makes the output of."""
    assert (await answer(schema_of(returning(lambda ctx: returned, output)), query)) == {"get": expected}


async def test_mapping_as_output_is_a_type_of_its_own() -> None:
    """An output given as names and types has the name of the resolver, and a body may return a dict."""

    async def start(ctx: ResolverContext[None]) -> dict[str, Any]:
        return {"run_id": "a", "lines": [{"sku": "b", "unit_price": 1}]}

    resolver = create_resolver(
        name="startIt", operation="query", output={"run_id": str, "lines": list[Line]}, body=start
    )
    schema = schema_of(resolver)
    assert await answer(schema, "{ startIt { runId lines { sku } } }") == {
        "startIt": {"runId": "a", "lines": [{"sku": "b"}]}
    }
    assert "startIt: StartItOutput!" in schema.as_str()


async def test_instance_of_the_output_is_not_validated_again() -> None:
    """What is an output already is passed on as it is."""
    line = Line.model_construct(sku="a", unit_price=-5)
    schema = schema_of(returning(lambda ctx: line, Line))
    assert await answer(schema, "{ get { unitPrice } }") == {"get": {"unitPrice": -5}}


async def test_result_that_does_not_fit_is_an_internal_error() -> None:
    """A body that returns something else breaks its own promise: the error says which resolver and what type."""
    result = await schema_of(returning(lambda ctx: {"sku": "hunter2"}, Line)).execute("{ get { sku } }")
    assert result.data is None
    assert result.errors
    error = result.errors[0].original_error
    assert isinstance(error, TypeError)
    assert "Resolver 'get'" in str(error)
    assert "Line" in str(error)
    assert "unit_price: Field required" in str(error)
    assert "hunter2" not in str(error)


class Nobody(BasePermission):
    message = "not you"

    def has_permission(self, source: Any, info: Any, **kwargs: Any) -> bool:
        return kwargs == {"order_id": "mine", "source_": "a"}


async def test_permission_classes_guard_the_field() -> None:
    """Strawberry's permission classes get the arguments by Python name, and refuse before the body runs."""

    class Guarded(BaseModel):
        order_id: str
        source: str = "a"

    @create_resolver(name="guarded", operation="query", permission_classes=[Nobody], deprecation_reason="old")
    async def guarded(ctx: ResolverContext[Guarded]) -> str:
        return ctx.input.order_id

    schema = schema_of(guarded)
    assert await answer(schema, '{ guarded(orderId: "mine") }') == {"guarded": "mine"}
    result = await schema.execute('{ guarded(orderId: "yours") }')
    assert result.errors
    assert result.errors[0].message == "not you"
    assert 'deprecated(reason: "old")' in schema.as_str()
