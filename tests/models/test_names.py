"""The names of GraphQL types."""

from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from gqlplugin.app import define_app
from gqlplugin.errors import DefinitionError
from gqlplugin.models.fields import check_type_names
from gqlplugin.resolver import Resolver
from tests.graphql.schemas import echo, model_of, returning


def local_order(kind: Any) -> type[BaseModel]:
    """A class of a name that another call's class has as well."""

    class Order(BaseModel):
        value: kind

    return Order


def clash(*resolvers: Resolver[Any, Any]) -> str:
    """What the check says of resolvers."""
    with pytest.raises(DefinitionError) as caught:
        check_type_names(resolvers)
    (problem,) = caught.value.problems
    return problem


def get(output: Any, name: str = "get") -> Resolver[Any, Any]:
    """A resolver of an output."""
    return returning(lambda ctx: None, output, name=name)


def test_two_classes_of_one_name_are_named_both() -> None:
    """Two models of one name, which Strawberry would merge, are an error that names both with file and line."""
    problem = clash(get(local_order(int), "a"), get(local_order(str), "b"))
    assert problem.startswith("two types would be named 'Order': tests.models.test_names.local_order.<locals>.Order (")
    assert problem.count("test_names.py:") == 2


def test_clash_deep_inside_is_found() -> None:
    """The clash may be nested in lists and models, in an input or an output."""
    order: Any = local_order(int)
    outer = model_of("Outer", orders=(list[order] | None, ...))
    other = model_of("Other", order=(local_order(int), ...))
    assert "'Order'" in clash(get(outer), get(other, "b"))
    assert "'OrderInput'" in clash(
        returning(lambda ctx: 1, int, input=outer), returning(lambda ctx: 1, int, input=other, name="b")
    )


def test_input_and_output_of_one_name_are_a_clash() -> None:
    """A class named `...Input` can't be an output too: both would have its name."""
    place = model_of("PlaceInput", x=(int, ...))
    problem = clash(echo(model_of("Outer", place=(place, ...))))
    assert "PlaceInput as an input and " in problem


def test_enums_literals_and_unions_have_names_too() -> None:
    """A model named like the enum of a field is found, and so is an Enum named like a model."""
    level = model_of("OrderLevel", x=(int, ...))
    order = model_of("Order", level=(Literal["a"], ...), other=(level, ...))
    assert "the Literal of field 'level' of model" in clash(get(order))
    user = Enum("User", "A B")  # type: ignore[misc]
    assert "'User'" in clash(get(model_of("User", kind=(user, ...))))
    cat, dog = model_of("Cat", x=(int, ...)), model_of("Dog", x=(int, ...))
    pet = model_of("OwnerPet", x=(int, ...))
    assert "the union of field 'pet'" in clash(get(model_of("Owner", pet=(cat | dog, ...), other=(pet, ...))))


@pytest.mark.parametrize("name", ["Query", "Mutation", "DateTime", "BigInt", "ID"])
def test_names_of_graphql_itself_are_taken(name: str) -> None:
    """A model can't be called as a scalar or a root type is."""
    assert f"two types would be named {name!r}" in clash(get(model_of(name, x=(int, ...))))


def test_names_of_the_schemas_own_types_are_taken() -> None:
    """What the schema says it needs is reserved."""
    model = model_of("PageInfo", x=(int, ...))
    with pytest.raises(DefinitionError, match="'PageInfo': Relay's and "):
        check_type_names(outputs=[list[model]], reserved={"PageInfo": "Relay's"})  # type: ignore[valid-type]


def test_same_class_everywhere_is_no_clash() -> None:
    """One model as input and output of many resolvers, and in itself, is as it should be."""
    order = local_order(int)
    check_type_names([echo(model_of("Outer", order=(order, ...), level=(Literal["a"], ...))), get(order, "b")])


def test_class_that_is_no_graphql_name_is_told_to_be_renamed() -> None:
    """Python takes letters in a class name that GraphQL does not."""
    assert "'Größe', which is not a GraphQL name" in clash(get(model_of("Größe", x=(int, ...))))


def test_app_reports_types_with_everything_else() -> None:
    """define_app tells of types together with its other problems."""
    with pytest.raises(DefinitionError) as caught:
        define_app("shop", resolvers=[get(local_order(int), "a"), get(local_order(complex), "b-c")])
    text = str(caught.value)
    assert "'b-c' is not a GraphQL name" in text
    assert "'Order'" in text
    assert "complex has no GraphQL type" in text
