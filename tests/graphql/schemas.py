"""Schemas of a few resolvers, for the tests of fields and types."""

import re
from typing import Any

import strawberry
from pydantic import BaseModel, create_model
from strawberry.tools import create_type

from gqlplugin.models.fields import check_type_names
from gqlplugin.resolver import Resolver, ResolverContext, create_resolver


def schema_of(*resolvers: Resolver[Any, Any]) -> strawberry.Schema:
    """A schema with nothing but these resolvers as queries."""
    check_type_names(resolvers)
    return strawberry.Schema(create_type("Query", [resolver.field() for resolver in resolvers]))


def model_of(name: str, **fields: Any) -> type[BaseModel]:
    """A model of fields given as `(annotation, default)`, with `...` for a required one."""
    return create_model(name, **fields)


def echo(model: Any) -> Resolver[Any, Any]:
    """A resolver `echo` that answers with its input."""
    return returning(lambda ctx: ctx.input, model, input=model, name="echo")


def returning(body: Any, output: Any, *, input: type[BaseModel] | None = None, name: str = "get") -> Resolver[Any, Any]:
    """A resolver of a body and of types that only the test knows."""

    async def call(ctx: ResolverContext[Any]) -> Any:
        return body(ctx)

    # checkers compare models, and a test's output may be anything
    make: Any = create_resolver
    resolver: Resolver[Any, Any] = make(name=name, operation="query", input=input, output=output, body=call)
    return resolver


async def answer(schema: strawberry.Schema, query: str, **variables: Any) -> Any:
    """The data that a query is answered with."""
    result = await schema.execute(query, variables)
    assert result.errors is None, result.errors
    return result.data


def sdl(schema: strawberry.Schema, name: str) -> str:
    """The definition of a type, without its description."""
    found = re.search(rf"^(type|input|enum|union|scalar) {name}\b[^\n{{]*(\{{.*?^\}})?", schema.as_str(), re.S | re.M)
    assert found, schema.as_str()
    return found[0]
