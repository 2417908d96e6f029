"""What a client that guesses learns of the schema in production: nothing from any error.

It sends what tools for recovering schemas send, with words of the schema among words of none. Whether a word is one
of the schema's is visible only where an operation is valid, and runs.
"""

import json
import random
import re
from collections.abc import AsyncIterator, Iterable
from enum import Enum
from functools import cache
from typing import Any

import pytest
import strawberry
from graphql import (
    GraphQLSchema,
    is_enum_type,
    is_input_object_type,
    is_interface_type,
    is_introspection_type,
    is_object_type,
)
from pydantic import BaseModel

from gqlplugin.app import App, define_app
from gqlplugin.asgi import create_asgi
from gqlplugin.graphql.extension import WorkflowExtension
from gqlplugin.graphql.schema import create_schema
from gqlplugin.job import create_workflow_job
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.testing import GraphQLClient, MemoryPlatform, serve
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow
from tests.graphql.live import connected, events_of, graphql_served, streamed
from tests.rounds import rounds

pytestmark = pytest.mark.anyio


class Grade(Enum):
    PREMIUM = "premium"
    ORDINARY = "ordinary"


class Parcel(BaseModel):
    weight: float
    grade: Grade = Grade.ORDINARY


class Shipment(BaseModel):
    parcel: Parcel
    recipient: str
    copies: int = 1


class Receipt(BaseModel):
    tracking: str
    parcel: Parcel


signature = define_wait_point("signature", payload=str, result=Parcel)


@create_workflow_job(name="deliver")
async def deliver(parcel: Parcel) -> Parcel:
    return await signature.wait("Sign here")


delivery = create_workflow(name="delivery", main_job=deliver)


@create_resolver(name="shipParcel", operation="mutation")
async def ship_parcel(ctx: ResolverContext[Shipment]) -> Receipt:
    return Receipt(tracking="1", parcel=ctx.input.parcel)


@create_resolver(name="receipts", operation="query")
async def receipts(ctx: ResolverContext[None]) -> list[Receipt]:
    return []


@create_resolver(name="findReceipt", operation="query")
async def find_receipt(ctx: ResolverContext[Parcel]) -> Receipt:
    return Receipt(tracking="1", parcel=ctx.input)


@create_resolver(name="warehouse", operation="query")
async def warehouse(ctx: ResolverContext[None]) -> str:
    return "north"


@strawberry.type
class ForeignReceipt:
    tracking: str = "1"
    insured: bool = True


@strawberry.type
class ForeignQuery:
    @strawberry.field
    def receipts(self, recipient: str, grade: Grade | None = None) -> list[ForeignReceipt]:
        return []

    @strawberry.field
    def warehouse(self) -> str:
        return "north"


@cache
def define_post() -> App:
    return define_app("post", workflows=[delivery], resolvers=[ship_parcel, receipts, find_receipt, warehouse])


@cache
def schema_of(kind: str) -> strawberry.Schema:
    if kind == "ours":
        return create_schema(define_post())
    return strawberry.Schema(ForeignQuery, extensions=[lambda: WorkflowExtension(define_post(), user=None)])


NOUNS = [
    *("apple", "bridge", "candle", "castle", "copper", "dragon", "engine", "feather"),
    *("forest", "garden", "hammer", "island", "kettle", "lantern", "meadow", "needle"),
]


@cache
def known_words(kind: str) -> frozenset[str]:
    """All names of the schema: of types, fields, arguments and values."""
    schema: GraphQLSchema = schema_of(kind)._schema
    names: set[str] = set()
    for name, type_ in schema.type_map.items():
        if is_introspection_type(type_):
            continue
        names.add(name)
        if is_enum_type(type_):
            names |= set(type_.values)
        elif is_input_object_type(type_):
            names |= set(type_.fields)
        elif is_object_type(type_) or is_interface_type(type_):
            for field, definition in type_.fields.items():
                names |= {field, *definition.args}
    return frozenset(names)


def unknown_words(kind: str) -> list[str]:
    """Words of no schema, some of which are nearly one of this schema's."""
    known = known_words(kind)
    chance = random.Random(20)  # noqa: S311 - a seed, so that every run sends the same
    near = {f"{name[:-1]}{chance.choice('qxz')}" for name in known if len(name) > 3}
    joined = {f"{chance.choice(NOUNS)}{chance.choice(NOUNS).title()}" for _ in NOUNS}
    return sorted((near | joined | set(NOUNS)) - known)


