"""The fields of models as GraphQL has them."""

from functools import partial
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, computed_field, field_serializer, model_serializer

from gqlplugin.errors import DefinitionError
from gqlplugin.models.annotations import Position
from gqlplugin.models.fields import arguments_of, fields_of, locate, nested_fields_of
from tests.graphql.schemas import model_of


def test_all_problems_of_a_model_come_at_once() -> None:
    """Whoever defines a model hears of every field that GraphQL has nothing for, each with its place."""

    class Order(BaseModel):
        first: complex
        good: int
        second: Literal[1]

    with pytest.raises(DefinitionError) as caught:
        fields_of(Order, "output")
    first, second = caught.value.problems
    assert "field 'first' of model tests.models.test_fields." in first
    assert "test_fields.py:" in first
    assert "complex has no GraphQL type as an output" in first
    assert "field 'second'" in second


class Twice(BaseModel):
    order_id: str
    other: str = Field(alias="orderId")


class Unnamed(BaseModel):
    value: str = Field(alias="order-id")


class Reserved(BaseModel):
    value: str = Field(alias="__value")


class RequiredAndDeprecated(BaseModel):
    value: str = Field(deprecated=True)


class Serialized(BaseModel):
    value: int

    @field_serializer("value")
    def as_text(self, value: int) -> str:
        return str(value)


class AllSerialized(BaseModel):
    value: int

    @model_serializer
    def as_text(self) -> dict[str, Any]:
        return {}


class Unannotated(BaseModel):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def value(self) -> Any:
        return 1


@pytest.mark.parametrize(
    ("model", "position", "message"),
    [
        (Twice, "input", "has the GraphQL name 'orderId' of field 'order_id'"),
        (Twice, "output", "has the GraphQL name 'orderId' of field 'order_id'"),
        (Unnamed, "input", "'order-id' is not a GraphQL name"),
        (Reserved, "output", "'__value' is not a GraphQL name"),
        (RequiredAndDeprecated, "input", "give it a default, or make it `| None`"),
        (Serialized, "output", "use a computed_field"),
        (AllSerialized, "output", "return another model"),
    ],
)
def test_field_that_would_go_wrong_is_refused(model: type[BaseModel], position: Position, message: str) -> None:
    """What would clash, be refused by GraphQL, or show another value than the author's JSON, is a definition error."""
    with pytest.raises(DefinitionError, match=message):
        fields_of(model, position)


@pytest.mark.parametrize("model", [RequiredAndDeprecated, Serialized, AllSerialized])
def test_what_concerns_one_position_is_fine_in_the_other(model: type[BaseModel]) -> None:
    """A serializer does not matter to an input, nor a required deprecated field to an output."""
    assert fields_of(model, "output" if model is RequiredAndDeprecated else "input")


def test_model_without_fields_is_no_type() -> None:
    """An empty model is no GraphQL type, though it is an input with no arguments."""
    empty = model_of("Empty")
    assert arguments_of(empty) == []
    with pytest.raises(DefinitionError, match="Empty as an output has no fields"):
        nested_fields_of(empty, "output")


class Line(BaseModel):
    unit_price: int
    extra: dict[str, int] = {}


class Order(BaseModel):
    lines: list[Line] | None = Field(alias="orderLines")


@pytest.mark.parametrize(
    ("loc", "path"),
    [
        ((), ()),
        (("lines",), ("orderLines",)),
        (("lines", 0, "unit_price"), ("orderLines", 0, "unitPrice")),
        (("lines", 0, "extra", "a"), ("orderLines", 0, "extra")),
        (("lines", "function-after"), ("orderLines",)),
        (("orderLines", 1, "unitPrice"), ("orderLines", 1, "unitPrice")),
        (("nowhere",), ()),
    ],
)
def test_place_of_an_error_is_told_as_far_as_graphql_sees(
    loc: tuple[str | int, ...], path: tuple[str | int, ...]
) -> None:
    """A pydantic location becomes a path in the client's names, which ends where free-form JSON begins."""
    assert locate(Order, loc, partial(fields_of, position="input")) == path
