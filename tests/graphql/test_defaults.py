"""What the schema says about the fields of a model."""

import uuid
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

import pytest
import strawberry
from graphql import get_introspection_query
from pydantic import (
    BaseModel,
    Field,
    HttpUrl,
    JsonValue,
    SecretStr,
    computed_field,
)
from strawberry.tools import create_type
from typing_extensions import TypeAliasType

from gqlplugin.app import define_app
from gqlplugin.graphql.extension import WorkflowExtension
from gqlplugin.graphql.schema import create_schema
from gqlplugin.graphql.types import BigInt
from tests.graphql.schemas import answer, echo, model_of, returning, schema_of, sdl

pytestmark = pytest.mark.anyio


ID = "0b8c0e7c-6d25-4d4b-9c93-0a1c6a3c1b2d"
Level = TypeAliasType("Level", Literal["low", "high"])


class Colour(Enum):
    RED = "r"


def test_schema_says_defaults_descriptions_and_deprecations() -> None:
    """What the author wrote about a field is in the schema: its default, its description, its deprecation."""

    class Line(BaseModel):
        """A line.

        Of an order.
        """

        sku: str = Field(default="none", description="What")
        amount: int = Field(default=1, deprecated="Use lines")

    class Order(BaseModel):
        first: Line = Line(sku="a")
        colours: list[Colour] = [Colour.RED]
        level: Level = "low"
        ratio: float = 0.5
        price: Decimal = Decimal("1.50")
        wait: timedelta = timedelta(minutes=5)
        ident: uuid.UUID = uuid.UUID(ID)
        url: HttpUrl = HttpUrl("https://example.com/")
        extra: dict[str, Any] = {"a": {"b": 1}}
        big: BigInt = 2**40
        note: str | None = None
        lines: list[Line] = Field(default_factory=list, max_length=2)
        old: int | None = Field(None, deprecated=True)

        @computed_field(description="In all")  # type: ignore[prop-decorator]
        @property
        def total(self) -> int:
            return 1

    schema = schema_of(echo(Order))
    field = schema.as_str().split("echo(")[1].split("): Order!")[0]
    assert field == (
        'first: LineInput! = { sku: "a" }, colours: [Colour!]! = [RED], level: Level! = low, ratio: Float! = 0.5, '
        f'price: Decimal! = "1.50", wait: Duration! = "PT5M", ident: ID! = "{ID}", '
        'url: String! = "https://example.com/", extra: JSON! = { a: { b: 1 } }, big: BigInt! = "1099511627776", '
        'note: String, lines: [LineInput!], old: Int @deprecated(reason: "deprecated")'
    )
    assert sdl(schema, "LineInput") == (
        'input LineInput {\n  """What"""\n  sku: String! = "none"\n'
        '  amount: Int! = 1 @deprecated(reason: "Use lines")\n}'
    )
    assert '"""\nA line.\n\nOf an order.\n"""\ntype Line {' in schema.as_str()
    assert '"""In all"""\n  total: Int!' in sdl(schema, "Order")


class Options(BaseModel):
    metadata: dict[str, Any] = {"a": {}}
    quick: bool = True


class Search(BaseModel):
    metadata: dict[str, Any] = {}
    labels: list[dict[str, int]] = [{"a": 1}]
    options: Options = Options(metadata={"b": "c"})
    more: list[Options] = [Options(metadata={}), Options()]
    headers: dict[str, str] = {"x-id": "1"}


SHOWN = {
    "metadata": "{  }",
    "labels": "[{ a: 1 }]",
    "options": '{ metadata: { b: "c" } }',
    "more": "[{ metadata: {  } }, {  }]",
    "headers": None,  # no GraphQL literal says it
}


@pytest.mark.parametrize("whose", ["ours", "theirs"])
async def test_introspection_tells_defaults_of_free_form_json(whose: str) -> None:
    """Code generators and GraphiQL get the whole schema, with the dicts among its defaults; calls get copies."""
    search = returning(lambda ctx: ctx.input.model_dump(), JsonValue, input=Search)
    if whose == "ours":
        schema: strawberry.Schema = create_schema(define_app("shop", resolvers=[search]))
    else:
        query = create_type("Query", [search.field()])
        schema = strawberry.Schema(query, extensions=[lambda: WorkflowExtension()])  # noqa: PLW0108 - a factory
    data = await answer(schema, get_introspection_query())
    types = {one["name"]: one for one in data["__schema"]["types"]}
    (found,) = (one for one in types["Query"]["fields"] if one["name"] == "get")
    assert {one["name"]: one["defaultValue"] for one in found["args"]} == SHOWN
    assert [one["defaultValue"] for one in types["OptionsInput"]["inputFields"]] == ["{ a: {  } }", "true"]
    assert await answer(schema, "{ get }") == {"get": Search().model_dump()}


@pytest.mark.parametrize(
    ("annotation", "default"),
    [(int, 2**40), (SecretStr, SecretStr("hunter2")), (JsonValue, [1]), (float, float("inf")), (str, None), (int, "x")],
)
async def test_default_that_a_schema_cannot_say_is_pydantics_alone(annotation: Any, default: Any) -> None:
    """An argument whose default can't be printed, or must not, may be left out, or null, and pydantic fills it in."""
    got: list[Any] = []
    model = model_of("Model", value=(annotation, default))
    schema = schema_of(returning(lambda ctx: got.append(ctx.input.value), type(None), input=model))
    assert "=" not in schema.as_str().split("get(")[1].split(")")[0]
    assert "hunter2" not in schema.as_str()
    await answer(schema, "{ get }")
    await answer(schema, "{ get(value: null) }")
    assert got[0] == default
    assert got[1] == (None if annotation is JsonValue else default)
