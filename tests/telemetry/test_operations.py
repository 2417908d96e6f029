"""GraphQL operations are spans, which tell nothing of what clients send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import strawberry
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from pydantic import BaseModel

from gqlplugin.app import define_app
from gqlplugin.asgi import create_asgi
from gqlplugin.errors import ForbiddenError
from gqlplugin.graphql.extension import WorkflowExtension
from gqlplugin.graphql.schema import create_schema
from gqlplugin.job import create_workflow_job
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.testing import GraphQLClient, MemoryPlatform, serve
from gqlplugin.workflow import create_workflow
from tests.contract.support import ended
from tests.graphql.live import PATIENCE_SECONDS, connected, graphql_served
from tests.telemetry.support import Spans, attributes_of, has_failed, id_of, trace_of

pytestmark = pytest.mark.anyio

SECRET = "s3cr3t-of-the-client"  # noqa: S105 - what no span may hold
PARENT = f"00-{0xABC:032x}-{0xDEF:016x}-01"


class Order(BaseModel):
    order_id: str


class Started(BaseModel):
    run_id: str


@create_workflow_job(name="handle-order")
async def handle_order(order: Order) -> None:
    pass


handling = create_workflow(name="handle-orders", main_job=handle_order)


@create_resolver(name="startOrder", operation="mutation")
async def start_order(ctx: ResolverContext[Order]) -> Started:
    """Starts the workflow, or refuses."""
    if ctx.input.order_id == "forbidden":
        raise ForbiddenError(f"not with {SECRET}")
    if ctx.input.order_id == "broken":
        raise RuntimeError(SECRET)
    return Started(run_id=await handling.trigger(ctx.input))


app = define_app("operations", workflows=[handling], resolvers=[start_order])

START = "mutation StartIt($orderId: String!) { startOrder(orderId: $orderId) { runId } }"


@pytest.fixture
async def platform() -> MemoryPlatform:
    """Where the operations start runs."""
    return MemoryPlatform()


@pytest.fixture
async def client(platform: MemoryPlatform) -> AsyncIterator[GraphQLClient]:
    """A client of the app."""
    async with serve(create_asgi(app, platform)) as client:
        yield client


async def test_an_operation_leads_to_its_run(client: GraphQLClient, platform: MemoryPlatform, spans: Spans) -> None:
    """The operation's span has type and name, and below it is the start with its run."""
    data = await client.run(START, {"orderId": SECRET})
    await ended(platform, data["startOrder"]["runId"])
    operation = spans.one("mutation")
    assert attributes_of(operation) == {"graphql.operation.type": "mutation", "graphql.operation.name": "StartIt"}
    assert operation.kind is SpanKind.SERVER
    assert operation.parent is None
    assert spans.trees() == [{"mutation": {"start handle-orders": {"run handle-orders": {"job handle-order": {}}}}}]
    assert SECRET not in "".join(span.to_json() for span in spans.all)


async def test_an_operation_without_a_name_has_none(client: GraphQLClient, spans: Spans) -> None:
    """There is no name of an anonymous operation, and none is made up."""
    await client.run("{ __typename }")
    assert attributes_of(spans.one("query")) == {"graphql.operation.type": "query"}


async def test_the_operation_that_runs_is_told(client: GraphQLClient, spans: Spans) -> None:
    """Of a document with several operations the span tells of the one that was asked for."""
    document = "query First { __typename } query Second { __typename }"
    await client.execute(document, operation_name="Second")
    assert attributes_of(spans.one("query"))["graphql.operation.name"] == "Second"
    await client.execute(document)
    assert attributes_of(spans.one("GraphQL Operation"))["error.type"] == "OPERATION_RESOLUTION_FAILURE"


async def test_an_operation_is_below_the_request(client: GraphQLClient, spans: Spans) -> None:
    """Where the server is traced, its span is the parent, whatever the request's headers say."""
    with spans.tracer.start_as_current_span("POST /graphql", kind=SpanKind.SERVER) as request:
        await client.execute("{ __typename }", headers={"traceparent": PARENT})
    operation = spans.one("query")
    assert operation.kind is SpanKind.INTERNAL
    assert operation.parent is not None
    assert operation.parent.span_id == request.get_span_context().span_id


async def test_a_request_brings_its_trace(client: GraphQLClient, spans: Spans) -> None:
    """Where nothing else traces the server, W3C headers of the request are the parent."""
    await client.execute("{ __typename }", headers={"traceparent": PARENT, "tracestate": "vendor=1"})
    operation = spans.one("query")
    assert operation.kind is SpanKind.SERVER
    assert operation.parent is not None
    assert operation.parent.is_remote
    assert (trace_of(operation), operation.parent.span_id) == (0xABC, 0xDEF)
    assert operation.parent.trace_state.get("vendor") == "1"


@pytest.mark.parametrize("header", ["", "00-0-0-00", "nonsense", f"00-{0:032x}-{1:016x}-01", "00-" * 2000])
async def test_a_malformed_header_is_ignored(client: GraphQLClient, spans: Spans, header: str) -> None:
    """Headers that are no trace context begin a new trace, and the operation runs."""
    result = await client.execute("{ __typename }", headers={"traceparent": header, "tracestate": header})
    assert result.data == {"__typename": "Query"}
    assert spans.one("query").parent is None


