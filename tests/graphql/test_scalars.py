"""The scalars that Strawberry doesn't have."""

from datetime import timedelta
from typing import Any

import pytest
import strawberry

from gqlplugin.graphql.scalars import SCALAR_MAP, BigInt
from gqlplugin.resolver import Resolver
from tests.graphql.schemas import echo, model_of, schema_of

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


def test_schema_needs_no_configuration_of_ours() -> None:
    """Our scalars work in a schema that was made without SCALAR_MAP, and with it."""
    resolver: Resolver[Any, Any] = echo(model_of("Scalars", wait=(timedelta, ...), big=(BigInt, ...)))

    @strawberry.type
    class Query:
        echo = resolver.field()

    plain = strawberry.Schema(Query)
    configured = strawberry.Schema(Query, config=strawberry.schema.config.StrawberryConfig(scalar_map=SCALAR_MAP))
    assert plain.as_str() == configured.as_str()
