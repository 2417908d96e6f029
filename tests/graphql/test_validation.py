"""What validation costs, and numbers that no float holds: the same refusal however a client sends them."""

import json
from collections.abc import AsyncIterator, Callable
from enum import Enum
from functools import cache
from typing import Any

import httpx
import pytest
import strawberry
from pydantic import BaseModel

from gqlplugin.app import App, define_app
from gqlplugin.asgi import create_asgi
from gqlplugin.graphql.limits import Limits
from gqlplugin.graphql.schema import create_schema
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.testing import GraphQLClient, MemoryPlatform, serve
from tests.calls import at_most_calls
from tests.graphql.live import connected, graphql_served

pytestmark = pytest.mark.anyio

Shade = Enum("Shade", {f"SHADE_{number:03d}_OF_A_LONG_LIST": number for number in range(100)})  # type: ignore[misc] # made here


class Twig(BaseModel):
    number: float | None = None
    shade: Shade | None = None
    twigs: list["Twig"] | None = None


class Measures(BaseModel):
    number: float | None = None
    numbers: list[float] | None = None
    whole: int | None = None
    shades: list[Shade] | None = None
    anything: Any = None
    twig: Twig | None = None


class Leaf(BaseModel):
    name: str = "leaf"
    inner: "Leaf | None" = None


@create_resolver(name="measure", operation="query")
async def measure(ctx: ResolverContext[Measures]) -> bool:
    return True


@create_resolver(name="leaf", operation="query")
async def leaf(ctx: ResolverContext[None]) -> Leaf:
    return Leaf()


@cache
def define_garden() -> App:
    return define_app("garden", resolvers=[measure, leaf])


@cache
def garden_schema() -> strawberry.Schema:
    return create_schema(define_garden())