async def test_after_an_operation_nothing_is_current(client: GraphQLClient, spans: Spans) -> None:
    """One operation's span is not the parent of what its client asks next on the same task."""
    await client.run("{ __typename }")
    assert trace.get_current_span() is trace.INVALID_SPAN
    await client.run("{ __typename }")
    assert len(spans.traces()) == 2


@pytest.mark.parametrize(
    ("query", "order_id", "code"),
    [
        (START, "forbidden", "FORBIDDEN"),
        (START, "broken", "INTERNAL"),
        ("mutation { startOrder(orderId: 1, x: 2) { runId } }", "", "GRAPHQL_VALIDATION_FAILED"),
    ],
)
async def test_errors_are_marked_by_their_code(
    client: GraphQLClient, spans: Spans, query: str, order_id: str, code: str
) -> None:
    """An operation whose client sees an error is failed, with the code that the client sees, and no words."""
    result = await client.execute(query, {"orderId": order_id} if order_id else None)
    assert result.codes[0] == code
    operation = spans.one("mutation")
    assert has_failed(operation)
    assert attributes_of(operation)["error.type"] == code
    assert not operation.events
    assert not operation.status.description
    assert SECRET not in operation.to_json()


async def test_an_operation_that_is_refused_unread_tells_why(client: GraphQLClient, spans: Spans) -> None:
    """What an extension raises before the document is read is told by its code, and not by a class of ours."""
    result = await client.execute(f"query {{ {SECRET * 20_000} }}")
    assert result.codes == ["LIMIT_EXCEEDED"]
    assert attributes_of(spans.one("GraphQL Operation")) == {"error.type": "LIMIT_EXCEEDED"}


async def test_a_document_that_is_none_is_an_operation_too(client: GraphQLClient, spans: Spans) -> None:
    """What can't be read has no type; the span says why, and not what was sent."""
    await client.execute(f"mutation {{ {SECRET}")
    operation = spans.one("GraphQL Operation")
    assert attributes_of(operation) == {"error.type": "GRAPHQL_PARSE_FAILED"}
    assert SECRET not in operation.to_json()


async def test_a_code_of_any_text_is_not_told(spans: Spans) -> None:
    """What a schema of another's making puts into `code` is told only when it looks like one."""

    @strawberry.type
    class Query:
        @strawberry.field
        def fail(self) -> str:
            from graphql import GraphQLError

            raise GraphQLError("no", extensions={"code": f"told by {SECRET}"})

    schema = strawberry.Schema(Query, extensions=[lambda: WorkflowExtension(app, MemoryPlatform())])
    result = await schema.execute("{ fail }")
    assert result.errors
    assert attributes_of(spans.one("query"))["error.type"] == "INTERNAL"


async def test_a_schema_of_ones_own_is_traced_without_a_request(spans: Spans) -> None:
    """`WorkflowExtension` needs no ASGI request; sync execution is traced as well."""

    @strawberry.type
    class Query:
        @strawberry.field
        def hello(self) -> str:
            return trace.format_span_id(trace.get_current_span().get_span_context().span_id)

    schema = strawberry.Schema(Query, extensions=[lambda: WorkflowExtension(app, MemoryPlatform())])
    seen = [schema.execute_sync("{ hello }").data, (await schema.execute("{ hello }")).data]
    assert seen == [{"hello": trace.format_span_id(id_of(span))} for span in spans.named("query")]


async def test_a_subscription_is_a_span_until_its_first_result(spans: Spans) -> None:
    """The span of a subscription ends when the first result is there, and not with a life of hours."""

    @strawberry.type
    class Query:
        hello: str = "hello"

    @strawberry.type
    class Subscription:
        @strawberry.subscription
        async def count(self) -> AsyncIterator[int]:
            yield 1
            await second.wait()
            with spans.tracer.start_as_current_span("later"):
                yield 2

    second = asyncio.Event()
    schema = strawberry.Schema(
        Query, subscription=Subscription, extensions=[lambda: WorkflowExtension(app, MemoryPlatform())]
    )
    asgi = create_asgi(app, MemoryPlatform(), schema=schema)
    async with graphql_served(asgi) as url, connected(url) as socket, asyncio.timeout(PATIENCE_SECONDS):
        results: Any = socket.subscribe("subscription Count { count }")
        assert (await anext(results))["payload"]["data"] == {"count": 1}
        span = spans.one("subscription")
        assert attributes_of(span) == {"graphql.operation.type": "subscription", "graphql.operation.name": "Count"}
        second.set()
        assert [message["type"] async for message in results] == ["next", "complete"]
    assert [one.name for one in spans.all] == ["subscription", "later"]
    assert trace_of(spans.one("later")) != trace_of(span)


async def test_operations_on_a_websocket_are_traces_of_their_own(spans: Spans, platform: MemoryPlatform) -> None:
    """Each operation of a connection has its span, queries and mutations like any."""
    asgi = create_asgi(app, platform, schema=create_schema(app))
    async with graphql_served(asgi) as url, connected(url) as socket, asyncio.timeout(PATIENCE_SECONDS):
        for number in range(2):
            async for message in socket.subscribe(START, {"orderId": "1"}, id=str(number)):
                if message["type"] == "next":
                    await ended(platform, message["payload"]["data"]["startOrder"]["runId"])
    assert spans.trees() == [{"mutation": {"start handle-orders": {"run handle-orders": {"job handle-order": {}}}}}] * 2