PROBES = {
    "field": "{ WORD }",
    "mutation": "mutation { WORD }",
    "subscription": "subscription { WORD }",
    "field with a wrong subfield": "{ WORD { zzz zzy } }",
    "mutation with a wrong subfield": "mutation { WORD { zzz } }",
    "field with an unknown argument": "{ WORD(zzz: 1) }",
    "mutation with an unknown argument": "mutation { WORD(zzz: 1, zzy: {}) { __typename } }",
    "mutation with values of all kinds": 'mutation { WORD(zzz: "a", zzy: [1], zzx: A, zzw: null, zzv: {a: 1}) }',
    "argument of a query": "{ findReceipt(WORD: {}) { tracking } }",
    "argument of a mutation": "mutation { shipParcel(WORD: 7) { tracking } }",
    "argument of a field that has none": "{ warehouse(WORD: 7) }",
    "several arguments": "mutation { shipParcel(zzz: 1, WORD: {}, zzy: 2) { tracking } }",
    "field of an input": 'mutation { shipParcel(recipient: "a", parcel: {WORD: {}}) { tracking } }',
    "field beside those of an input": 'mutation { shipParcel(recipient: "a", parcel: {z: 1, WORD: []}) { tracking } }',
    "value of an enum": "{ findReceipt(weight: true, grade: WORD) { tracking } }",
    "subfield with a wrong subfield": "{ receipts { WORD { zzz } zzy } }",
    "type of a variable": "query ($v: WORD) { zzz(a: $v) }",
    "type of a fragment": "{ ... on WORD { zzz } }",
    "type of a named fragment": "{ ...F } fragment F on WORD { zzz }",
    "directive": "{ zzz @WORD }",
    "argument of a directive": "{ zzz @include(WORD: {}) }",
    "alias of several": "{ a: WORD a: zzz }",
    "field among many": "{ zzz WORD zzy zzx }",
    "arguments beside a wrong field": "{ zzz(WORD: 1) { WORD } }",
}
"""Operations that no schema of these has, whatever the word is; `zzz` and the like are in none."""

VARIABLES = {
    "field of an input": (
        "query ($v: ParcelInput!) { findReceipt(weight: 1) { tracking } a: zzz(b: $v) }",
        {"WORD": 1},
    ),
    "fields of an input": (
        'mutation ($v: ParcelInput!) { shipParcel(recipient: "a", parcel: $v) { tracking } }',
        {"zzz": 1, "WORD": {}},
    ),
    "value of an enum": ("query ($v: Grade) { findReceipt(weight: 1, grade: $v) { tracking } }", "WORDx"),
}

TELLING = re.compile(
    "did you mean|must have a selection|must not have a selection|is required|was not provided|expected|of type|on type"
    "|does not exist|unknown (field|argument|type)|cannot query|input object|enum|no subfields|non-null|deprecated",
    re.IGNORECASE,
)
"""What such tools look for in messages."""


def words_for(kind: str) -> list[str]:
    known, unknown = sorted(known_words(kind)), unknown_words(kind)
    chance = random.Random(21)  # noqa: S311 - see above
    most = rounds(None, few=25)
    return chance.sample(known, len(known))[:most] + chance.sample(unknown, len(unknown))[:most]


@pytest.fixture(params=["ours", "foreign"])
async def kind_and_client(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, GraphQLClient]]:
    kind = request.param
    asgi = create_asgi(define_post(), MemoryPlatform(), schema=schema_of(kind), authenticate=None)
    async with serve(asgi) as client:
        yield kind, client


def blank(answer: Any, word: str) -> str:
    """An answer without the word that was guessed, and without what only follows from its length."""
    text = json.dumps(answer).replace(f"'{word}'", "'WORD'").replace(f"'${word}'", "'$WORD'")
    return re.sub(r'"column": \d+', "", text)


def same(answers: Iterable[tuple[str, Any]]) -> dict[str, list[str]]:
    """Words by the answer to them."""
    found: dict[str, list[str]] = {}
    for word, answer in answers:
        found.setdefault(blank(answer, word), []).append(word)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBES)