@pytest.fixture(params=[False, True], ids=["production", "debug"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[GraphQLClient]:
    asgi = create_asgi(
        define_garden(), MemoryPlatform(), schema=garden_schema(), authenticate=None, debug=request.param
    )
    async with serve(asgi) as client:
        await client.execute("{ leaf { name } }")  # what is made once is made
        yield client


def spreading(count: int, *, in_circle: bool) -> str:
    """Fragments that spread the next one each, the last of them the first, or none."""
    last = "...F0" if in_circle else "__typename"
    chain = [f"fragment F{number} on Query {{ ...F{number + 1} }}" for number in range(count - 1)]
    return " ".join(["{ ...F0 }", *chain, f"fragment F{count - 1} on Query {{ {last} }}"])


DOCUMENTS = {
    "a field again and again": ("{ leaf {" + "name " * 1_900 + "} }", "LIMIT_EXCEEDED"),
    "an object again and again": ("{" + "leaf { name }" * 450 + "}", "LIMIT_EXCEEDED"),
    "arguments again and again": ("{" + "measure(whole: 1)" * 350 + "}", "LIMIT_EXCEEDED"),
    "inline fragments": ("{" + "... { __typename }" * 480 + "}", "LIMIT_EXCEEDED"),
    "fragments beside each other": (
        "{"
        + " ".join(f"...F{number}" for number in range(180))
        + "}"
        + " ".join(f"fragment F{number} on Query {{ leaf {{ name }} }}" for number in range(180)),
        "LIMIT_EXCEEDED",
    ),
    "fragments in each other": (spreading(190, in_circle=False), None),
    "too many fragments in each other": (spreading(300, in_circle=False), "LIMIT_EXCEEDED"),
    "fragments in a circle": (spreading(190, in_circle=True), "GRAPHQL_VALIDATION_FAILED"),
    "operations": (" ".join(f"query Q{number} {{ leaf {{ name }} }}" for number in range(300)), "LIMIT_EXCEEDED"),
    "operations with one fragment": (
        " ".join(f"query Q{number} {{ ...F }}" for number in range(150))
        + "fragment F on Query {"
        + "__typename " * 900
        + "}",
        "LIMIT_EXCEEDED",
    ),
    "names that are nearly right": (
        "{ leaf {" + " ".join(f"names{number}" for number in range(1_900)) + "} }",
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "arguments that are nearly right": (
        "{ measure(" + " ".join(f"numbers{number}: 1" for number in range(800)) + ") }",
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "fields of inputs that are nearly right": (
        "{ measure(twig: {" + " ".join(f"number{number}: 1" for number in range(800)) + "}) }",
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "values of an enum that are nearly right": (
        "{ measure(shades: [" + "SHADE_00_OF_A_LONG_LIST " * 2_400 + "]) }",
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "directives": ("{ leaf { name " + "@names " * 1_200 + "} }", "GRAPHQL_VALIDATION_FAILED"),
    "variables": (
        "query (" + " ".join(f"$v{number}: Int" for number in range(600)) + ") { __typename }",
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "lists in lists": ("{ measure(anything: " + "[" * 190 + "]" * 190 + ") }", None),
    "objects in objects": ("{ measure(twig: " + "{twigs: " * 150 + "{}" + "}" * 150 + ") }", None),
    "a long number": ("{ measure(whole: " + "9" * 99_000 + ") }", "GRAPHQL_VALIDATION_FAILED"),
    "a long string": ('{ measure(whole: "' + "x" * 99_000 + '") }', "GRAPHQL_VALIDATION_FAILED"),
    "a long name": ("{" + "x" * 99_000 + "}", "GRAPHQL_VALIDATION_FAILED"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DOCUMENTS)
async def test_no_document_takes_long_to_validate(client: GraphQLClient, name: str) -> None:
    """An honest document of the same length takes half of this."""
    query, code = DOCUMENTS[name]
    with at_most_calls(1_000_000):
        result = await client.execute(query)
    assert result.codes[:1] == ([code] if code else [])


VARIABLES: dict[str, tuple[str, str, Callable[[], Any], str | None]] = {
    "numbers": ("numbers", "[Float!]", lambda: [1] * 30_000, "'$v'"),
    "numbers of megabytes": ("numbers", "[Float!]", lambda: [1] * 900_000, "values"),
    "lists of megabytes": ("anything", "JSON", lambda: [[]] * 600_000, "values"),
    "strings of megabytes": ("anything", "JSON", lambda: ["a"] * 450_000, "values"),
    "commas in a string": ("anything", "JSON", lambda: ',[{"' * 100_000, None),
    "names": ("anything", "JSON", lambda: {str(number): 1 for number in range(30_000)}, "'$v'"),
    "trees": ("twig", "TwigInput", lambda: {"twigs": [{"number": 1}] * 20_000}, "'$v'"),
    "a deep tree": ("twig", "TwigInput", lambda: nested(65), "'$v' is nested"),
    "wrong numbers": ("numbers", "[Float!]", lambda: ["a"] * 19_000, "'$v'"),
    "nearly values of an enum": ("shades", "[Shade!]", lambda: ["SHADE_00_OF_A_LONG_LIST"] * 19_000, "'$v'"),
    "nearly fields of an input": ("twig", "TwigInput", lambda: {f"number{n}": 1 for n in range(19_000)}, "'$v'"),
}


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"twigs": value}
    return value


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIABLES)
async def test_no_variables_take_long_to_read(client: GraphQLClient, name: str) -> None:
    """Before GraphQL looks at them, they are counted, and the refusal says which is too large or too deep."""
    argument, type_, make, part = VARIABLES[name]
    query = f"query ($v: {type_}) {{ measure({argument}: $v) }}"
    body = json.dumps({"query": query, "variables": {"v": make()}}, separators=(",", ":"))
    with at_most_calls(1_000_000):
        response = await client.http.post("/graphql", content=body, headers={"content-type": "application/json"})
    errors = response.json().get("errors", [])
    assert (part in json.dumps(errors)) if part else not errors


def test_limits_of_variables_can_be_set() -> None:
    """As the others."""
    limits = Limits(max_variable_values=3, max_variable_depth=1)
    assert (limits.max_variable_values, limits.max_variable_depth) == (3, 1)


@pytest.mark.parametrize(
    ("variables", "is_refused"),
    [
        ({"v": [1, 2]}, False),
        ({"v": [1, 2, 3]}, True),
        ({"v": [1], "unused": 1}, False),
        ({"unused": 1, "v": [1, 2]}, True),
        ({"v": [[1]]}, True),
    ],
)
async def test_variables_have_few_values(variables: dict[str, Any], is_refused: bool) -> None:
    """Each item counts, as does each variable, whether the operation uses it or not; and so does depth."""
    schema = create_schema(define_garden(), limits=Limits(max_variable_values=3, max_variable_depth=1))
    result = await schema.execute("query ($v: JSON) { measure(anything: $v) }", variables)
    codes = [(error.extensions or {})["code"] for error in result.errors or []]
    assert codes == (["LIMIT_EXCEEDED"] if is_refused else [])


async def test_variables_are_bounded_on_every_transport() -> None:
    """By GET, in a batch and over a WebSocket as by POST."""
    variables = {"v": [1] * 100}
    query = "query ($v: [Float!]) { measure(numbers: $v) }"
    config = strawberry.schema.config.StrawberryConfig(batching_config={"max_operations": 2})
    schema = create_schema(define_garden(), config=config, limits=Limits(max_variable_values=100))
    asgi = create_asgi(define_garden(), MemoryPlatform(), schema=schema, authenticate=None, debug=True)
    async with graphql_served(asgi) as url:
        async with connected(url) as socket:
            over_socket = json.dumps([message async for message in socket.subscribe(query, variables)])
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            batch = [{"query": query, "variables": variables}] * 2
            in_batch = (await http.post(url, json=batch)).text
    async with serve(asgi) as client:
        by_get = (await client.http.get("/graphql", params={"query": query, "variables": json.dumps(variables)})).text
    assert [text.count("LIMIT_EXCEEDED") for text in (over_socket, in_batch, by_get)] == [1, 2, 1]


TOO_LARGE = ["1e400", "-1e400", "1" + "0" * 400 + ".0"]


@pytest.mark.parametrize("number", TOO_LARGE, ids=lambda text: text[:6])
@pytest.mark.parametrize(
    "query",
    [
        "{ measure(number: %s) }",
        "{ measure(numbers: [1, %s]) }",
        "{ measure(numbers: %s) }",
        "{ measure(whole: %s) }",
        "{ measure(anything: %s) }",
        "{ measure(anything: {a: [%s]}) }",
        "{ measure(twig: {twigs: [{number: %s}]}) }",
        "query ($v: Float = %s) { measure(number: $v) }",
        "query ($v: TwigInput = {number: %s}) { measure(twig: $v) }",
    ],
)
async def test_a_number_that_no_float_holds_is_refused_in_a_document(
    client: GraphQLClient, query: str, number: str
) -> None:
    """It is not taken as infinity, which no JSON has, and which a variable can't be."""
    result = await client.execute(query % number)
    assert result.codes == ["GRAPHQL_VALIDATION_FAILED"] * len(result.codes)
    assert result.errors


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1" + "0" * 400], ids=["large", "small"])
async def test_an_integer_that_no_float_holds_is_refused_as_one(client: GraphQLClient, number: str) -> None:
    """In a document as in a variable; other scalars, such as free-form JSON, have such integers."""
    literal = await client.execute(f"{{ measure(numbers: [{number}]) }}")
    assert literal.codes == ["GRAPHQL_VALIDATION_FAILED"]
    query = "query ($v: [Float!]) { measure(numbers: $v) }"
    assert (await client.execute(query, {"v": [int(number)]})).codes == ["BAD_USER_INPUT"]
    assert (await client.execute(f"{{ measure(anything: {number}) }}")).codes == []


@pytest.mark.parametrize("number", TOO_LARGE, ids=lambda text: text[:6])
async def test_a_number_that_no_float_holds_is_refused_in_variables(client: GraphQLClient, number: str) -> None:
    """Of whatever type they are."""
    for argument, type_ in (("number", "Float"), ("anything", "JSON")):
        body = f'{{"query": "query ($v: {type_}) {{ measure({argument}: $v) }}", "variables": {{"v": {number}}}}}'
        response = await client.http.post("/graphql", content=body, headers={"content-type": "application/json"})
        assert "data" not in response.json()
