"""The scalars that Strawberry doesn't have."""

from datetime import timedelta
from typing import Any

import pytest
import strawberry
from pydantic import BaseModel
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import create_type

from gqlplugin.graphql.types import SCALAR_MAP, BigInt
from gqlplugin.resolver import Resolver
from tests.graphql.schemas import answer, echo, model_of, returning, schema_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("literal", ['"P"', "5", '"soon"'])
async def test_bad_duration_is_refused(literal: str) -> None:
    """What is not a duration does not reach the body."""
    schema = schema_of(echo(model_of("Wait", value=(timedelta, ...))))
    result = await schema.execute(f"{{ echo(value: {literal}) {{ value }} }}")
    assert result.errors
    assert result.data is None


NO_INTEGERS = ['"1.5"', '"x"', '""', '"--1"', '"٣"', "1.5", "true", f'"{"9" * 5000}"', "9" * 5000]


@pytest.mark.parametrize("literal", NO_INTEGERS, ids=lambda literal: literal[:8])
async def test_bad_big_int_is_refused(literal: str) -> None:
    """What is not an integer is an error of the argument."""
    schema = schema_of(echo(model_of("Number", value=(BigInt, ...))))
    result = await schema.execute(f"{{ echo(value: {literal}) {{ value }} }}")
    assert result.errors
    assert result.data is None


@pytest.mark.parametrize("value", [1 << 20_000, -1 << 20_000, 1.5, None], ids=["large", "small", "fraction", "null"])
async def test_bad_big_int_in_a_variable_is_refused(value: Any) -> None:
    """Variables are held to the same, and to what Python can write again."""
    schema = schema_of(echo(model_of("Number", value=(BigInt, ...))))
    result = await schema.execute("query($value: BigInt!) { echo(value: $value) { value } }", {"value": value})
    assert result.errors
    assert result.errors[0].message.startswith("Variable '$value'")


class Folder(BaseModel):
    size: int
    sizes: list[int | None] = []
    inner: "Folder | None" = None


def configured(*resolvers: Resolver[Any, Any]) -> strawberry.Schema:
    query = create_type("Query", [resolver.field() for resolver in resolvers])
    return strawberry.Schema(query, config=StrawberryConfig(scalar_map=SCALAR_MAP))


async def test_an_int_beyond_32_bits_does_not_take_its_object_along() -> None:
    """Within an object or a list it is the number it is, as far as JavaScript has it exactly."""
    folder = Folder(size=2**31, sizes=[-(2**53) + 1, None], inner=Folder(size=-(2**31)))
    schema = configured(returning(lambda _: folder, Folder), returning(lambda _: [2**40], list[int], name="sizes"))
    assert await answer(schema, "{ get { size sizes inner { size } } sizes }") == {
        "get": {"size": 2**31, "sizes": [-(2**53) + 1, None], "inner": {"size": -(2**31)}},
        "sizes": [2**40],
    }
    assert "scalar Int" not in schema.as_str()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("{ far { size } }", "annotate the field as gqlplugin.BigInt"),
        ("{ alone }", "non 32-bit"),
        ("{ echo(size: 2147483648) { size } }", "non 32-bit"),
    ],
)
async def test_an_int_that_would_lose_digits_or_is_no_part_is_an_error(query: str, message: str) -> None:
    """Beyond 53 bits a field needs BigInt; a whole result, and what a client sends, has 32 bits as GraphQL says."""
    schema = configured(
        returning(lambda _: Folder(size=2**53), Folder, name="far"),
        returning(lambda _: 2**31, int, name="alone"),
        echo(Folder),
    )
    [error] = (await schema.execute(query)).errors or []
    assert message in error.message


def test_schema_needs_no_configuration_of_ours() -> None:
    """Our scalars work in a schema that was made without SCALAR_MAP, and with it."""
    resolver: Resolver[Any, Any] = echo(model_of("Scalars", wait=(timedelta, ...), big=(BigInt, ...)))

    @strawberry.type
    class Query:
        echo = resolver.field()

    plain = strawberry.Schema(Query)
    with_map = strawberry.Schema(Query, config=StrawberryConfig(scalar_map=SCALAR_MAP))
    assert plain.as_str() == with_map.as_str()