async def test_an_error_is_the_same_for_words_of_the_schema_and_for_others(
    kind_and_client: tuple[str, GraphQLClient], name: str
) -> None:
    """Whether there is a field, a type or an argument, and of which kind, no error says; not even its place does."""
    kind, client = kind_and_client
    answers = []
    for word in words_for(kind):
        result = await client.http.post("/graphql", json={"query": PROBES[name].replace("WORD", word)})
        body = result.json()
        if "errors" not in body:
            assert word in known_words(kind), "an operation with an unknown word runs"
            continue
        shown = json.dumps(body).replace(word, "")
        assert not TELLING.search(shown), shown
        sent = set(re.findall(r"\w+", PROBES[name])) | {word}
        quoted = {text.removeprefix("$") for text in re.findall(r"'([^']*)'", json.dumps(body))}
        assert quoted <= sent, (quoted, sent)
        if not is_excused(name, word, kind):
            answers.append((word, body))
    assert len(same(answers)) <= 1, same(answers)


def is_excused(name: str, word: str, kind: str) -> bool:
    """Words that the client could as well have asked for: a field that needs no argument runs, which tells all."""
    selectable = {
        "ours": {"receipts", "warehouse", "workflowRuns", "pendingWaitPoints", "parcel"},
        "foreign": {"warehouse"},
    }[kind]
    is_in_probe = word in re.findall(r"\w+", PROBES[name])
    return is_in_probe or word in selectable or word in ("Query", "Mutation", "Subscription", "ForeignQuery")


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIABLES)
async def test_the_errors_of_variables_are_the_same_too(name: str) -> None:
    """They name the variable, and nothing of its type."""
    query, template = VARIABLES[name]
    asgi = create_asgi(define_post(), MemoryPlatform(), schema=schema_of("ours"), authenticate=None)
    async with serve(asgi) as client:
        answers = []
        for word in words_for("ours"):
            value = json.loads(json.dumps(template).replace("WORD", word))
            body = (await client.http.post("/graphql", json={"query": query, "variables": {"v": value}})).json()
            assert not TELLING.search(json.dumps(body).replace(word, ""))
            answers.append((word, body))
    assert len(same(answers)) == 1, same(answers)


async def test_streams_tell_as_little() -> None:
    """Over a WebSocket and as server-sent events."""
    asgi = create_asgi(define_post(), MemoryPlatform(), schema=schema_of("ours"), authenticate=None)
    queries = [
        "{ receipts }",
        "{ receiptz }",
        "mutation { shipParcel { tracking } }",
        "subscription { workflowRunUpdates }",
    ]
    async with graphql_served(asgi) as url, connected(url) as socket:
        for query in queries:
            over_socket = json.dumps([message async for message in socket.subscribe(query)])
            async with streamed(url, query) as response:
                as_events = json.dumps([event async for event in events_of(response)])
            for text in (over_socket, as_events):
                assert "GRAPHQL_VALIDATION_FAILED" in text
                assert "is not valid here" in text or "is not valid:" in text
                assert not TELLING.search(text), text


async def test_a_developer_learns_where_it_is() -> None:
    """Production says which of the client's words is meant, and its place; the rest of the document is explained."""
    field = "The field '{}' is not valid here: its name, its arguments, or what is selected of it."
    cases = [
        ("{\n  receipts { tracking }\n  warehous\n}", field.format("warehous"), (3, 3)),
        ("{ findReceipt(weight: 1, gradee: PREMIUM) { tracking } }", field.format("findReceipt"), (1, 3)),
        ("{ warehouse @twice }", "The directive 'twice' is not valid here.", (1, 13)),
        (
            "query ($v: Int) { findReceipt(weight: 1, grade: $v) { tracking } }",
            "The variable '$v' is not valid: its type, or where it is used.",
            (1, 8),
        ),
        ("{ receipts { ...F } } fragment F on Recipt { tracking }", "The fragment 'F' is not valid here.", (1, 23)),
        ("query ($v: Int) { warehouse }", "Variable '$v' is never used.", (1, 8)),
        ("{ ...F }", "Unknown fragment 'F'.", (1, 6)),
    ]
    asgi = create_asgi(define_post(), MemoryPlatform(), schema=schema_of("ours"), authenticate=None)
    async with serve(asgi) as client:
        for query, message, (line, column) in cases:
            [error] = (await client.execute(query)).errors
            assert (error["message"], error["locations"]) == (message, [{"line": line, "column": column}])
            assert error["extensions"] == {"code": "GRAPHQL_VALIDATION_FAILED"}
