"""The production profile, which is the default: what an endpoint refuses and hides, and what debug shows instead."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Any

import httpx
import pytest
import strawberry
from graphql import GraphQLError, get_introspection_query
from pydantic import BaseModel, Field, field_validator
from strawberry.extensions import AddValidationRules, DisableValidation, ValidationCache

from gqlplugin.app import App, define_app
from gqlplugin.asgi import create_asgi, graphql_routes
from gqlplugin.graphql.extension import WorkflowExtension, _documents
from gqlplugin.graphql.limits import Limits
from gqlplugin.graphql.schema import create_schema
from gqlplugin.job import create_workflow_job
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.testing import MemoryPlatform, serve
from gqlplugin.workflow import create_workflow
from tests.graphql.live import connected, events_of, graphql_served, streamed
from tests.graphql.shop import SECRET

pytestmark = pytest.mark.anyio


class Colour(Enum):
    CRIMSON = "crimson"
    TURQUOISE = "turquoise"


class Paint(BaseModel):
    colour: Colour
    glossiness: int = Field(default=1)


class PaintItem(BaseModel):
    paint: Paint
    times: int = 1

    @field_validator("times")
    @classmethod
    def check_times(cls, times: int) -> int:
        if times > 9:
            raise ValueError("That is a lot. Did you mean '9'?")
        return times


@create_resolver(name="paintItem", operation="mutation")
async def paint_item(ctx: ResolverContext[PaintItem]) -> str:
    return ctx.input.paint.colour.name


@create_resolver(name="breakDown", operation="query")
async def break_down(ctx: ResolverContext[None]) -> str:
    raise RuntimeError(SECRET)


@create_workflow_job(name="count-items")
async def count_items() -> int:
    return 3


@cache
def workshop() -> App:
    counting = create_workflow(name="counting", main_job=count_items)
    return define_app("workshop", workflows=[counting], resolvers=[paint_item, break_down])


@cache
def workshop_schema() -> strawberry.Schema:
    return create_schema(workshop())


@dataclass(frozen=True)
class Case:
    """A request that production refuses, with what must not be in its answer, which is there in debug.

    Attributes:
        secret: What only debug says; None where debug refuses as well.
        code: Of the refusal.
        query: Sent as JSON by POST, unless there are `options` for httpx.
    """

    secret: str | None
    code: str
    query: str = ""
    variables: Mapping[str, Any] | None = None
    status: int = 400
    options: Mapping[str, Any] = field(default_factory=dict)

    async def send(self, http: httpx.AsyncClient, url: str) -> httpx.Response:
        given = {"method": "POST", "json": {"query": self.query, "variables": self.variables}, **self.options}
        if given["method"] == "GET":
            del given["json"]
        return await http.request(url=url, **given)


INTROSPECTION = "INTROSPECTION_DISABLED"
INVALID = "GRAPHQL_VALIDATION_FAILED"
PAINT = "mutation ($paint: PaintInput!) { paintItem(paint: $paint) }"

CASES = {
    "the whole schema": Case("paintItem", INTROSPECTION, get_introspection_query()),
    "a part of it": Case('"kind"', INTROSPECTION, "{ s: __schema { queryType { kind } } }"),
    "a type": Case('"PaintInput"', INTROSPECTION, '{ __type(name: "PaintInput") { name } }'),
    "a type, in a fragment": Case(
        '"INPUT_OBJECT"', INTROSPECTION, 'query { ...F } fragment F on Query { __type(name: "PaintInput") { kind } }'
    ),
    "a type, with a field that would run": Case(
        '"INPUT_OBJECT"', INTROSPECTION, '{ __typename ... @include(if: true) { __type(name: "PaintInput") { kind } } }'
    ),
    "the name of a query": Case("breakDown", INVALID, "{ breakdown }"),
    "the name of a mutation": Case("paintItem", INVALID, "mutation { paintItm }"),
    "the name of an argument": Case("times", INVALID, "mutation { paintItem(paint: {colour: CRIMSON}, tmes: 1) }"),
    "the names of types": Case("CountingRun", INVALID, "{ __typename ... on CountingRu { id } }"),
    "types that have a field": Case("CountingRun", INVALID, '{ workflowRun(id: "1") { output } }'),
    "the name of an input type": Case("'PaintInput'", INVALID, "mutation ($p: PaintInpt!) { paintItem(paint: $p) }"),
    "a field of an input": Case(
        "glossiness", INVALID, "mutation { paintItem(paint: {colour: CRIMSON, glosiness: 1}) }"
    ),
    "a field of an input, as variable": Case(
        "glossiness", "BAD_USER_INPUT", PAINT, {"paint": {"colour": "CRIMSON", "glosiness": 1}}
    ),
    "a value of an enum": Case("TURQUOISE", INVALID, "mutation { paintItem(paint: {colour: TURQOISE}) }"),
    "a value of an enum, as variable": Case("TURQUOISE", "BAD_USER_INPUT", PAINT, {"paint": {"colour": "TURQOISE"}}),
    "a query by GET": Case(
        '"Query"', "METHOD_NOT_ALLOWED", status=405, options={"method": "GET", "params": {"query": "{ __typename }"}}
    ),
    "a stream by GET": Case(
        '"Query"',
        "METHOD_NOT_ALLOWED",
        status=405,
        options={
            "method": "GET",
            "params": {"query": "{ __typename }"},
            "headers": {"accept": "text/event-stream"},
        },
    ),
    "GraphiQL": Case(
        "graphiql", "METHOD_NOT_ALLOWED", status=405, options={"method": "GET", "headers": {"accept": "text/html"}}
    ),
    "a mutation by GET": Case(
        None,
        "METHOD_NOT_ALLOWED",
        status=405,
        options={"method": "GET", "params": {"query": "mutation { __typename }"}},
    ),
    "a batch": Case(None, "BAD_REQUEST", options={"json": [{"query": "{ __typename }"}]}),
    "a form": Case(None, "UNSUPPORTED_MEDIA_TYPE", status=415, options={"json": None, "data": {"query": "{a}"}}),
    "a deep query": Case(None, "LIMIT_EXCEEDED", "{ a " * 13 + "b" + "}" * 13),
    "many aliases": Case(None, "LIMIT_EXCEEDED", "{" + " ".join(f"a{n}: breakDown" for n in range(51)) + "}"),
    "many mutations": Case(None, "LIMIT_EXCEEDED", "mutation {" + "paintItem " * 11 + "}"),
    "many fields": Case(
        None, "LIMIT_EXCEEDED", "{" + "...F " * 11 + "} fragment F on Query {" + "breakDown " * 1_000 + "}"
    ),
    "many tokens": Case(None, "GRAPHQL_PARSE_FAILED", "{" + "a " * 4_000 + "}"),
    "a long query": Case(None, "LIMIT_EXCEEDED", "{ breakDown }" + " " * 100_000),
    "a large body": Case(None, "PAYLOAD_TOO_LARGE", "x" * (2 * 1024 * 1024), status=413),
    "an unexpected error": Case(None, "INTERNAL", "{ breakDown }", status=200),
    "a custom message that looks like a suggestion": Case(
        None, "BAD_USER_INPUT", "mutation { paintItem(paint: {colour: CRIMSON}, times: 10) }", status=200
    ),
}


@asynccontextmanager
async def endpoint(**options: Any) -> AsyncIterator[str]:
    """The URL of the workshop's endpoint."""
    asgi = create_asgi(workshop(), MemoryPlatform(), schema=workshop_schema(), **options)
    async with graphql_served(asgi) as url:
        yield url


