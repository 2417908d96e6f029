"""The extension: bindings, and what clients and operators see of errors."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar, NewType

import pytest
import strawberry
from graphql import DocumentNode, NoSchemaIntrospectionCustomRule, ValidationContext, ValidationRule, parse
from strawberry.extensions import (
    AddValidationRules,
    DisableValidation,
    ParserCache,
    SchemaExtension,
    ValidationCache,
)
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionResult

from gqlplugin.auth import User
from gqlplugin.graphql.extension import MAX_CACHED_CHARACTERS, MAX_VERDICTS, WorkflowExtension, _documents
from gqlplugin.graphql.limits import Limits
from gqlplugin.graphql.schema import create_schema
from gqlplugin.platform.base import find_binding
from gqlplugin.runs import ExecutionFilter
from gqlplugin.testing import MemoryPlatform
from tests.graphql.conftest import Shop
from tests.graphql.shop import SECRET, define_shop, place_order

pytestmark = pytest.mark.anyio

ALL = ExecutionFilter()
TWO_ALIASES = "{ a: whoAmI b: whoAmI }"
FAIL = "query ($kind: String!) { fail(kind: $kind) }"


def alarming(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What operators would look at."""
    return [record for record in caplog.records if record.levelno > logging.INFO]


async def test_an_unexpected_error_stays_here(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """The client gets an id; the operators find the traceback under it, in one entry."""
    result = await shop.client.execute(FAIL, {"kind": "secret"})
    [error] = result.errors
    assert error["message"] == "Internal error"
    assert error["path"] == ["fail"]
    assert error["extensions"]["code"] == "INTERNAL"
    assert "hunter2" not in json.dumps(result.errors)
    [record] = alarming(caplog)
    assert record.name == "gqlplugin.graphql"
    assert error["extensions"]["id"] in record.getMessage()
    assert record.exc_info is not None
    assert SECRET in str(record.exc_info[1])


@pytest.mark.parametrize(
    ("query", "message", "extensions"),
    [
        ('{ fail(kind: "deliberate") }', "Out of stock", {"code": "OUT_OF_STOCK"}),
        ("{ admin }", "Only for admins", {"code": "FORBIDDEN"}),
        ("{ paid }", "Only for admins", {"code": "NEEDS_PLAN"}),
        ("{ odd }", "Only for admins", {"code": "FORBIDDEN"}),
        ("mutation { startGuarded { runId } }", "You may not start workflow 'guarded'.", {"code": "FORBIDDEN"}),
        (
            '{ fail(kind: "unavailable") }',
            "The workflow platform can't answer right now: try again later.",
            {"code": "PLATFORM_UNAVAILABLE", "retryable": True},
        ),
    ],
)
async def test_a_deliberate_error_reaches_the_client(
    shop: Shop, query: str, message: str, extensions: dict[str, Any]
) -> None:
    """Errors of ours, refusals and the GraphQLErrors of a body keep their message and their code."""
    [error] = (await shop.client.execute(query)).errors
    assert (error["message"], error["extensions"]) == (message, extensions)


@pytest.mark.parametrize(
    ("request_", "code", "part"),
    [
        (("{", None), "GRAPHQL_PARSE_FAILED", "Syntax Error"),
        (("{ nothing }", None), "GRAPHQL_VALIDATION_FAILED", "field 'nothing'"),
        (("{ fail }", None), "GRAPHQL_VALIDATION_FAILED", "field 'fail'"),
        ((FAIL, {"kind": 1}), "BAD_USER_INPUT", "variable '$kind'"),
        ((FAIL, None), "BAD_USER_INPUT", "variable '$kind'"),
        (
            ("query ($a: Int) { workflowRuns(first: $a) { edges { cursor } } }", {"a": None}),
            "BAD_USER_INPUT",
            "argument",
        ),
        (("{" * 1500, None), "GRAPHQL_PARSE_FAILED", ""),
        (("{a" * 1500 + "}" * 1500, None), "GRAPHQL_PARSE_FAILED", "nested too deeply"),
        (("{ a(x: " + "[" * 1500 + "]" * 1500 + ") }", None), "GRAPHQL_PARSE_FAILED", "nested too deeply"),
    ],
)
async def test_the_clients_own_errors_stay_readable(
    shop: Shop, caplog: pytest.LogCaptureFixture, request_: tuple[str, Any], code: str, part: str
) -> None:
    """Syntax, unknown fields and variables are explained, and don't alarm the operators."""
    result = await shop.client.execute(*request_)
    assert result.codes[0] == code
    assert part in result.errors[0]["message"]
    assert alarming(caplog) == []


async def test_invalid_input_has_one_error_per_field(shop: Shop) -> None:
    """Each problem names the argument it is about, under the field's response key."""
    result = await shop.client.execute('mutation { first: placeOrder(orderId: "", amount: 0) { runId } }')
    assert result.codes == ["BAD_USER_INPUT", "BAD_USER_INPUT"]
    assert [error["path"] for error in result.errors] == [["first", "orderId"], ["first", "amount"]]
    assert "at least 1" in result.errors[0]["message"]


async def test_a_value_the_schema_can_not_show_is_our_error(shop: Shop) -> None:
    """What graphql-core says about a result is not for the client."""
    [error] = (await shop.client.execute(FAIL, {"kind": "huge"})).errors
    assert (error["message"], error["extensions"]["code"]) == ("Internal error", "INTERNAL")


Strange = NewType("Strange", str)


def parse_strange(value: object) -> str:
    raise RuntimeError(SECRET)


@strawberry.type
class StrangeQuery:
    @strawberry.field
    def echo(self, value: Strange) -> str:
        return value


@pytest.mark.parametrize(
    ("query", "variables"), [('{ echo(value: "x") }', None), ("query ($v: Strange!) { echo(value: $v) }", {"v": "x"})]
)
async def test_the_text_of_an_exception_in_a_scalar_is_left_out(query: str, variables: Any) -> None:
    """graphql-core quotes what a scalar raises; the client sees only that the value is wrong."""
    scalar = strawberry.scalar(name="Strange", parse_value=parse_strange, serialize=str)
    config = StrawberryConfig(scalar_map={Strange: scalar})
    schema = create_schema(define_shop(), query=StrangeQuery, config=config)
    [error] = (await schema.execute(query, variables)).errors or []
    assert "Expected value of type 'Strange', found" in error.message
    assert "hunter2" not in str(error.formatted)
    assert error.extensions
    assert error.extensions["code"] in ("GRAPHQL_VALIDATION_FAILED", "BAD_USER_INPUT")


async def test_null_in_a_non_null_field_is_our_error() -> None:
    """It is the API's mistake, not the client's."""
    schema = create_schema(define_shop(), query=BrokenQuery)
    [error] = (await schema.execute("{ broken }")).errors or []
    assert error.message == "Internal error"


class FailingExtension(SchemaExtension):
    """Fails at a step."""

    def on_execute(self) -> None:  # type: ignore[override] # Strawberry takes plain functions too
        raise RuntimeError(SECRET)


async def test_what_another_extension_raises_is_masked_too() -> None:
    """Nothing gets around the extension, as it is the outermost."""
    schema = create_schema(define_shop(), extensions=[FailingExtension])
    [error] = (await schema.execute("{ whoAmI }")).errors or []
    assert error.message == "Internal error"
    assert error.extensions
    assert error.extensions["code"] == "INTERNAL"


async def test_errors_are_the_same_without_an_event_loop() -> None:
    """`execute_sync` masks as `execute` does."""
    schema = create_schema(define_shop(), query=BrokenQuery)
    assert schema.execute_sync("{ broken }").errors[0].message == "Internal error"  # type: ignore[index]
    invalid = schema.execute_sync("{ nothing }").errors[0]  # type: ignore[index]
    assert invalid.extensions == {"code": "GRAPHQL_VALIDATION_FAILED"}


@strawberry.type
class BrokenQuery:
    @strawberry.field
    def broken(self) -> str:
        return None  # type: ignore[return-value] # the point


@strawberry.type
class Query:
    @strawberry.field
    def caller(self) -> str:
        binding = find_binding()
        return binding.user.id if binding else "nobody"


@strawberry.type
class Mutation:
    place = place_order.field()


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def numbers(self, fail: bool) -> AsyncIterator[int]:
        binding = find_binding()
        yield 1 if binding is not None else 0
        if fail:
            raise RuntimeError(SECRET)


async def test_a_schema_of_ones_own_starts_on_the_platform_it_was_given() -> None:
    """With a plain strawberry.Schema, the extension's constructor says where."""
    app = define_shop()
    async with MemoryPlatform() as platform:
        schema = strawberry.Schema(
            Query,
            Mutation,
            extensions=[lambda: WorkflowExtension(app, platform, user=lambda context: User(context["name"], "user"))],
        )
        ann = {"name": "ann"}
        result = await schema.execute('mutation { placeOrder(orderId: "1") { runId } }', context_value=ann)
        assert result.errors is None
        assert result.data is not None
        run = await platform.get_execution(result.data["placeOrder"]["runId"])
        assert run.caller == User("ann", "user")
        assert (await schema.execute("{ caller }", context_value=ann)).data == {"caller": "ann"}


async def test_a_platform_that_is_bound_by_hand_is_used() -> None:
    """A script that runs operations enters the platform itself."""
    schema = strawberry.Schema(Query, Mutation, extensions=[lambda: WorkflowExtension(define_shop())])
    mutation = 'mutation { placeOrder(orderId: "1") { runId } }'
    async with MemoryPlatform() as platform:
        result = await schema.execute(mutation)
        assert result.errors is None
        assert len((await platform.list_executions(ALL, first=9)).executions) == 1
    [error] = (await schema.execute(mutation)).errors or []
    assert error.extensions == {"code": "PLATFORM_NOT_BOUND"}


async def test_two_schemas_with_two_platforms_work_in_one_process() -> None:
    """A binding belongs to its operation, also when operations run at the same time."""
    async with MemoryPlatform() as one, MemoryPlatform() as two:
        schemas = [create_schema(define_shop(), platform=platform) for platform in (one, two)]
        mutation = 'mutation { placeOrder(orderId: "1") { runId } }'
        await asyncio.gather(*(schema.execute(mutation) for schema in [*schemas, schemas[0]]))
        counts = [len((await platform.list_executions(ALL, first=9)).executions) for platform in (one, two)]
    assert counts == [2, 1]
    assert find_binding() is None


async def test_a_subscription_is_bound_and_its_errors_are_masked() -> None:
    """Each result of a stream is treated as the only result of another operation is."""
    async with MemoryPlatform() as platform:
        schema = create_schema(define_shop(), subscription=Subscription, platform=platform)
        stream = await schema.subscribe("subscription { numbers(fail: true) }")
        results = [result async for result in stream]
    assert results[0].data == {"numbers": 1}
    assert [error.message for error in results[1].errors or []] == ["Internal error"]
    for query, code in (("{", "GRAPHQL_PARSE_FAILED"), ("subscription { x }", "GRAPHQL_VALIDATION_FAILED")):
        [result] = [result async for result in await schema.subscribe(query)]
        assert isinstance(result, ExecutionResult)
        assert [(error.extensions or {})["code"] for error in result.errors or []] == [code]


class CountingRule(ValidationRule):
    """Counts the documents that are validated."""

    validated: ClassVar[list[DocumentNode]] = []

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self.validated.append(context.document)


class ExecutedDocuments(SchemaExtension):
    """Keeps the documents that are executed."""

    seen: ClassVar[list[DocumentNode]] = []

    def on_execute(self) -> Iterator[None]:
        assert self.execution_context.graphql_document is not None
        self.seen.append(self.execution_context.graphql_document)
        yield


class StrictForSome(SchemaExtension):
    """Refuses introspection to those who are not in the team."""

    def on_operation(self) -> Iterator[None]:
        if self.execution_context.context != "team":
            self.execution_context.validation_rules += (NoSchemaIntrospectionCustomRule,)
        yield


async def test_a_verdict_is_about_the_rules_of_its_operation() -> None:
    """One query may be allowed to one caller and not to the next."""
    schema = create_schema(define_shop(), extensions=[StrictForSome])
    for caller, allowed in (("team", True), ("other", False), ("team", True)):
        result = await schema.execute("{ __schema { queryType { name } } }", context_value=caller)
        assert (result.errors is None) is allowed


async def test_documents_and_verdicts_are_cached() -> None:
    """A query that was seen is neither parsed nor validated again; one that is refused stays refused."""
    schema = create_schema(define_shop(), extensions=[lambda: AddValidationRules([CountingRule]), ExecutedDocuments])
    validated = []
    for _ in range(3):
        assert (await schema.execute("{ whoAmI # once\n }")).errors is None
        assert (await schema.execute("{ nothing # once\n }")).errors
        validated.append(len(CountingRule.validated))
    assert len({id(document) for document in CountingRule.validated}) == 2
    assert validated == [validated[0]] * 3
    assert len(ExecutedDocuments.seen) == 3
    assert len({id(document) for document in ExecutedDocuments.seen}) == 1


async def test_the_cache_is_bounded_by_the_length_of_its_texts() -> None:
    """Clients can't fill the memory with queries."""
    schema = create_schema(define_shop(), limits=Limits(max_query_characters=10**6))
    for number in range(40):
        await schema.execute("{ whoAmI # " + str(number) * 5000 + "\n }")
    cache = _documents
    assert cache._characters == sum(len(query) for query, _ in cache._documents)
    assert cache._characters <= MAX_CACHED_CHARACTERS
    await schema.execute("{ whoAmI # " + "x" * 500_000 + "\n }")
    assert max(len(query) for query, _ in cache._documents) < 20_000


class StoredQueries(SchemaExtension):
    """Brings documents that were parsed long ago, as extensions for persisted queries do."""

    def on_operation(self) -> Iterator[None]:
        if self.execution_context.query == "stored":
            self.execution_context.graphql_document = parse(TWO_ALIASES)
        yield


@pytest.mark.parametrize(
    ("extensions", "query"),
    [
        ([StoredQueries], "stored"),
        ([DisableValidation], TWO_ALIASES),
        ([ParserCache, ValidationCache], TWO_ALIASES),
    ],
)
async def test_limits_hold_beside_other_extensions(extensions: list[type[SchemaExtension]], query: str) -> None:
    """Those that parse, validate or cache by themselves don't get around them."""
    for limits, refused in ((Limits(max_aliases=1), True), (Limits(), False)):
        result = await create_schema(define_shop(), extensions=extensions, limits=limits).execute(query)
        codes = [(error.extensions or {})["code"] for error in result.errors or []]
        assert codes == (["LIMIT_EXCEEDED"] if refused else [])


async def test_verdicts_are_bounded() -> None:
    """Rules that are made anew for each operation don't fill the memory."""

    def fresh_rules() -> AddValidationRules:
        return AddValidationRules([type("Fresh", (CountingRule,), {})])

    schema = create_schema(define_shop(), extensions=[fresh_rules])
    for _ in range(3 * MAX_VERDICTS):
        assert (await schema.execute("{ whoAmI # fresh\n }")).errors is None
    document = next(document for (query, _), document in _documents._documents.items() if "# fresh" in query)
    assert len(document._verdicts) <= MAX_VERDICTS