def codes_of(response: httpx.Response) -> set[str]:
    """The codes of the errors in an answer."""
    return {error["extensions"]["code"] for error in response.json()["errors"]}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    accept = "application/graphql-response+json, application/json;q=0.9"
    async with httpx.AsyncClient(headers={"accept": accept}, trust_env=False, timeout=60) as http:
        yield http


async def test_production_refuses_and_hides_what_debug_serves(http: httpx.AsyncClient) -> None:
    """Every case of the table, at both endpoints, which share the cache of documents."""
    async with endpoint() as production, endpoint(debug=True) as debug:
        for name, case in CASES.items():
            response = await case.send(http, production)
            assert codes_of(response) == {case.code}, name
            assert response.status_code == case.status, name
            assert SECRET not in response.text, name
            shown = await case.send(http, debug)
            if case.secret is None:
                assert (shown.status_code, codes_of(shown)) == (case.status, {case.code}), name
            else:
                assert case.secret not in response.text, name
                assert "Did you mean" not in response.text, name
                assert case.secret in shown.text, name


async def test_names_of_types_are_told_to_clients_of_production(http: httpx.AsyncClient) -> None:
    """`__typename` is how clients tell the members of a union apart; ordinary operations run."""
    query = "mutation { __typename paintItem(paint: {colour: CRIMSON}) }"
    async with endpoint() as url:
        response = await http.post(url, json={"query": query})
    assert response.json() == {"data": {"__typename": "Mutation", "paintItem": "CRIMSON"}}


async def test_other_transports_hide_the_schema_too() -> None:
    """Over a WebSocket and as server-sent events, production refuses introspection and suggests nothing."""
    introspection = "{ __schema { queryType { name } } }"
    async with endpoint() as production, endpoint(debug=True) as debug:
        for url, is_shown in ((production, False), (debug, True)):
            for query, secret in (
                (introspection, "Query"),
                ("subscription { workflowRunUpdate }", "workflowRunUpdates"),
            ):
                async with connected(url) as socket, streamed(url, query) as response:
                    over_socket = json.dumps([message async for message in socket.subscribe(query)])
                    as_events = json.dumps([event async for event in events_of(response)])
                assert (secret in over_socket, secret in as_events) == (is_shown, is_shown), (url, query)


@pytest.mark.parametrize(("debug", "introspection"), [(False, True), (True, False)])
async def test_introspection_can_be_set_apart(debug: bool, introspection: bool, http: httpx.AsyncClient) -> None:
    """`introspection=` decides on the schema and on suggestions, whatever `debug` says; `debug` on the rest."""
    async with endpoint(debug=debug, introspection=introspection) as url:
        for query, secret in (("{ __schema { queryType { name } } }", "Query"), ("{ breakdown }", "breakDown")):
            response = await http.post(url, json={"query": query})
            assert (secret in response.text) == introspection
        by_get = await http.get(url, params={"query": "{ __typename }"})
        assert (by_get.status_code == 200) == debug


async def test_a_schema_without_an_endpoint_keeps_introspection() -> None:
    """What is run in process, as executors do and tests and tools, knows the schema."""
    result = await workshop_schema().execute("{ __schema { queryType { name } } breakdown }")
    assert result.errors is not None
    assert "Did you mean 'breakDown'" in result.errors[0].message
    assert (await workshop_schema().execute("{ __schema { queryType { name } } }")).errors is None


@pytest.mark.parametrize("extension", [DisableValidation, ValidationCache, AddValidationRules])
async def test_no_other_extension_opens_the_schema(extension: Any) -> None:
    """Neither one that takes the rules away, nor one that validates by itself, before ours or after it."""
    other = (lambda: AddValidationRules([])) if extension is AddValidationRules else extension
    for extensions in ([WorkflowExtension, other], [other, WorkflowExtension]):
        schema = strawberry.Schema(Introspected, extensions=extensions)
        async with serve(create_asgi(workshop(), MemoryPlatform(), schema=schema)) as client:
            for _ in range(2):
                result = await client.execute("{ __schema { queryType { name } } }")
                assert [error["extensions"]["code"] for error in result.errors] == [INTROSPECTION]


@strawberry.type
class Introspected:
    hello: str = "hello"

    @strawberry.field
    def cached(self, info: strawberry.Info) -> str:
        info.context["response"].headers["cache-control"] = "private, max-age=60"
        return "cached"


async def test_a_document_is_validated_once_per_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The profile is part of what the cache of verdicts goes by, so production costs nothing per request."""
    counted: list[str] = []

    def count(*_: object) -> list[GraphQLError]:
        counted.append("introspection")
        return []

    monkeypatch.setattr("gqlplugin.graphql.extension.find_introspection", count)
    query = "{ __typename } # validated once per profile"
    open_to_all, closed = (
        create_asgi(workshop(), MemoryPlatform(), schema=workshop_schema(), debug=debug) for debug in (True, False)
    )
    async with serve(open_to_all) as debug, serve(closed) as production:
        for client in (debug, production) * 3:
            assert (await client.execute(query)).data == {"__typename": "Query"}
    document = _documents.read(query, Limits().max_tokens)
    assert document is not None
    assert len(document._verdicts) == 2
    assert counted == ["introspection"]


@pytest.mark.parametrize("debug", [False, True])
async def test_answers_are_neither_stored_nor_sniffed(debug: bool, http: httpx.AsyncClient) -> None:
    """What is answered is its caller's: no cache keeps it, and no browser takes it for a script or a page."""
    async with endpoint(debug=debug) as url:
        answers = [
            await http.post(url, json={"query": "{ __typename }"}),
            await http.post(url, json={"query": "{ nothing }"}),
            await http.post(url, content=b"{"),
            await http.put(url),
        ]
    assert [answer.status_code for answer in answers] == [200, 400, 415, 405]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


async def test_a_resolver_may_have_its_answer_stored() -> None:
    """A header that a resolver sets stays as it is, and comes once."""
    schema = strawberry.Schema(Introspected, extensions=[WorkflowExtension])
    async with serve(create_asgi(workshop(), MemoryPlatform(), schema=schema)) as client:
        answer = await client.http.post("/graphql", json={"query": "{ cached }"})
    assert answer.headers.get_list("cache-control") == ["private, max-age=60"]


async def test_routes_of_an_own_app_are_in_the_production_profile() -> None:
    """`graphql_routes` has the same defaults as `create_asgi`."""
    [route, *_] = graphql_routes(workshop(), MemoryPlatform(), schema=workshop_schema())
    transport = httpx.ASGITransport(route)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
        response = await http.post("/graphql", json={"query": "{ __schema { queryType { name } } }"})
    assert response.json()["errors"][0]["extensions"] == {"code": INTROSPECTION}
